//! Documents that use every feature go through a real Flow and come back unchanged: real Jina decodes what we
//! encode to equal values, and the other way round.

use flowbench::wire::{DType, Document, Family, NdArray, Protocol, ScalarKind, Tensor};

use super::flow::Setup;
use super::python::Release;
use super::{PROTOCOLS, client, runtime, samples};

#[test]
fn documents_of_v1_come_back_as_they_were() {
    check(Release::V1, Family::V1);
}

#[test]
fn documents_of_v2_come_back_as_they_were() {
    check(Release::V2, Family::V2);
}

fn check(release: Release, family: Family) {
    let Some(flow) = Setup::new(release, &PROTOCOLS).shared() else { return };
    let mut docs = samples::documents(family, 3, 60);
    docs.extend(samples::arrays());
    for protocol in PROTOCOLS {
        let sent = match protocol {
            Protocol::Http => docs.iter().filter_map(|doc| over_http(family, doc)).collect(),
            Protocol::Grpc | Protocol::WebSocket => docs.clone(),
        };
        let client = client(&flow, protocol);
        let post = client.post("/").inputs(sent.clone()).request_size(30).results_in_order(true);
        let found = runtime().block_on(post.send()).expect("it succeeds").into_ok();
        let found = found.expect("no Executor minds");
        for (found, sent) in found.iter().zip(&sent) {
            assert_eq!(found, sent, "over {protocol:?}");
        }
        assert_eq!(found.len(), sent.len());
    }
}

/// The Document as JSON can represent it; `None` if it has an array that JSON cannot represent.
fn over_http(family: Family, doc: &Document) -> Option<Document> {
    let mut doc = doc.clone();
    for array in [&mut doc.tensor, &mut doc.embedding].into_iter().flatten() {
        let NdArray::Dense(tensor) = array else { return None };
        // Nested lists cannot represent scalars or complex numbers, and Python reads integers beyond signed 64
        // bits as objects.
        let unsigned = matches!(tensor.dtype, DType::Scalar { kind: ScalarKind::U64, .. });
        if tensor.shape.is_empty() || unsigned {
            return None;
        }
        *tensor = Tensor::from_nested(&tensor.to_nested().ok()?).ok()?;
    }
    if family == Family::V2 {
        // In JSON it is a plain string.
        doc.blob = doc.blob.map(|_| "blöb".into());
    }
    for list in [&mut doc.chunks, &mut doc.matches] {
        *list = list.iter().filter_map(|doc| over_http(family, doc)).collect();
    }
    Some(doc)
}
