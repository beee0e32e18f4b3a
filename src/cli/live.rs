//! The live view of runs, on stderr.

use std::time::Duration;

use tokio::sync::watch;

use super::print;
use crate::report::progress::Progress;
use crate::run::Live;

/// Interval at which the live view is updated.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// Shows the progress until the run is over.
pub(super) async fn show(mut states: watch::Receiver<Vec<Live>>) {
    let mut progress = match print::err_is_terminal() {
        true => Progress::terminal(),
        false => Progress::lines(print::err()),
    };
    loop {
        let over = states.changed().await.is_err();
        let live = states.borrow_and_update().clone();
        // A closed stderr is no reason to end a run.
        if progress.show(&live).is_err() || over {
            break;
        }
        tokio::time::sleep(SHOW_INTERVAL).await;
    }
    progress.finish();
}
