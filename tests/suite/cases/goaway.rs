//! A gateway that closes connections at a maximum age, which grpcio's servers can be configured to do.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::endless;
use crate::interop::python::Release;

/// A grpcio server, stopped when this is dropped.
struct Server(Child);

impl Server {
    /// Starts the server of `case` on this port; each request takes 200 ms.
    fn start(python: &Path, case: &Path, port: u16) -> Server {
        let mut child = Command::new(python)
            .arg(case.join("server.py"))
            .args([&port.to_string(), "0.2"])
            .args(["grpc.max_connection_age_ms=1500", "grpc.max_connection_age_grace_ms=1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Python starts");
        let out = child.stdout.take().expect("it is piped");
        let server = Server(child);
        let line = BufReader::new(out).lines().next();
        assert_eq!(line.expect("a line").expect("is text"), "up");
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_answered_by_a_gateway_that_says_goodbye_and_waits() {
    let Some(python) = Release::V1.python() else { return };
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/goaway-ignored");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr());
    let port = port.expect("there is a free port").port();
    let _server = Server::start(python, &case, port);
    let address = format!("127.0.0.1:{port}");
    let suite = endless::suite("goaway-ignored", ("127.0.0.1:15950", &address));
    let (result, _) = endless::run(&suite).await;
    let scenario = &result["scenarios"][0];
    assert_eq!(scenario["requests"]["ok"], 320, "{}", scenario["errors"]);
    assert_eq!(scenario["requests"]["arrivals"], 320);
}
