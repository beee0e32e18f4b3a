//! The steps of an iteration after its first: what they keep of a response, and the request they make
//! of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::exchange::exchange;
use super::feed::{Batch, FeedError};
use super::make::Maker;
use crate::assertion::{Capture, Reads};
use crate::client::{Reply, Request};
use crate::plan::Step;
use crate::random::Key;
use crate::schedule::Pause;
use crate::template::TemplateError;
use crate::wire::{DecodeError, Form, Map};

/// The way from each step to the next. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chain(Arc<Vec<Link>>);

/// From one step to the next.
#[derive(Debug)]
struct Link {
    /// The pause before the next step, and what it is drawn from.
    pause: Pause,
    key: Key,
    captures: Vec<Capture>,
    reads: Reads,
    form: Form,
    maker: Maker,
    /// The request, where it is always the same.
    constant: Option<Batch>,
}

/// An iteration on its way: what its steps have kept so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// The iteration's place in the stream of Documents.
    pub index: u64,
    /// What earlier steps kept, by name.
    pub captured: Map,
}

/// Why an iteration could not go on to its next step.
#[derive(Debug, thiserror::Error)]
pub enum NextError {
    /// Something was to be kept of a response that is not what it should be.
    #[error("the response cannot be decoded: {0}")]
    Decode(DecodeError),
    /// The response does not have what was to be kept.
    #[error("`{name}` could not be kept")]
    Capture {
        /// Its key under `captured`.
        name: String,
        /// Why the expression has no value.
        #[source]
        source: TemplateError,
    },
    /// The request cannot be made of what was kept.
    #[error(transparent)]
    Make(#[from] FeedError),
    /// Making the request panicked.
    #[error("the request could not be made")]
    Gone,
}

impl Chain {
    /// The chain of these steps, of which there is at least one. What is drawn, such as pauses, depends
    /// on the seed, the scenario, the step and the place of the iteration.
    ///
    /// # Errors
    /// When a request that is always the same cannot be made.
    pub(crate) fn new(
        steps: &[Step],
        form: Form,
        seed: u64,
        scenario: &str,
    ) -> Result<Chain, FeedError> {
        let key = Key::new(seed).part("steps").part(scenario);
        let links = steps.windows(2).map(|pair| {
            let maker = Maker::new(&pair[1], form);
            let captures = pair[0].captures.clone();
            let reads = captures.iter().map(Capture::reads);
            let reads = reads.fold(Reads::default(), std::ops::BitOr::bitor);
            let constant = maker.is_constant().then(|| maker.make(0, &Map::new())).transpose()?;
            let (pause, key) = (pair[0].think_time, key.part(&pair[0].name));
            Ok(Link { pause, key, captures, reads, form, maker, constant })
        });
        links.collect::<Result<_, _>>().map(|links| Chain(Arc::new(links)))
    }

    /// How many steps there are.
    pub(crate) fn steps(&self) -> usize {
        self.0.len() + 1
    }

    /// The pause between a step and the next in the iteration of this place.
    pub(crate) fn pause(&self, step: usize, index: u64) -> Duration {
        let link = &self.0[step];
        link.pause.draw(|| link.key.index(index).rng())
    }

    /// The request of the step after `step`, made of the exchange that ended it. What takes time is
    /// done on rayon's pool, so that it delays no other request.
    ///
    /// # Errors
    /// When the response does not have what was to be kept, or the request cannot be made of it.
    pub(crate) async fn next(
        &self,
        step: usize,
        request: Request,
        reply: Reply,
        mut kept: Kept,
    ) -> Result<(Batch, Kept), NextError> {
        let link = &self.0[step];
        if link.captures.is_empty()
            && let Some(batch) = &link.constant
        {
            return Ok((Batch { index: kept.index, ..batch.clone() }, kept));
        }
        let (done, is_done) = oneshot::channel();
        let chain = self.clone();
        rayon::spawn(move || {
            let link = &chain.0[step];
            let made = link
                .keep(&request, &reply, &mut kept)
                .and_then(|()| Ok(link.maker.make(kept.index, &kept.captured)?));
            // Nobody waits any more when the iteration was given up.
            let _ = done.send(made.map(|batch| (batch, kept)));
        });
        is_done.await.unwrap_or(Err(NextError::Gone))
    }
}

impl Link {
    fn keep(&self, request: &Request, reply: &Reply, kept: &mut Kept) -> Result<(), NextError> {
        if self.captures.is_empty() {
            return Ok(());
        }
        let (mut exchange, undecoded) = exchange(request, Some(reply), self.reads, self.form);
        exchange.captured = kept.captured.clone();
        if let Some(error) = undecoded {
            return Err(NextError::Decode(error));
        }
        for capture in &self.captures {
            let value = capture
                .value(&exchange)
                .map_err(|source| NextError::Capture { name: capture.name().to_owned(), source })?;
            kept.captured.insert(capture.name().to_owned(), value);
        }
        Ok(())
    }
}
