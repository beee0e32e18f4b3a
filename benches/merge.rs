//! What it costs to merge the parts of a long load.
//!
//! `cargo bench --bench merge` prints the table of `docs/distributed.md`; `-- 64 3600 500` is one row of it:
//! parts, seconds, and requests per second and part. One part is really sent, for twenty seconds, to the
//! embedded Flow behind `serve`. The seconds of its journal are repeated to make all parts, each starting with
//! a different one.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "measure/process.rs"]
mod process;

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Stdio;

use process::{Used, flowbench, rows, serve, watch};
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// How long the real part is sent.
const SECONDS: u64 = 20;

fn main() -> Result<(), Failure> {
    let rows = rows(&[[4, 3600, 500], [64, 600, 500], [64, 3600, 100], [64, 3600, 500]])?;
    println!("| parts | seconds | requests/s of each | journals | time | memory |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for [parts, seconds, rate] in rows {
        row(parts, seconds, rate)?;
    }
    Ok(())
}

fn row(parts: u64, seconds: u64, rate: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let sent = Sent::new(folder.path(), parts, rate)?;
    let mut bytes = 0;
    for number in 1..=parts {
        let path = folder.path().join(format!("journal-{number}.jsonl"));
        sent.write(&path, number, seconds)?;
        bytes += path.metadata()?.len();
    }
    let mut merging = flowbench(folder.path())
        .args(["merge", ".", "--out", "merged"])
        .stdout(Stdio::null())
        .spawn()?;
    let Used { status, time, memory, .. } = watch(&mut merging)?;
    assert!(matches!(status.code(), Some(0 | 4)), "{status}");
    println!(
        "| {parts} | {seconds} | {rate} | {:.1} GB | {:.1} s | {:.0} MB |",
        bytes as f64 / 1e9,
        time.as_secs_f64(),
        memory as f64 / 1e6,
    );
    Ok(())
}

/// The journal of the part that was sent.
struct Sent {
    head: Value,
    began: Value,
    /// The measurements of each second.
    seconds: Vec<Value>,
    finished: Value,
}

impl Sent {
    fn new(folder: &Path, parts: u64, rate: u64) -> Result<Sent, Failure> {
        let (_flow, address) = serve(folder)?;
        let suite = format!(
            "name: long\nflows: {{f: {{host: '{}'}}}}\nscenarios: [{{name: s, flow: f, request_size: 1, load: \
             {{rate: {}/s, arrivals: poisson, duration: {SECONDS}s}}}}]\n",
            address,
            parts * rate,
        );
        std::fs::write(folder.join("suite.yaml"), suite)?;
        let part = format!("1/{parts}");
        let ran = flowbench(folder)
            .args(["run", "suite.yaml", "--quiet", "--out", "out", "--part", &part])
            .status()?;
        if !ran.success() {
            return Err(format!("flowbench run: {ran}").into());
        }
        let journal = format!("out/part-1-of-{parts}/journal.jsonl");
        let text = std::fs::read_to_string(folder.join(journal))?;
        let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
        let lines = lines?;
        let of = |key: &str| lines.iter().find(|line| !line[key].is_null()).cloned();
        let whole = |line: &&Value| line["measured"]["seconds"].as_array().map(Vec::len) == Some(1);
        Ok(Sent {
            head: of("journal").ok_or("it has a head")?,
            began: of("began").ok_or("it began")?,
            seconds: lines.iter().filter(whole).cloned().collect(),
            finished: of("finished").ok_or("it ended")?,
        })
    }

    /// Writes the journal of a part that was sent for this long.
    fn write(&self, path: &Path, number: u64, seconds: u64) -> Result<(), Failure> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        let (mut head, mut finished) = (self.head.clone(), self.finished.clone());
        head["summary"]["part"]["number"] = number.into();
        finished["finished"]["ending"]["window"]["length"]["secs"] = seconds.into();
        finished["finished"]["ending"]["circumstances"]["length"]["secs"] = seconds.into();
        writeln!(out, "{head}\n{}", self.began)?;
        for second in 0..seconds {
            let index = (second + number) as usize % self.seconds.len();
            let mut line = self.seconds[index].clone();
            line["measured"]["at_s"] = json!(second as f64 + 1.1);
            line["measured"]["until"] = json!({"secs": second + 1, "nanos": 0});
            line["measured"]["last_done"] = line["measured"]["until"].clone();
            line["measured"]["seconds"][0][0] = second.into();
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{finished}")?;
        Ok(out.flush()?)
    }
}
