//! The cost of the sample behind "why is it slow": a recorder with and without it.

use std::sync::Arc;
use std::time::Duration;

use flowbench::client::Timing;
use flowbench::engine::event::{Arrival, Event, Finished, Iteration, Listener, Outcome, Traits};
use flowbench::record::Recorder;
use tokio::time::Instant;

use super::{Error, Prepared, ROUNDS, cpu_s, median};

/// Enough to fill a sample long before the end.
const REQUESTS: u64 = 4_000_000;

pub(super) fn table(_: &[Prepared]) -> Result<(), Error> {
    println!("CPU seconds of the recorder for a million requests\n");
    println!("| requests | without a sample | with it |\n| --- | --- | --- |");
    for requests in [20_000, REQUESTS] {
        let mut costs = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (samples, costs) in [false, true].into_iter().zip(&mut costs) {
                costs.push(record(samples, requests));
            }
        }
        let [without, with] = costs.map(|all| median(all) * 1e6 / requests as f64);
        println!("| {requests} | {without:.3} | {with:.3} |");
    }
    Ok(())
}

fn record(samples: bool, requests: u64) -> f64 {
    let start = Instant::now();
    let (deltas, _taken) = tokio::sync::mpsc::channel(1);
    let recorder = Recorder::new(0, start, None, false, deltas);
    let mut recorder = if samples { recorder.sampling(1, 1) } else { recorder };
    let values: Arc<[(String, String)]> =
        Arc::new([("lang".to_owned(), "de".to_owned()), ("limit".to_owned(), "10".to_owned())]);
    let began = cpu_s();
    for n in 0..requests {
        let due = start + Duration::from_micros(n * 50);
        let done = due + Duration::from_micros(1000 + n % 977);
        let arrival = Arrival { due, client: 0, measured: true };
        let (written, zero) = (Some(due), Duration::ZERO);
        let iteration = Iteration {
            arrival,
            released: due,
            written,
            starved: zero,
            blocked: zero,
            paused: zero,
        };
        let connection = Some((n % 64) as u32);
        recorder.on(Event::Finished(&Finished {
            iteration,
            step: 0,
            begins: true,
            ends: true,
            due,
            documents: 1,
            traits: Traits { bytes: 300, length: 100, trace: None, values: Some(values.clone()) },
            timing: Timing { written, first: written, done, attempts: 1, connection },
            outcome: Outcome::Ok,
            reply: None,
            error: None,
        }));
    }
    let cost = cpu_s() - began;
    drop(recorder.finish());
    cost
}
