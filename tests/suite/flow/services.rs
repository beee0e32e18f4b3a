//! Other things that a gateway serves: services, encryption, web pages.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use flowbench::client::{Client, ClientConfig, TlsOptions};
use flowbench::flow::{Flow, FlowConfig};
use flowbench::wire::proto::jina::{EndpointsProto, JinaInfoProto};
use flowbench::wire::{
    DataRequest, Document, Family, Protocol, decode_single, encode_single_response,
};
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codec::CompressionEncoding;
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha::{ServerReflectionRequest, ServerReflectionResponse};

use super::grpc::{CALL, Call, Called};
use super::{CHAIN, address, decode, encode, request, start, texts, texts_of};

async fn family_flow(name: &str) -> Flow {
    start(&format!("family: {name}\n{CHAIN}")).await
}

async fn unary(flow: &Flow, path: &str, message: impl Into<Bytes>) -> Called {
    Call::new(path).send(flow, vec![message.into()]).await
}

#[tokio::test]
async fn a_gateway_says_who_it_is() {
    for (name, jina) in [("v1", "3.12.0"), ("v2", "3.34.0")] {
        let flow = family_flow(name).await;
        let called = unary(&flow, "/jina.JinaInfoRPC/_status", Bytes::new()).await;
        let info = JinaInfoProto::decode(called.answers[0].clone()).expect("valid");
        assert_eq!(info.jina["jina"], jina);
        assert_eq!(info.jina["flowbench"], env!("CARGO_PKG_VERSION"));
        assert_eq!(info.envs["JINA_LOG_LEVEL"], "(unset)");
        flow.stop().await;
    }
}

#[tokio::test]
async fn a_method_that_there_is_not_is_unimplemented() {
    let flow = family_flow("v1").await;
    for path in [
        "/jina.JinaRPC/Nosuch",
        "/nosuch",
        // Those of v2.
        "/jina.JinaSingleDataRequestRPC/process_single_data",
        "/jina.JinaDiscoverEndpointsRPC/endpoint_discovery",
        // Services of Executors, not of gateways.
        "/jina.JinaDataRequestRPC/process_data",
    ] {
        let status = unary(&flow, path, Bytes::new()).await.status;
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "Method not found!"));
    }
    flow.stop().await;
}

#[tokio::test]
async fn everything_that_is_listed_is_healthy_until_the_flow_stops() {
    let flow = family_flow("v2").await;
    let service = |name: &str| [&[0x0a, name.len() as u8], name.as_bytes()].concat();
    for name in ["", "jina.JinaRPC", "grpc.reflection.v1alpha.ServerReflection"] {
        let called = unary(&flow, "/grpc.health.v1.Health/Check", service(name)).await;
        assert_eq!(called.answers, [&b"\x08\x01"[..]], "{name} is serving");
    }
    let called = unary(&flow, "/grpc.health.v1.Health/Check", service("nosuch")).await;
    assert_eq!(called.status.code(), Code::NotFound);
    let watch = Call::new("/grpc.health.v1.Health/Watch");
    let messages = tokio_stream::iter([Bytes::new()]);
    let mut seen = watch.open(&flow, messages).await.expect("it is there");
    assert_eq!(seen.message().await.expect("an answer").expect("one"), &b"\x08\x01"[..]);
    let ((), next) = tokio::join!(flow.stop(), seen.message());
    assert_eq!(next.expect("an answer").expect("one"), &b"\x08\x02"[..]);
}

#[tokio::test]
async fn reflection_tells_services_and_messages() {
    for (name, services, document) in
        [("v1", 4, "docarray.DocumentProto"), ("v2", 8, "docarray.DocProto")]
    {
        let flow = family_flow(name).await;
        let ask = async |question: MessageRequest| {
            let request =
                ServerReflectionRequest { host: String::new(), message_request: Some(question) };
            let path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
            let called = unary(&flow, path, request.encode_to_vec()).await;
            let answer = ServerReflectionResponse::decode(called.answers[0].clone());
            answer.expect("valid").message_response.expect("an answer")
        };
        let listed = ask(MessageRequest::ListServices(String::new())).await;
        let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
        let names: Vec<_> = listed.service.iter().map(|service| &*service.name).collect();
        assert_eq!(names.len(), services, "{names:?}");
        assert!(names.contains(&"jina.JinaRPC"), "{names:?}");
        for symbol in ["jina.JinaRPC", "jina.DataRequestProto", document] {
            let found = ask(MessageRequest::FileContainingSymbol(symbol.into())).await;
            let MessageResponse::FileDescriptorResponse(found) = found else { panic!("{found:?}") };
            let file = &found.file_descriptor_proto[0];
            let file = prost_types::FileDescriptorProto::decode(&**file).expect("valid");
            let (package, name) = symbol.split_once('.').expect("a package");
            assert_eq!(file.package(), package);
            let messages = file.message_type.iter().map(|message| message.name());
            let mut all = messages.chain(file.service.iter().map(|service| service.name()));
            assert!(all.any(|other| other == name), "{symbol}");
        }
        flow.stop().await;
    }
}

#[tokio::test]
async fn compressed_requests_are_read_and_answers_are_plain() {
    let flow = family_flow("v1").await;
    let text = "long ".repeat(1000);
    let message = encode(Family::V1, &request("/", texts(&[&text])));
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Deflate] {
        let mut call = Call::new(CALL);
        call.compression = Some(encoding);
        let called = call.send(&flow, vec![message.clone()]).await;
        assert_eq!(texts_of(decode(Family::V1, &called.answers[0]).docs()), [&text]);
    }
    flow.stop().await;
}

#[tokio::test]
async fn endpoints_are_discovered() {
    let flow = start("family: v2\nexecutors: [{name: i, uses: memory_index}]").await;
    let path = "/jina.JinaDiscoverEndpointsRPC/endpoint_discovery";
    let called = unary(&flow, path, Bytes::new()).await;
    let found = EndpointsProto::decode(called.answers[0].clone()).expect("valid").endpoints;
    assert_eq!(found, ["_jina_dry_run_", "/delete", "/index", "/search", "/status"]);
    flow.stop().await;
}

#[tokio::test]
async fn a_streaming_endpoint_answers_one_document_with_many() {
    let flow = start(
        "{family: v2, executors: [{name: e, endpoints: {/tokens: {stream: {count: 3}}, /plain: {}}}]}",
    )
    .await;
    let path = "/jina.JinaSingleDocumentRequestRPC/stream_doc";
    let ask = async |endpoint: &str| -> Vec<DataRequest> {
        let request = request(endpoint, Vec::new());
        let doc = Document { id: "d".into(), ..Document::from_text("token") };
        let message = encode_single_response(&request, &doc).expect("valid");
        let called = unary(&flow, path, message).await;
        assert_eq!(called.status.code(), Code::Ok);
        called.answers.into_iter().map(|answer| decode_single(answer).expect("valid")).collect()
    };
    let answers = ask("/tokens").await;
    let texts: Vec<_> = answers.iter().flat_map(|answer| texts_of(answer.docs())).collect();
    assert_eq!(texts, ["token 0", "token 1", "token 2"]);
    let body = r#"{"id": "d", "text": "token"}"#;
    let get = format!(
        "GET /tokens HTTP/1.1\nhost: flow\nconnection: close\n\
         content-type: application/json\ncontent-length: {}\n\n{body}",
        body.len()
    );
    let answer = raw_http(&flow, &get).await;
    assert!(answer.contains("\r\ncontent-type: text/event-stream; charset=utf-8\r\n"), "{answer}");
    let events: Vec<_> = answer.split("event: ").skip(1).collect();
    assert_eq!(events.len(), 4, "{answer}");
    assert!(events[2].starts_with("update\r\ndata: {"), "{answer}");
    assert!(events[2].contains(r#""text":"token 2""#), "{answer}");
    assert!(events[3].starts_with("end\r\n\r\n"), "{answer}");
    let posted = raw_http(&flow, &get.replacen("GET", "POST", 1)).await;
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");

    let refused = ask("/plain").await;
    let status = refused[0].header.status.as_ref().expect("an exception");
    assert_eq!(status.exception.as_ref().expect("one").args, ["endpoint must be generator"]);
    flow.stop().await;
}

/// Responses are in the order of requests, even if later ones complete first.
#[tokio::test(start_paused = true)]
async fn results_come_in_the_order_that_was_asked_for() {
    for (metadata, expected) in [
        (vec![], ["d1", "d0"]),
        (vec![("__results_in_order__".to_owned(), "true".to_owned())], ["d0", "d1"]),
        (vec![("__results_in_order__".to_owned(), "false".to_owned())], ["d1", "d0"]),
        // One at a time.
        (vec![("__prefetch__".to_owned(), "1".to_owned())], ["d0", "d1"]),
    ] {
        let flow = start("{family: v2, executors: [{name: s, uses: sleeper}]}").await;
        let docs = texts(&["sleep:20", "sleep:10"]);
        let messages =
            docs.into_iter().map(|doc| encode(Family::V2, &request("/", vec![doc]))).collect();
        let mut call = Call::new(CALL);
        call.metadata = metadata.clone();
        let called = call.send(&flow, messages).await;
        let answers = called.answers.iter().map(|answer| decode(Family::V2, answer));
        let ids: Vec<_> = answers.map(|answer| answer.docs()[0].id.clone()).collect();
        assert_eq!(ids, expected, "{metadata:?}");
        flow.stop().await;
    }
}

/// Sends an HTTP request and reads until the other side closes.
async fn raw_http(flow: &Flow, request: &str) -> String {
    let mut socket = TcpStream::connect(address(flow, Protocol::Http)).await.expect("it listens");
    socket.write_all(request.replace('\n', "\r\n").as_bytes()).await.expect("it is read");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("text");
    answer
}

#[tokio::test]
async fn a_v2_gateway_answers_a_body_with_its_first_hundred_documents() {
    let flow = family_flow("v2").await;
    for (documents, answered) in [(100, 100), (250, 100)] {
        let docs: Vec<_> = (0..documents).map(|i| json!({"id": format!("d{i}")})).collect();
        let body = json!({"data": docs}).to_string();
        let answer = raw_http(
            &flow,
            &format!(
                "POST /default HTTP/1.1\nhost: flow\nconnection: close\n\
                 content-type: application/json\ncontent-length: {}\n\n{body}",
                body.len()
            ),
        )
        .await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let data = body["data"].as_array().expect("Documents");
        assert_eq!((data.len(), &data[99]["id"]), (answered, &json!("d99")));
    }
    flow.stop().await;
}

#[tokio::test]
async fn who_comes_to_the_wrong_door_is_told_as_by_a_real_gateway() {
    let certificates = Certificates::new().expect("they can be made");
    let encrypted = Flow::start(certificates.flow(None)).await.expect("it starts");
    let plain = family_flow("v2").await;
    let say = async |flow: &Flow, protocol: Protocol, words: &str| {
        let mut socket = TcpStream::connect(address(flow, protocol)).await.expect("it listens");
        socket.write_all(words.as_bytes()).await.expect("it is read");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("it ends without a reset");
        String::from_utf8(answer).expect("text")
    };
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for protocol in [Protocol::Http, Protocol::WebSocket] {
        let answer = say(&plain, protocol, http2).await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nInvalid HTTP request received."), "{answer}");
        let unencrypted = say(&encrypted, protocol, "GET / HTTP/1.1\r\nhost: flow\r\n\r\n").await;
        assert_eq!(unencrypted, "", "not even an alert of TLS");
    }
    let upgrade = "GET / HTTP/1.1\nhost: flow\nconnection: upgrade\nupgrade: websocket\n\
                   sec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n\n";
    let answer = raw_http(&plain, upgrade).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // From this the Python client learns that Documents are not posted there.
    let openapi = "GET /openapi.json HTTP/1.1\r\nhost: flow\r\nconnection: close\r\n\r\n";
    assert!(say(&plain, Protocol::Http, openapi).await.contains("\"/default\""));
    assert!(!say(&plain, Protocol::WebSocket, openapi).await.contains("\"/default\""));
    encrypted.stop().await;
    plain.stop().await;
}

#[tokio::test]
async fn a_connection_goes_on_after_a_request_that_was_not_for_this_gateway() {
    let flow = family_flow("v1").await;
    for protocol in [Protocol::Http, Protocol::WebSocket] {
        let mut socket = TcpStream::connect(address(&flow, protocol)).await.expect("it listens");
        let mut ask = async |request: &[&str]| {
            for part in request {
                // Head and body in separate segments, as many clients send them.
                socket.write_all(part.as_bytes()).await.expect("it is read");
                socket.flush().await.expect("it is read");
                tokio::task::yield_now().await;
            }
            let mut answer = vec![0; 4096];
            let read = socket.read(&mut answer).await.expect("it answers");
            String::from_utf8(answer[..read].to_vec()).expect("text")
        };
        let refused =
            ask(&["DELETE /dry_run HTTP/1.1\r\nhost: flow\r\ncontent-length: 2\r\n\r\n", "{}"]);
        let refused = refused.await;
        assert!(refused.starts_with("HTTP/1.1 405 "), "{protocol}: {refused}");
        let answer = ask(&["GET / HTTP/1.1\r\nhost: flow\r\n\r\n"]).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol}: {answer}");
    }
    flow.stop().await;
}

#[tokio::test]
async fn pages_of_other_websites_may_call_where_they_are_allowed_to() {
    let preflight = "OPTIONS /post HTTP/1.1\nhost: flow\nconnection: close\norigin: http://a.page\n\
                     access-control-request-method: POST\n\n";
    let open = start(&format!("cors: true\n{CHAIN}")).await;
    let answer = raw_http(&open, preflight).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\r\naccess-control-allow-origin: http://a.page\r\n"), "{answer}");
    let simple = "GET /dry_run HTTP/1.1\nhost: flow\nconnection: close\norigin: http://a.page\n\n";
    let answer = raw_http(&open, simple).await;
    assert!(answer.contains("\r\naccess-control-allow-origin: http://a.page\r\n"), "{answer}");
    open.stop().await;
    let closed = start(CHAIN).await;
    let answer = raw_http(&closed, preflight).await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(!answer.contains("access-control"), "{answer}");
    closed.stop().await;
}

/// PEM files in a temporary folder.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Result<Certificates, rcgen::Error> {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, pem: String| {
            std::fs::write(folder.path().join(name), pem).expect("it can be written");
        };
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        write("ca.pem", params.self_signed(&key)?.pem());
        let authority = Issuer::new(params, key);
        for name in ["127.0.0.1", "client"] {
            let key = KeyPair::generate()?;
            let params = CertificateParams::new(vec![name.to_owned()])?;
            write(&format!("{name}.pem"), params.signed_by(&key, &authority)?.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Ok(Certificates { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn flow(&self, client_ca: Option<&Path>) -> FlowConfig {
        let config = serde_json::json!({
            "tls": {
                "cert": self.path("127.0.0.1.pem"),
                "key": self.path("127.0.0.1.key"),
                "client_ca": client_ca,
            },
            "executors": [{"name": "echo"}],
        });
        serde_json::from_value(config).expect("a configuration")
    }
}

#[tokio::test]
async fn all_protocols_can_be_encrypted() {
    let certificates = Certificates::new().expect("they can be made");
    let plain = TlsOptions { ca: Some(certificates.path("ca.pem")), ..TlsOptions::default() };
    let known = TlsOptions {
        cert: Some(certificates.path("client.pem")),
        key: Some(certificates.path("client.key")),
        ..plain.clone()
    };
    for client_ca in [None, Some(certificates.path("ca.pem"))] {
        let config = certificates.flow(client_ca.as_deref());
        let flow = Flow::start(config).await.expect("it starts");
        for protocol in [Protocol::Grpc, Protocol::Http, Protocol::WebSocket] {
            let target = flow.target(protocol).expect("it is spoken").clone();
            assert!(target.tls);
            let post = async |tls: TlsOptions| {
                let client = Client::new(ClientConfig { tls, ..ClientConfig::new(target.clone()) });
                client.post("/").inputs(texts(&["x"])).send().await
            };
            let found = post(known.clone()).await.expect("the certificate is good");
            assert_eq!(found.texts(), ["x"], "{protocol}");
            assert_eq!(post(plain.clone()).await.is_ok(), client_ca.is_none(), "{protocol}");
        }
        flow.stop().await;
    }
}

#[tokio::test]
async fn certificates_that_are_none_are_told() {
    let certificates = Certificates::new().expect("they can be made");
    let mut config = certificates.flow(None);
    let tls = config.tls.as_mut().expect("it is set");
    tls.key = certificates.path("nosuch.key");
    let why = async |config: FlowConfig| {
        let error = Flow::start(config).await.expect_err("they do not fit");
        assert_eq!(error.to_string(), "could not set up TLS");
        std::error::Error::source(&error).expect("there is a reason").to_string()
    };
    let error = why(config.clone()).await;
    assert!(error.contains("nosuch.key"), "{error}");
    let tls = config.tls.as_mut().expect("it is set");
    tls.key = certificates.path("client.key");
    assert_eq!(why(config).await, "the certificate cannot be used");
}
