//! Who sees a run while it goes on: pages and Prometheus (`--listen`).

use std::sync::Arc;

use super::listen::{self, ListenArgs};
use super::print;
use super::problem::Problem;
use crate::engine::Stop;
use crate::run::Board;

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ViewArgs {
    #[command(flatten)]
    listen: ListenArgs,
}

/// Those who look, and what they look at.
pub(super) struct Views {
    board: Arc<Board>,
    is_served: bool,
}

impl ViewArgs {
    /// Lets all look that were asked to.
    pub(super) fn open(&self, stop: &Stop) -> Result<Views, Problem> {
        let board = Board::new(stop.clone());
        let page = self.listen.serve(&board)?;
        if let Some(page) = &page {
            print::tell(format_args!("the run as it goes: {page}"));
        }
        Ok(Views { board, is_served: page.is_some() })
    }
}

impl Views {
    /// What they look at, where anybody does.
    pub(super) fn board(&self) -> Option<Arc<Board>> {
        self.is_served.then(|| self.board.clone())
    }

    /// Says that all is over, and lets them have the result.
    pub(super) async fn close(self) {
        self.board.end();
        if self.is_served {
            listen::last_look(&self.board).await;
        }
    }
}
