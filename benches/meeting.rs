//! What part 1 of a load does for the others, and how many parts there can be.
//!
//! `cargo bench --bench meeting` prints the table of `docs/distributed.md`; `-- 1000 10 2` is one row of it:
//! parts, seconds, and requests per second and part. Part 1 is a separate process, so that its resource use can
//! be measured. The other parts are threads of this process: they do what parts do, and each has its own
//! connection to part 1.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "measure/process.rs"]
mod process;

use std::error::Error;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flowbench::meet::{Identity, Lost, Place, Token};
use flowbench::plan::Plan;
use flowbench::run::{self, Options};
use flowbench::scenario;
use flowbench::units::Part;
use process::{Running, flowbench, rows, serve, watch};
use serde_json::Value;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const SECRET: &str = "0123456789abcdef0123";

fn main() -> Result<(), Failure> {
    let rows = rows(&[[100, 10, 2], [300, 10, 2], [1000, 10, 2]])?;
    println!(
        "| parts | seconds | requests/s of each | complete | gathered in | latest start | part 1: CPU | memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for [parts, seconds, rate] in rows {
        row(parts, seconds, rate)?;
    }
    Ok(())
}

fn row(parts: u64, seconds: u64, rate: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (_flow, address) = serve(folder.path())?;
    let suite = format!(
        "name: many\nflows: {{f: {{host: '{}'}}}}\nscenarios: [{{name: s, flow: f, request_size: 1, workers: 1, load: \
         {{rate: {}/s, arrivals: poisson, duration: {seconds}s}}}}]\n",
        address,
        parts * rate,
    );
    let path = folder.path().join("suite.yaml");
    std::fs::write(&path, suite)?;
    // A free port.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let began = Instant::now();
    let first = flowbench(folder.path())
        .args(["run", "suite.yaml", "--quiet", "--out", "out", "--meet-wait", "5m", "--part"])
        .arg(format!("1/{parts}"))
        .arg("--meet")
        .arg(format!("127.0.0.1:{port}"))
        .env("FLOWBENCH_MEET_TOKEN", SECRET)
        .stdout(Stdio::null())
        .spawn()?;
    let mut first = Running(first);
    let watched = std::thread::spawn(move || watch(&mut first.0));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let gathered = runtime.block_on(others(&path, parts, port, began))?;
    let used = watched.join().map_err(|_| "it was watched to its end")??;
    let result = std::fs::read_to_string(folder.path().join("out/report.json"))?;
    let result: Value = serde_json::from_str(&result)?;
    let told = result["scenarios"][0]["parts"].as_array().ok_or("it has parts")?;
    let complete = told.iter().filter(|part| part["state"] == "complete").count();
    let latest = told.iter().filter_map(|part| part["start_skew_ms"].as_f64()).fold(0.0, f64::max);
    println!(
        "| {parts} | {seconds} | {rate} | {complete} | {:.1} s | {latest:.1} ms | {:.1} s | {:.0} MB |",
        gathered.as_secs_f64(),
        used.cpu.as_secs_f64(),
        used.memory as f64 / 1e6,
    );
    Ok(())
}

/// Runs all parts but the first to their ends; returns how long it took until all were connected.
async fn others(path: &Path, parts: u64, port: u16, began: Instant) -> Result<Duration, Failure> {
    let mut running = JoinSet::new();
    let (there, mut all) = tokio::sync::mpsc::channel::<()>(1);
    for number in 2..=parts {
        let plan = plan(path, number, parts)?;
        let there = there.clone();
        running.spawn(async move {
            let place = Place {
                host: "127.0.0.1".into(),
                port,
                token: Token::new(SECRET.into()).ok_or("it is a token")?,
                tls: None,
                wait: Duration::from_secs(300),
                lost: Lost::Abort,
            };
            let own = Identity::new("run", &plan, run::member());
            let meeting = place.meet(own, &|_: &_| ()).await?;
            drop(there);
            let mut options = Options::default();
            options.meeting = Some(meeting.clone());
            run::run(plan, options).await?;
            meeting.close().await;
            Ok::<_, Failure>(())
        });
    }
    drop(there);
    // Nothing is ever sent: this returns when all senders have been dropped.
    let _ = all.recv().await;
    let gathered = began.elapsed();
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(gathered)
}

fn plan(path: &Path, number: u64, of: u64) -> Result<Plan, Failure> {
    let suite = scenario::load(path, &scenario::Options::default()).map_err(|p| p.to_string())?;
    let mut plan = flowbench::plan::resolve(&suite).map_err(|problems| problems.to_string())?;
    plan.part = format!("{number}/{of}").parse::<Part>()?;
    Ok(plan)
}
