//! Addresses of metrics.

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// The address of metrics, or of a Prometheus server: `http://127.0.0.1:9090/metrics`.
#[derive(Clone, Debug)]
pub struct Address {
    uri: Uri,
}

/// Why a text is not such an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as `http://127.0.0.1:9090/metrics`, found `{found}`")]
pub struct AddressError {
    /// The text.
    pub found: String,
}

impl Address {
    /// The full URL of a metrics page: with `/metrics` if it has no path.
    pub(super) fn of_metrics(&self) -> String {
        self.with("/metrics")
    }

    /// The full URL of a query to a Prometheus server.
    pub(super) fn of_query(&self, query: &str) -> String {
        use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
        let base = self.with("");
        let base = base.split('?').next().unwrap_or_default().trim_end_matches('/');
        format!("{base}/api/v1/query?query={}", utf8_percent_encode(query, NON_ALPHANUMERIC))
    }

    /// Whether both are the same page of metrics, as far as their text says.
    pub(crate) fn is_same(&self, other: &Address) -> bool {
        let page = |address: &Address| {
            let path = address.uri.path_and_query().map(|rest| rest.as_str());
            path.filter(|path| *path != "/").unwrap_or("/metrics").to_owned()
        };
        self.is_encrypted() == other.is_encrypted()
            && self.endpoint() == other.endpoint()
            && page(self) == page(other)
    }

    /// The host to look up, and its port.
    pub(super) fn endpoint(&self) -> (String, u16) {
        let host = self.uri.host().unwrap_or_default().to_ascii_lowercase();
        // An address of IPv6 stands in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let otherwise = if self.is_encrypted() { 443 } else { 80 };
        (host, self.uri.port_u16().unwrap_or(otherwise))
    }

    /// Host and port.
    pub(super) fn host(&self) -> String {
        let authority =
            self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        // Names and passwords must not be shown.
        authority.rsplit('@').next().unwrap_or_default().to_owned()
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    fn with(&self, otherwise: &str) -> String {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let authority =
            self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let rest = self.uri.path_and_query().map(|rest| rest.as_str()).filter(|rest| *rest != "/");
        format!("{scheme}://{authority}{}", rest.unwrap_or(otherwise))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let uri = text.parse::<Uri>().ok().filter(|uri| {
            let has_host = uri.host().is_some_and(|host| !host.is_empty());
            // Before `@` are a name and a password.
            let place = uri.authority().and_then(|authority| authority.as_str().rsplit('@').next());
            let port = place.and_then(|place| place.rsplit_once(':'));
            // The library takes `host:` and `host:port` for ports.
            let has_port = port.is_none()
                || uri.port_u16().is_some()
                || uri.host().is_some_and(|host| host.ends_with(']'));
            has_host && has_port && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        uri.map(|uri| Address { uri }).ok_or_else(|| AddressError { found: text.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.uri.path_and_query().map(|rest| rest.as_str()).filter(|rest| *rest != "/");
        write!(f, "{}://{}", self.uri.scheme_str().unwrap_or("http"), self.host())?;
        f.write_str(path.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_and_a_host() {
        let address = |text: &str| text.parse::<Address>().expect(text);
        assert_eq!(address("http://a:9090").of_metrics(), "http://a:9090/metrics");
        assert_eq!(address("http://a:9090/").of_metrics(), "http://a:9090/metrics");
        assert_eq!(address("https://a/own?x=1").of_metrics(), "https://a/own?x=1");
        let query = address("http://prom:9090/base/").of_query("sum(a{b=\"c\"})");
        assert_eq!(query, "http://prom:9090/base/api/v1/query?query=sum%28a%7Bb%3D%22c%22%7D%29");
        assert_eq!(address("http://me:secret@a:1/m").to_string(), "http://a:1/m");
        let same = |one: &str, other: &str| address(one).is_same(&address(other));
        for other in ["http://a:80", "http://A/", "http://a/metrics", "http://me:secret@a/metrics"]
        {
            assert!(same("http://a", other), "{other}");
        }
        for other in ["https://a", "http://a:81", "http://a/m", "http://a/metrics?x=1", "http://b"]
        {
            assert!(!same("http://a", other), "{other}");
        }
        assert_eq!(address("http://[::1]:9090").endpoint(), ("::1".into(), 9090));
        for text in ["", "a:9090", "ftp://a", "http://", "http://a:port/", "http://a b", "/metrics"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
