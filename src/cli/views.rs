//! Live views of a run: pages and Prometheus (`--listen`), and an OpenTelemetry receiver (`--otlp`).

use std::sync::Arc;

use super::listen::{self, ListenArgs};
use super::otlp::{OtlpArgs, Push};
use super::print;
use super::problem::Problem;
use crate::engine::Stop;
use crate::run::Board;

#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ViewArgs {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    otlp: OtlpArgs,
}

/// The requested views, and the board that they show.
pub(super) struct Views {
    board: Arc<Board>,
    is_served: bool,
    push: Option<Push>,
}

impl ViewArgs {
    /// Opens the requested views.
    pub(super) fn open(&self, stop: &Stop) -> Result<Views, Problem> {
        let board = Board::new(stop.clone());
        let page = self.listen.serve(&board)?;
        if let Some(page) = &page {
            print::tell(format_args!("the run as it goes: {page}"));
        }
        let push = self.otlp.start(&board)?;
        Ok(Views { board, is_served: page.is_some(), push })
    }
}

impl Views {
    /// The board, if there is any view.
    pub(super) fn board(&self) -> Option<Arc<Board>> {
        (self.is_served || self.push.is_some()).then(|| self.board.clone())
    }

    /// Marks the run as over, and waits for the views to receive the result.
    pub(super) async fn close(self) {
        self.board.end();
        if let Some(push) = self.push {
            push.finish().await;
        }
        if self.is_served {
            listen::last_look(&self.board).await;
        }
    }
}
