//! How fast Documents are generated and encoded, on one core and on two, compared with Python's docarray; and
//! how long it takes to load a suite of 1 000 scenarios.
//!
//! `cargo bench --bench generation` prints the tables of `docs/benchmarks.md`. A row is a generator of
//! Documents with a number of Documents per request; each request is encoded as for gRPC to a v1 Flow. With
//! `PYTHON=…/bin/python`, an interpreter that has docarray 0.21, `generation.py` generates the same kinds.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "measure/clock.rs"]
mod clock;

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use flowbench::plan::{self, Plan, Work};
use flowbench::scenario::{self, Options};
use flowbench::wire::{DataRequest, Family, Form, Header};
use rayon::prelude::*;
use rustix::time::ClockId;

/// The generators: a description, the generator as in a suite, and the number of Documents per request.
const KINDS: [(&str, &str, usize); 4] = [
    ("short text", "{id: 'article-${{ i }}', text: {words: 5..30}}", 100),
    ("768 floats", "{id: 'article-${{ i }}', embedding: {shape: [768], normalize: l2}}", 100),
    ("1 MiB blob", "{id: 'image-${{ i }}', blob: {bytes: 1MiB}, mime_type: image/jpeg}", 1),
    (
        "nested",
        "{id: 'page-${{ i }}', tags: {lang: \"${{ choice(['en', 'de']) }}\", price: '${{ uniform(1, 100) }}'}, \
         chunks: {count: 3, text: {words: 10}, embedding: {shape: [8]}}, matches: {count: 2, text: match}}",
        100,
    ),
];

/// The duration of each measurement; the best of several rounds counts.
const TIME: Duration = Duration::from_millis(400);
const ROUNDS: usize = 12;

/// Documents and bytes per second on dedicated cores. CPU time is measured, because the machine has other work
/// to do and generating never waits.
#[derive(Clone, Copy, Debug)]
struct Speed {
    documents: f64,
    bytes: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let python = std::env::var("PYTHON").ok().map(|python| in_python(&python)).transpose()?;
    println!("| Documents | per request | one core | two cores | docarray | one core / docarray |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, generator, size) in KINDS {
        let plan = plan_of(&format!(
            "scenarios: [{{name: a, documents: {generator}, load: {{clients: 1, requests: 1}}}}]"
        ));
        let [one, two] = best(&plan, size);
        let theirs = python.as_ref().and_then(|speeds| speeds.get(name));
        let beside = theirs.map_or("–".into(), |theirs| shown(*theirs));
        let ratio = theirs
            .map_or("–".into(), |theirs| format!("{:.0}", one.documents / theirs.documents));
        println!("| {name} | {size} | {} | {} | {beside} | {ratio} |", shown(one), shown(two));
    }
    println!();
    println!("| suite | time |");
    println!("| --- | --- |");
    for (name, text) in suites() {
        let took = (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                std::hint::black_box(plan_of(&text));
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        println!("| {name} ({} KiB) | {:.0} ms |", text.len() / 1024, took.as_secs_f64() * 1e3);
    }
    Ok(())
}

fn plan_of(text: &str) -> Plan {
    scenario::load_text("bench", text.to_owned(), Path::new(""), &Options::default())
        .and_then(|suite| plan::resolve(&suite))
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn shown(speed: Speed) -> String {
    format!("{:.0} docs/s, {:.1} MB/s", speed.documents, speed.bytes / 1e6)
}

/// On one thread and on two, in turns; the best of each.
fn best(plan: &Plan, size: usize) -> [Speed; 2] {
    let pools = [1, 2].map(|threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads")
    });
    let mut best = [Speed { documents: 0.0, bytes: 0.0 }; 2];
    for _ in 0..ROUNDS {
        for (pool, best) in pools.iter().zip(&mut best) {
            let speed = pool.install(|| speed(plan, size));
            if speed.documents > best.documents {
                *best = speed;
            }
        }
    }
    best
}

/// Makes requests in chunks on the threads of the pool, like a load that prepares requests in advance.
fn speed(plan: &Plan, size: usize) -> Speed {
    let Work::Post(post) = &plan.scenarios[0].steps[0].work else { panic!("a post") };
    let documents = post.documents.as_ref().expect("Documents");
    let form = Form::Protobuf(Family::V1);
    let make = |index: u64| {
        let first = index * size as u64;
        let data =
            (first..first + size as u64).map(|i| documents.get(i, None).expect("a Document"));
        let header = Header { exec_endpoint: Some("/index".into()), ..Header::default() };
        let data = Some(data.collect());
        let request = DataRequest { header, parameters: Default::default(), routes: vec![], data };
        form.encode_request(&request).expect("it can be sent").len() as u64
    };
    let (start, cpu) = (Instant::now(), clock::read(ClockId::ProcessCPUTime));
    let (mut requests, mut bytes) = (0, 0);
    while start.elapsed() < TIME {
        bytes += (requests..requests + 32).into_par_iter().map(make).sum::<u64>();
        requests += 32;
    }
    let seconds = (clock::read(ClockId::ProcessCPUTime) - cpu).as_secs_f64()
        / rayon::current_num_threads() as f64;
    Speed { documents: (requests * size as u64) as f64 / seconds, bytes: bytes as f64 / seconds }
}

/// The output of `generation.py`: one line per kind, with Documents and bytes per second.
fn in_python(python: &str) -> Result<HashMap<String, Speed>, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/generation.py");
    let output = Command::new(python).arg(script).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let mut speeds = HashMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        let number = |key: &str| value[key].as_f64().unwrap_or_default();
        let speed = Speed { documents: number("documents"), bytes: number("bytes") };
        speeds.insert(value["kind"].as_str().unwrap_or_default().to_owned(), speed);
    }
    Ok(speeds)
}

/// Large suites of several kinds.
fn suites() -> Vec<(&'static str, String)> {
    let mut apart = String::from("documents:\n");
    for n in 0..1000 {
        let _ =
            writeln!(apart, "  d{n}: {{count: 10, id: 'a-${{{{ i }}}}', text: {{words: 5..30}}}}");
    }
    apart.push_str("scenarios:\n");
    for n in 0..1000 {
        let _ = writeln!(
            apart,
            "  - name: s{n}\n    on: /search\n    documents: d{n}\n    parameters: {{k: '${{{{ i % 10 }}}}'}}\n    \
             load: {{rate: 50/s, duration: 30s}}\n    assert: [response.docs | length == 10]\n    \
             thresholds: [p99 < 50ms, error_rate < 1%]"
        );
        if n > 0 {
            let _ = writeln!(apart, "    needs: [s{}]", n - 1);
        }
    }
    let matrix = "defaults: {load: {clients: 2, requests: 10}}\n\
                  scenarios:\n  - name: a\n    documents: {text: '${{ i }} ${{ matrix.z }}'}\n    \
                  on: /${{ matrix.x }}\n    matrix: {x: [1,2,3,4,5,6,7,8,9,10], y: [1,2,3,4,5,6,7,8,9,10], \
                  z: [1,2,3,4,5,6,7,8,9,10], request_size: [1]}\n    parameters: {y: '${{ matrix.y }}'}\n";
    vec![
        ("1 000 scenarios in a chain, each with Documents of its own", apart),
        ("one scenario with a matrix of 1 000", matrix.to_owned()),
    ]
}
