//! Requests without responses, and responses without requests: each is reported with its cause.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::endless::{run, serve};

/// A DataRequest whose header has this id, long enough not to be mistaken for a truncated error response.
fn reply(id: &str) -> Vec<u8> {
    let executor = [&[0x0a, 50][..], &[b'e'; 50]].concat();
    let header = match id {
        "" => Vec::new(),
        id => [&[0x0a, 2 + id.len() as u8, 0x0a, id.len() as u8], id.as_bytes()].concat(),
    };
    [&header[..], &[0x1a, executor.len() as u8], &executor].concat()
}

/// A gateway's responses to the n-th request: its own message twice, one without an id, one with another id, or
/// a late one.
async fn answers(number: usize, request: Vec<u8>) -> Vec<Vec<u8>> {
    match number {
        0 => vec![request.clone(), request],
        1 => vec![reply("")],
        2 => vec![reply("nobody")],
        _ => {
            tokio::time::sleep(Duration::from_millis(400)).await;
            vec![request]
        }
    }
}

async fn websocket(stream: TcpStream) -> std::io::Result<()> {
    let io = |_| std::io::ErrorKind::Other;
    let mut socket = tokio_tungstenite::accept_async(stream).await.map_err(io)?;
    let mut number = 0;
    while let Some(Ok(Message::Binary(request))) = socket.next().await {
        for answer in answers(number, request.to_vec()).await {
            socket.send(Message::binary(answer)).await.map_err(io)?;
        }
        number += 1;
    }
    Ok(())
}

/// Serves HTTP/2 with these settings; each call is handled by `answers`.
async fn grpc(stream: TcpStream, builder: h2::server::Builder) -> std::io::Result<()> {
    let io = std::io::Error::other;
    let mut connection = builder.handshake::<_, Bytes>(stream).await.map_err(io)?;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let mut head = http::Response::new(());
            let kind = "application/grpc".parse().expect("a header");
            head.headers_mut().insert("content-type", kind);
            let Ok(mut send) = respond.send_response(head, false) else { return };
            let (mut input, mut number) = (Vec::new(), 0);
            while let Some(Ok(frame)) = body.data().await {
                let _ = body.flow_control().release_capacity(frame.len());
                input.extend_from_slice(&frame);
                while let Some(prefix) = input.first_chunk::<5>() {
                    let length =
                        u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
                    if input.len() < 5 + length {
                        break;
                    }
                    let request = input.drain(..5 + length).skip(5).collect();
                    for answer in answers(number, request).await {
                        let head = [&[0][..], &(answer.len() as u32).to_be_bytes()].concat();
                        let _ = send.send_data([head, answer].concat().into(), false);
                    }
                    number += 1;
                }
            }
        });
    }
    Ok(())
}

async fn http(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    while stream.read(&mut request).await? > 0 {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
        stream.write_all(answer.repeat(2).as_bytes()).await?;
    }
    Ok(())
}

/// One client that sends five requests in sequence.
async fn five_requests(address: &str) -> Value {
    let suite = format!(
        "flows: {{f: {{host: '{address}', family: v1}}}}\n\
         scenarios: [{{name: s, flow: f, documents: {{text: a}}, request_size: 1, timeout: 300ms, \
         load: {{clients: 1, requests: 5, think_time: 400ms}}, grace: 2s}}]\n"
    );
    run(&suite).await.0["scenarios"][0].clone()
}

#[tokio::test]
async fn answers_without_a_request_are_counted_by_why_on_every_protocol() {
    let websocket = serve(websocket).await;
    let grpc = serve(|stream| grpc(stream, h2::server::Builder::new())).await;
    let http = serve(http).await;
    let (websocket, grpc, http) =
        (format!("ws://{websocket}"), format!("grpc://{grpc}"), format!("http://{http}"));
    let [websocket, grpc, http] = futures_util::future::join_all(
        [websocket, grpc, http].iter().map(|address| five_requests(address)),
    )
    .await
    .try_into()
    .expect("as many");
    let told = json!({"without_id": 1, "unknown_id": 1, "duplicate": 1, "late": 1});
    for scenario in [websocket, grpc] {
        assert_eq!(scenario["client"]["unmatched_replies"], told, "{}", scenario["errors"]);
        assert_eq!(scenario["requests"]["ok"], 1);
        assert_eq!(scenario["requests"]["timeouts"], 4);
    }
    // The duplicate of the last response is on a connection that was not used again.
    let twice = http["client"]["unmatched_replies"]["duplicate"].as_u64();
    assert!(twice >= Some(3), "{}", http["client"]);
    assert_eq!(http["requests"]["ok"], 5);
}

#[tokio::test]
async fn what_never_went_out_is_told_with_how_long_the_flow_held_it_back() {
    let mut no_calls = h2::server::Builder::new();
    no_calls.max_concurrent_streams(0);
    let mut no_window = h2::server::Builder::new();
    no_window.initial_window_size(0);
    for builder in [no_calls, no_window] {
        let address = serve(move |stream| grpc(stream, builder.clone())).await;
        let suite = format!(
            "flows: {{f: {{host: 'grpc://{address}', family: v1}}}}\n\
             scenarios: [{{name: s, flow: f, documents: {{text: a}}, request_size: 1, \
             load: {{clients: 3, duration: 300ms}}, grace: 300ms}}]\n"
        );
        let (result, _) = run(&suite).await;
        let scenario = &result["scenarios"][0];
        assert_eq!(scenario["requests"]["abandoned"], 3, "{}", scenario["errors"]);
        let client = &scenario["client"];
        assert_eq!(client["abandoned_unsent"], 3);
        for figure in ["p50", "max"] {
            let held = client["held_back_ms"][figure].as_f64();
            assert!(held.is_some_and(|held| held > 500.0), "{}", client["held_back_ms"]);
        }
    }
}
