//! Options of a post: order, prefetch, retries.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flowbench::client::{Client, ClientConfig, FamilyChoice, Retry};
use flowbench::wire::{Document, Protocol};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::flow::Setup;
use super::proxy::Proxy;
use super::python::Release;
use super::{PROTOCOLS, client, config, runtime};

#[test]
fn responses_come_as_they_finish_or_in_the_order_of_the_requests() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let client = client(&flow, protocol);
                let texts = ["sleep:800", "quick"].map(Document::from_text);
                let post = |in_order| {
                    client.post("/").inputs(&texts).request_size(1).results_in_order(in_order)
                };
                let what = format!("{release:?} over {protocol:?}");
                let as_they_come = post(false).send().await.expect("it succeeds");
                assert_eq!(as_they_come.texts(), ["quick", "sleep:800"], "{what}");
                let in_order = post(true).send().await.expect("it succeeds");
                assert_eq!(in_order.texts(), ["sleep:800", "quick"], "{what}");
                let one_by_one = post(false).prefetch(1).send().await.expect("it succeeds");
                assert_eq!(one_by_one.texts(), ["sleep:800", "quick"], "{what}");
            }
        });
    }
}

#[test]
fn unary_calls_go_where_there_are_some_and_are_refused_elsewhere() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            let unary = ClientConfig { stream: false, ..config(&flow, Protocol::Grpc) };
            let client = Client::new(unary);
            let posted = client.post("/").inputs(&[Document::from_text("a")]).send().await;
            match (release, posted) {
                (Release::V2, Ok(responses)) => assert_eq!(responses.texts(), ["a"]),
                (Release::V1, Err(error)) => {
                    let error = error.to_string();
                    assert!(error.contains("Jina 3.12.0, which has no unary calls"), "{error}");
                }
                (_, posted) => panic!("{release:?}: {posted:?}"),
            }
        });
    }
}

#[test]
fn inputs_may_depend_on_responses() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let (sender, receiver) = mpsc::channel(1);
                sender.send(0).await.expect("the receiver is here");
                let inputs = stream::unfold(receiver, |mut receiver| async {
                    let n: u32 = receiver.recv().await?;
                    Some((Document::from_text(n.to_string()), receiver))
                });
                let client = client(&flow, protocol);
                let mut responses = client.post("/").inputs(inputs).request_size(1).stream();
                let mut sender = Some(sender);
                let mut count = 0;
                while let Some(response) = responses.next().await {
                    let response = response.expect("it succeeds");
                    let n: u32 = response.texts().expect("decodes")[0].parse().expect("a number");
                    assert_eq!(n, count);
                    count += 1;
                    match &sender {
                        Some(next) if count < 5 => next.send(count).await.expect("it is read"),
                        _ => sender = None,
                    }
                }
                assert_eq!(count, 5, "{release:?} over {protocol:?}");
            }
        });
    }
}

#[test]
fn inputs_are_taken_no_further_ahead_than_prefetch_allows() {
    const PREFETCH: usize = 5;
    const SIZE: usize = 10;
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let made = AtomicUsize::new(0);
                let inputs = (0..1000).map(|n| {
                    made.fetch_add(1, Ordering::Relaxed);
                    Document::from_text(n.to_string())
                });
                let client = client(&flow, protocol);
                let post = client.post("/").inputs(inputs).request_size(SIZE).prefetch(PREFETCH);
                let (mut answered, mut ahead) = (0, 0);
                let mut responses = post.stream();
                while let Some(response) = responses.next().await {
                    response.expect("it succeeds");
                    ahead = ahead.max(made.load(Ordering::Relaxed) - answered);
                    answered += SIZE;
                }
                assert_eq!(answered, 1000);
                // Those in flight, and one more request that is being prepared.
                let bound = (PREFETCH + 1) * SIZE;
                assert!(ahead <= bound, "{ahead} Documents, {release:?} over {protocol:?}");
            }
        });
    }
}

#[test]
fn a_flow_that_comes_later_is_waited_for() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                for family in [FamilyChoice::Auto, FamilyChoice::Is(flow.family())] {
                    let behind = flow.target(protocol);
                    let proxy = Proxy::opening_late(&behind, Duration::from_millis(200)).await;
                    let mut config = ClientConfig::new(proxy.target(&behind, false));
                    config.family = family;
                    config.retry = Retry {
                        max_attempts: 1000,
                        initial_backoff: Duration::from_millis(20),
                        max_backoff: Duration::from_millis(50),
                        backoff_multiplier: 1.5,
                    };
                    let client = Client::new(config);
                    let post = client.post("/").inputs(Document::from_text("a"));
                    let results = post.send().await.expect("it comes to be");
                    assert_eq!(results.texts(), ["a"], "{release:?} over {protocol:?}");
                }
            }
        });
    }
}

#[test]
fn a_connection_that_ends_at_once_is_opened_again() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in PROTOCOLS {
                let behind = flow.target(protocol);
                let proxy = Proxy::refusing(&behind, 2).await;
                let mut config = ClientConfig::new(proxy.target(&behind, false));
                config.retry.max_attempts = 3;
                config.retry.initial_backoff = Duration::from_millis(20);
                let client = Client::new(config);
                let post = client.post("/").inputs(Document::from_text("a"));
                let results = post.send().await.expect("the third attempt succeeds");
                assert_eq!(results.texts(), ["a"], "{release:?} over {protocol:?}");
            }
        });
    }
}

#[test]
fn several_connections_share_the_requests() {
    for release in [Release::V1, Release::V2] {
        let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
        runtime().block_on(async {
            for protocol in [Protocol::Grpc, Protocol::WebSocket] {
                let behind = flow.target(protocol);
                let proxy = Proxy::refusing(&behind, 0).await;
                let mut config = config(&flow, protocol);
                config.target = proxy.target(&behind, false);
                config.connections = 3;
                let inputs = (0..50).map(|n| Document::from_text(n.to_string()));
                let post = Client::new(config).post("/").inputs(inputs).request_size(1);
                let results = post.results_in_order(true).send().await.expect("it succeeds");
                let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
                assert_eq!(results.texts(), expected);
                // Possibly including one that asked for the family.
                assert!((3..=4).contains(&proxy.accepted()), "{}", proxy.accepted());
            }
        });
    }
}
