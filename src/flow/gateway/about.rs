//! What a gateway reports about itself: the gRPC method `_status` and the path `/status`.

use std::collections::BTreeMap;

use super::handle::Gateway;
use crate::wire::Family;

/// Versions and system (`jina`), and environment variables (`envs`).
pub(super) fn about(gateway: &Gateway) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (jina, docarray, proto) = match gateway.family {
        Family::V1 => ("3.12.0", "0.21.1", "0.1.13"),
        Family::V2 => ("3.34.0", "0.40.1", "0.1.27"),
    };
    let uptime = gateway.uptime().as_secs_f64();
    let jina = [
        ("jina", jina),
        ("docarray", docarray),
        ("jcloud", "(unset)"),
        ("jina-hubble-sdk", "(unset)"),
        ("jina-proto", proto),
        ("protobuf", "(unset)"),
        ("proto-backend", "prost"),
        ("grpcio", "(unset)"),
        ("pyyaml", "(unset)"),
        ("python", "(unset)"),
        ("platform", std::env::consts::OS),
        ("platform-release", "(unset)"),
        ("platform-version", "(unset)"),
        ("architecture", std::env::consts::ARCH),
        ("processor", ""),
        ("uid", "0"),
        ("session-id", "(unset)"),
        ("uptime", &format!("{uptime:.6}")),
        ("ci-vendor", "(unset)"),
        ("internal", "False"),
        ("flowbench", env!("CARGO_PKG_VERSION")),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let envs = ENVIRONMENT.map(|key| (key.to_owned(), "(unset)".to_owned()));
    (jina.into(), envs.into())
}

/// The variables whose values a real gateway shows. This one reads none of them.
const ENVIRONMENT: [&str; 20] = [
    "JINA_DEFAULT_HOST",
    "JINA_DEFAULT_TIMEOUT_CTRL",
    "JINA_DEPLOYMENT_NAME",
    "JINA_DISABLE_UVLOOP",
    "JINA_EARLY_STOP",
    "JINA_FULL_CLI",
    "JINA_GATEWAY_IMAGE",
    "JINA_GRPC_RECV_BYTES",
    "JINA_GRPC_SEND_BYTES",
    "JINA_HUB_NO_IMAGE_REBUILD",
    "JINA_LOG_CONFIG",
    "JINA_LOG_LEVEL",
    "JINA_LOG_NO_COLOR",
    "JINA_MP_START_METHOD",
    "JINA_OPTOUT_TELEMETRY",
    "JINA_RANDOM_PORT_MAX",
    "JINA_RANDOM_PORT_MIN",
    "JINA_LOCKS_ROOT",
    "JINA_K8S_ACCESS_MODES",
    "JINA_K8S_STORAGE_CLASS_NAME",
];
