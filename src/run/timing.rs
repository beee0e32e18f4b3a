//! When the requests of a load are due, and the load described in words.

use tokio::time::Instant;

use crate::engine::source::{Budget, Frame, Share, Source, ThinkTime};
use crate::plan::{self, Load, Scenario, Until};
use crate::record::summary::EndReason;
use crate::record::{Recording, Window};
use crate::schedule::{ArrivalProcess, DueTimes, GammaGaps, Profile, Schedule};
use crate::units::Part;

/// Requests in flight if `prefetch: 0` sets no bound: an amount that fits in the memory of any machine.
const IN_FLIGHT_MAX: usize = 100_000;

/// When a load's requests are due.
pub(super) struct Timing {
    pub(super) frame: Frame,
    kind: Kind,
    pub(super) max_in_flight: usize,
}

enum Kind {
    Open { warmup: DueTimes, steady: DueTimes },
    Closed { clients: Profile, think_time: ThinkTime, budget: Budget },
}

impl Timing {
    pub(super) fn new(scenario: &Scenario, start: Instant, seed: u64, part: Part) -> Timing {
        let length = scenario.load.length();
        let frame = Frame { start, warmup: scenario.warmup, duration: length };
        match &scenario.load {
            Load::Once => {
                // Without a limit, the bound is the most requests that one load may have in flight.
                let clients = match scenario.client.prefetch {
                    0 => IN_FLIGHT_MAX,
                    prefetch => prefetch,
                };
                // Without Documents there is one request, not none.
                let work = &scenario.first_step().work;
                let one = matches!(work, plan::Work::Post(post) if post.documents.is_none())
                    || matches!(work, plan::Work::Mutate { .. } | plan::Work::Http(_));
                let budget = Budget::new(if one { part.share(1) } else { u64::MAX });
                let clients = Profile::constant(clients as f64, None);
                Timing {
                    frame,
                    kind: Kind::Closed { clients, think_time: ThinkTime::none(), budget },
                    max_in_flight: usize::MAX,
                }
            }
            Load::Closed { clients, think_time, until } => Timing {
                frame,
                kind: Kind::Closed {
                    clients: clients.clone(),
                    think_time: ThinkTime::new(*think_time, seed, &scenario.name),
                    budget: Budget::new(
                        until.requests.map_or(u64::MAX, |requests| part.share(requests)),
                    ),
                },
                max_in_flight: usize::MAX,
            },
            Load::Open { schedule, until, max_in_flight } => {
                let limit = until.requests.unwrap_or(u64::MAX);
                Timing {
                    frame,
                    kind: Kind::Open {
                        warmup: schedule.warmup(seed, scenario.warmup),
                        steady: schedule.due_times(seed, length).limited(limit),
                    },
                    max_in_flight: part.share(*max_in_flight as u64) as usize,
                }
            }
        }
    }

    pub(super) fn source(&self, share: Share) -> Source {
        match &self.kind {
            Kind::Open { warmup, steady } => {
                Source::open(self.frame, warmup.clone(), steady.clone(), share)
            }
            Kind::Closed { clients, think_time, budget } => {
                Source::closed(self.frame, clients, *think_time, budget.clone(), share)
            }
        }
    }

    /// The time that rates refer to.
    pub(super) fn window(&self, recording: &Recording, reason: EndReason) -> Window {
        let measured_from = self.frame.measured_from();
        match (reason, self.frame.duration, recording.stopped) {
            (EndReason::Time, Some(length), _) => Window { length, timed: true },
            // Responses after the last send do not count towards the load's throughput.
            (EndReason::Interrupted | EndReason::Aborted, _, Some(at)) => {
                Window { length: at.saturating_duration_since(measured_from), timed: true }
            }
            _ => {
                let last = recording.last_done.unwrap_or(measured_from);
                let length = last.saturating_duration_since(measured_from);
                Window { length, timed: false }
            }
        }
    }
}

/// Describes a load in words.
pub(super) fn describe(load: &Load) -> String {
    let until = |until: &Until| {
        let mut text = String::new();
        if let Some(duration) = until.duration {
            text.push_str(&format!(" for {duration:?}"));
        }
        if let Some(requests) = until.requests {
            text.push_str(&format!(" up to {requests} requests"));
        }
        text
    };
    let up_to = |profile: &Profile| if profile.stages().len() > 1 { "up to " } else { "" };
    match load {
        Load::Once => "all Documents once".into(),
        Load::Closed { clients, until: bound, .. } => {
            let most = clients.peak();
            let plural = if most == 1.0 { "" } else { "s" };
            format!("{}{most} client{plural}{}", up_to(clients), until(bound))
        }
        Load::Open { schedule, until: bound, .. } => match schedule {
            Schedule::Rate { profile, process } => {
                let process = match process {
                    ArrivalProcess::Uniform => String::new(),
                    ArrivalProcess::Poisson => ", Poisson".into(),
                    ArrivalProcess::PoissonExact => {
                        ", Poisson with an exact number of arrivals".into()
                    }
                    ArrivalProcess::Gamma(GammaGaps { burstiness }) => {
                        format!(", gamma of burstiness {burstiness}")
                    }
                };
                format!("{}{}/s{process}{}", up_to(profile), profile.peak(), until(bound))
            }
            Schedule::Trace { due, .. } => format!("a trace of {} arrivals", due.len()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::source::Next;
    use crate::scenario::{Options, load_text};

    /// The response time that clients of a closed load see.
    const TAKES: Duration = Duration::from_millis(50);

    /// A plan of one scenario with this load.
    fn planned(base: &Path, load: &str, warmup: &str) -> plan::Plan {
        let text = format!(
            "scenarios: [{{name: s, documents: {{text: a}}, request_size: 1, warmup: {warmup}, \
             load: {load}}}]\n"
        );
        load_text("s", text, base, &Options::default())
            .and_then(|suite| plan::resolve(&suite))
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The timing of a load as written, with or without warmup.
    fn timing(base: &Path, load: &str, seed: u64) -> Timing {
        warm_timing(base, load, "0s", seed)
    }

    fn warm_timing(base: &Path, load: &str, warmup: &str, seed: u64) -> Timing {
        let plan = planned(base, load, warmup);
        Timing::new(&plan.scenarios[0], Instant::now(), seed, Part::WHOLE)
    }

    /// When its requests are due and when they are over, from the start, executed by this many workers in simulated
    /// time. The `n`-th request of a worker takes `takes(n)`.
    fn carried_out(
        timing: &Timing,
        workers: usize,
        takes: impl Fn(usize) -> Duration,
    ) -> Vec<(Duration, Duration)> {
        carried_out_by(timing, Part::WHOLE, workers, takes)
    }

    /// The same for a part.
    fn carried_out_by(
        timing: &Timing,
        part: Part,
        workers: usize,
        takes: impl Fn(usize) -> Duration,
    ) -> Vec<(Duration, Duration)> {
        let mut all = Vec::new();
        for worker in 0..workers {
            let mut source = timing.source(Share::of_part(part, worker, workers));
            let mut in_flight = BTreeMap::new();
            for n in 0.. {
                let next = loop {
                    let landed = in_flight.first_key_value().map(|(&(at, _), _)| at);
                    match source.upcoming() {
                        Next::Due(arrival) if landed.is_none_or(|at| at > arrival.due) => {
                            break Some(arrival);
                        }
                        Next::Over(_) => break None,
                        Next::Due(_) | Next::Idle => match in_flight.pop_first() {
                            Some(((at, _), arrival)) => source.over(arrival, at),
                            None => break None,
                        },
                    }
                };
                let Some(next) = next else { break };
                let arrival = source.take(next.due).expect("it was upcoming");
                let over = arrival.due + takes(n);
                in_flight.insert((over, n), arrival);
                all.push((arrival.due - timing.frame.start, over - timing.frame.start));
            }
        }
        all.sort();
        all
    }

    /// When its requests are due, from the start, if each takes [`TAKES`].
    fn due(timing: &Timing, workers: usize) -> Vec<Duration> {
        carried_out(timing, workers, |_| TAKES).into_iter().map(|(due, _)| due).collect()
    }

    #[test]
    fn a_load_is_due_as_it_is_written_on_any_number_of_threads() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("trace.csv"), "seconds\n0\n1\n1.5\n4\n")
            .expect("written");
        let cases: [(&str, &[u128]); 12] = [
            ("{rate: 10/s, duration: 500ms}", &[0, 100, 200, 300, 400]),
            ("{rate: 120/min, requests: 3}", &[0, 500, 1000]),
            ("{rate: 2/s, duration: 1s, requests: 9}", &[0, 500]),
            (
                "{stages: [{rate: 2/s, for: 1s}, {pause: 5s}, {rate: 4/s, for: 1s}]}",
                &[0, 500, 6000, 6250, 6500, 6750],
            ),
            // The area under 4·t is 2·t², so the n-th is due at √(n/2).
            ("{stages: [{ramp_to: 8/s, for: 2s}]}", &[0, 707, 1000, 1224, 1414, 1581, 1732, 1870]),
            (
                "{stages: [{rate: 4/s, for: 1s}, {ramp_to: 0/min, for: 1s}]}",
                &[0, 250, 500, 750, 1000, 1292],
            ),
            ("{stages: [{rate: 2/s, for: 1s}, {rate: 4/s}], requests: 4}", &[0, 500, 1000, 1250]),
            ("{trace: trace.csv, speed: 2}", &[0, 500, 750, 2000]),
            ("{trace: trace.csv, speed: 0.5, duration: 3s}", &[0, 2000]),
            ("{clients: 2, duration: 120ms}", &[0, 0, 50, 50, 100, 100]),
            ("{clients: 1, think_time: 100ms, duration: 400ms}", &[0, 150, 300]),
            // The second client comes halfway, the third at the end of the ramp.
            (
                "{stages: [{clients: 1, for: 100ms}, {ramp_to: 3, for: 200ms}, {clients: 3, for: 50ms}]}",
                &[0, 50, 100, 150, 200, 200, 250, 250, 300, 300, 300],
            ),
        ];
        for (load, expected) in cases {
            let timing = timing(folder.path(), load, 0);
            for workers in [1, 2, 3, 8] {
                let due: Vec<u128> =
                    due(&timing, workers).iter().map(Duration::as_millis).collect();
                assert_eq!(due, expected, "{load} on {workers}");
            }
        }
    }

    #[test]
    fn what_clients_think_is_drawn_by_seed_client_and_turn_and_not_by_workers() {
        let folder = tempfile::tempdir().expect("a folder");
        for think in [
            "20ms..200ms",
            "{exponential: 80ms}",
            "{lognormal: {median: 50ms, p99: 400ms}}",
            "{uniform: {min: 20ms, max: 200ms}}",
        ] {
            let load = format!("{{clients: 7, think_time: {think}, duration: 3s}}");
            let of = |seed, workers| due(&timing(folder.path(), &load, seed), workers);
            let whole = of(1, 1);
            for workers in [2, 3, 8] {
                assert_eq!(of(1, workers), whole, "{think} on {workers}");
            }
            assert_ne!(of(2, 1), whole, "{think} of another seed");
            // Seven clients at about 50 ms and 80 ms each.
            assert!((80..320).contains(&whole.len()), "{think}: {}", whole.len());
        }
    }

    #[test]
    fn a_warmup_is_as_the_load_begins_and_never_silent() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("trace.csv"), "0\n0.1\n0.9\n").expect("written");
        let cases: [(&str, &[u128]); 7] = [
            ("{rate: 10/s, duration: 100ms}", &[0, 100, 200, 300, 400]),
            ("{stages: [{rate: 5/s, for: 200ms}, {rate: 90/s, for: 200ms}]}", &[0, 200, 400]),
            ("{stages: [{ramp_to: 20/s, for: 200ms}]}", &[0, 100, 200, 300, 400]),
            ("{stages: [{pause: 1s}, {rate: 5/s, for: 1s}]}", &[0, 200, 400]),
            ("{trace: trace.csv}", &[0, 100]),
            ("{clients: 2, think_time: 200ms, duration: 50ms}", &[0, 0, 250, 250]),
            ("{stages: [{ramp_to: 4, for: 400ms}], think_time: 100ms}", &[0, 150, 300, 450]),
        ];
        for (load, expected) in cases {
            let timing = warm_timing(folder.path(), load, "500ms", 0);
            let before = |due: &Duration| *due < timing.frame.warmup;
            for workers in [1, 3] {
                let due = due(&timing, workers).into_iter().filter(before);
                let due: Vec<u128> = due.map(|due| due.as_millis()).collect();
                assert_eq!(due, expected, "{load} on {workers}");
            }
        }
        // The measured part is the same after a warmup.
        let ramp = "{stages: [{ramp_to: 2, for: 200ms}], think_time: 100ms, requests: 100}";
        let (cold, warm) = ("0s", "500ms");
        let measured = |warmup| {
            let timing = warm_timing(folder.path(), ramp, warmup, 0);
            let of_load = |due: &Duration| due.checked_sub(timing.frame.warmup);
            due(&timing, 1).iter().filter_map(of_load).collect::<Vec<_>>()
        };
        assert_eq!(measured(warm), measured(cold));
    }

    #[test]
    fn random_arrivals_are_those_of_the_seed_on_any_number_of_threads() {
        for arrivals in ["poisson", "poisson_exact", "{gamma: {burstiness: 2}}"] {
            for profile in ["rate: 100/s", "stages: [{ramp_to: 200/s, for: 1s}, {rate: 50/s}]"] {
                let load = format!("{{{profile}, arrivals: {arrivals}, duration: 2s}}");
                let timing = |seed| timing(Path::new(""), &load, seed);
                let whole = due(&timing(1), 1);
                for workers in [2, 3, 8] {
                    assert_eq!(due(&timing(1), workers), whole, "{load} on {workers}");
                }
                assert_ne!(due(&timing(2), 1), whole, "{load}");
            }
        }
    }

    #[test]
    fn parts_of_a_load_are_the_whole_of_it_whatever_workers_each_has() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("trace.csv"), "0\n0.1\n0.1\n0.9\n1.2\n")
            .expect("written");
        for load in [
            "{rate: 97/s, duration: 2s}",
            "{rate: 97/s, requests: 41}",
            "{rate: 100/s, arrivals: poisson, duration: 2s}",
            "{rate: 100/s, arrivals: poisson_exact, duration: 2s}",
            "{rate: 100/s, arrivals: {gamma: {burstiness: 4}}, duration: 2s}",
            "{stages: [{ramp_to: 80/s, for: 1s}, {pause: 1s}, {rate: 20/s, for: 1s}]}",
            "{stages: [{ramp_to: 80/s, for: 1s}], arrivals: poisson}",
            "{trace: trace.csv}",
            "{clients: 11, think_time: 20ms..80ms, duration: 1s}",
            "{stages: [{ramp_to: 12, for: 400ms}, {ramp_to: 3, for: 400ms}], think_time: 30ms}",
        ] {
            for warmup in ["0s", "300ms"] {
                let plan = planned(folder.path(), load, warmup);
                let start = Instant::now();
                let of = |part| Timing::new(&plan.scenarios[0], start, 5, part);
                let whole = due(&of(Part::WHOLE), 1);
                for parts in [2, 3, 4, 7] {
                    let mut all: Vec<Duration> = (1..=parts)
                        .flat_map(|number| {
                            let part = Part::new(number, parts).expect("there is one");
                            // Machines need not have the same number of processors.
                            let workers = 1 + number as usize % 3;
                            carried_out_by(&of(part), part, workers, |_| TAKES)
                        })
                        .map(|(due, _)| due)
                        .collect();
                    all.sort();
                    assert_eq!(all, whole, "{load} after {warmup} in {parts} parts");
                }
            }
        }
        // Clients share requests, so the total is the same, but the number per client depends on the parts.
        let plan = planned(folder.path(), "{clients: 8, requests: 50}", "0s");
        let start = Instant::now();
        let counts = [1, 2, 3].map(|number| {
            let part = Part::new(number, 3).expect("there is one");
            let timing = Timing::new(&plan.scenarios[0], start, 0, part);
            carried_out_by(&timing, part, 1, |_| TAKES).len()
        });
        assert_eq!(counts, [17, 17, 16]);
    }

    #[test]
    fn a_seed_means_the_same_in_every_release_and_on_every_machine() {
        let first = |arrivals: &str| {
            let load = format!("{{rate: 100/s, arrivals: {arrivals}, duration: 2s}}");
            let due = due(&timing(Path::new(""), &load, 1), 1);
            due.iter().take(4).map(Duration::as_micros).collect::<Vec<_>>()
        };
        assert_eq!(
            ["poisson", "poisson_exact", "{gamma: {burstiness: 2}}"].map(first),
            [
                [21314, 30673, 55887, 82526],
                [21201, 30486, 55407, 81526],
                [24374, 46493, 86702, 86910]
            ]
        );
    }

    #[test]
    fn exact_arrivals_are_as_many_as_the_rate_makes_of_the_time() {
        for seed in 0..20 {
            for (load, count) in [
                ("{rate: 100/s, arrivals: poisson_exact, duration: 2s}", 200),
                (
                    "{stages: [{ramp_to: 200/s, for: 1s}, {rate: 50/s}], arrivals: poisson_exact, duration: 3s}",
                    200,
                ),
                // What is cut off does not count.
                ("{stages: [{rate: 100/s, for: 9s}], arrivals: poisson_exact, duration: 1s}", 100),
            ] {
                assert_eq!(due(&timing(Path::new(""), load, seed), 1).len(), count, "{load}");
            }
        }
    }

    /// Stages of clients or of rates as written, and their total duration.
    fn stages(unit: &'static str) -> impl Strategy<Value = (String, u64)> {
        let stage = prop_oneof![
            (0u32..9, 200u64..3000).prop_map(move |(level, ms)| match unit {
                "" => (format!("{{clients: {level}, for: {ms}ms}}"), ms),
                _ => (format!("{{rate: {}{unit}, for: {ms}ms}}", level + 1), ms),
            }),
            (0u32..9, 200u64..3000).prop_map(move |(level, ms)| (
                format!("{{ramp_to: {level}{unit}, for: {ms}ms}}"),
                ms
            )),
            (200u64..3000).prop_map(|ms| (format!("{{pause: {ms}ms}}"), ms)),
        ];
        let stages = proptest::collection::vec(stage, 1..6);
        let sends = |(text, _): &(String, u64)| !text.contains("pause") && !text.contains(" 0");
        let stages = stages.prop_filter("some stage sends", move |all| all.iter().any(sends));
        stages.prop_map(|stages| {
            let texts: Vec<&str> = stages.iter().map(|(text, _)| text.as_str()).collect();
            (texts.join(", "), stages.iter().map(|(_, ms)| ms).sum())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Clients that take part are either in flight or thinking, so their number follows the plan: less than one
        /// below a straight line, above it only while leaving clients finish.
        #[test]
        fn clients_come_and_go_as_the_plan_draws_them(
            (stages, total_ms) in stages(""),
            takes in proptest::collection::vec(1u64..700, 1..20),
            think_ms in prop_oneof![Just(0u64), 1u64..500],
            workers in 1usize..4,
        ) {
            let load = format!("{{stages: [{stages}], think_time: {think_ms}ms}}");
            let plan = planned(Path::new(""), &load, "0s");
            let Load::Closed { clients, .. } = &plan.scenarios[0].load else { unreachable!() };
            let timing = timing(Path::new(""), &load, 0);
            let busy: Vec<_> = carried_out(&timing, workers, |n| Duration::from_millis(takes[n % takes.len()]))
                .into_iter()
                .map(|(due, over)| (due.as_millis() as u64, over.as_millis() as u64 + think_ms))
                .collect();
            let longest = takes.iter().max().expect("there is one") + think_ms;
            // Half a millisecond past an end, because sums of lengths may miss it by a rounding error.
            let drawn = |ms: u64| clients.level_at((ms as f64 + 0.5) / 1000.0);
            for at in (0..total_ms).step_by(37) {
                let there = busy.iter().filter(|(due, over)| *due <= at && at < *over).count() as f64;
                let most = (at.saturating_sub(longest)..=at).map(drawn).fold(0.0, f64::max);
                prop_assert!(drawn(at) - 1.0 < there, "{there} of {} at {at} ms: {load}", drawn(at));
                prop_assert!(there < most + 1.0, "{there} of at most {most} at {at} ms: {load}");
            }
        }

        #[test]
        fn arrivals_are_due_as_the_plan_draws_them(
            (stages, total_ms) in stages("/s"),
            workers in 1usize..4,
        ) {
            let load = format!("{{stages: [{stages}]}}");
            let plan = planned(Path::new(""), &load, "0s");
            let Load::Open { schedule: Schedule::Rate { profile, .. }, .. } =
                &plan.scenarios[0].load else { unreachable!() };
            let due = due(&timing(Path::new(""), &load, 0), workers);
            for at in (0..total_ms).step_by(37).map(Duration::from_millis) {
                let drawn = profile.area_until(at);
                let count = due.iter().filter(|due| **due < at).count() as f64;
                prop_assert!((count - drawn).abs() < 1.001, "{count} of {drawn} by {at:?}: {load}");
            }
        }
    }
}
