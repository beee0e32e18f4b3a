//! Scenarios without a `load`, which post like `client.post`.

use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::Protocol;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::endless::{run, serve};

#[tokio::test]
async fn callbacks_fire_once_for_a_flow_that_is_not_there_and_the_port_is_named() {
    let ssh = serve(async |mut stream| {
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await?;
        let _ = stream.read(&mut [0; 1024]).await?;
        Ok(())
    })
    .await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr());
    let nobody = nobody.expect("there is a free port").to_string();
    for (address, kind, said) in
        [(ssh, "protocol", "the port seems to speak SSH"), (nobody, "connect", "refused")]
    {
        for protocol in ["http", "grpc", "ws"] {
            let suite = format!(
                "flows: {{f: {{host: '{protocol}://{address}', family: v1}}}}\n\
                 scenarios: [{{name: s, flow: f, documents: {{count: 9, text: a}}, request_size: 1, \
                 on_done: [{{count: done}}], on_error: [{{count: \"failed\"}}, {{check: \
                 exception.kind == '{kind}'}}], on_always: [{{count: all}}]}}]\n"
            );
            let (result, _) = run(&suite).await;
            let scenario = &result["scenarios"][0];
            assert_eq!(scenario["end"]["reason"], "unreachable", "{protocol}");
            let message = scenario["end"]["message"].as_str().unwrap_or_default();
            assert!(message.contains(said), "{protocol}: {message}");
            assert_eq!(
                scenario["counters"],
                json!({"done": 0, "failed": 1, "all": 1}),
                "{protocol}"
            );
            assert_eq!(scenario["callbacks"]["on_error"]["failed"], 0, "{protocol}");
        }
    }
}

#[tokio::test]
async fn a_scenario_without_load_gives_nothing_up() {
    // Longer than the grace of a load.
    let executor = json!({"name": "slow", "service_time": "11s", "concurrency": 4});
    let config = json!({"protocols": ["grpc"], "executors": [executor]});
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    let flow = Flow::start(config).await.expect("it starts on a free port");
    let target = flow.target(Protocol::Grpc).expect("it listens for gRPC");
    let suite = format!(
        "flows: {{f: {{host: '{target}'}}}}\n\
         scenarios: [{{name: s, flow: f, documents: {{count: 3, text: a}}, request_size: 1}}]\n"
    );
    let (result, _) = run(&suite).await;
    assert_eq!(result["scenarios"][0]["requests"]["ok"], 3, "{}", result["scenarios"][0]["end"]);
}

#[tokio::test]
async fn after_the_connection_is_lost_no_further_input_is_taken() {
    let address = serve(async |mut stream| {
        let mut request = [0; 4096];
        for _ in 0..2 {
            let _ = stream.read(&mut request).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"data\":[]}").await?;
        }
        let _ = stream.read(&mut request).await?;
        Ok(())
    })
    .await;
    let suite = format!(
        "flows: {{f: {{host: 'http://{address}', family: v1}}}}\n\
         scenarios: [{{name: s, flow: f, documents: {{count: 1000, text: a}}, request_size: 1, \
         prefetch: 1, on_error: [{{count: lost}}]}}]\n"
    );
    let (result, _) = run(&suite).await;
    let scenario = &result["scenarios"][0];
    assert_eq!(scenario["end"]["reason"], "aborted");
    assert_eq!(scenario["counters"], json!({"lost": 1}));
    assert!(scenario["requests"]["sent"].as_u64() < Some(10), "{}", scenario["requests"]);
}
