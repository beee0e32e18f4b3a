//! Tests against scripted gateways, in memory with paused time or over TCP.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt, join_all, pending};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, StatusCode};
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, advance, sleep};

use super::super::connect::tests::config;
use super::super::tls::Alpn;
use super::frame::{Incoming, Messages};
use super::*;
use crate::client::memory::Bounds;
use crate::client::{Body, Compression, FamilyChoice, Limits, RequestHeaders};
use crate::wire::proto::jina::{
    DataRequestProto, HeaderProto, RouteProto, SingleDocumentRequestProto, status_proto,
};
use crate::wire::{DataRequest, Document, Encoded, Form, Protocol};

/// One call as the gateway sees it.
struct Incall {
    path: String,
    headers: HeaderMap,
    body: RecvStream,
    messages: Messages,
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
}

impl Incall {
    fn new(request: http::Request<RecvStream>, respond: SendResponse<Bytes>) -> Incall {
        let (head, body) = request.into_parts();
        Incall {
            path: head.uri.path().into(),
            messages: Messages::new(
                frame::encoding(&head.headers),
                &Bounds::small(1 << 30),
                Instant::now(),
            ),
            headers: head.headers,
            body,
            respond,
            send: None,
        }
    }

    /// The client's next message; `None` if it has no more, or is gone.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(message) = self.messages.next().unwrap() {
                let Incoming::Message(arrival) = message else { panic!("{message:?}") };
                return Some(arrival.message);
            }
            let frame = self.body.data().await?.ok()?;
            self.body.flow_control().release_capacity(frame.len()).unwrap();
            self.messages.push(frame, Instant::now());
        }
    }

    /// The id of the next request.
    async fn id(&mut self) -> String {
        id(&self.next().await.expect("a request"))
    }

    fn head(&mut self, headers: &[(&'static str, &str)]) {
        let mut response = Response::new(());
        for (name, value) in [("content-type", "application/grpc")].iter().chain(headers) {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        self.send = Some(self.respond.send_response(response, false).unwrap());
    }

    fn raw(&mut self, bytes: &[u8]) {
        if self.send.is_none() {
            self.head(&[]);
        }
        let _ = self.send.as_mut().unwrap().send_data(Bytes::copy_from_slice(bytes), false);
    }

    fn message(&mut self, message: &[u8]) {
        let mut bytes = BytesMut::new();
        bytes.put_u8(0);
        bytes.put_u32(message.len() as u32);
        bytes.put_slice(message);
        self.raw(&bytes);
    }

    fn reply(&mut self, id: &str) {
        self.message(&reply(id));
    }

    fn status(&mut self, code: &str, message: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", code.parse().unwrap());
        trailers.insert("grpc-message", message.parse().unwrap());
        match &mut self.send {
            Some(send) => send.send_trailers(trailers).unwrap(),
            None => {
                let mut response = Response::new(());
                *response.headers_mut() = trailers;
                let kind = "application/grpc".parse().unwrap();
                response.headers_mut().insert("content-type", kind);
                self.respond.send_response(response, true).unwrap();
            }
        }
    }

    fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Answers every request at once.
    async fn echo(mut self) {
        while let Some(message) = self.next().await {
            self.reply(&id(&message));
        }
        if self.send.is_none() {
            self.head(&[]);
        }
        self.status("0", "");
    }
}

fn id(message: &Bytes) -> String {
    DataRequestProto::decode(message.clone()).unwrap().header.unwrap().request_id.to_string()
}

/// As short as a gateway's reply can be: with the gateway's route.
fn reply(id: &str) -> Vec<u8> {
    let header = HeaderProto { request_id: id.into(), ..HeaderProto::default() };
    let route = RouteProto { executor: "gateway".into(), ..RouteProto::default() };
    DataRequestProto { header: Some(header), routes: vec![route], ..DataRequestProto::default() }
        .encode_to_vec()
}

fn stub(id: &str) -> Vec<u8> {
    let header = HeaderProto { request_id: id.into(), ..HeaderProto::default() };
    DataRequestProto { header: Some(header), ..DataRequestProto::default() }.encode_to_vec()
}

/// Serves one connection: every call goes to `script` with its number, from 0.
async fn serve<S, F>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    calls: Arc<AtomicU32>,
    farewell: Arc<Notify>,
    script: S,
) where
    S: Fn(u32, Incall) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = h2::server::handshake(io).await else { return };
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = farewell.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let number = calls.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(script(number, Incall::new(request, respond)));
    }
}

/// A gateway on TCP.
struct Gateway {
    port: u16,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    calls: Arc<AtomicU32>,
    /// Makes all connections announce that they take no more calls.
    farewell: Arc<Notify>,
    _accepting: JoinHandle<()>,
}

impl Gateway {
    async fn start<S, F>(script: S) -> Gateway
    where
        S: Fn(u32, Incall) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (calls, farewell) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let accepting = tokio::spawn({
            let (connections, calls) = (connections.clone(), calls.clone());
            let farewell = farewell.clone();
            async move {
                while let Ok((tcp, _)) = listener.accept().await {
                    let serving = serve(tcp, calls.clone(), farewell.clone(), script.clone());
                    let serving = tokio::spawn(serving);
                    connections.lock().unwrap().push(serving.abort_handle());
                }
            }
        });
        Gateway { port, connections, calls, farewell, _accepting: accepting }
    }

    fn config(&self) -> ClientConfig {
        let family = FamilyChoice::Is(Family::V1);
        ClientConfig { family, ..config(Protocol::Grpc, self.port, false) }
    }

    /// Calls and connections so far.
    fn seen(&self) -> (u32, usize) {
        (self.calls.load(Ordering::Relaxed), self.connections.lock().unwrap().len())
    }

    /// Cuts all connections.
    fn cut(&self) {
        self.connections.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

async fn open(config: ClientConfig) -> Grpc {
    let connector = Connector::new(&config, Alpn::Http2).unwrap();
    let grpc = Grpc::open(Arc::new(config), connector).await.unwrap();
    grpc.speaks(Family::V1);
    grpc
}

fn encoded(text: &str) -> Encoded {
    let data = Some(vec![Document::from_text(text)]);
    let request = DataRequest { data, ..DataRequest::default() };
    Form::Protobuf(Family::V1).encode_request(&request).unwrap()
}

fn post(text: &str) -> Request {
    Request::Post { message: encoded(text), endpoint: "/".into() }
}

async fn call(grpc: &Grpc) -> Result<Reply, String> {
    grpc.call(post("x")).await.map_err(|failure| failure.to_string())
}

/// The outcome of a call as text: `ok`, or the error.
async fn outcome(grpc: &Grpc) -> String {
    call(grpc).await.map_or_else(|error| error, |_| "ok".into())
}

/// A connection in memory, for paused time, in which a socket would be late.
async fn in_memory<S, F>(timeout: Option<Duration>, script: S) -> Grpc
where
    S: Fn(u32, Incall) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (ours, theirs) = duplex(1 << 20);
    tokio::spawn(async move { serve(theirs, Arc::default(), Arc::default(), script).await });
    over(ours, timeout).await
}

async fn over(
    io: impl super::super::http2::socket::Io + 'static,
    timeout: Option<Duration>,
) -> Grpc {
    let config = Arc::new(ClientConfig { timeout, ..config(Protocol::Grpc, 1, false) });
    let connector = Connector::new(&config, Alpn::Http2).unwrap();
    let setup = Arc::new(Setup::new(config, connector).unwrap());
    Grpc::of(Lanes::over(setup, io).await.unwrap())
}

#[tokio::test]
async fn replies_come_in_any_order_and_find_their_requests() {
    let gateway = Gateway::start(|_, mut call| async move {
        let ids = [call.id().await, call.id().await, call.id().await];
        for id in ids.iter().rev() {
            call.reply(id);
        }
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    for reply in join_all((0..3).map(|_| call(&grpc))).await {
        let timing = reply.unwrap().timing;
        assert!(timing.written.unwrap() <= timing.first.unwrap());
        assert!(timing.first.unwrap() <= timing.done);
    }
    assert_eq!(gateway.seen(), (1, 1), "one stream for all");
}

#[tokio::test]
async fn more_requests_than_the_queue_holds_are_all_answered() {
    let gateway = Gateway::start(|_, call| call.echo()).await;
    let grpc = open(ClientConfig { connections: 3, ..gateway.config() }).await;
    let outcomes = join_all((0..5000).map(|_| outcome(&grpc))).await;
    assert!(outcomes.iter().all(|outcome| outcome == "ok"));
    assert_eq!(gateway.seen(), (3, 3), "a stream for each connection");
    assert_eq!(grpc.unmatched().total(), 0);
}

#[tokio::test]
async fn a_load_without_bound_is_not_bound_by_what_a_gateway_reads_of_one_stream() {
    let gateway = Gateway::start(|_, mut call| async move {
        // As many as a v1 gateway would read; no more until they are answered.
        let mut ids = Vec::new();
        while ids.len() < ClientConfig::PREFETCH {
            ids.push(call.id().await);
        }
        sleep(Duration::from_millis(50)).await;
        ids.iter().for_each(|id| call.reply(id));
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let grpc = open(ClientConfig { prefetch: 0, ..gateway.config() }).await;
    let outcomes = join_all((0..3000).map(|_| outcome(&grpc))).await;
    assert!(outcomes.iter().all(|outcome| outcome == "ok"));
    assert_eq!(gateway.seen(), (3, 1), "three streams on one connection");
}

#[tokio::test]
async fn a_stub_before_a_bad_end_is_no_result() {
    let gateway = Gateway::start(|_, mut call| async move {
        let first = call.id().await;
        call.id().await;
        call.message(&stub(&first));
        call.status("14", "Head or worker(s) may be down.");
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    let expected = "gateway answered UNAVAILABLE: Head or worker(s) may be down.";
    assert_eq!(join_all([outcome(&grpc), outcome(&grpc)]).await, [expected, expected]);
    assert_eq!(grpc.unmatched().total(), 0);
}

#[tokio::test]
async fn a_stub_before_a_good_end_is_a_reply() {
    let gateway = Gateway::start(|_, mut call| async move {
        let id = call.id().await;
        call.message(&stub(&id));
        call.status("0", "");
    });
    let grpc = open(gateway.await.config()).await;
    assert_eq!(outcome(&grpc).await, "ok");
}

#[tokio::test(start_paused = true)]
async fn a_stub_in_a_stream_that_goes_on_is_a_reply_with_the_time_it_came() {
    let grpc = in_memory(None, |_, mut call| async move {
        loop {
            let id = call.id().await;
            sleep(Duration::from_millis(100)).await;
            call.message(&stub(&id));
        }
    })
    .await;
    let start = Instant::now();
    let timing = grpc.call(post("x")).await.unwrap().timing;
    assert_eq!(timing.done, start + Duration::from_millis(100));
    assert!(start.elapsed() >= Duration::from_secs(1), "it was held back");
    let start = Instant::now();
    grpc.call(post("x")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(100), "the gateway is known by now");
}

#[tokio::test(start_paused = true)]
async fn a_stub_that_another_message_follows_is_a_reply() {
    let grpc = in_memory(None, |_, mut call| async move {
        let ids = [call.id().await, call.id().await];
        call.message(&stub(&ids[0]));
        call.reply(&ids[1]);
        pending::<()>().await;
    })
    .await;
    let start = Instant::now();
    let calls = [grpc.call(post("x")), grpc.call(post("x"))];
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_broken_stream_fails_all_its_requests_and_the_next_ones_share_a_new_one() {
    let gateway = Gateway::start(|number, mut call| async move {
        if number > 0 {
            return call.echo().await;
        }
        for _ in 0..3 {
            call.id().await;
        }
        call.status("2", "Unexpected <class 're.error'>");
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    let outcomes = join_all((0..3).map(|_| outcome(&grpc))).await;
    assert_eq!(outcomes, ["gateway answered UNKNOWN: Unexpected <class 're.error'>"; 3]);
    let outcomes = join_all((0..10).map(|_| outcome(&grpc))).await;
    assert_eq!(outcomes, ["ok"; 10]);
    assert_eq!(gateway.seen(), (2, 1), "a new stream on the same connection");
}

#[tokio::test]
async fn a_lost_connection_fails_its_requests_and_the_next_one_connects_anew() {
    let arrived = Arc::new(Notify::new());
    let gateway = Gateway::start({
        let arrived = arrived.clone();
        move |number, mut call| {
            let arrived = arrived.clone();
            async move {
                if number > 0 {
                    return call.echo().await;
                }
                call.id().await;
                arrived.notify_one();
                pending::<()>().await;
            }
        }
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    let (outcome_of_first, ()) = tokio::join!(outcome(&grpc), async {
        arrived.notified().await;
        gateway.cut();
    });
    let target = &grpc.setup.config.target;
    assert!(
        outcome_of_first.starts_with(&format!("connection to {target} lost: ")),
        "{outcome_of_first}"
    );
    assert_eq!(outcome(&grpc).await, "ok");
    assert_eq!(gateway.seen(), (2, 2));
}

#[tokio::test]
async fn a_gateway_that_is_gone_fails_each_call_once() {
    let gateway = Gateway::start(|_, call| call.echo()).await;
    let grpc = open(gateway.config()).await;
    assert_eq!(outcome(&grpc).await, "ok");
    gateway._accepting.abort();
    gateway.cut();
    let mut last = String::new();
    for _ in 0..3 {
        last = outcome(&grpc).await;
    }
    assert!(last.starts_with("could not connect to"), "{last}");
}

/// The outcome of a call on a stream when the gateway runs this script.
async fn check<F>(script: fn(u32, Incall) -> F, expected: &str)
where
    F: Future<Output = ()> + Send + 'static,
{
    let gateway = Gateway::start(script).await;
    let grpc = open(gateway.config()).await;
    let target = grpc.setup.config.target.to_string();
    assert_eq!(outcome(&grpc).await.replace(&target, "TARGET"), expected);
}

#[tokio::test]
async fn every_way_to_end_a_stream_has_its_words() {
    check(
        |_, mut call| async move { call.status("2", "missing ), unterminated subpattern") },
        "gateway answered UNKNOWN: missing ), unterminated subpattern",
    )
    .await;
    check(
        |_, mut call| async move {
            call.id().await;
            call.status("0", "");
        },
        "connection to TARGET lost: the gateway ended the stream",
    )
    .await;
    check(
        |_, mut call| async move {
            call.id().await;
            call.reset(Reason::CANCEL);
        },
        "connection to TARGET lost: the gateway reset the stream (CANCEL)",
    )
    .await;
    check(
        |_, mut call| async move {
            call.id().await;
            call.head(&[]);
            call.send.as_mut().unwrap().send_data(Bytes::new(), true).unwrap();
        },
        "connection to TARGET lost: the stream ended without a status",
    )
    .await;
    check(
        |_, mut call| async move {
            call.raw(b"\0\0\0\x01\0half");
            call.status("0", "");
        },
        "TARGET does not speak gRPC: it sends a truncated message",
    )
    .await;
    check(
        |_, mut call| async move {
            call.raw(b"\x07\0\0\0\0");
            pending::<()>().await;
        },
        "TARGET does not speak gRPC: it sends a message with the compression flag 7, expected 0 or 1",
    )
    .await;
    check(
        |_, mut call| async move {
            call.raw(b"\x01\0\0\0\x01x");
            pending::<()>().await;
        },
        "TARGET does not speak gRPC: it sends a compressed message without a supported \
         `grpc-encoding` (gzip, deflate)",
    )
    .await;
    check(
        |_, mut call| async move {
            call.head(&[("content-type", "text/html")]);
            pending::<()>().await;
        },
        "TARGET does not speak gRPC: it responds with content type `text/html`, expected \
         `application/grpc`",
    )
    .await;
    check(
        |_, mut call| async move {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            let _ = call.respond.send_response(response, true);
        },
        "gateway answered HTTP 502: a response with content type `nothing`, expected `application/grpc`",
    )
    .await;
    // `grpc-status-details-bin` should be base64; some libraries panic if it is not.
    check(
        |_, mut call| async move {
            call.head(&[("grpc-status", "13"), ("grpc-status-details-bin", "!!!")]);
        },
        "gateway answered INTERNAL: ",
    )
    .await;
}

#[tokio::test]
async fn a_reply_that_cannot_be_read_fails_its_own_request() {
    let gateway = Gateway::start(|_, mut call| async move {
        let ids = [call.id().await, call.id().await];
        // Routes encoded as a number.
        call.message(&[&stub(&ids[0])[..], b"\x18\x01 and more that is no field"].concat());
        call.reply(&ids[1]);
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    let outcomes = join_all([outcome(&grpc), outcome(&grpc)]).await;
    let [unread, ok] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(unread.starts_with("response cannot be decoded: not a valid protobuf message: "));
    assert!(unread.contains("DataRequestHeadProto.routes"), "{unread}");
    assert_eq!(ok, "ok");
}

#[tokio::test]
async fn a_reply_over_the_limit_fails_its_own_request() {
    let gateway = Gateway::start(|_, mut call| async move {
        let ids = [call.id().await, call.id().await];
        call.message(&[&stub(&ids[0])[..], b"\x22", &[0x7f], &[0; 0x7f]].concat());
        call.reply(&ids[1]);
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let limits = Limits { message_bytes_max: 100 };
    let grpc = open(ClientConfig { limits, ..gateway.config() }).await;
    let outcomes = join_all([outcome(&grpc), outcome(&grpc)]).await;
    assert_eq!(outcomes, ["response is larger than the limit of 100 bytes", "ok"]);
    assert_eq!(gateway.seen(), (1, 1));
}

#[tokio::test]
async fn a_reply_over_the_limit_that_is_nobodys_ends_the_stream() {
    let gateway = Gateway::start(|_, mut call| async move {
        call.id().await;
        // 4 GiB are announced.
        call.raw(b"\0\xff\xff\xff\xff");
        for _ in 0..100 {
            call.raw(&[b'x'; 1000]);
        }
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let limits = Limits { message_bytes_max: 1000 };
    let grpc = open(ClientConfig { limits, ..gateway.config() }).await;
    assert_eq!(outcome(&grpc).await, "response is larger than the limit of 1000 bytes");
}

#[tokio::test]
async fn replies_nobody_asked_for_are_counted_and_dropped() {
    let gateway = Gateway::start(|_, mut call| async move {
        let id = call.id().await;
        call.reply("");
        call.reply("not one of ours");
        call.reply(&"0".repeat(32));
        call.message(b"\xff garbage");
        call.reply(&id);
        call.reply(&id);
        let next = call.id().await;
        call.reply(&next);
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    assert_eq!(outcome(&grpc).await, "ok");
    assert_eq!(outcome(&grpc).await, "ok");
    assert_eq!(grpc.unmatched().total(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_releases_the_request_and_a_late_reply_is_dropped() {
    let limit = Duration::from_secs(2);
    let grpc = in_memory(Some(limit), |_, mut call| async move {
        let id = call.id().await;
        sleep(Duration::from_secs(5)).await;
        call.reply(&id);
        call.echo().await;
    })
    .await;
    let start = Instant::now();
    let failure = grpc.call(post("x")).await.unwrap_err();
    assert!(matches!(failure.error, CallError::Timeout(found) if found == limit));
    assert_eq!(failure.timing.written, Some(start));
    assert_eq!(failure.timing.done, start + limit);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(grpc.unmatched().total(), 1);
    assert!(grpc.call(post("x")).await.is_ok(), "the stream goes on");
}

#[tokio::test(start_paused = true)]
async fn what_flow_control_holds_back_is_not_written_and_times_out() {
    // The gateway's window is 65,535 bytes, and it reads nothing.
    let grpc = in_memory(Some(Duration::from_secs(2)), |_, call| async move {
        pending::<()>().await;
        drop(call);
    })
    .await;
    let start = Instant::now();
    let calls = [grpc.call(post(&"x".repeat(70_000))), grpc.call(post("x"))];
    let outcomes = join_all(calls).await;
    let written = |outcome: &Result<_, Failure>| outcome.as_ref().unwrap_err().timing.written;
    assert_eq!(written(&outcomes[0]), Some(start));
    assert_eq!(written(&outcomes[1]), None);
    assert!(outcomes[1].as_ref().is_err_and(|failure| failure.error.kind() == "timeout"));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_callers_wait_within_their_time() {
    let limit = Duration::from_secs(2);
    let grpc = in_memory(Some(limit), |_, call| async move {
        pending::<()>().await;
        drop(call);
    })
    .await;
    let large = post(&"x".repeat(100_000));
    let start = Instant::now();
    let calls = (0..2000).map(|_| grpc.call(large.clone()));
    let outcomes = join_all(calls).await;
    assert_eq!(outcomes.len(), 2000);
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().error.kind(), "timeout");
    }
    assert_eq!(start.elapsed(), limit);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_a_sign_of_life_is_given_up() {
    let (ours, theirs) = duplex(1 << 20);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(theirs).await.unwrap();
        let mut calls = Vec::new();
        let working = async {
            while let Some(call) = connection.accept().await {
                calls.push(call);
            }
        };
        tokio::select! { () = working => (), _ = stopped => () }
        // From here on nobody drives the connection, but it stays open.
        pending::<()>().await;
        drop(calls);
    });
    let grpc = over(ours, None).await;
    let deaf = async {
        advance(Duration::from_secs(35)).await;
        stop.send(()).unwrap();
    };
    let (outcome, ()) = tokio::join!(outcome(&grpc), deaf);
    assert_eq!(outcome, "connection to grpc://127.0.0.1:1 lost: no response to pings for 60s");
}

#[tokio::test]
async fn dropping_the_session_ends_stream_and_connection() {
    let (ended, end) = oneshot::channel();
    let ended = Arc::new(Mutex::new(Some(ended)));
    let gateway = Gateway::start(move |_, mut call| {
        let ended = ended.clone();
        async move {
            let id = call.id().await;
            call.reply(&id);
            assert!(call.next().await.is_none(), "an orderly end of requests");
            call.status("0", "");
            ended.lock().unwrap().take().unwrap().send(()).unwrap();
        }
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    assert_eq!(outcome(&grpc).await, "ok");
    drop(grpc);
    end.await.unwrap();
    // The serving task ends when the client has closed the connection.
    while !gateway.connections.lock().unwrap().iter().all(AbortHandle::is_finished) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn compression_and_metadata_go_out_as_jina_has_them() {
    for (compression, encoding) in [
        (Compression::None, None),
        (Compression::Gzip, Some("gzip")),
        (Compression::Deflate, Some("deflate")),
    ] {
        let (tell, told) = oneshot::channel();
        let tell = Arc::new(Mutex::new(Some(tell)));
        let gateway = Gateway::start(move |_, call| {
            let sender = tell.lock().unwrap().take();
            if let Some(sender) = sender {
                sender.send((call.path.clone(), call.headers.clone())).unwrap();
            }
            call.echo()
        });
        let gateway = gateway.await;
        let mut config = ClientConfig {
            compression,
            results_in_order: true,
            prefetch: 7,
            headers: vec![("X-Token".into(), "t".into())],
            ..gateway.config()
        };
        config.target.user_info = Some("me:pw".into());
        let grpc = open(config).await;
        assert_eq!(outcome(&grpc).await, "ok");
        let (path, headers) = told.await.unwrap();
        assert_eq!(path, "/jina.JinaRPC/Call");
        let get = |name| headers.get(name).map(|value| value.to_str().unwrap());
        for (name, value) in [
            ("content-type", Some("application/grpc")),
            ("te", Some("trailers")),
            ("grpc-encoding", encoding),
            ("grpc-accept-encoding", Some("identity, deflate, gzip")),
            ("x-token", Some("t")),
            ("authorization", Some("Basic bWU6cHc=")),
            ("__results_in_order__", Some("true")),
            ("__prefetch__", Some("7")),
        ] {
            assert_eq!(get(name), value, "{name}");
        }
    }
}

#[tokio::test]
async fn without_a_stream_each_request_is_a_call_of_its_own() {
    let gateway = Gateway::start(|_, mut call| async move {
        assert_eq!(call.path, SINGLE);
        let message = call.next().await.unwrap();
        let request = Form::Protobuf(Family::V1).decode(message.clone()).unwrap();
        match request.docs()[0].text.as_deref() {
            Some("two") => {
                call.reply("a");
                call.reply("b");
                call.status("0", "");
            }
            Some("none") => {
                call.head(&[]);
                call.status("0", "");
            }
            Some("bad") => call.status("14", "down"),
            Some("never") => pending().await,
            _ => {
                assert!(call.next().await.is_none(), "the client sends one message");
                call.reply(&id(&message));
                call.status("0", "");
            }
        }
    });
    let gateway = gateway.await;
    let timeout = Some(Duration::from_secs(2));
    let grpc = open(ClientConfig { stream: false, timeout, ..gateway.config() }).await;
    let outcome = async |text: &str| {
        let target = grpc.setup.config.target.to_string();
        match grpc.call(post(text)).await {
            Ok(reply) => {
                assert!(reply.timing.written.unwrap() <= reply.timing.first.unwrap());
                "ok".into()
            }
            Err(failure) => failure.to_string().replace(&target, "TARGET"),
        }
    };
    assert_eq!(outcome("one").await, "ok");
    assert_eq!(outcome(&"large ".repeat(100_000)).await, "ok");
    assert_eq!(outcome("two").await, "TARGET does not speak gRPC: two messages, expected one");
    assert_eq!(outcome("none").await, "TARGET does not speak gRPC: status OK without a message");
    assert_eq!(outcome("bad").await, "gateway answered UNAVAILABLE: down");
    assert_eq!(outcome("never").await, "no reply within 2s");
    assert_eq!(gateway.seen(), (6, 1));
}

/// A reply of a streaming endpoint.
fn document(code: i32) -> Vec<u8> {
    let status = StatusProto {
        code,
        description: "endpoint must be generator".into(),
        exception: Some(status_proto::ExceptionProto::default()),
    };
    let header = HeaderProto { status: (code != 0).then_some(status), ..HeaderProto::default() };
    SingleDocumentRequestProto { header: Some(header), ..SingleDocumentRequestProto::default() }
        .encode_to_vec()
}

#[tokio::test]
async fn replies_of_a_streaming_endpoint_come_one_by_one_or_together() {
    let gateway = Gateway::start(|number, mut call| async move {
        assert_eq!(call.path, STREAM_DOC);
        call.next().await.unwrap();
        for _ in 0..3 {
            call.message(&document(0));
        }
        match number {
            0 | 1 => call.status("0", ""),
            2 => call.status("14", "down"),
            3 => {
                call.message(&document(1));
                call.message(&document(0));
                call.status("0", "");
            }
            _ => loop {
                call.message(&[0x22; 36]);
                tokio::task::yield_now().await;
            },
        }
    });
    let gateway = gateway.await;
    let limits = Limits { message_bytes_max: 1000 };
    let grpc = open(ClientConfig { limits, ..gateway.config() }).await;
    let request = || Request::Stream { message: encoded("x") };

    let mut replies = grpc.stream(request());
    let mut count = 0;
    while let Some(reply) = replies.next().await.unwrap() {
        assert!(matches!(reply.body, Body::Stream(bodies) if bodies.len() == 1));
        count += 1;
    }
    assert_eq!(count, 3);

    let reply = grpc.call(request()).await.unwrap();
    assert!(matches!(&reply.body, Body::Stream(bodies) if bodies.len() == 3));
    assert!(reply.failure().is_none() && reply.timing.first <= Some(reply.timing.done));
    let failure = grpc.call(request()).await.unwrap_err();
    assert_eq!(failure.to_string(), "gateway answered UNAVAILABLE: down");
    assert!(failure.timing.first.is_some(), "replies had come");
    let reply = grpc.call(request()).await.unwrap();
    let failure = reply.failure().unwrap().to_string();
    assert_eq!(failure, "Executor failed: endpoint must be generator");
    let failure = grpc.call(request()).await.unwrap_err();
    assert_eq!(failure.to_string(), "response is larger than the limit of 1000 bytes");
}

#[tokio::test]
async fn headers_of_a_request_go_with_a_call_of_its_own_alone() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let gateway = Gateway::start(move |_, mut call| {
        let tell = tell.clone();
        async move {
            let get = |name: &str| call.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
            tell.send((get("x-of-all"), get("x-own"))).unwrap();
            call.next().await.unwrap();
            call.message(&document(0));
            call.status("0", "");
        }
    })
    .await;
    let with = |name: &str, request| {
        let mut headers = RequestHeaders::default();
        headers.set(name, "mine").unwrap();
        Request::WithHeaders(Arc::new((headers, request)))
    };
    let headers = vec![("X-Of-All".into(), "all".into())];
    let grpc = open(ClientConfig { headers, ..gateway.config() }).await;
    let streamed = || Request::Stream { message: encoded("x") };
    for (request, expected) in [
        (streamed(), (Some("all"), None)),
        (with("X-Own", streamed()), (Some("all"), Some("mine"))),
        (with("x-of-all", streamed()), (Some("mine"), None)),
    ] {
        grpc.call(request).await.unwrap();
        let (of_all, own) = told.recv().await.unwrap();
        assert_eq!((of_all.as_deref(), own.as_deref()), expected);
    }
    let failure = grpc.call(with("x-own", post("x"))).await.unwrap_err();
    assert!(failure.to_string().contains("share a stream"), "{failure}");
}

#[tokio::test]
async fn a_mutation_is_refused() {
    let gateway = Gateway::start(|_, call| call.echo()).await;
    let grpc = open(gateway.config()).await;
    let failure = grpc.call(Request::Mutate { body: Bytes::new() }).await;
    assert_eq!(failure.unwrap_err().error.kind(), "unsupported");
}

#[tokio::test]
async fn a_gateway_tells_what_it_is() {
    let tells = |jina: &[(&str, &str)]| {
        let jina = jina.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        let info = JinaInfoProto { jina: jina.collect(), ..JinaInfoProto::default() };
        Some(info.encode_to_vec())
    };
    for (told, discovers, expected) in [
        (tells(&[("jina", "3.12.0"), ("docarray", "0.21.1")]), false, (Family::V1, "Version")),
        (tells(&[("docarray", "0.40.1")]), false, (Family::V2, "Version")),
        (tells(&[]), true, (Family::V2, "Endpoints")),
        (None, true, (Family::V2, "Endpoints")),
        (None, false, (Family::V1, "Assumed")),
    ] {
        let gateway = Gateway::start(move |_, mut call: Incall| {
            let told = told.clone();
            async move {
                call.next().await.unwrap();
                match (call.path.as_str(), told) {
                    (STATUS, Some(told)) => call.message(&told),
                    (ENDPOINTS, _) if discovers => call.message(&[]),
                    _ => return call.status("12", "Method not found!"),
                }
                call.status("0", "");
            }
        });
        let gateway = gateway.await;
        let config = ClientConfig { family: FamilyChoice::Auto, ..gateway.config() };
        let session = super::super::Session::open(Arc::new(config)).await.unwrap();
        let info = session.info();
        assert_eq!((info.family, &*format!("{:?}", info.family_source)), expected);
    }
}

#[tokio::test]
async fn a_dry_run_tells_whether_all_executors_are_there() {
    for (status, expected) in [
        (StatusProto::default(), "ok"),
        (
            StatusProto { code: 1, description: "down".into(), exception: None },
            "gateway answered ERROR: down",
        ),
    ] {
        let gateway = Gateway::start(move |_, mut call: Incall| {
            let status = status.encode_to_vec();
            async move {
                assert_eq!(call.path, DRY_RUN);
                call.message(&status);
                call.status("0", "");
            }
        });
        let config = gateway.await.config();
        let session = super::super::Session::open(Arc::new(config)).await.unwrap();
        let found =
            session.dry_run().await.map_or_else(|error| error.to_string(), |()| "ok".into());
        assert_eq!(found, expected);
    }
}

/// Opens a session against a server that sends `bytes` at once, and then closes or not.
async fn open_against(bytes: Vec<u8>, closes: bool) -> Result<Grpc, CallError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let _ = tcp.write_all(&bytes).await;
        if closes {
            return;
        }
        while tcp.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
    });
    // Only a server that does not close makes us wait.
    let connect_timeout = Duration::from_millis(if closes { 30_000 } else { 100 });
    let config = ClientConfig { connect_timeout, ..config(Protocol::Grpc, port, false) };
    let connector = Connector::new(&config, Alpn::Http2).unwrap();
    let grpc = Grpc::open(Arc::new(config), connector).await?;
    // A server may greet and then break off.
    grpc.info().await.map(|_| grpc)
}

#[tokio::test]
async fn whatever_a_server_says_first_ends_in_an_error() {
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    let ack = b"\0\0\0\x04\x01\0\0\0\0";
    for (name, bytes) in [
        ("nothing", vec![]),
        ("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("half a frame", settings[..5].to_vec()),
        ("settings alone", settings.to_vec()),
        (
            "settings and a goodbye",
            [settings, &ack[..], b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b"].concat(),
        ),
        ("a frame of 16 MiB", [settings, &b"\xff\xff\xff\0\0\0\0\0\x01"[..]].concat()),
        ("data before headers", [settings, &ack[..], b"\0\0\x01\0\0\0\0\0\x01x"].concat()),
        (
            "headers that are none",
            [settings, &ack[..], b"\0\0\x04\x01\x04\0\0\0\x01\xff\xff\xff\xff"].concat(),
        ),
        ("bad settings", b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\0".to_vec()),
        ("zeros", vec![0; 10_000]),
    ] {
        for closes in [true, false] {
            let error = open_against(bytes.clone(), closes).await.unwrap_err();
            assert!(
                ["protocol", "lost", "timeout"].contains(&error.kind()),
                "{name}, closes {closes}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn noise_ends_in_an_error() {
    let mut noise = rand::rngs::StdRng::seed_from_u64(7);
    for _ in 0..200 {
        let length = noise.random_range(0..200);
        let mut bytes = vec![0; length];
        noise.fill(&mut bytes[..]);
        if noise.random() {
            bytes.splice(0..0, *b"\0\0\0\x04\0\0\0\0\0");
        }
        let error = open_against(bytes.clone(), true).await.unwrap_err();
        assert!(["protocol", "lost"].contains(&error.kind()), "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn noise_in_a_stream_ends_in_an_error() {
    let gateway = Gateway::start(|number, mut call| async move {
        let mut noise = rand::rngs::StdRng::seed_from_u64(u64::from(number));
        let mut bytes = vec![0; noise.random_range(1..300)];
        call.id().await;
        noise.fill(&mut bytes[..]);
        // Half of the time as messages, which are parsed further.
        if noise.random() {
            call.message(&bytes);
        } else {
            call.raw(&bytes);
        }
        call.status("0", "");
    });
    let gateway = gateway.await;
    let grpc = open(gateway.config()).await;
    let mut kinds = HashMap::new();
    for _ in 0..300 {
        let failure = grpc.call(post("x")).await.unwrap_err();
        *kinds.entry(failure.error.kind()).or_insert(0) += 1;
    }
    assert!(kinds.keys().all(|kind| ["protocol", "lost"].contains(kind)), "{kinds:?}");
}

/// Answers each request after a while, and records how the client ends its half of a call.
fn slow(ends: Arc<Mutex<Vec<u32>>>) -> impl Fn(u32, Incall) -> BoxFuture<'static, ()> + Clone {
    move |number, mut call| {
        let ends = ends.clone();
        let answer = async move {
            let first = call.id().await;
            let more = async {
                let next = call.next().await;
                ends.lock().unwrap().push(number);
                next
            };
            let more = tokio::time::timeout(Duration::from_millis(200), more).await;
            call.reply(&first);
            match more {
                Ok(Some(second)) => call.reply(&id(&second)),
                Ok(None) => (),
                // Still open: others may follow.
                Err(_) => return call.echo().await,
            }
            call.status("0", "");
        };
        answer.boxed()
    }
}

#[tokio::test]
async fn after_a_goodbye_new_requests_take_a_new_connection_and_the_old_one_drains() {
    for stream in [true, false] {
        let ends = Arc::default();
        let gateway = Gateway::start(slow(Arc::clone(&ends))).await;
        let grpc = open(ClientConfig { stream, ..gateway.config() }).await;
        let during = async {
            sleep(Duration::from_millis(50)).await;
            gateway.farewell.notify_waiters();
            sleep(Duration::from_millis(50)).await;
            let drained = ends.lock().unwrap().clone();
            (drained, outcome(&grpc).await)
        };
        let (before, (drained, after)) = tokio::join!(outcome(&grpc), during);
        assert_eq!([before, after], ["ok", "ok"]);
        assert_eq!(drained, [0], "our half of the first call is closed while its reply is awaited");
        assert_eq!(gateway.seen(), (2, 2));
    }
}

#[tokio::test]
async fn a_request_whose_stream_is_refused_is_sent_anew_and_that_is_no_retry() {
    for stream in [true, false] {
        let gateway = Gateway::start(|number, mut call: Incall| async move {
            if number < 2 {
                call.id().await;
                return call.reset(Reason::REFUSED_STREAM);
            }
            let id = call.id().await;
            call.reply(&id);
            call.status("0", "");
        });
        let gateway = gateway.await;
        let grpc = open(ClientConfig { stream, ..gateway.config() }).await;
        assert_eq!(call(&grpc).await.unwrap().timing.attempts, 1);
        assert_eq!(gateway.seen(), (3, 1));
    }
}

#[tokio::test]
async fn a_gateway_that_takes_nothing_is_left_alone_after_a_few_times() {
    for stream in [true, false] {
        let gateway = Gateway::start(|_, mut call: Incall| async move {
            call.reset(Reason::REFUSED_STREAM);
        });
        let gateway = gateway.await;
        let grpc = open(ClientConfig { stream, ..gateway.config() }).await;
        let expected = format!(
            "grpc://127.0.0.1:{} did not accept the request: it refused the stream",
            gateway.port
        );
        assert_eq!(outcome(&grpc).await, expected);
        assert_eq!(gateway.seen(), (1 + lanes::SENT_ANEW_MAX, 1));
    }
}

#[tokio::test]
async fn what_a_goodbye_says_was_not_processed_is_sent_anew_and_what_may_have_been_is_not() {
    // The last stream reported as processed, and whether our only one is beyond it.
    for (last, anew) in [(0u32, true), (1, false)] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            goodbye_at_the_first_call(&mut tcp, last).await;
            drop(tcp);
            let (tcp, _) = listener.accept().await.unwrap();
            serve(tcp, Arc::default(), Arc::default(), |_, call| call.echo()).await;
        });
        let family = FamilyChoice::Is(Family::V1);
        let config = ClientConfig { family, ..config(Protocol::Grpc, port, false) };
        let grpc = open(config).await;
        let outcome = call(&grpc).await;
        assert_eq!(outcome.is_ok(), anew, "{outcome:?}");
        served.abort();
    }
}

/// Frames written by hand: settings, answers to pings, and GOAWAY as soon as a call begins.
async fn goodbye_at_the_first_call(tcp: &mut tokio::net::TcpStream, last: u32) {
    const PREFACE: usize = 24;
    let mut preface = [0; PREFACE];
    tcp.read_exact(&mut preface).await.unwrap();
    tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        tcp.read_exact(&mut payload).await.unwrap();
        match (head[3], head[4]) {
            (4, 0) => tcp.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap(),
            (6, 0) => {
                tcp.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
                tcp.write_all(&payload).await.unwrap();
            }
            // The request has arrived, so it did leave the client.
            (0, _) => {
                let head: [u8; 9] = [0, 0, 8, 7, 0, 0, 0, 0, 0];
                let goodbye = [&head[..], &last.to_be_bytes(), &[0; 4]].concat();
                return tcp.write_all(&goodbye).await.unwrap();
            }
            _ => (),
        }
    }
}

#[tokio::test]
async fn a_reply_too_long_to_be_passed_over_ends_its_stream_and_the_next_request_has_another() {
    let gateway = Gateway::start(|number, mut call| async move {
        if number > 0 {
            return call.echo().await;
        }
        let id = call.id().await;
        // 4 GiB are announced.
        call.raw(&[b"\0\xff\xff\xff\xff", &stub(&id)[..], &[0x22, 0x7f]].concat());
        for _ in 0..10 {
            call.raw(&[0; 1000]);
        }
        pending::<()>().await;
    });
    let gateway = gateway.await;
    let limits = Limits { message_bytes_max: 1000 };
    let grpc = open(ClientConfig { limits, ..gateway.config() }).await;
    assert_eq!(outcome(&grpc).await, "response is larger than the limit of 1000 bytes");
    assert_eq!(outcome(&grpc).await, "ok");
    assert_eq!(gateway.seen(), (2, 1));
}

#[tokio::test]
async fn headers_beyond_our_limit_are_named() {
    for (size, in_trailers, expected) in [
        (60 << 10, true, "answered UNKNOWN: xxx"),
        (60 << 10, false, "answered UNKNOWN: xxx"),
        (70 << 10, true, "does not speak gRPC: response headers over 64 KiB"),
        (70 << 10, false, "does not speak gRPC: response headers over 64 KiB"),
    ] {
        let gateway = Gateway::start(move |_, mut call: Incall| async move {
            call.id().await;
            if in_trailers {
                call.head(&[]);
            }
            call.status("2", &"x".repeat(size));
        });
        let grpc = open(gateway.await.config()).await;
        let told = outcome(&grpc).await;
        let end = &told[told.find(' ').unwrap() + 1..];
        assert!(
            end == expected || expected.ends_with("xxx") && end.starts_with(expected),
            "{told:.200}"
        );
    }
}
