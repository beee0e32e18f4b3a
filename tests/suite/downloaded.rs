//! Data sets at addresses, from a server that counts requests.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::run::{Place, Ran};

/// The server's response, and the requests it got: path, and the version that the client has.
#[derive(Default)]
struct Shared {
    lines: Vec<&'static str>,
    etag: Option<&'static str>,
    breaks_off: bool,
    asked: Vec<(String, Option<String>)>,
}

/// Starts a file server that ends with the test; returns its port.
fn serve(shared: Arc<Mutex<Shared>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it has one").port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut lines = BufReader::new(socket.try_clone().expect("a socket")).lines();
            let lines: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = lines[0].split(' ').nth(1).unwrap_or_default().to_owned();
            let known = lines.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("if-none-match").then(|| value.to_owned())
            });
            let mut shared = shared.lock().expect("no test panics here");
            shared.asked.push((path.clone(), known.clone()));
            let body: String = shared.lines.iter().map(|line| format!("{line}\n")).collect();
            let length = body.len() + if shared.breaks_off { 10 } else { 0 };
            let etag = shared.etag.map_or(String::new(), |etag| format!("etag: {etag}\r\n"));
            let answer = match path.as_str() {
                "/moved" => {
                    "HTTP/1.1 302 x\r\nlocation: /queries.jsonl\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()
                }
                "/none" => "HTTP/1.1 404 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
                _ if known.is_some() && known.as_deref() == shared.etag => {
                    "HTTP/1.1 304 x\r\nconnection: close\r\n\r\n".into()
                }
                _ => format!(
                    "HTTP/1.1 200 x\r\n{etag}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                ),
            };
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    port
}

fn place(port: u16, path: &str) -> Place {
    Place::new(&format!(
        "scenarios:
  - name: s
    documents: {{jsonl: 'http://127.0.0.1:{port}{path}'}}
    request_size: 1
    load: {{clients: 1}}
  - name: again
    documents: {{jsonl: 'http://127.0.0.1:{port}{path}'}}
    request_size: 1
    load: {{clients: 1}}
"
    ))
}

fn ran(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = place.any(arguments);
    command.env("FLOWBENCH_CACHE", place.path("cache"));
    Ran::new(command.output().expect("it was built"))
}

#[test]
fn a_data_set_is_downloaded_once_and_again_when_it_has_changed() {
    let shared = Arc::new(Mutex::new(Shared {
        lines: vec![r#"{"text": "a"}"#, r#"{"text": "b"}"#],
        etag: Some("\"1\""),
        ..Shared::default()
    }));
    let place = place(serve(shared.clone()), "/moved");
    let sent = || {
        ran(&place, &["run", "suite.yaml", "--out", "out"]).ends(0);
        [0, 1].map(|n| place.report()["scenarios"][n]["documents"]["sent"].as_u64())
    };
    let asked = || std::mem::take(&mut shared.lock().expect("no test panics here").asked);
    assert_eq!(sent(), [Some(2), Some(2)]);
    let paths: Vec<_> = asked().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/moved", "/queries.jsonl"], "two scenarios, one download");
    assert_eq!(sent(), [Some(2), Some(2)]);
    assert_eq!(asked().last().expect("it was asked").1.as_deref(), Some("\"1\""));
    {
        let mut shared = shared.lock().expect("no test panics here");
        shared.lines.push(r#"{"text": "c"}"#);
        shared.etag = Some("\"2\"");
    }
    assert_eq!(sent(), [Some(3), Some(3)]);
    // Without version information everything is downloaded each time.
    shared.lock().expect("no test panics here").etag = None;
    assert_eq!(sent(), [Some(3), Some(3)]);
    asked();
    assert_eq!(sent(), [Some(3), Some(3)]);
    assert!(asked().iter().all(|(_, known)| known.is_none()));
}

#[test]
fn a_data_set_that_cannot_be_had_is_told_at_its_place() {
    let shared = Arc::new(Mutex::new(Shared { lines: vec!["{}"], ..Shared::default() }));
    let port = serve(shared.clone());
    let told = |port, path| {
        let place = place(port, path);
        let ran = ran(&place, &["check", "suite.yaml"]);
        let kept: Vec<_> = std::fs::read_dir(place.path("cache"))
            .map(|folder| folder.flatten().map(|file| file.file_name()).collect())
            .unwrap_or_default();
        assert!(kept.is_empty(), "{kept:?}");
        let err = ran.ends(2).err.clone();
        assert!(
            err.contains("--> suite.yaml:3:24") || err.contains("--> suite.yaml:4:24"),
            "{err}"
        );
        assert!(err.contains("or download it yourself"), "{err}");
        assert_eq!(err.matches("error: ").count(), 1, "{err}");
        err
    };
    assert!(told(port, "/none").contains("the server responds with status 404"));
    assert!(told(1, "/").contains("could not download `http://127.0.0.1:1/`"));
    shared.lock().expect("no test panics here").breaks_off = true;
    told(port, "/half");
    let err = {
        let place = Place::new(
            "scenarios:\n  - name: s\n    documents: {jsonl: 'http://somebody:pass%20phrase@127.0.0.1:1/d'}\n    request_size: 1\n    load: {clients: 1}\n",
        );
        ran(&place, &["check", "suite.yaml"]).ends(2).err.clone()
    };
    assert!(!err.contains("somebody") && !err.contains("phrase"), "{err}");
    assert!(err.contains("127.0.0.1:1"), "{err}");
}
