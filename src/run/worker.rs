//! One worker: a thread with its own connections, dispatch loop and recorder.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::machine::{thread_cpu, thread_waited};
use crate::client::{CallError, Client, ClientConfig, FlowInfo, Unmatched};
use crate::clock::PreciseClock;
use crate::engine::chain::Chain;
use crate::engine::feed::Feed;
use crate::engine::source::{Frame, Source};
use crate::engine::{Ended, Job, Slots, StepAnswer, Stop, drive};
use crate::record::{Delta, Recorder};
use crate::wire::{Form, Schemas};

/// A worker whose connections are open.
pub(super) struct Ready {
    /// What the Flow reported about itself.
    pub(super) info: FlowInfo,
    /// How requests have to be encoded.
    pub(super) form: Form,
    /// What it reported about the Documents of its endpoints.
    pub(super) schemas: Arc<Schemas>,
    go: oneshot::Sender<Order>,
    done: oneshot::Receiver<io::Result<Report>>,
}

/// What a worker is to do.
pub(super) struct Order {
    /// The worker's index, from 0.
    pub(super) worker: usize,
    pub(super) frame: Frame,
    pub(super) source: Source,
    pub(super) warmup: Feed,
    pub(super) feed: Feed,
    pub(super) chain: Option<Chain>,
    pub(super) slots: Slots,
    pub(super) answers: Option<mpsc::Sender<StepAnswer>>,
    pub(super) deltas: mpsc::Sender<Delta>,
    /// How often they are sent.
    pub(super) tells_every: Duration,
    /// How many workers take a sample of their requests each; `None`: no sample.
    pub(super) samples: Option<usize>,
    /// How many parts the load has.
    pub(super) parts: u64,
    pub(super) grace: Option<Duration>,
    pub(super) ends_when_lost: bool,
    pub(super) stop: Stop,
}

/// What a worker has done.
pub(super) struct Report {
    /// Why its part of the load ended.
    pub(super) ended: Ended,
    /// What it has not handed over yet.
    pub(super) rest: Delta,
    /// Replies that matched no request.
    pub(super) unmatched: Unmatched,
    /// Requests delayed by the bound of connections.
    pub(super) waited_for_connections: u64,
    /// CPU time of its thread while the load ran.
    pub(super) cpu: Duration,
    /// How long the load ran.
    pub(super) wall: Duration,
    /// How long its thread waited for a processor meanwhile, and how often it got one.
    pub(super) waited: (Duration, u64),
}

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    /// The Flow cannot be reached.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The system refused a thread, or a resource it needs.
    #[error("could not start a thread that sends: {0}")]
    System(#[from] io::Error),
    /// The thread ended in the middle.
    #[error("a thread that sends ended in the middle: {0}")]
    Gone(&'static str),
}

/// Starts a thread and opens its connections.
pub(super) async fn start(config: ClientConfig) -> Result<Ready, WorkerError> {
    let (opened, is_open) = oneshot::channel::<Result<_, WorkerError>>();
    let (go, order) = oneshot::channel();
    let (done, is_done) = oneshot::channel();
    std::thread::Builder::new().name("worker".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = opened.send(Err(error.into()));
                return;
            }
        };
        runtime.block_on(async {
            let opening = async {
                let session = Client::new(config).open().await?;
                session.greet().await?;
                Ok(session)
            };
            let session = match opening.await {
                Ok(session) => session,
                Err::<_, CallError>(error) => {
                    let _ = opened.send(Err(error.into()));
                    return;
                }
            };
            let _ = opened.send(Ok((
                session.info().clone(),
                session.form(),
                session.schemas().clone(),
            )));
            // No order comes if another worker could not connect.
            let Ok(order) = order.await else { return };
            let _ = done.send(work(session, order).await);
        });
        // A name that does not resolve or a hanging disk must not block shutdown.
        runtime.shutdown_background();
    })?;
    let (info, form, schemas) =
        is_open.await.map_err(|_| WorkerError::Gone("while it connected"))??;
    Ok(Ready { info, form, schemas, go, done: is_done })
}

impl Ready {
    /// Runs its share of the load; returns when it is done.
    pub(super) async fn run(self, order: Order) -> Result<Report, WorkerError> {
        let gone = WorkerError::Gone("while it sent");
        if self.go.send(order).is_err() {
            return Err(gone);
        }
        match self.done.await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(gone),
        }
    }
}

async fn work(session: crate::client::Session, order: Order) -> io::Result<Report> {
    let mut clock = PreciseClock::new()?;
    let mut lanes = session.lanes().await.map_err(io::Error::other)?;
    let frame = order.frame;
    let by_step = order.chain.is_some();
    let (from, end) = (frame.measured_from(), frame.end());
    let mut recorder = Recorder::new(order.worker, from, end, by_step, order.deltas)
        .telling_every(order.tells_every)
        .comparing_clocks(order.parts > 1);
    if let Some(workers) = order.samples {
        recorder = recorder.sampling(workers, order.parts);
    }
    let load = Job {
        lanes: &mut lanes,
        source: order.source,
        warmup: order.warmup,
        feed: order.feed,
        chain: order.chain,
        slots: order.slots,
        answers: order.answers,
        grace: order.grace,
        ends_when_lost: order.ends_when_lost,
        stop: order.stop,
    };
    let (began, cpu, waited) = (Instant::now(), thread_cpu(), thread_waited());
    let ended = drive(load, &mut clock, &mut recorder).await;
    recorder.done();
    Ok(Report {
        ended,
        cpu: thread_cpu().saturating_sub(cpu),
        wall: began.elapsed(),
        unmatched: lanes.unmatched(),
        waited_for_connections: lanes.waited_for_connections(),
        waited: waited.zip(thread_waited()).map_or_else(Default::default, |(before, now)| {
            (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
        }),
        rest: recorder.finish(),
    })
}
