//! What a Flow reports about itself, and which family of messages it speaks.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::connect::Connector;
use super::grpc::Grpc;
use super::probe;
use crate::client::{CallError, ClientConfig, FamilyChoice};
use crate::wire::{Family, Protocol};

/// What is known about a Flow when a session is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowInfo {
    /// The protocol of the session.
    pub protocol: Protocol,
    /// The family of its messages.
    pub family: Family,
    /// How the family was determined.
    pub family_source: FamilySource,
    /// Jina's version, if the Flow reports it.
    pub jina: Option<String>,
    /// DocArray's version, if the Flow reports it.
    pub docarray: Option<String>,
}

/// How the family of a Flow was determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilySource {
    /// Set in the configuration; the Flow was not asked.
    Config,
    /// From the DocArray version it reported: v2 from 0.30 on.
    Version,
    /// From what it offers: endpoint discovery (gRPC) means v2, the path `/post` (HTTP) means v1;
    /// an HTTP Flow that lists its paths without it is v2.
    Endpoints,
    /// It reported nothing: v1 is assumed, whose requests without Documents every Flow understands.
    Assumed,
}

/// The body of `GET /status`.
#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    jina: HashMap<String, serde_json::Value>,
}

/// The part of `GET /openapi.json` that we read.
#[derive(Debug, Deserialize)]
struct OpenApi {
    paths: HashMap<String, IgnoredAny>,
}

/// The Jina release that introduced unary calls.
const UNARY_SINCE: (u32, u32) = (3, 13);

impl FlowInfo {
    /// Asks over gRPC, unless the configuration names the family.
    ///
    /// # Errors
    /// When the connection fails; a gateway that refuses to report is not an error.
    pub(super) async fn over_grpc(
        config: &ClientConfig,
        grpc: &Grpc,
    ) -> Result<FlowInfo, CallError> {
        if let FamilyChoice::Is(family) = config.family {
            return Ok(FlowInfo::configured(config, family));
        }
        let told = match grpc.info().await {
            Ok(info) => info.jina.into_iter().collect(),
            Err(CallError::Gateway { .. }) => HashMap::new(),
            Err(error) => return Err(error),
        };
        FlowInfo::from_versions(config, told, async || match grpc.endpoints().await {
            Ok(_) => Ok(Some(Family::V2)),
            Err(CallError::Gateway { .. }) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// Asks over HTTP, which a WebSocket gateway answers too, unless the configuration names the
    /// family.
    ///
    /// # Errors
    /// When the connection fails, or the answer is not HTTP.
    pub(super) async fn over_http(
        config: &ClientConfig,
        connector: &Connector,
    ) -> Result<FlowInfo, CallError> {
        match config.family {
            FamilyChoice::Is(family) => return Ok(FlowInfo::configured(config, family)),
            // Either family will do: nothing is encoded.
            FamilyChoice::NoFlow => return Ok(FlowInfo::configured(config, Family::V1)),
            FamilyChoice::Auto => (),
        }
        let (code, body) = probe::get(config, connector, "/status").await?;
        let told = match serde_json::from_slice::<Status>(&body) {
            Ok(status) if code == 200 => status.jina,
            _ => HashMap::new(),
        };
        let told = told
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())))
            .collect();
        FlowInfo::from_versions(config, told, async || {
            let (_, body) = probe::get(config, connector, "/openapi.json").await?;
            let Ok(api) = serde_json::from_slice::<OpenApi>(&body) else { return Ok(None) };
            Ok(match (api.paths.contains_key("/post"), api.paths.contains_key("/default")) {
                (true, _) => Some(Family::V1),
                (false, true) => Some(Family::V2),
                // A v2 Deployment may have only named endpoints. A WebSocket gateway has no
                // endpoints to report, whatever its family.
                (false, false) => (config.target.protocol == Protocol::Http).then_some(Family::V2),
            })
        })
        .await
    }

    /// # Errors
    /// When the Flow is older than unary calls, and the client makes them.
    pub(super) fn has_what_is_called(&self, config: &ClientConfig) -> Result<(), CallError> {
        let version = self.jina.as_deref().unwrap_or_default();
        let is_old = major_and_minor(version).is_some_and(|version| version < UNARY_SINCE);
        if config.stream || !is_old {
            return Ok(());
        }
        let (major, minor) = UNARY_SINCE;
        Err(CallError::Unsupported(format!(
            "the Flow runs Jina {version:.40}, which has no unary calls (Jina {major}.{minor} \
             added them); send on a stream"
        )))
    }

    fn configured(config: &ClientConfig, family: Family) -> FlowInfo {
        FlowInfo {
            protocol: config.target.protocol,
            family,
            family_source: FamilySource::Config,
            jina: None,
            docarray: None,
        }
    }

    async fn from_versions(
        config: &ClientConfig,
        mut told: HashMap<String, String>,
        signs: impl AsyncFnOnce() -> Result<Option<Family>, CallError>,
    ) -> Result<FlowInfo, CallError> {
        let (jina, docarray) = (told.remove("jina"), told.remove("docarray"));
        let (family, family_source) = match docarray.as_deref().and_then(family_of) {
            Some(family) => (family, FamilySource::Version),
            None => match signs().await? {
                Some(family) => (family, FamilySource::Endpoints),
                None => (Family::V1, FamilySource::Assumed),
            },
        };
        let protocol = config.target.protocol;
        Ok(FlowInfo { protocol, family, family_source, jina, docarray })
    }
}

/// The family of a DocArray version such as `0.21.1`.
fn family_of(docarray: &str) -> Option<Family> {
    Some(match major_and_minor(docarray)? {
        (0, ..30) => Family::V1,
        _ => Family::V2,
    })
}

fn major_and_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unary_calls_are_refused_where_a_flow_is_known_to_have_none() {
        let target = "grpc://127.0.0.1:1".parse().unwrap();
        let unary = ClientConfig { stream: false, ..ClientConfig::new(target) };
        let stream = ClientConfig { stream: true, ..unary.clone() };
        for (version, refused) in [
            (Some("3.12.0"), true),
            (Some("2.9"), true),
            (Some("3.13.0"), false),
            (Some("3.34.0"), false),
            (Some("4.0"), false),
            (Some("dev"), false),
            (None, false),
        ] {
            let info = FlowInfo::configured(&unary, Family::V1);
            let info = FlowInfo { jina: version.map(str::to_owned), ..info };
            assert_eq!(info.has_what_is_called(&unary).is_err(), refused, "{version:?}");
            assert!(info.has_what_is_called(&stream).is_ok());
        }
    }

    #[test]
    fn the_docarray_version_tells_the_family() {
        for (version, family) in [
            ("0.13.33", Some(Family::V1)),
            ("0.21.1", Some(Family::V1)),
            ("0.30.0", Some(Family::V2)),
            ("0.40.1", Some(Family::V2)),
            ("1.0", Some(Family::V2)),
            ("0.30.0a3", Some(Family::V2)),
            ("(unset)", None),
            ("", None),
            ("0", None),
        ] {
            assert_eq!(family_of(version), family, "{version}");
        }
    }
}
