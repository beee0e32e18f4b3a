//! The client as programs use it, against embedded Flows over real connections.

use std::sync::Mutex;

use flowbench::client::{Call, CallError, Client, ClientConfig, PostError, Request, Response};
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{Document, Protocol};
use serde_json::{Value, json};

const PROTOCOLS: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

async fn flow(config: Value) -> Flow {
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    Flow::start(config).await.expect("it starts")
}

fn client(flow: &Flow, protocol: Protocol) -> Client {
    let target = flow.target(protocol).expect("it listens for all three");
    Client::new(ClientConfig::new(target.clone()))
}

fn documents(count: usize) -> impl Iterator<Item = Document> + Send {
    // Documents have ids, like those of a Python client: a v2 gateway takes the bytes of a v1 Document without
    // an id for a v2 Document with nothing set.
    (0..count).map(|i| Document { id: format!("d{i}"), ..Document::from_text(i.to_string()) })
}

async fn texts(client: &Client) -> Result<Vec<String>, PostError> {
    let results = client.post("/").inputs(documents(2)).send().await?;
    Ok(results.texts().into_iter().map(str::to_owned).collect())
}

#[tokio::test]
async fn a_client_outlives_its_flow() {
    for protocol in PROTOCOLS {
        let echo = |port: u16| {
            let name = protocol.to_string();
            json!({
                "protocols": [name],
                "ports": {name: port},
                "executors": [{"name": "echo"}],
            })
        };
        let first = flow(echo(0)).await;
        let port = first.target(protocol).expect("it listens").port;
        let client = client(&first, protocol);
        assert_eq!(texts(&client).await.expect("it is up"), ["0", "1"], "{protocol}");
        first.stop().await;
        let error = texts(&client).await.expect_err("it is down");
        assert!(
            matches!(error, PostError::Call(CallError::Connect { .. } | CallError::Lost { .. })),
            "{protocol}: {error}"
        );
        assert!(!client.is_flow_ready().await, "{protocol}");
        let _second = flow(echo(port)).await;
        assert_eq!(texts(&client).await.expect("it is up again"), ["0", "1"], "{protocol}");
        assert!(client.is_flow_ready().await, "{protocol}");
    }
}

#[test]
fn a_client_goes_from_runtime_to_runtime() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let of_flow = runtime();
    let flow = of_flow.block_on(flow(json!({"executors": [{"name": "echo"}]})));
    for protocol in PROTOCOLS {
        let client = client(&flow, protocol);
        for _ in 0..2 {
            let texts = runtime().block_on(texts(&client));
            assert_eq!(texts.expect("it is up"), ["0", "1"], "{protocol}");
        }
    }
}

#[tokio::test]
async fn an_exception_reaches_the_callbacks_with_its_response() {
    let flow = flow(json!({"executors": [{"name": "failer", "fail": "100%"}]})).await;
    for protocol in PROTOCOLS {
        let log = Mutex::new(Vec::new());
        let note = |line: String| log.lock().expect("no callback panics").push(line);
        let docs = |response: Option<&Response>| response.map(|it| it.docs().map_or(0, <[_]>::len));
        client(&flow, protocol)
            .post("/")
            .inputs(documents(3))
            .request_size(2)
            .results_in_order(true)
            .on_done(|_| note("done".into()))
            .on_error(|response: Option<&Response>, error: &CallError| {
                note(format!("error {:?} {}", docs(response), error.kind()));
            })
            .on_always(|response| note(format!("always {:?}", docs(response))))
            .run()
            .await
            .expect("on_error was told");
        assert_eq!(
            log.into_inner().expect("no callback panics"),
            [
                "error Some(2) executor",
                "always Some(2)",
                "error Some(1) executor",
                "always Some(1)"
            ],
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn settings_of_one_post_leave_the_others_alone() {
    let flow = flow(json!({
        "executors": [{"name": "slow", "service_time": "300ms"}],
    }))
    .await;
    for protocol in PROTOCOLS {
        let client = client(&flow, protocol);
        let hurried = client.post("/").timeout(std::time::Duration::from_millis(20)).send().await;
        let Err(PostError::Call(CallError::Timeout(limit))) = hurried else {
            panic!("{protocol}: {hurried:?}")
        };
        assert_eq!(limit.as_millis(), 20);
        let patient = client.post("/").send().await;
        assert!(patient.is_ok(), "{protocol}: it has all the time it takes: {patient:?}");
    }
}

#[tokio::test]
async fn no_document_fits_into_a_request_of_none() {
    let client = Client::at("grpc://127.0.0.1:1").expect("an address");
    let error = client.post("/").inputs(documents(1)).request_size(0).send().await;
    assert_eq!(
        error.expect_err("it is refused").to_string(),
        "`request_size` is 0; expected at least 1 Document, or `RequestSize::All`"
    );
}

#[tokio::test]
async fn graphql_is_looked_for_where_it_can_be() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let error = client(&flow, Protocol::Grpc).mutate("mutation { docs { id } }").send().await;
    let address = flow.target(Protocol::Grpc).expect("it listens").to_string();
    assert_eq!(
        error.expect_err("gRPC is no HTTP").to_string(),
        format!(
            "GraphQL requires HTTP, which {address} does not seem to speak; if the Flow has an \
             HTTP port, set its address too (`http_target`, on the command line `--http`)"
        )
    );
}

#[tokio::test]
async fn posts_can_be_left_to_tasks_of_their_own() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let client = client(&flow, Protocol::Grpc);
    let tasks: Vec<_> = (1..=3)
        .map(|count| {
            let post = client.post("/").inputs(documents(count));
            tokio::spawn(async move { post.send().await.map(|results| results.len()) })
        })
        .collect();
    let mut lengths = Vec::new();
    for task in tasks {
        lengths.push(task.await.expect("no panic").expect("it is answered"));
    }
    assert_eq!(lengths, [1, 2, 3]);
}

#[tokio::test]
async fn a_flow_may_come_back_as_one_of_the_other_family() {
    for protocol in PROTOCOLS {
        let name = protocol.to_string();
        let first = flow(json!({
            "protocols": [name],
            "executors": [{"name": "echo"}],
        }))
        .await;
        let port = first.target(protocol).expect("it listens").port;
        let client = client(&first, protocol);
        assert_eq!(texts(&client).await.expect("it is up"), ["0", "1"], "{protocol}");
        first.stop().await;
        let _second = flow(json!({
            "family": "v2",
            "protocols": [name],
            "ports": {name: port},
            "executors": [{"name": "echo"}],
        }))
        .await;
        // The first post may still use the old family.
        let _ = texts(&client).await;
        assert_eq!(texts(&client).await.expect("it is known now"), ["0", "1"], "{protocol}");
    }
}

#[tokio::test]
async fn a_request_in_flight_takes_little_memory() {
    let flow = flow(json!({"executors": [{"name": "echo"}]})).await;
    let session = client(&flow, Protocol::Grpc).open().await.expect("it is up");
    // The future is moved before it is polled, and there are thousands: large and rare parts must be boxed.
    let request = Request::Mutate { body: Default::default() };
    let bytes = size_of_val(&session.call(request));
    assert!(bytes <= 2048, "{bytes}");
}
