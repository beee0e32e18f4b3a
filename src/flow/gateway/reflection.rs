//! gRPC server reflection: the services of a gateway, with the real message types of its family.

use std::convert::Infallible;

use hyper::body::Incoming;
use tonic::body::Body;
use tonic_reflection::server::Builder;
use tower::Service;

use crate::wire::Family;

/// The one method of the protocol.
pub(super) const METHOD: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// The messages of both families, as `build.rs` compiled them.
const V1: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reflection_v1.bin"));
const V2: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/reflection_v2.bin"));

/// The services that a gateway lists and reports as healthy.
pub(super) fn services(family: Family) -> &'static [&'static str] {
    match family {
        Family::V1 => &[
            "grpc.reflection.v1alpha.ServerReflection",
            "jina.JinaGatewayDryRunRPC",
            "jina.JinaInfoRPC",
            "jina.JinaRPC",
        ],
        Family::V2 => &[
            "grpc.reflection.v1alpha.ServerReflection",
            "jina.JinaDataRequestRPC",
            "jina.JinaDiscoverEndpointsRPC",
            "jina.JinaGatewayDryRunRPC",
            "jina.JinaInfoRPC",
            "jina.JinaRPC",
            "jina.JinaSingleDataRequestRPC",
            "jina.JinaSingleDocumentRequestRPC",
        ],
    }
}

/// The service, built anew for each of the few calls.
pub(super) fn service(
    family: Family,
) -> impl Service<
    hyper::Request<Incoming>,
    Response = hyper::Response<Body>,
    Error = Infallible,
    Future: Send,
> {
    let messages = match family {
        Family::V1 => V1,
        Family::V2 => V2,
    };
    let builder = Builder::configure().register_encoded_file_descriptor_set(messages);
    let builder =
        services(family).iter().fold(builder, |builder, name| builder.with_service_name(*name));
    builder.build_v1alpha().expect("build.rs has compiled the messages")
}
