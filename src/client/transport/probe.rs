//! Small queries to a port, beside the requests of a session: what a gateway reports about itself
//! over HTTP, and what a port seems to speak if it does not speak what we expected.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::Connector;
use super::http1::{self, Broken, Marks, RequestHead};
use super::spoken::{Spoken, expected, name, recognize, words};
use super::tls::{self, Alpn};
use crate::client::memory::Bounds;
use crate::client::{CallError, ClientConfig, GatewayCode, TlsOptions};
use crate::wire::Target;

/// Limit of an answer to `get`, in bytes. The `/openapi.json` of a Flow with many endpoints and
/// schemas has a few hundred KB.
const ANSWER_MAX: usize = 8 << 20;

/// How long the queries of `spoken`, which are sent at the same time, may take together; less if
/// the user's connect timeout is less. They follow a failure, so somebody waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// Fetches a path over HTTP/1.1 on a separate connection, within the connect timeout: status and
/// body. `connector` must not have offered HTTP/2.
///
/// # Errors
/// `Connect`, `Tls`, `Timeout`, `Lost`, `Protocol` when the answer is not HTTP, `TooLarge`.
pub(super) async fn get(
    config: &ClientConfig,
    connector: &Connector,
    path: &'static str,
) -> Result<(u16, Bytes), CallError> {
    let head = RequestHead::new("GET", path, &http1::header_lines(config, &[])?);
    let exchange = async {
        let mut connection = http1::Connection::new(connector.connect().await?);
        let bounds = Bounds::small(ANSWER_MAX);
        let answer = connection.exchange(&head, None, &bounds, &mut Marks::default()).await;
        let answer = answer.map_err(|broken| {
            let target = connector.target();
            broken.into_error(target, name(target.protocol), ANSWER_MAX, true)
        })?;
        Ok((answer.status, answer.body))
    };
    match timeout(connector.limit(), exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::Timeout(connector.limit())),
    }
}

/// Whether a port speaks HTTP/1.1 at all: any answer will do.
///
/// # Errors
/// `Connect`, `Tls`, `Timeout`, `Lost` if nothing was answered, `Protocol` when the answer is not
/// HTTP.
pub(super) async fn speaks_http(
    config: &ClientConfig,
    connector: &Connector,
) -> Result<(), CallError> {
    const ENOUGH: usize = 1 << 16;
    let head = RequestHead::new("GET", "/status", &http1::header_lines(config, &[])?);
    let exchange = async {
        let mut connection = http1::Connection::new(connector.connect().await?);
        let mut marks = Marks::default();
        let answer = connection.exchange(&head, None, &Bounds::small(ENOUGH), &mut marks).await;
        match answer {
            Ok(_) | Err(Broken::TooLarge | Broken::NoRoom(_)) => Ok(()),
            // It began as HTTP.
            Err(Broken::Ended(_)) if marks.first.is_some() => Ok(()),
            Err(broken) => {
                let target = connector.target();
                Err(broken.into_error(target, name(target.protocol), ENOUGH, false))
            }
        }
    };
    match timeout(connector.limit(), exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(CallError::Timeout(connector.limit())),
    }
}

/// Adds to a failure to open a session, or to find the endpoints, what the port seems to speak instead,
/// if that can be found out within a second.
pub(super) async fn explain(connector: &Connector, error: CallError) -> CallError {
    let target = connector.target();
    let hint = match &error {
        CallError::Protocol { named: true, .. } => None,
        // A refusal other than "not found" (401, 503) says enough, and a proxy answers it to
        // everything.
        CallError::Gateway { code, .. } if *code != GatewayCode::Http(404) => None,
        CallError::Protocol { .. }
        | CallError::Lost { .. }
        | CallError::Timeout(_)
        | CallError::Gateway { .. } => {
            match spoken(connector).await {
                // Then we speak the same protocol, and the reason is another one.
                Some(found) if found == expected(target) => None,
                found => found,
            }
        }
        // A rejected certificate needs no explanation; a port without TLS may.
        CallError::Tls { .. } => match spoken(&connector.plain()).await {
            Some(Spoken::Tls | Spoken::Nothing) => None,
            found => found,
        },
        _ => None,
    };
    let Some(spoken) = hint else { return error };
    let plain_port = matches!(error, CallError::Tls { .. });
    let hint = words(&spoken, target, target.tls && !plain_port);
    let named = spoken.is_known();
    match error {
        CallError::Protocol { target, expected, reason, .. } => {
            CallError::Protocol { target, expected, reason: format!("{reason}; {hint}"), named }
        }
        CallError::Tls { target, reason } => {
            CallError::Tls { target, reason: format!("{reason}; {hint}") }
        }
        CallError::Lost { target, reason } => CallError::Protocol {
            expected: name(target.protocol),
            target,
            reason: format!("{reason}; {hint}"),
            named,
        },
        CallError::Timeout(limit) => CallError::Protocol {
            target: target.clone(),
            expected: name(target.protocol),
            reason: format!("no answer within {limit:?}; {hint}"),
            named,
        },
        CallError::Gateway { code, .. } => CallError::Protocol {
            target: target.clone(),
            expected: name(target.protocol),
            reason: format!("it responded with {code}; {hint}"),
            named,
        },
        error => error,
    }
}

/// Finds out what a port speaks. `None` if it accepts no connections.
async fn spoken(connector: &Connector) -> Option<Spoken> {
    let target = connector.target();
    let patience = connector.limit().min(PATIENCE);
    // Over TLS only if TLS itself has worked; any certificate will do for this.
    let over = match connector.uses_tls() {
        true => Connector::asking(target, Alpn::Any)?,
        false => connector.plain(),
    }
    .within(patience);
    let deadline = Instant::now() + patience;
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Zmxvd2JlbmNoIGFza3MgLg==\r\n\
         Sec-WebSocket-Protocol: bytes\r\n\r\n",
        target.authority()
    );
    let hello = if connector.uses_tls() { None } else { client_hello(target) };
    // The first bytes of an HTTP/2 client, and settings that change nothing.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let questions = [Some(upgrade.into_bytes()), hello, Some(preface.to_vec())];
    let mut answers: FuturesOrdered<_> = questions
        .into_iter()
        .flatten()
        .map(|question| first_words(&over, question, deadline))
        .collect();
    // The answer to an earlier query says more, and makes the later ones unnecessary.
    let mut connects = false;
    while let Some(answer) = answers.next().await {
        match answer.map(|bytes| recognize(&bytes)) {
            None if !connects => return None,
            None | Some(None) => connects = true,
            Some(spoken) => return spoken,
        }
    }
    Some(Spoken::Nothing)
}

/// Sends `question` and reads the beginning of the answer: empty if there is none by the deadline,
/// `None` if there is no connection.
async fn first_words(
    connector: &Connector,
    question: Vec<u8>,
    deadline: Instant,
) -> Option<Vec<u8>> {
    let mut connection = connector.connect().await.ok()?;
    let mut answer = vec![0; 256];
    let exchange = async {
        // A server that speaks first may have closed by now; what it said can still be read.
        let _ = connection.write_all(&question).await;
        connection.read(&mut answer).await.unwrap_or(0)
    };
    let length = timeout_at(deadline, exchange).await.unwrap_or(0);
    answer.truncate(length);
    Some(answer)
}

/// The first message of a TLS handshake.
fn client_hello(target: &Target) -> Option<Vec<u8>> {
    let options = TlsOptions { insecure: true, ..TlsOptions::default() };
    let config = tls::client_config(&options, Alpn::Any).ok()?;
    let name = ServerName::try_from(target.host.clone()).ok()?;
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).ok()?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello).ok()?;
    Some(hello)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::connect::tests::{Authority, config};
    use super::*;
    use crate::client::{Client, ClientConfig};
    use crate::wire::Protocol;

    /// A server that reads a little and answers every connection with `bytes`; returns its port.
    async fn answering(bytes: &'static [u8], tls: Option<rustls::ServerConfig>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => {
                            let _ = tcp.read(&mut [0; 1024]).await;
                            let _ = tcp.write_all(bytes).await;
                        }
                        Some(acceptor) => {
                            if let Ok(mut stream) = acceptor.accept(tcp).await {
                                let _ = stream.read(&mut [0; 1024]).await;
                                let _ = stream.write_all(bytes).await;
                                let _ = stream.shutdown().await;
                            }
                        }
                    }
                });
            }
        });
        port
    }

    fn lost(target: &Target, reason: &str) -> CallError {
        CallError::Lost { target: target.clone(), reason: reason.into() }
    }

    /// Checks the error when a session of this protocol fails to open on a port that answers like
    /// this.
    async fn check(protocol: Protocol, answer: &'static [u8], hint: &str) {
        let port = answering(answer, None).await;
        let config = config(protocol, port, false);
        let connector = Connector::new(&config, Alpn::Http1).unwrap();
        let error = lost(&config.target, "it went");
        let shown = explain(&connector, error).await.to_string();
        let expected = format!(
            "{} does not speak {}: it went; {}",
            config.target,
            name(protocol),
            hint.replace("PORT", &port.to_string())
        );
        assert_eq!(shown, expected);
    }

    #[tokio::test]
    async fn a_port_is_told_by_its_first_bytes() {
        let http = b"HTTP/1.1 403 Forbidden\r\n\r\n";
        check(
            Protocol::Grpc,
            http,
            "the port seems to speak HTTP/1.1: try `http://127.0.0.1:PORT`",
        )
        .await;
        check(
            Protocol::WebSocket,
            http,
            "the port seems to speak HTTP/1.1: try `http://127.0.0.1:PORT`",
        )
        .await;
        check(
            Protocol::Http,
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "the port seems to speak WebSocket: try `ws://127.0.0.1:PORT`",
        )
        .await;
        check(
            Protocol::Http,
            b"\0\0\x12\x04\0\0\0\0\0\0\x03\x7f\xff\xff\xff",
            "the port seems to speak gRPC (HTTP/2): try `grpc://127.0.0.1:PORT`, or `http_version: 2` for \
             plain requests",
        )
        .await;
        check(
            Protocol::Grpc,
            b"\x15\x03\x03\0\x02\x02\x46",
            "the port seems to speak TLS: try `grpcs://127.0.0.1:PORT`",
        )
        .await;
        check(Protocol::Grpc, b"SSH-2.0-OpenSSH_9.2\r\n", "the port seems to speak SSH").await;
        check(
            Protocol::Http,
            b"220 mail.example\x07 ESMTP\r\n",
            "the port begins with `220 mail.example\\x07 ESMTP`",
        )
        .await;
        check(Protocol::Http, b"", "the port accepts connections but sends nothing").await;
    }

    #[tokio::test]
    async fn a_silent_port_is_told_within_the_time_that_a_connection_may_take() {
        // It accepts connections into its queue, and nobody ever looks at them.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limit = Duration::from_millis(500);
        let opened = [
            (Protocol::Grpc, false),
            (Protocol::Http, false),
            (Protocol::WebSocket, false),
            (Protocol::Grpc, true),
        ]
        .map(async |(protocol, tls)| {
            let config = ClientConfig { connect_timeout: limit, ..config(protocol, port, tls) };
            let begun = Instant::now();
            let error = Client::new(config).open().await.unwrap_err();
            // One limit to ask what it is, one for what it speaks instead, and one because the
            // machine may be busy. The three queries about what it speaks would take three, one
            // after the other.
            assert!(begun.elapsed() < limit * 3, "{protocol}: {:?}", begun.elapsed());
            assert!(error.to_string().contains("500ms"), "{error}");
        });
        futures_util::future::join_all(opened).await;
    }

    #[tokio::test]
    async fn a_failure_on_a_port_that_speaks_what_we_do_stays_as_it_is() {
        let port = answering(b"HTTP/1.1 404 Not Found\r\n\r\n", None).await;
        let config = config(Protocol::Http, port, false);
        let connector = Connector::new(&config, Alpn::Http1).unwrap();
        let error = explain(&connector, lost(&config.target, "it went")).await;
        assert_eq!(error.to_string(), format!("connection to {} lost: it went", config.target));
    }

    #[tokio::test]
    async fn tls_to_a_plain_port_and_plain_to_a_tls_port_name_the_other() {
        let insecure = TlsOptions { insecure: true, ..TlsOptions::default() };
        let port = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", None).await;
        let to_plain =
            ClientConfig { tls: insecure.clone(), ..config(Protocol::WebSocket, port, true) };
        let connector = Connector::new(&to_plain, Alpn::Http1).unwrap();
        let error = connector.connect().await.unwrap_err();
        assert_eq!(
            explain(&connector, error).await.to_string(),
            format!(
                "TLS with wss://127.0.0.1:{port} failed: the response is not TLS; the port seems \
                 to speak HTTP/1.1: try `http://127.0.0.1:{port}`"
            )
        );
        let identity = Authority::new().server("127.0.0.1");
        let port = answering(b"HTTP/1.1 200 OK\r\n\r\n", Some(identity.config())).await;
        let plain = config(Protocol::Http, port, false);
        let connector = Connector::new(&plain, Alpn::Http1).unwrap();
        let error = get(&plain, &connector, "/status").await.unwrap_err();
        assert!(
            explain(&connector, error)
                .await
                .to_string()
                .ends_with(&format!("the port seems to speak TLS: try `https://127.0.0.1:{port}`"))
        );
        let inside = ClientConfig { tls: insecure, ..config(Protocol::WebSocket, port, true) };
        let connector = Connector::new(&inside, Alpn::Http1).unwrap();
        let error = explain(&connector, lost(&inside.target, "it went")).await;
        assert!(
            error.to_string().ends_with(&format!(
                "the port seems to speak HTTP/1.1: try `https://127.0.0.1:{port}`"
            )),
            "{error}"
        );
    }

    #[tokio::test]
    async fn get_reads_an_answer_and_names_what_is_none() {
        for (answer, expected) in [
            (
                &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"[..],
                Ok((200, Bytes::from_static(b"{}"))),
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\nno", Ok((404, "no".into()))),
            (b"SSH-2.0-x\r\n", Err("protocol")),
            (b"\0\0\x12\x04\0\0\0\0\0", Err("protocol")),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", Err("lost")),
            (b"", Err("lost")),
        ] {
            let port = answering(answer, None).await;
            let config = config(Protocol::Http, port, false);
            let connector = Connector::new(&config, Alpn::Http1).unwrap();
            let found = get(&config, &connector, "/").await;
            assert_eq!(found.map_err(|error| error.kind()), expected);
        }
    }
}
