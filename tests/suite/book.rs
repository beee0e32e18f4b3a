//! The examples of `docs/client.md`, run against an embedded Flow.
//!
//! A test ensures that every example on the page is here word for word.

#![expect(clippy::print_stdout, reason = "examples print what they find")]

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use flowbench::client::{
    Body, Call, CallError, Client, ClientConfig, Compression, FamilyChoice, HttpRequest, PostError,
    Request, RequestSize, Response, Retry,
};
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::{Address, Document, Family, Protocol, Target, TargetError};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn every_example_of_the_page_stands_in_this_file() {
    let page = include_str!("../../docs/client.md");
    // Line breaks and indentation may differ.
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let here = words(include_str!("book.rs"));
    let mut examples = 0;
    for part in page.split("```rust\n").skip(1) {
        let example = part.split("```").next().unwrap_or_default();
        assert!(here.contains(&words(example)), "docs/client.md, this is not run:\n{example}");
        examples += 1;
    }
    assert!(examples >= 20, "the page has lost its examples");
    for row in 1..=24 {
        assert!(page.contains(&format!("C{row} ")), "nothing about C{row}");
    }
}

async fn flow(config: Value) -> (Flow, String) {
    let config: FlowConfig = serde_json::from_value(config).expect("a Flow's settings");
    let flow = Flow::start(config).await.expect("it starts on free ports");
    let address = flow.target(Protocol::Grpc).expect("it speaks gRPC").to_string();
    (flow, address)
}

async fn echo() -> (Flow, String) {
    flow(json!({"executors": [{"name": "foo"}, {"name": "bar"}]})).await
}

#[tokio::test]
async fn first_example() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    let results = client.post("/search").inputs(Document::from_text("hello")).send().await?;
    for document in &results.docs {
        println!("{}", document.text.as_deref().unwrap_or_default());
    }
    assert_eq!(results.texts(), ["hello"]);
    Ok(())
}

#[test]
fn addresses() -> Result<(), TargetError> {
    let in_one = Client::at("grpcs://my.flow:1234")?;
    assert_eq!(in_one.config().target.to_string(), "grpcs://my.flow:1234");
    let apart = Address {
        host: Some("my.flow".into()),
        port: Some(1234),
        protocol: Some(Protocol::Http),
        tls: Some(true),
    };
    assert_eq!(apart.resolve()?.to_string(), "https://my.flow:1234");
    let mixed =
        Address { host: Some("https://my.flow".into()), port: Some(1234), ..Address::default() };
    let client = Client::new(ClientConfig::new(mixed.resolve()?));
    assert_eq!(client.config().target, apart.resolve()?);
    let twice = Address { protocol: Some(Protocol::Http), ..mixed };
    assert!(matches!(twice.resolve(), Err(TargetError::TwoSources { what: "protocol", .. })));
    let local = Address { port: Some(1234), ..Address::default() };
    assert_eq!(local.resolve()?.to_string(), "grpc://0.0.0.0:1234");
    let ipv6: Target = "ws://[::1]:1234".parse()?;
    assert_eq!(ipv6.host, "::1");
    Ok(())
}

#[tokio::test]
async fn inputs() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    // One Document.
    client.post("/index").inputs(Document::from_text("hello")).send().await?.into_ok()?;
    // A list; a slice or `docs.iter()` is cloned one by one.
    let docs = vec![Document::from_text("a"), Document::from_text("b")];
    client.post("/index").inputs(&docs).send().await?.into_ok()?;
    // An iterator: each Document is made when there is room for it.
    let many = (0..1000).map(|i| Document::from_text(format!("number {i}")));
    client.post("/index").inputs(many).send().await?.into_ok()?;
    // Nothing: one request of parameters alone.
    client.post("/status").send().await?.into_ok()?;
    // An iterator that can fail: what came before the error is sent.
    let lines = ["{\"text\": \"good\"}", "bad"].map(serde_json::from_str::<Document>);
    let failed = client.post("/index").inputs(lines).send().await;
    assert!(matches!(failed, Err(PostError::Input(_))));
    Ok(())
}

#[tokio::test]
async fn batches() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    let docs = || (0..250).map(|i| Document::from_text(i.to_string()));
    let responses = client.post("/").inputs(docs()).results_in_order(true).responses().await?;
    let sizes: Vec<usize> = responses.iter().flat_map(Response::docs).map(<[_]>::len).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let one = client.post("/").inputs(docs()).request_size(RequestSize::All).responses().await?;
    assert_eq!(one.len(), 1);
    let small = client.post("/").inputs(docs()).request_size(10).responses().await?;
    assert_eq!(small.len(), 25);
    Ok(())
}

#[tokio::test]
async fn endpoint_parameters_and_target_executor() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    let responses = client
        .post("/search")
        .inputs(Document::from_text("hello"))
        .parameters([("k", json!(3)), ("filter", json!({"lang": "en"}))])
        .target_executor("bar.*")
        .responses()
        .await?;
    let response = &responses[0];
    assert!(response.is_ok());
    assert_eq!(response.docs()?[0].text.as_deref(), Some("hello"));
    assert_eq!(response.texts()?, ["hello"]);
    assert_eq!(response.parameters()?["filter"]["lang"], "en");
    println!("request {}", response.header().request_id);
    if let Some(results) = response.results()? {
        println!("the Executors returned {results:?}");
    }
    for route in response.routes() {
        println!("{} from {:?} to {:?}", route.executor, route.start_time, route.end_time);
    }
    Ok(())
}

#[tokio::test]
async fn callbacks() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    let docs = vec![Document::from_text("hello")];
    let mut done = 0;
    client
        .post("/search")
        .inputs(docs)
        .on_done(|response| {
            done += 1;
            println!("{:?}", response.texts());
        })
        .on_error(|response: Option<&Response>, error: &CallError| match response {
            Some(response) => println!("{} failed: {error}", response.header().request_id),
            None => println!("no response: {error}"),
        })
        .on_always(|_response| println!("one request less"))
        .run()
        .await?;
    assert_eq!(done, 1);
    Ok(())
}

#[tokio::test]
async fn print_beep_save() -> Outcome {
    let (_flow, address) = echo().await;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("output.jsonl");
    let client = Client::at(&address)?;
    let docs = vec![Document::from_text("hello")];
    let mut file = std::fs::File::create(&path)?;
    client
        .post("/")
        .inputs(docs)
        .on_done(|response| println!("{:?}", response.texts()))
        .on_error(|_, _| print!("\x07"))
        .on_always(|response| -> Result<(), Box<dyn Error + Send + Sync>> {
            for document in response.map(Response::docs).transpose()?.unwrap_or_default() {
                writeln!(file, "{}", serde_json::to_string(document)?)?;
            }
            Ok(())
        })
        .run()
        .await?;
    let saved: Document = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    assert_eq!(saved.text.as_deref(), Some("hello"));
    Ok(())
}

#[tokio::test]
async fn failures_without_callbacks() -> Outcome {
    let (_flow, address) = flow(json!({"executors": [{"name": "broken", "fail": "100%"}]})).await;
    let client = Client::at(&address)?;
    let docs = vec![Document::from_text("hello")];
    let results = client.post("/").inputs(&docs).send().await?;
    assert_eq!(results.len(), 1); // the Documents as the Executor got them
    for failure in &results.failures {
        if let CallError::Executor { executor, description, exception } = failure {
            println!("{executor:?} raised {description}: {exception:?}");
        }
    }
    assert!(results.into_ok().is_err());
    Ok(())
}

#[tokio::test]
async fn failures_with_callbacks() -> Outcome {
    let client = Client::at("grpc://127.0.0.1:1")?;
    let mut log = Vec::new();
    client
        .post("/")
        .inputs((0..1000).map(|i| Document::from_text(i.to_string())))
        .on_error(|response: Option<&Response>, error: &CallError| {
            log.push((response.is_some(), error.kind()));
        })
        .run()
        .await?;
    assert_eq!(log, [(false, "connect")]);
    let error = client.post("/").on_done(|_| ()).run().await;
    assert!(matches!(error, Err(PostError::Call(CallError::Connect { .. }))));
    Ok(())
}

#[tokio::test]
async fn one_by_one() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    let inputs = stream::iter(0..1000).map(|i| Document::from_text(i.to_string()));
    let mut responses = client.post("/").inputs(inputs).request_size(10).stream();
    let mut count = 0;
    while let Some(response) = responses.try_next().await? {
        count += response.docs()?.len();
    }
    assert_eq!(count, 1000);
    Ok(())
}

#[tokio::test]
async fn settings() -> Outcome {
    let (_flow, address) = echo().await;
    let docs = vec![Document::from_text("hello")];
    let mut config = ClientConfig::new(address.parse()?);
    config.headers.push(("x-tenant".into(), "one".into()));
    config.prefetch = 50;
    let client = Client::new(config);
    let post = client
        .post("/")
        .inputs(docs)
        .compression(Compression::Gzip)
        .timeout(Duration::from_secs(10))
        .retry(Retry { max_attempts: 3, ..Retry::default() })
        .header("x-trace", "42")
        .prefetch(10)
        .results_in_order(true);
    assert_eq!(post.send().await?.texts(), ["hello"]);
    Ok(())
}

#[tokio::test]
async fn tls() -> Outcome {
    let certified = rcgen::generate_simple_self_signed(["flow.internal".to_owned()])?;
    let folder = tempfile::tempdir()?;
    let (ca, key) = (folder.path().join("ca.pem"), folder.path().join("key.pem"));
    std::fs::write(&ca, certified.cert.pem())?;
    std::fs::write(&key, certified.signing_key.serialize_pem())?;
    let (_flow, address) =
        flow(json!({"executors": [{"name": "foo"}], "tls": {"cert": ca, "key": key}})).await;
    let mut config = ClientConfig::new(address.parse()?); // grpcs://…
    config.tls.ca = Some(ca);
    config.tls.server_name = Some("flow.internal".into());
    let client = Client::new(config);
    assert!(client.is_flow_ready().await);
    Ok(())
}

#[tokio::test]
async fn readiness() -> Outcome {
    let (_flow, address) = echo().await;
    let client = Client::at(&address)?;
    if client.is_flow_ready().await {
        let info = client.info().await?;
        println!("{}, {:?}, Jina {:?}", info.protocol, info.family, info.jina);
    }
    assert_eq!(client.info().await?.family, Family::V1);
    let mut config = ClientConfig::new(address.parse()?);
    config.family = FamilyChoice::Is(Family::V1);
    assert!(Client::new(config).is_flow_ready().await);
    Ok(())
}

#[tokio::test]
async fn graphql() -> Outcome {
    let (flow, address) = echo().await;
    let http = flow.target(Protocol::Http).expect("it speaks HTTP").to_string();
    let mut config = ClientConfig::new(address.parse()?);
    config.http_target = Some(http.parse()?);
    let client = Client::new(config);
    let response = client
        .mutate(r#"mutation($text: String) { docs(data: {text: $text}, targetExecutor: "foo") { text } }"#)
        .variables([("text", "hello")])
        .send()
        .await?;
    assert_eq!(response["data"]["docs"][0]["text"], "hello");
    Ok(())
}

#[tokio::test]
async fn streaming() -> Outcome {
    let (_flow, address) = flow(json!({
        "family": "v2",
        "executors": [{"name": "writer", "endpoints": {"/stream": {"stream": {"count": 3}}}}],
    }))
    .await;
    let client = Client::at(&address)?;
    let mut responses = client.stream_doc("/stream", Document::from_text("hello")).stream();
    let mut count = 0;
    while let Some(response) = responses.try_next().await? {
        count += response.docs()?.len();
        println!("{:?}", response.texts()?);
    }
    assert_eq!(count, 3);
    Ok(())
}

#[tokio::test]
async fn plain_http() -> Outcome {
    let (flow, _) = echo().await;
    let http = flow.target(Protocol::Http).ok_or("it speaks HTTP")?.to_string();
    let mut config = ClientConfig::new(http.parse()?);
    config.family = FamilyChoice::NoFlow;
    let session = Client::new(config).open().await?;
    let request = HttpRequest::new("POST", "/post")?
        .header("x-request-id", "7")?
        .body(r#"{"execEndpoint": "/search", "data": [{"text": "hello"}]}"#);
    let reply = session.call(Request::Http(request.into())).await?;
    let Body::Http(response) = reply.body else {
        unreachable!("it is the answer to a plain request")
    };
    assert_eq!(response.status, 200);
    let answer: Value = serde_json::from_slice(&response.body)?;
    assert_eq!(answer["data"][0]["text"], "hello");
    Ok(())
}
