//! Trials of clients that end early.

use serde_json::Value;

use crate::run::Place;

#[test]
fn what_clients_offered_is_counted_however_short_the_trial() {
    // Two at a time, 20 ms each: from four clients on the search finds out early that it fails.
    let place = Place::new(
        "flows: {e: {embedded: {executors: [{name: a, service_time: 20ms, concurrency: 2}]}}}
scenarios: [{name: s, flow: e, documents: {text: hi}, request_size: 1, load: {clients: 1, duration: 1s}}]",
    );
    let search = [
        "capacity",
        "suite.yaml",
        "--clients",
        "1..16",
        "--objective",
        "p90 < 45ms",
        "--trial",
        "3s",
        "--precision",
        "20%",
        "--skip-overload",
        "--out",
        "out",
    ];
    place.any(&search).output().expect("it was built");
    let text = std::fs::read_to_string(place.path("out/capacity.json")).expect("it was written");
    let result: Value = serde_json::from_str(&text).expect("it is JSON");
    let trials = result["trials"].as_array().expect("a list");
    let mut short = 0;
    for trial in trials {
        let number = |value: &Value| value.as_f64().expect("a number");
        let (level, point) = (number(&trial["level"]), &trial["point"]);
        // Clients without a pause: requests of each client follow one another directly.
        let by_times = level / (number(&point["mean_ms"]) / 1e3);
        let offered = number(&point["offered_per_s"]);
        assert!((offered / by_times - 1.0).abs() < 0.3, "{offered}/s, and {by_times}/s by times");
        short += usize::from(trial["seconds"].as_f64() < Some(2.5));
    }
    assert!(short > 0, "none was over early: {trials:?}");
}
