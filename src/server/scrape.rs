//! One reading of an address, limited in time and size.

use std::time::Duration;

use reqwest::redirect;
use serde::Deserialize;

use super::jina;
use super::readings::Page;
use super::summary::query_name;
use super::{Address, Watch};
use crate::client::{ConfigError, tls_for};
use crate::error::innermost;

/// Timeout of a response: a Flow under load may be slow to report its metrics.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout once the load is over and somebody is waiting.
pub(super) const LAST_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of a response in bytes, a hundred times that of a Flow.
const BYTES_MAX: usize = 4 << 20;

/// What is read.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A page of metrics.
    Metrics(Address),
    /// A query to a Prometheus server, and the name of its result.
    Query { server: Address, name: String, query: String },
}

/// Why a reading returned nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    #[error("could not be read: {0}")]
    Failed(String),
    #[error("does not answer within {0:?}")]
    Slow(Duration),
    #[error("answers with status {0}")]
    Status(u16),
    #[error("answers more than {} MiB", BYTES_MAX >> 20)]
    TooLarge,
    #[error("answers something that is not text")]
    NotText,
    #[error("answers, but without a single metric in Prometheus' text format")]
    NoMetrics,
    #[error("does not answer as a Prometheus server does")]
    NotPrometheus,
    #[error("is refused: {0}")]
    Query(String),
    #[error("gives {0} series, expected one: put `sum(…)` or `avg(…)` around it")]
    Series(usize),
    #[error("gives a text, expected a number")]
    Text,
    #[error("cannot be reached with TLS as it is set: {0}")]
    Tls(String),
}

impl From<reqwest::Error> for ScrapeError {
    fn from(error: reqwest::Error) -> ScrapeError {
        ScrapeError::Failed(innermost(&error))
    }
}

impl Source {
    /// Its display name.
    pub(super) fn name(&self) -> String {
        match self {
            Source::Metrics(address) => address.to_string(),
            Source::Query { name, .. } => query_name(name),
        }
    }

    /// Reads it once.
    pub(super) async fn read(
        &self,
        client: &reqwest::Client,
        also: &[String],
        within: Duration,
    ) -> Result<Page, ScrapeError> {
        let reading = async {
            match self {
                Source::Metrics(address) => {
                    let text = get(client, &address.of_metrics()).await?;
                    let page = jina::read(&text, also, &address.host());
                    if page.samples == 0 { Err(ScrapeError::NoMetrics) } else { Ok(page) }
                }
                Source::Query { server, name, query } => {
                    let text = get(client, &server.of_query(query)).await;
                    let named = result(text)?.map(|value| (name.clone(), value, false));
                    Ok(Page { named: named.into_iter().collect(), ..Page::default() })
                }
            }
        };
        tokio::time::timeout(within, reading).await.unwrap_or(Err(ScrapeError::Slow(within)))
    }
}

/// The HTTP client for all sources of a Flow.
///
/// # Errors
/// If the trusted certificates cannot be read.
pub(super) fn client(watch: &Watch) -> Result<reqwest::Client, ScrapeError> {
    let prometheus = watch.prometheus.iter().map(|prometheus| &prometheus.url);
    let encrypted = watch.addresses.iter().chain(prometheus).any(Address::is_encrypted);
    let tls = tls_for(&watch.tls, encrypted)
        .map_err(|error: ConfigError| ScrapeError::Tls(error.to_string()))?;
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::limited(3))
        .pool_max_idle_per_host(1)
        .user_agent(concat!("flowbench/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

/// The body of a response, read only up to the maximum size.
async fn get(client: &reqwest::Client, url: &str) -> Result<String, ScrapeError> {
    let mut response = client.get(url).send().await?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > BYTES_MAX {
            return Err(ScrapeError::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    let text = String::from_utf8(body).map_err(|_| ScrapeError::NotText)?;
    match status.is_success() {
        true => Ok(text),
        // A Prometheus server says why.
        false if text.starts_with("{\"status\":\"error\"") => Err(refused(&text)),
        false => Err(ScrapeError::Status(status.as_u16())),
    }
}

/// The response of a Prometheus server.
#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Vec<serde_json::Value>,
}

fn refused(text: &str) -> ScrapeError {
    let error = serde_json::from_str::<Answer>(text).map(|answer| answer.error);
    error.map_or(ScrapeError::NotPrometheus, |error| {
        ScrapeError::Query(error.chars().take(200).collect())
    })
}

/// The single value of a query; `None` if there is none at the moment.
fn result(text: Result<String, ScrapeError>) -> Result<Option<f64>, ScrapeError> {
    let text = text?;
    let answer: Answer = serde_json::from_str(&text).map_err(|_| ScrapeError::NotPrometheus)?;
    let Some(data) = answer.data.filter(|_| answer.status == "success") else {
        return Err(refused(&text));
    };
    let pair = match data.result_type.as_str() {
        "string" => return Err(ScrapeError::Text),
        "scalar" => data.result.get(1).cloned(),
        _ => match data.result.as_slice() {
            [] => return Ok(None),
            [one] => one["value"].get(1).cloned(),
            several => return Err(ScrapeError::Series(several.len())),
        },
    };
    let value = pair.as_ref().and_then(|value| value.as_str()?.parse::<f64>().ok());
    value
        .map(|value| Some(value).filter(|value| value.is_finite()))
        .ok_or(ScrapeError::NotPrometheus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_one_value_or_none() {
        let of = |text: &str| result(Ok(text.into())).map_err(|error| error.to_string());
        let data = |kind: &str, result: &str| {
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
        };
        assert_eq!(of(&data("vector", r#"[{"metric":{},"value":[1,"2.5"]}]"#)), Ok(Some(2.5)));
        assert_eq!(of(&data("scalar", r#"[1,"3"]"#)), Ok(Some(3.0)));
        assert_eq!(of(&data("vector", "[]")), Ok(None));
        assert_eq!(of(&data("vector", r#"[{"metric":{},"value":[1,"NaN"]}]"#)), Ok(None));
        let two = r#"[{"value":[1,"1"]},{"value":[1,"2"]}]"#;
        assert!(of(&data("vector", two)).unwrap_err().contains("gives 2 series, expected one"));
        let text = data("string", r#"[1,"abc"]"#);
        assert_eq!(of(&text), Err("gives a text, expected a number".into()));
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(of(refused), Err("is refused: parse error".into()));
        let other = Err("does not answer as a Prometheus server does".into());
        for text in [
            "",
            "<html>",
            "{}",
            r#"{"status":"success","data":{"resultType":"vector","result":[5]}}"#,
        ] {
            assert_eq!(of(text), other, "{text}");
        }
    }
}
