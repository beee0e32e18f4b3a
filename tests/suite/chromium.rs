//! A real browser. Without Chromium its tests print `skipped: …` and pass, unless `FLOWBENCH_REQUIRE_BROWSER=1`
//! is set.

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Starts a browser on an address, with its own profile folder.
pub(crate) fn start(folder: &Path, address: &str) -> Option<Child> {
    let open = |name| {
        Command::new(name)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .arg(address)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()
    };
    let started = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(open);
    if started.is_none() {
        assert_ne!(std::env::var("FLOWBENCH_REQUIRE_BROWSER").as_deref(), Ok("1"), "no Chromium");
        // Bypasses the test harness, which would capture it.
        let _ = writeln!(std::io::stderr(), "skipped: no Chromium to open a page in");
    }
    started
}

/// A browser controlled by the DevTools protocol.
pub(crate) struct Browser {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    last: u64,
    /// Events received while waiting for responses.
    events: VecDeque<Value>,
    child: Child,
    _folder: TempDir,
}

/// How long anything may take, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

impl Browser {
    /// Opens a browser with an empty page.
    pub(crate) async fn open() -> Option<Browser> {
        let folder = tempfile::tempdir().expect("a folder");
        let child = start(folder.path(), "about:blank")?;
        let told = folder.path().join("DevToolsActivePort");
        let address = tokio::time::timeout(LIMIT, async {
            loop {
                let text = tokio::fs::read_to_string(&told).await.unwrap_or_default();
                // The port, followed by the path.
                if let Some((port, path)) = text.split_once('\n')
                    && !path.is_empty()
                {
                    return format!("ws://127.0.0.1:{port}{}", path.trim_end());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let address = address.await.expect("the browser tells where it is");
        let (socket, _) = tokio_tungstenite::connect_async(address).await.expect("it listens");
        let events = VecDeque::new();
        let mut browser =
            Browser { socket, session: None, last: 0, events, child, _folder: folder };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let wanted = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", wanted).await;
        browser.session = attached["sessionId"].as_str().map(Into::into);
        for domain in ["Page", "Log", "Runtime", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        Some(browser)
    }

    /// Calls a method and returns its result.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let text = message.to_string();
        self.socket.send(Message::text(text)).await.expect("the browser listens");
        loop {
            let mut answer = self.next().await;
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push_back(answer);
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(LIMIT, self.socket.next()).await;
            let message = message.expect("the browser answers").expect("it is there");
            if let Message::Text(text) = message.expect("a message") {
                return serde_json::from_str(&text).expect("JSON");
            }
        }
    }

    /// Opens a file with a window of this width in pixels; returns all events until it was loaded.
    pub(crate) async fn open_file(&mut self, path: &Path, width: u32) -> Vec<Value> {
        let screen =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", screen).await;
        self.events.clear();
        let url = format!("file://{}", path.display());
        self.call("Page.navigate", json!({"url": url})).await;
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let event = self.next().await;
            self.events.push_back(event);
        }
        // Console messages arrive before the response to a later call.
        self.evaluate("0").await;
        self.events.drain(..).collect()
    }

    /// The value of an expression.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", wanted).await;
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].take()
    }

    /// Closes the browser.
    pub(crate) async fn close(mut self) {
        let _ = self.child.kill().await;
    }
}
