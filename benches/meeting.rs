//! What part 1 of a load does for the others, and how many they may be.
//!
//! `cargo bench --bench meeting` prints the table of `docs/distributed.md`; `-- 1000 10 2` is one row of it: parts,
//! seconds, and requests a second of each. Part 1 is a process of its own, so that its figures are its own. The other
//! parts are threads of this one: they do what parts do, and speak to part 1 over connections of their own.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use flowbench::meet::{Identity, Lost, Place, Token};
use flowbench::plan::Plan;
use flowbench::run::{self, Options};
use flowbench::scenario;
use flowbench::units::Part;
use serde_json::Value;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const SECRET: &str = "0123456789abcdef0123";

fn main() -> Result<(), Failure> {
    let given: Result<Vec<u64>, _> = std::env::args()
        .skip(1)
        .filter(|text| !text.starts_with("--"))
        .map(|n| n.parse())
        .collect();
    let rows = match given?[..] {
        [parts, seconds, rate] => vec![(parts, seconds, rate)],
        _ => vec![(100, 10, 2), (300, 10, 2), (1000, 10, 2)],
    };
    println!(
        "| parts | seconds | requests/s of each | complete | gathered in | latest start | part 1: CPU | memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (parts, seconds, rate) in rows {
        row(parts, seconds, rate)?;
    }
    Ok(())
}

/// A process that ends with its value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn flowbench(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowbench"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn row(parts: u64, seconds: u64, rate: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let mut flow = flowbench(folder.path())
        .args(["serve", "--protocol", "grpc", "--port", "0"])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = flow.stdout.take().ok_or("it is piped")?;
    let _flow = Running(flow);
    let mut address = String::new();
    BufReader::new(out).read_line(&mut address)?;
    let suite = format!(
        "name: many\nflows: {{f: {{host: '{}'}}}}\nscenarios: [{{name: s, flow: f, request_size: 1, workers: 1, load: \
         {{rate: {}/s, arrivals: poisson, duration: {seconds}s}}}}]\n",
        address.trim(),
        parts * rate,
    );
    let path = folder.path().join("suite.yaml");
    std::fs::write(&path, suite)?;
    // A port that nobody listens on.
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

/// All parts but the first, to their ends; how long it took until they were there.
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
    // Nobody says anything: it ends when all have let go of their ends.
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

/// What a process used.
#[derive(Default)]
struct Used {
    cpu: Duration,
    memory: u64,
}

/// What a process used until it ended, to some ms.
fn watch(process: &mut Child) -> Result<Used, Failure> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", process.id()));
    let mut used = Used::default();
    let id = process.id();
    loop {
        let (stat, status) = (read("stat").unwrap_or_default(), read("status").unwrap_or_default());
        // After the name, which may hold anything: user and system time are the 12th and 13th, in ticks of 10 ms.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
        let ticks = fields.and_then(|fields| {
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        });
        used.cpu = used.cpu.max(Duration::from_millis(10 * ticks.unwrap_or(0)));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        used.memory = used.memory.max(kilobytes.unwrap_or_default() * 1024);
        if !Path::new(&format!("/proc/{id}")).exists() || stat.contains(") Z ") {
            return Ok(used);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
