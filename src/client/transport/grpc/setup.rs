//! What all connections to a gateway share: the headers of calls, the messages of errors, and the
//! meaning of the gateway's headers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};

use super::super::connect::Connector;
use super::super::http2::Code;
use super::super::http2::hpack::{self, Block};
use super::super::pending::UnmatchedCounts;
use super::{CALL, SINGLE, frame, status};
use crate::client::memory::Bounds;
use crate::client::{
    CallError, ClientConfig, Compression, ConfigError, GatewayCode, RequestHeaders,
};
use crate::wire::{Protocol, Target};

/// Limit of response headers and trailers, in bytes as HTTP/2 counts them. A status may carry a
/// Python traceback.
const HEADERS_MAX: usize = 64 << 10;
/// Bytes that HTTP/2 counts for a header line in addition to its name and value.
const LINE: usize = 32;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: Arc<ClientConfig>,
    pub(super) connector: Connector,
    pub(super) unmatched: Arc<UnmatchedCounts>,
    pub(super) bounds: Bounds,
    /// Headers of every call.
    map: HeaderMap,
    /// The header blocks of the methods called once per stream and once per request.
    stream: Block,
    single: Block,
}

impl Setup {
    /// Turns the user's headers into metadata.
    ///
    /// # Errors
    /// A header that cannot be sent.
    pub(super) fn new(
        config: Arc<ClientConfig>,
        connector: Connector,
    ) -> Result<Setup, ConfigError> {
        let mut map = config.header_map()?;
        map.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        map.insert(TE, HeaderValue::from_static("trailers"));
        map.entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("flowbench/", env!("CARGO_PKG_VERSION"))));
        let mut metadata = |name, value| map.insert(HeaderName::from_static(name), value);
        metadata("grpc-accept-encoding", HeaderValue::from_static("identity, deflate, gzip"));
        match config.compression {
            Compression::None => None,
            Compression::Gzip => metadata("grpc-encoding", HeaderValue::from_static("gzip")),
            Compression::Deflate => metadata("grpc-encoding", HeaderValue::from_static("deflate")),
        };
        if config.results_in_order {
            metadata("__results_in_order__", HeaderValue::from_static("true"));
        }
        if config.prefetch != ClientConfig::PREFETCH {
            metadata("__prefetch__", HeaderValue::from(config.prefetch));
        }
        Ok(Setup {
            stream: block(&config.target, CALL, &map),
            single: block(&config.target, SINGLE, &map),
            unmatched: Arc::default(),
            bounds: Bounds::of(&config),
            map,
            config,
            connector,
        })
    }

    /// The headers of a call, and whether a server may keep them.
    pub(super) fn headers<R>(
        &self,
        path: &'static str,
        own: Option<&RequestHeaders>,
        with: impl FnOnce(&Block, bool) -> R,
    ) -> R {
        match (path, own) {
            (SINGLE, None) => with(&self.single, true),
            (CALL, None) => with(&self.stream, false),
            _ => {
                let mut map = self.map.clone();
                if let Some(own) = own {
                    own.put_into(&mut map);
                }
                with(&block(self.target(), path, &map), false)
            }
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.config.target
    }

    /// The error of a request that is still on our side, and why it will not go out on its
    /// connection.
    pub(super) fn not_taken(&self, reason: String) -> CallError {
        CallError::NotTaken { target: self.target().clone(), reason }
    }

    pub(super) fn lost(&self, reason: impl Into<String>) -> CallError {
        CallError::Lost { target: self.target().clone(), reason: reason.into() }
    }

    /// The error of a peer that broke the protocol: it is not gRPC.
    pub(super) fn protocol(&self, reason: impl Into<String>) -> CallError {
        let (target, reason) = (self.target().clone(), reason.into());
        CallError::Protocol { target, expected: "gRPC", reason, named: false }
    }

    pub(super) fn silent(&self) -> CallError {
        self.lost("the other side closed the connection")
    }

    /// The same for a peer whose frames are invalid.
    pub(super) fn no_http2(&self, code: Code) -> CallError {
        self.protocol(format!("it does not send HTTP/2 ({code:?})"))
    }

    /// The error of a stream that was reset. `begun`: the gateway had begun to answer, so whatever
    /// it says, it has processed the request.
    pub(super) fn reset(&self, code: Code, begun: bool) -> CallError {
        match code {
            Code::REFUSED_STREAM if !begun => self.not_taken("it refused the stream".into()),
            Code::REFUSED_STREAM => self.lost("it refused the stream"),
            code => self.lost(format!("the gateway reset the stream ({code:?})")),
        }
    }

    /// The error of a stream beyond those that a gateway processes before it leaves.
    pub(super) fn goodbye(&self, code: Code) -> CallError {
        let words = match code {
            Code::NO_ERROR => String::new(),
            code => format!(", {code:?}"),
        };
        self.not_taken(format!("it closed the connection (GOAWAY{words})"))
    }

    /// Rejects a response that is not gRPC: from a proxy on the way, or from another kind of
    /// server.
    ///
    /// # Errors
    /// When the response is not gRPC.
    pub(super) fn judge(&self, head: &Told) -> Result<(), CallError> {
        let kind = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_grpc = kind.is_some_and(|kind| kind.starts_with("application/grpc"));
        let kind = kind.unwrap_or("nothing");
        match (head.status, is_grpc) {
            (200, true) => Ok(()),
            (200, false) => Err(self.protocol(format!(
                "it responds with content type `{kind:.60}`, expected `application/grpc`"
            ))),
            (code, _) => Err(CallError::Gateway {
                code: GatewayCode::Http(code),
                message: format!(
                    "a response with content type `{kind:.60}`, expected `application/grpc`"
                ),
                retry_after: None,
            }),
        }
    }

    pub(super) fn headers_too_large(&self) -> CallError {
        self.protocol("response headers over 64 KiB")
    }
}

fn block(target: &Target, path: &str, map: &HeaderMap) -> Block {
    let authority = target.authority();
    let pseudo = [
        (":method", "POST"),
        (":scheme", Protocol::Http.scheme(target.tls)),
        (":path", path),
        (":authority", &authority),
    ];
    let pseudo = pseudo.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let own = map.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
    Block::new(&pseudo.chain(own).collect::<Vec<_>>())
}

/// A parsed header block.
#[derive(Debug)]
pub(super) struct Told {
    /// The HTTP status; 0 in trailers.
    pub(super) status: u16,
    headers: HeaderMap,
    /// The status of the call, if it is given.
    pub(super) ended: Option<Result<(), CallError>>,
    /// How messages are compressed.
    pub(super) encoding: Compression,
    /// Whether it is larger than we accept.
    pub(super) too_large: bool,
}

/// Header blocks seen before, parsed: equal blocks are equal bytes.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<(Bytes, Arc<Told>)>);

/// How many are remembered: those of a response and its end, of a few methods.
const SEEN: usize = 8;

/// Longer blocks are not remembered. They report failures, each a different one.
const SEEN_BYTES: usize = 512;

impl Seen {
    /// Parses a block.
    ///
    /// # Errors
    /// When it is not a header block.
    pub(super) fn read(&mut self, block: &Bytes) -> Result<Arc<Told>, Code> {
        if let Some((_, told)) = self.0.iter().find(|(known, _)| known == block) {
            return Ok(told.clone());
        }
        let told = Arc::new(Told::read(block)?);
        if block.len() <= SEEN_BYTES {
            if self.0.len() == SEEN {
                self.0.remove(0);
            }
            self.0.push((Bytes::copy_from_slice(block), told.clone()));
        }
        Ok(told)
    }
}

impl Told {
    fn read(block: &[u8]) -> Result<Told, Code> {
        let (mut headers, mut bytes) = (HeaderMap::new(), 0);
        let (mut status, mut malformed) = (None, false);
        hpack::read(block, |name, value| {
            bytes += name.len() + value.len() + LINE;
            if let Some(pseudo) = name.strip_prefix(b":") {
                // The only pseudo-header of a response; it comes first.
                malformed |= pseudo != b"status" || status.is_some() || !headers.is_empty();
                let digits = str::from_utf8(value).ok().filter(|digits| digits.len() == 3);
                status = Some(digits.and_then(|digits| digits.parse().ok()).unwrap_or_default());
                malformed |= status == Some(0);
                return;
            }
            malformed |= name.iter().any(u8::is_ascii_uppercase);
            if bytes > HEADERS_MAX {
                return;
            }
            match (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                (Ok(name), Ok(value)) => drop(headers.try_append(name, value)),
                _ => malformed = true,
            }
        })
        .map_err(|_| Code::COMPRESSION_ERROR)?;
        if malformed {
            return Err(Code::PROTOCOL_ERROR);
        }
        Ok(Told {
            status: status.unwrap_or_default(),
            ended: status::read(&headers),
            encoding: frame::encoding(&headers),
            headers,
            too_large: bytes > HEADERS_MAX,
        })
    }
}
