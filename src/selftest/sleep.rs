//! A deliberate fault on our side: it must be blamed on flowbench, not on the Flow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, Measure};
use super::rig::Rig;
use super::{SelftestError, law};
use crate::client::{Call, CallError, Calls, Client, ClientConfig, Failure, Reply, Request};
use crate::clock::PreciseClock;
use crate::engine::Stop;
use crate::flow::{Flow, FlowConfig};
use crate::record::reason::Code;
use crate::record::summary::{Requests, ms};
use crate::record::validity::{self, Circumstances};
use crate::record::{Histogram, Recording};
use crate::schedule::ArrivalProcess;
use crate::wire::{DataRequest, EncodeError, Header, Protocol};

pub(super) const NAME: &str = "a send path that sleeps is our own fault";

const SLEEP: Duration = Duration::from_millis(50);

/// A client that sleeps before it sends, and blocks the thread meanwhile.
#[derive(Clone)]
struct Sleepy<C>(C);

impl<C: Call> Call for Sleepy<C> {
    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        std::thread::sleep(SLEEP);
        self.0.call(request).await
    }
}

pub(super) async fn check(stop: &Stop) -> Result<Check, SelftestError> {
    let failed = |reason: String| SelftestError::Run { check: NAME, reason };
    let flow =
        Flow::start(FlowConfig::default()).await.map_err(|error| failed(error.to_string()))?;
    let target = flow.target(Protocol::Grpc).cloned();
    let target = target.ok_or_else(|| failed("the Flow offers no gRPC".into()))?;
    // On a separate thread, like every worker.
    let stopped = stop.clone();
    let sent = tokio::task::spawn_blocking(move || send(ClientConfig::new(target), stopped)).await;
    flow.stop().await;
    let sent = sent.map_err(|error| failed(error.to_string()))?;
    let recording = sent.map_err(|error| failed(error.to_string()))?;
    if stop.drain.is_cancelled() {
        return Err(SelftestError::Interrupted);
    }
    Ok(judge(&recording))
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

fn send(config: ClientConfig, stop: Stop) -> Result<Recording, SendError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime?.block_on(async {
        let session = Client::new(config).open().await?;
        let endpoint: Arc<str> = "/".into();
        let header = Header { exec_endpoint: Some(endpoint.to_string()), ..Header::default() };
        let request = DataRequest { header, ..DataRequest::default() };
        let message = session.form().encode_request(&request)?;
        let clock = PreciseClock::new()?;
        let rig = Rig { stop, ..Rig::open(10.0, ArrivalProcess::Uniform, Duration::from_secs(3)) };
        Ok(rig.run(clock, Calls::new(Sleepy(session)), Request::Post { message, endpoint }).await)
    })
}

fn judge(recording: &Recording) -> Check {
    let totals = &recording.totals;
    let half = |histogram: &Histogram| ms(histogram.quantile(0.5).unwrap_or_default());
    let slept = ms(SLEEP);
    let measures = vec![
        Measure::within(
            "send delay of the load generator, p50",
            "ms",
            half(&totals.pacer),
            slept,
            0.1,
            1.0,
        ),
        Measure::within("held back by the Flow, p50", "ms", half(&totals.held), 0.0, 0.0, 5.0),
        Measure::within(
            "service time of the Flow, p50",
            "ms",
            half(&totals.service),
            0.0,
            0.0,
            5.0,
        ),
    ];
    let reasons =
        validity::reasons(recording, Circumstances { open: true, ..Circumstances::default() });
    let mut problems = Vec::new();
    if !reasons.iter().any(|reason| reason.code == Code::GeneratorBehind) {
        problems.push(format!(
            "the run does not report that the load generator fell behind: {reasons:?}"
        ));
    }
    problems.extend(law::unaccounted(&Requests::new(totals)));
    Check::new(NAME, measures, problems)
}
