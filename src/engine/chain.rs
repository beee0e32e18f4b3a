//! The steps of an iteration after its first: what they keep of a response, and the request they
//! make from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::choose::Pick;
use super::error::{FeedError, NextError};
use super::exchange::{Told, exchange};
use super::feed::Batch;
use super::make::{Maker, Spoken};
use crate::assertion::{Capture, Exchange, Reads};
use crate::client::{Reply, Request};
use crate::plan::{Repeat, Step};
use crate::random::Key;
use crate::schedule::Pause;
use crate::template::TemplateError;
use crate::wire::Map;

/// The transition from each step to the next. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    links: Arc<Vec<Link>>,
    pick: Pick,
}

/// What follows a step's request.
#[derive(Debug)]
struct Link {
    repeat: Option<Repeat>,
    /// The pause before the next step, and the key from which it is drawn.
    pause: Pause,
    key: Key,
    captures: Vec<Capture>,
    reads: Reads,
    told: Told,
    /// The next step; none after the last.
    next: Option<Following>,
}

/// The step after another.
#[derive(Debug)]
struct Following {
    maker: Maker,
    /// The request, if it is always the same.
    constant: Option<Batch>,
}

/// An iteration in progress: what its steps have kept so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    /// The iteration's index in the stream of Documents.
    pub index: u64,
    /// What earlier steps kept, by name.
    pub captured: Map,
    /// When the first request of the step being repeated was due.
    pub polling: Option<Instant>,
}

impl Chain {
    /// The chain of these steps, at least one; `pick` knows where lists begin. Random values, such
    /// as pauses, depend on the seed, the scenario, the step and the index of the iteration.
    ///
    /// # Errors
    /// When a request that is always the same cannot be made.
    pub(crate) fn new(
        steps: &[Step],
        spoken: Spoken<'_>,
        pick: Pick,
        seed: u64,
        scenario: &str,
    ) -> Result<Chain, FeedError> {
        let key = Key::new(seed).part("steps").part(scenario);
        let links = steps.iter().enumerate().map(|(index, step)| {
            let captures = step.captures.clone();
            let reads = captures.iter().map(Capture::reads);
            let reads = reads.fold(Reads::default(), std::ops::BitOr::bitor);
            let next =
                steps.get(index + 1).filter(|_| pick.first_steps().all(|first| first != index + 1));
            let next = next.map(|step| Following::new(step, spoken)).transpose()?;
            let (repeat, pause, key) = (step.repeat.clone(), step.think_time, key.part(&step.name));
            let told = Told::new(step, spoken);
            Ok(Link { repeat, pause, key, captures, reads, told, next })
        });
        let links = Arc::new(links.collect::<Result<_, _>>()?);
        Ok(Chain { links, pick })
    }

    /// Whether these steps need a chain: they are reported by step, or something follows a request.
    pub(crate) fn is_needed(steps: &[Step]) -> bool {
        steps.len() > 1 || steps.iter().any(|step| !step.name.is_empty())
    }

    /// The step with which the iteration of this index begins.
    pub(crate) fn first_step(&self, index: u64) -> usize {
        self.pick.first_step(index)
    }

    /// Whether another step follows this one.
    pub(crate) fn goes_on_after(&self, step: usize) -> bool {
        self.links[step].next.is_some()
    }

    /// How a step is repeated.
    pub(crate) fn repeat(&self, step: usize) -> Option<&Repeat> {
        self.links[step].repeat.as_ref()
    }

    /// Whether a response ends the repetitions of its step.
    ///
    /// # Errors
    /// When the response does not have what the expression needs. It may have it the next time.
    pub(crate) async fn holds(
        &self,
        step: usize,
        request: Request,
        reply: Reply,
        captured: Map,
        latency: Duration,
    ) -> Result<bool, Option<TemplateError>> {
        let reads = self.repeat(step).map(|repeat| repeat.until.reads()).unwrap_or_default();
        let chain = self.clone();
        let judge = move || {
            let link = &chain.links[step];
            let Some(repeat) = &link.repeat else { return Ok(true) };
            let (exchange, _) = exchange(&request, Some(&reply), reads, &link.told);
            repeat.until.holds(&Exchange { captured, latency, ..exchange })
        };
        // If nothing has to be decoded, handing it over would take longer.
        if !reads.request && !reads.response {
            return judge().map_err(Some);
        }
        let (done, is_done) = oneshot::channel();
        rayon::spawn(move || {
            // Nobody waits any more if the iteration was abandoned.
            let _ = done.send(judge());
        });
        // Without an answer the expression panicked.
        is_done.await.map_err(|_| None)?.map_err(Some)
    }

    /// The pause between a step and the next in the iteration of this index.
    pub(crate) fn pause(&self, step: usize, index: u64) -> Duration {
        let link = &self.links[step];
        link.pause.draw(|| link.key.index(index).rng())
    }

    /// The request of the step after `step`, made from the exchange that ended it. Slow work is
    /// done on rayon's pool, so that it delays no other request.
    ///
    /// # Errors
    /// When the response lacks what was to be kept, or the request cannot be made from it.
    pub(crate) async fn next(
        &self,
        step: usize,
        request: Request,
        reply: Reply,
        mut kept: Kept,
    ) -> Result<(Batch, Kept), NextError> {
        let link = &self.links[step];
        if link.captures.is_empty()
            && let Some(Following { constant: Some(batch), .. }) = &link.next
        {
            return Ok((Batch { index: kept.index, ..batch.clone() }, kept));
        }
        let (done, is_done) = oneshot::channel();
        let chain = self.clone();
        rayon::spawn(move || {
            let link = &chain.links[step];
            let made = link.keep(&request, &reply, &mut kept).and_then(|()| match &link.next {
                Some(next) => Ok(next.maker.make(kept.index, &kept.captured)?),
                None => Err(NextError::Gone),
            });
            // Nobody waits any more if the iteration was abandoned.
            let _ = done.send(made.map(|batch| (batch, kept)));
        });
        is_done.await.unwrap_or(Err(NextError::Gone))
    }
}

impl Following {
    fn new(step: &Step, spoken: Spoken<'_>) -> Result<Following, FeedError> {
        let maker = Maker::new(step, spoken);
        let constant = maker.is_constant().then(|| maker.make(0, &Map::new())).transpose()?;
        Ok(Following { maker, constant })
    }
}

impl Link {
    fn keep(&self, request: &Request, reply: &Reply, kept: &mut Kept) -> Result<(), NextError> {
        if self.captures.is_empty() {
            return Ok(());
        }
        let (mut exchange, undecoded) = exchange(request, Some(reply), self.reads, &self.told);
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
