//! `flowbench post`.

use super::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn main(_args: Args) -> Exit {
    unimplemented!()
}
