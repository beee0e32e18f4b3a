//! A page of another website in a real browser.

use std::time::Duration;

use flowbench::wire::Protocol;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{address, start};
use crate::chromium;

/// Posts with a preflight, reads, and talks over a WebSocket; then reports the results.
const PAGE: &str = r#"<!DOCTYPE html><script>
(async () => {
  const found = [];
  const body = JSON.stringify({data: [{text: "of a page"}], execEndpoint: "/"});
  try {
    const headers = {"content-type": "application/json"};
    const answer = await fetch("http://HTTP/post", {method: "POST", headers, body});
    found.push(answer.status, (await answer.json()).data[0].text);
    found.push((await (await fetch("http://HTTP/dry_run")).json()).code);
  } catch (error) { found.push(String(error)); }
  try {
    const socket = new WebSocket("ws://WEBSOCKET/");
    const event = name => new Promise(resolve => socket["on" + name] = resolve);
    await event("open");
    socket.send(body);
    found.push(JSON.parse((await event("message")).data).data[0].text);
    socket.send("{}");
    found.push((await event("close")).code);
  } catch (error) { found.push(String(error)); }
  await fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"#;

#[tokio::test]
async fn a_page_of_another_website_posts_and_talks() {
    let flow = start("{cors: true, executors: [{name: echo}]}").await;
    let page = PAGE
        .replace("HTTP", &address(&flow, Protocol::Http))
        .replace("WEBSOCKET", &address(&flow, Protocol::WebSocket));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let website = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut browser) = chromium::start(folder.path(), &website) else { return };
    let (tell, mut told) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (page, tell) = (page.clone(), tell.clone());
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (page, tell) = (page.clone(), tell.clone());
                async move {
                    if request.method() == Method::POST {
                        let body = request.into_body().collect().await?.to_bytes();
                        let _ = tell.send(body).await;
                    }
                    let answer = Response::builder().header("content-type", "text/html");
                    let answer = answer.body(Full::new(Bytes::from(page))).expect("a page");
                    Ok::<_, hyper::Error>(answer)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service);
            tokio::spawn(connection);
        }
    });
    let found = tokio::time::timeout(Duration::from_secs(120), told.recv()).await;
    let found = found.expect("the browser opens the page").expect("it tells");
    let found: Value = serde_json::from_slice(&found).expect("it is JSON");
    assert_eq!(found, json!([200, "of a page", 0, "of a page", 1000]));
    let _ = browser.kill().await;
    flow.stop().await;
}
