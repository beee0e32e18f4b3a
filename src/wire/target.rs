//! Where a Flow is: protocol, host, port and TLS, from a URI, separate arguments or a mix.
//!
//! Addresses and defaults are those of `jina.Client`; in addition, IPv6 addresses, user info and upper-case
//! schemes are understood. As in Jina, giving something in two places is an error even if both agree.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::Protocol;
use crate::units::nearest;

/// An address as given by a user: a host that may be a URI, and separate arguments.
///
/// If nothing is given, it is a Flow over gRPC without TLS at `0.0.0.0:80`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// `my.flow`, `my.flow:1234` or `grpcs://my.flow:1234`; `0.0.0.0` if omitted.
    pub host: Option<String>,
    /// Given separately from `host`. 0 means the default: 80, or 443 with TLS.
    pub port: Option<u16>,
    /// Given separately from `host`.
    pub protocol: Option<Protocol>,
    /// Given separately from `host`.
    pub tls: Option<bool>,
}

/// A resolved address, shown as `grpcs://my.flow:1234`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The protocol of the gateway.
    pub protocol: Protocol,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// `user:password` from the URI, percent-decoded; sent as basic authorization, never shown.
    pub user_info: Option<String>,
}

/// Why an address is invalid. User info is masked in all of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The host and a separate argument give the same thing, even if with the same value.
    #[error(
        "two sources of truth for `{what}`: host `{host}` gives `{in_host}`, argument `{what}` \
         gives `{argument}`; expected it in one place, leave the other out"
    )]
    TwoSources {
        /// `port`, `protocol` or `tls`.
        what: &'static str,
        /// The host as written.
        host: String,
        /// What the host says.
        in_host: String,
        /// What the argument says.
        argument: String,
    },
    /// An unknown scheme.
    #[error(
        "unknown scheme `{scheme}` in host `{host}`{}; expected one of {SCHEMES}",
        hint(.nearest)
    )]
    Scheme {
        /// The host as written.
        host: String,
        /// The text before `://`.
        scheme: String,
        /// The scheme that was probably meant.
        nearest: Option<&'static str>,
    },
    /// An unknown protocol argument.
    #[error("unknown protocol `{found}`{}; expected one of grpc, http, websocket", hint(.nearest))]
    Protocol {
        /// The argument as written.
        found: String,
        /// The protocol that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A port that is not a number, or too large.
    #[error(
        "port `{port}` in host `{host}` is not a port; expected a number from 1 to 65535, or 0 for \
         the default"
    )]
    Port {
        /// The host as written.
        host: String,
        /// The text in place of the port.
        port: String,
    },
    /// The address has a path, but must end with its port.
    #[error(
        "host `{host}` has the path `{path}`; expected the address to end with the port; the \
         endpoint is given separately (`on`)"
    )]
    Path {
        /// The host as written.
        host: String,
        /// From the slash, question mark or hash on.
        path: String,
    },
    /// Colons that belong neither to a port nor to an IPv6 address.
    #[error(
        "`{found}` in host `{host}` is not an IPv6 address; expected {}",
        meant(.found)
    )]
    Ipv6 {
        /// The host as written.
        host: String,
        /// What should be an IPv6 address.
        found: String,
    },
    /// The name or IP address is missing.
    #[error(
        "host `{host}` names no host; expected a name or an IP address such as `localhost:1234`, or \
         no host at all for `{DEFAULT_HOST}`"
    )]
    NoHost {
        /// The host as written.
        host: String,
    },
    /// A character that host names cannot have.
    #[error(
        "`{character}` is not allowed in host `{host}`; expected a name of ASCII letters, \
         digits, dots, dashes and underscores, or an IP address"
    )]
    Character {
        /// The host as written.
        host: String,
        /// The first such character, escaped if it is not visible.
        character: String,
    },
}

/// What an address with too many colons probably means: an IPv6 address with a port needs brackets.
fn meant(found: &str) -> String {
    let port = found.rsplit_once(':').filter(|(address, port)| {
        address.parse::<std::net::Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok()
    });
    match port {
        Some((address, port)) => format!("`[{address}]:{port}`"),
        None => "`name:port`, `::1` or `[::1]:port`".into(),
    }
}

/// Jina's default host: every interface of this machine; as a destination, this machine itself.
const DEFAULT_HOST: &str = "0.0.0.0";
const SCHEMES: &str = "grpc, grpcs, http, https, ws, wss, websocket";

impl Address {
    /// Combines the parts and fills in the defaults.
    ///
    /// # Errors
    /// When `host` is not an address, or gives something that a separate argument gives too.
    pub fn resolve(&self) -> Result<Target, TargetError> {
        let host = match &self.host {
            Some(host) => Host::parse(host)?,
            None => Host { name: DEFAULT_HOST.into(), ..Host::default() },
        };
        let two_sources = |what, in_host: String, argument: String| TargetError::TwoSources {
            what,
            host: masked(self.host.as_deref().unwrap_or_default()),
            in_host,
            argument,
        };
        if let (Some(in_host), Some(argument)) = (host.protocol, self.protocol) {
            return Err(two_sources("protocol", in_host.to_string(), argument.to_string()));
        }
        if let (true, Some(argument)) = (host.tls, self.tls) {
            return Err(two_sources("tls", "true".into(), argument.to_string()));
        }
        if let (Some(in_host), Some(argument)) = (host.port, self.port) {
            return Err(two_sources("port", in_host.to_string(), argument.to_string()));
        }
        // A scheme without `s` does not exclude TLS: `http://h` with `tls` is HTTP with TLS.
        let tls = host.tls || self.tls == Some(true);
        let port = host.port.or(self.port).filter(|&port| port != 0);
        Ok(Target {
            protocol: host.protocol.or(self.protocol).unwrap_or(Protocol::Grpc),
            host: host.name,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            tls,
            user_info: host.user_info,
        })
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// Reads an address given as one text: `grpcs://my.flow:1234`, `localhost:1234`.
    fn from_str(host: &str) -> Result<Target, TargetError> {
        Address { host: Some(host.into()), ..Address::default() }.resolve()
    }
}

impl Target {
    /// The URI scheme, `grpcs` for gRPC with TLS.
    pub fn scheme(&self) -> &'static str {
        self.protocol.scheme(self.tls)
    }

    /// `host:port`, with brackets around an IPv6 address, as in URIs and `Host` headers.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = if self.user_info.is_some() { "***@" } else { "" };
        write!(f, "{}://{user}{}", self.scheme(), self.authority())
    }
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 3] = [Protocol::Grpc, Protocol::Http, Protocol::WebSocket];

    /// Its name in scenario files and results.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
            Protocol::WebSocket => "websocket",
        }
    }

    /// Its URI scheme, `grpcs` for gRPC with TLS.
    pub fn scheme(self, tls: bool) -> &'static str {
        match (self, tls) {
            (Protocol::Grpc, false) => "grpc",
            (Protocol::Grpc, true) => "grpcs",
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::WebSocket, false) => "ws",
            (Protocol::WebSocket, true) => "wss",
        }
    }
}

impl FromStr for Protocol {
    type Err = TargetError;

    /// Reads `grpc`, `http` or `websocket`, in any case.
    fn from_str(text: &str) -> Result<Protocol, TargetError> {
        let lower = text.to_ascii_lowercase();
        let known = Protocol::ALL.into_iter().find(|protocol| protocol.name() == lower);
        known.ok_or_else(|| TargetError::Protocol {
            found: text.into(),
            // People write the schemes instead.
            nearest: match lower.as_str() {
                "ws" | "wss" => Some(Protocol::WebSocket.name()),
                "https" => Some(Protocol::Http.name()),
                other => nearest(other, Protocol::ALL.map(Protocol::name)),
            },
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The parts of a host as written.
#[derive(Default)]
struct Host {
    protocol: Option<Protocol>,
    tls: bool,
    user_info: Option<String>,
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(written: &str) -> Result<Host, TargetError> {
        let host = || masked(written);
        let (scheme, rest) = match written.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, written),
        };
        let (protocol, tls) = match scheme.map(str::to_ascii_lowercase).as_deref() {
            None => (None, false),
            Some("grpc") => (Some(Protocol::Grpc), false),
            Some("grpcs") => (Some(Protocol::Grpc), true),
            Some("http") => (Some(Protocol::Http), false),
            Some("https") => (Some(Protocol::Http), true),
            Some("ws" | "websocket") => (Some(Protocol::WebSocket), false),
            Some("wss") => (Some(Protocol::WebSocket), true),
            Some(other) => {
                return Err(TargetError::Scheme {
                    host: host(),
                    scheme: scheme.unwrap_or_default().into(),
                    nearest: nearest(other, SCHEMES.split(", ")),
                });
            }
        };
        // Browsers append one slash, which changes nothing.
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // A password may contain an `@`, a host name may not.
        let (user_info, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(percent_decoded(user)), rest),
            None => (None, rest),
        };
        let (name, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (inside, after) = bracketed.split_once(']').unwrap_or((bracketed, "["));
                let port = match after.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if after.is_empty() => None,
                    None if after.starts_with(['/', '?', '#']) => {
                        return Err(TargetError::Path { host: host(), path: after.into() });
                    }
                    None => return Err(TargetError::Ipv6 { host: host(), found: rest.into() }),
                };
                if inside.parse::<Ipv6Addr>().is_err() {
                    return Err(TargetError::Ipv6 { host: host(), found: inside.into() });
                }
                (inside, port)
            }
            None if rest.matches(':').nth(1).is_some() => {
                if rest.parse::<Ipv6Addr>().is_err() {
                    return Err(TargetError::Ipv6 { host: host(), found: rest.into() });
                }
                (rest, None)
            }
            None => match rest.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (rest, None),
            },
        };
        if let Some(start) = name.find(['/', '?', '#']) {
            return Err(TargetError::Path { host: host(), path: name[start..].into() });
        }
        if name.is_empty() {
            return Err(TargetError::NoHost { host: host() });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if let Some(character) = name.chars().find(|&c| !allowed(c)) {
            let character = match character {
                ' ' => "space".into(),
                other if other.is_whitespace() || other.is_control() => {
                    other.escape_default().to_string()
                }
                other => other.to_string(),
            };
            return Err(TargetError::Character { host: host(), character });
        }
        let port = match port {
            None | Some("") => None,
            Some(port) => {
                if let Some(start) = port.find(['/', '?', '#']) {
                    return Err(TargetError::Path { host: host(), path: port[start..].into() });
                }
                // `parse` alone would accept a sign.
                let digits = port.bytes().all(|b| b.is_ascii_digit());
                match port.parse().ok().filter(|_| digits) {
                    Some(number) => Some(number),
                    None => return Err(TargetError::Port { host: host(), port: port.into() }),
                }
            }
        };
        Ok(Host { protocol, tls, user_info, name: name.into(), port })
    }
}

/// The host as written, with `***` in place of user and password.
fn masked(written: &str) -> String {
    let (scheme, rest) = match written.find("://") {
        Some(at) => written.split_at(at + 3),
        None => ("", written),
    };
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}***@{rest}"),
        None => written.into(),
    }
}

/// Decodes escapes: `%40` becomes `@`. Anything else stays as it is.
fn percent_decoded(text: &str) -> String {
    let digit = |b: &u8| (*b as char).to_digit(16);
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| Some((bytes.get(at + 1).and_then(digit)?, bytes.get(at + 2).and_then(digit)?)))
            .flatten();
        match escape {
            Some((high, low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| text.into())
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resolves an address written as `key=value` words, as in the table of `jina.Client`.
    fn resolve(arguments: &str) -> Result<Target, TargetError> {
        let mut address = Address::default();
        for argument in arguments.split_ascii_whitespace() {
            match argument.split_once('=').expect("key=value") {
                ("host", host) => address.host = Some(host.into()),
                ("port", port) => address.port = Some(port.parse().expect("a port")),
                ("protocol", protocol) => address.protocol = Some(protocol.parse()?),
                ("tls", tls) => address.tls = Some(tls.parse().expect("a bool")),
                (other, _) => panic!("unknown key {other}"),
            }
        }
        address.resolve()
    }

    #[test]
    fn addresses_resolve_as_in_jina() {
        for (arguments, expected) in [
            ("", "grpc://0.0.0.0:80"),
            ("port=1234", "grpc://0.0.0.0:1234"),
            ("tls=true", "grpcs://0.0.0.0:443"),
            ("host=h", "grpc://h:80"),
            ("host=h tls=true", "grpcs://h:443"),
            ("host=h tls=false", "grpc://h:80"),
            ("host=grpc://h", "grpc://h:80"),
            ("host=grpcs://h", "grpcs://h:443"),
            ("host=http://h", "http://h:80"),
            ("host=https://h", "https://h:443"),
            ("host=ws://h", "ws://h:80"),
            ("host=wss://h", "wss://h:443"),
            ("host=websocket://h", "ws://h:80"),
            ("host=https://h port=1", "https://h:1"),
            ("host=h:1 protocol=http tls=true", "https://h:1"),
            ("host=h:1 protocol=WebSocket", "ws://h:1"),
            ("host=http://h tls=true", "https://h:443"), // no `s` says nothing about TLS
            ("host=http://h tls=false", "http://h:80"),
            ("host=h/", "grpc://h:80"),
            ("host=http://h/", "http://h:80"),
            ("host=HTTP://h", "http://h:80"),
            ("host=h port=0", "grpc://h:80"), // 0 is the default port
            ("host=https://h port=0", "https://h:443"),
            ("host=h:", "grpc://h:80"),
            ("host=h: port=1", "grpc://h:1"), // an empty port says nothing
            ("host=h:0", "grpc://h:80"),
            ("host=wss://h:0", "wss://h:443"),
        ] {
            let target = resolve(arguments).expect(arguments);
            assert_eq!(target.to_string(), expected, "{arguments}");
        }
    }

    #[test]
    fn addresses_that_jina_refuses_and_should_not() {
        for (arguments, expected) in [
            ("host=HTTPS://h", "https://h:443"),
            ("host=GrpcS://h:1", "grpcs://h:1"),
            ("host=[::1]:1", "grpc://[::1]:1"),
            ("host=[::1]", "grpc://[::1]:80"),
            ("host=[::1] port=1", "grpc://[::1]:1"),
            ("host=[::1]/", "grpc://[::1]:80"),
            ("host=::1", "grpc://[::1]:80"),
            ("host=::1 port=1", "grpc://[::1]:1"),
            ("host=https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443"),
            ("host=user:pw@h:1", "grpc://h:1"),
            ("host=wss://user:pw@[::1]:1", "wss://[::1]:1"),
        ] {
            let target = resolve(arguments).expect(arguments);
            assert_eq!(target.to_string(), expected, "{arguments}");
            assert!(!target.host.contains('['), "{arguments}");
        }
    }

    #[test]
    fn user_info_is_decoded_and_never_shown() {
        for (host, expected) in [
            ("h", None),
            ("user:pw@h:1", Some("user:pw")),
            ("https://user@h", Some("user")),
            ("u:p@ss/word@h", Some("u:p@ss/word")),
            ("u:p%40ss%3a%e2%82%ac@h", Some("u:p@ss:€")),
            ("u:100%@h", Some("u:100%")),
            ("u:%zz%ff@h", Some("u:%zz%ff")), // neither an escape nor UTF-8: as written
        ] {
            let target: Target = host.parse().expect(host);
            assert_eq!(target.user_info.as_deref(), expected, "{host}");
            assert_eq!(format!("{target:?}").contains("***@"), expected.is_some(), "{host}");
        }
        let error = "ftp://user:secret@h:1".parse::<Target>().expect_err("unknown scheme");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_told_in_one_line() {
        let port = "expected a number from 1 to 65535, or 0 for the default";
        let path =
            "expected the address to end with the port; the endpoint is given separately (`on`)";
        let ipv6 = "expected `name:port`, `::1` or `[::1]:port`";
        let no_host = "expected a name or an IP address such as `localhost:1234`, or no host at all \
                       for `0.0.0.0`";
        let two = "expected it in one place, leave the other out";
        let schemes = "expected one of grpc, grpcs, http, https, ws, wss, websocket";
        let protocols = "expected one of grpc, http, websocket";
        let name = "expected a name of ASCII letters, digits, dots, dashes and underscores, or an \
                    IP address";
        for (arguments, found, expected) in [
            (
                "host=https://h tls=true",
                "two sources of truth for `tls`: host `https://h` gives `true`, argument `tls` gives `true`",
                two,
            ),
            (
                "host=https://h tls=false",
                "two sources of truth for `tls`: host `https://h` gives `true`, argument `tls` gives `false`",
                two,
            ),
            (
                "host=h:1 port=1",
                "two sources of truth for `port`: host `h:1` gives `1`, argument `port` gives `1`",
                two,
            ),
            (
                "host=u:p@h:1 port=2",
                "two sources of truth for `port`: host `***@h:1` gives `1`, argument `port` gives `2`",
                two,
            ),
            (
                "host=http://h protocol=http",
                "two sources of truth for `protocol`: host `http://h` gives `http`, argument `protocol` gives `http`",
                two,
            ),
            (
                "host=ws://h protocol=grpc",
                "two sources of truth for `protocol`: host `ws://h` gives `websocket`, argument `protocol` gives `grpc`",
                two,
            ),
            ("host=h:1//", "host `h:1//` has the path `/`", path),
            ("host=h:1/path", "host `h:1/path` has the path `/path`", path),
            ("host=http://h/path", "host `http://h/path` has the path `/path`", path),
            ("host=http://h/path:1", "host `http://h/path:1` has the path `/path`", path),
            ("host=http://h?a", "host `http://h?a` has the path `?a`", path),
            ("host=http://[::1]/path", "host `http://[::1]/path` has the path `/path`", path),
            ("host=h:x", "port `x` in host `h:x` is not a port", port),
            ("host=h:70000", "port `70000` in host `h:70000` is not a port", port),
            ("host=h:-1", "port `-1` in host `h:-1` is not a port", port),
            ("host=h:+1", "port `+1` in host `h:+1` is not a port", port),
            ("host=[::1]:x", "port `x` in host `[::1]:x` is not a port", port),
            ("host=ftp://h", "unknown scheme `ftp` in host `ftp://h`", schemes),
            (
                "host=websockets://h",
                "unknown scheme `websockets` in host `websockets://h`, did you mean `websocket`?",
                schemes,
            ),
            (
                "host=htps://h",
                "unknown scheme `htps` in host `htps://h`, did you mean `https`?",
                schemes,
            ),
            ("host=://h", "unknown scheme `` in host `://h`", schemes),
            ("protocol=ws", "unknown protocol `ws`, did you mean `websocket`?", protocols),
            ("protocol=gprc", "unknown protocol `gprc`, did you mean `grpc`?", protocols),
            ("protocol=ftp", "unknown protocol `ftp`", protocols),
            ("host=", "host `` names no host", no_host),
            ("host=:1", "host `:1` names no host", no_host),
            ("host=grpc://", "host `grpc://` names no host", no_host),
            ("host=user@:1", "host `***@:1` names no host", no_host),
            ("host=h:1:2", "`h:1:2` in host `h:1:2` is not an IPv6 address", ipv6),
            (
                "host=0::1:50051",
                "`0::1:50051` in host `0::1:50051` is not an IPv6 address",
                "expected `[0::1]:50051`",
            ),
            ("host=a://b://c", "unknown scheme `a` in host `a://b://c`", schemes),
            ("host=ws://b://c", "host `ws://b://c` has the path `//c`", path),
            ("host=[::1", "`[::1` in host `[::1` is not an IPv6 address", ipv6),
            ("host=[::1]1", "`[::1]1` in host `[::1]1` is not an IPv6 address", ipv6),
            ("host=[h]:1", "`h` in host `[h]:1` is not an IPv6 address", ipv6),
            ("host=müller.de", "`ü` is not allowed in host `müller.de`", name),
        ] {
            let error = resolve(arguments).expect_err(arguments).to_string();
            assert_eq!(error, format!("{found}; {expected}"), "{arguments}");
        }
        let spaced = "my flow:1".parse::<Target>().expect_err("a space").to_string();
        assert_eq!(spaced, format!("`space` is not allowed in host `my flow:1`; {name}"));
    }

    proptest::proptest! {
        #[test]
        fn shown_addresses_are_read_back(
            protocol in proptest::sample::select(
                &[Protocol::Grpc, Protocol::Http, Protocol::WebSocket][..],
            ),
            host in "[a-z0-9][a-z0-9._-]{0,20}|::[1-9a-f]{1,4}",
            port in 1..=u16::MAX,
            tls: bool,
        ) {
            let target = Target { protocol, host, port, tls, user_info: None };
            proptest::prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
        }

        #[test]
        fn no_text_is_too_strange_to_be_refused(text: String) {
            let _ = text.parse::<Target>();
        }
    }
}
