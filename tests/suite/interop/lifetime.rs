//! The Flows of these tests start and end as they should.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use flowbench::wire::Protocol;

use super::flow::{RealFlow, Setup};
use super::python::Release;

#[test]
fn a_flow_starts_loses_an_executor_and_is_gone_with_all_its_processes() {
    let Some(mut flow) = Setup::new(Release::V2, &[Protocol::Http]).start() else { return };
    assert_eq!(flow.info["family"], "v2");
    let dry_run = |flow: &RealFlow| {
        let mut stream = TcpStream::connect(("127.0.0.1", flow.target(Protocol::Http).port))
            .expect("it listens");
        stream.write_all(b"GET /dry_run HTTP/1.0\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    };
    assert!(dry_run(&flow).contains(r#""code":0"#), "{}", dry_run(&flow));
    flow.kill_executor("echo");
    assert!(dry_run(&flow).contains(r#""code":1"#), "{}", dry_run(&flow));

    let group = flow.info["pid"].as_u64().expect("it leads its group");
    drop(flow);
    // They have been killed, but only end when the kernel next schedules them.
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive(group) > 0 {
        assert!(Instant::now() < deadline, "{} processes of group {group} live on", alive(group));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The number of processes in a group, without zombies.
fn alive(group: u64) -> usize {
    let entries = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    let in_group = entries.filter(|entry| {
        // pid (name) state parent group …
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<_> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.get(2) == Some(&&*group.to_string()) && fields[0] != "Z"
    });
    in_group.count()
}
