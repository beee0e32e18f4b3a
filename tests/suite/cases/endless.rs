//! Servers that send more than anyone waits for.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// No run here takes this long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a suite and returns its result and the sizes of its reports.
pub(super) async fn run(suite: &str) -> (Value, Vec<(String, u64)>) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (file, out) = (folder.path().join("suite.yaml"), folder.path().join("out"));
    std::fs::write(&file, suite).expect("it can be written");
    let child = Command::new(env!("CARGO_BIN_EXE_flowbench"))
        .args(["run".as_ref(), file.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary was built");
    let ran = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let ran = ran.expect("it ends").expect("it could be waited for");
    let reports = std::fs::read_dir(&out).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr));
    });
    let sizes = reports.map(|report| {
        let report = report.expect("it can be listed");
        let name = report.file_name().to_string_lossy().into_owned();
        (name, report.metadata().expect("it is there").len())
    });
    let sizes = sizes.collect();
    let result = std::fs::read(out.join("report.json")).expect("it was written");
    (serde_json::from_slice(&result).expect("it is JSON"), sizes)
}

/// The suite of a case, with a different address.
pub(super) fn suite(case: &str, address: (&str, &str)) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let text = std::fs::read_to_string(folder.join(case).join("suite.yaml")).expect("a case");
    assert!(text.contains(address.0), "{text}");
    text.replace(address.0, address.1)
}

/// Responds to requests with one-byte chunks, for as long as they are read.
async fn endless_chunks(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let chunks = b"1\r\n \r\n".repeat(5000);
    loop {
        stream.write_all(&chunks).await?;
    }
}

pub(super) async fn serve<F, S>(answer: F) -> String
where
    F: Fn(TcpStream) -> S + Send + 'static,
    S: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

#[tokio::test]
async fn a_load_is_over_after_its_grace_whatever_still_comes_in() {
    let address = serve(endless_chunks).await;
    let (result, _) = run(&suite("endless-answer", ("127.0.0.1:45850", &address))).await;
    let scenario = &result["scenarios"][0];
    let requests = &scenario["requests"];
    // Some may have reached the limit on the memory of all responses, or that on one.
    assert_eq!(requests["ok"], 0, "{requests}");
    assert!(requests["abandoned"].as_u64() > Some(0), "{requests}");
    assert_eq!(scenario["end"]["reason"], "time");
    assert!(result["duration_s"].as_f64() < Some(10.0), "{}", result["duration_s"]);
}

#[tokio::test]
async fn responses_in_flight_share_a_bound_on_memory_and_what_it_fails_says_so() {
    let address = serve(endless_chunks).await;
    let suite = suite("endless-answer", ("127.0.0.1:45850", &address))
        .replace("max_response_size: 1GiB", "max_response_size: 1GiB, max_response_memory: 4MiB")
        .replace("clients: 20, duration: 2s", "clients: 20, requests: 60");
    let (result, _) = run(&suite).await;
    let error = &result["scenarios"][0]["errors"][0];
    assert_eq!(error["kind"], "no_room");
    assert_eq!(
        error["message"],
        "response memory limit reached: responses in flight may take 4194304 bytes together; \
         raise `max_response_memory`"
    );
}

#[tokio::test]
async fn a_long_text_from_the_flow_is_cut_and_no_report_is_large() {
    let exception = json!({"name": "ValueError", "args": ["x".repeat(840_000)]});
    let fail = json!({"share": "100%", "exception": exception});
    let config = json!({"protocols": ["grpc"], "executors": [{"name": "e", "fail": fail}]});
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    let flow = Flow::start(config).await.expect("it starts on a free port");
    let target = flow.target(Protocol::Grpc).expect("it listens for gRPC");
    let suite = format!(
        "flows: {{f: {{host: '{target}'}}}}\n\
         scenarios: [{{name: s, flow: f, documents: {{text: a}}, request_size: 1, \
         load: {{clients: 1, requests: 3}}}}]\n"
    );
    let (result, sizes) = run(&suite).await;
    let error = &result["scenarios"][0]["errors"][0];
    let message = error["message"].as_str().expect("a text");
    assert_eq!((&error["kind"], &error["count"]), (&"executor".into(), &3.into()));
    assert!(message.starts_with("Executor failed: ValueError('xxx"), "{message:.100}");
    assert!(message.ends_with(" more bytes cut off)"), "{}", message.len());
    assert!(message.len() < 5000, "{}", message.len());
    let page = sizes.iter().all(|(_, size)| *size < 400_000);
    assert!(page, "{sizes:?}");
}
