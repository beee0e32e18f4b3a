//! Any Document or message that a form can carry.
//!
//! Each limit is documented for the form: values that it cannot carry are not generated.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flowbench::wire::proto::v2::{
    DictOfAnyProto, DocProto, ListOfAnyProto, NodeProto,
    node_proto::{Content, DocarrayType},
};
use flowbench::wire::{
    DType, DataRequest, Document, ExceptionInfo, Family, Header, NamedScore, NdArray, Number,
    Route, ScalarKind, SparseTensor, Status, Tensor,
};
use indexmap::IndexMap;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// A form, which determines what a Document can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Protobuf(Family),
    Json(Family),
    /// The plain form for files and people.
    Plain,
}

pub(super) fn documents(carrier: Carrier) -> impl Strategy<Value = Vec<Document>> {
    vec(document(carrier), 0..4)
}

/// A Document with chunks and matches to a small depth.
pub(super) fn document(carrier: Carrier) -> BoxedStrategy<Document> {
    let leaf = leaf(carrier).boxed();
    leaf.clone()
        .prop_recursive(3, 8, 2, move |inner| {
            (leaf.clone(), vec(inner.clone(), 0..2), vec(inner, 0..2))
                .prop_map(|(doc, chunks, matches)| Document { chunks, matches, ..doc })
        })
        .boxed()
}

fn leaf(carrier: Carrier) -> impl Strategy<Value = Document> {
    let texts = (text(), text(), text(), text(), text());
    let numbers = (0..=i32::MAX as u32, 0..=i32::MAX as u32, single(), single());
    let content = (content(carrier), option::of(array(carrier)), vec(single(), 0..3));
    let maps = (map(carrier), metadata(carrier), extra(carrier));
    let scores = (scores(carrier), scores(carrier));
    (texts, numbers, content, maps, scores).prop_map(
        |(texts, numbers, (content, embedding, location), maps, scores)| {
            let (text, blob, tensor) = content;
            Document {
                id: texts.0,
                text,
                blob,
                tensor,
                embedding,
                uri: texts.1,
                mime_type: texts.2,
                modality: texts.3,
                parent_id: texts.4,
                granularity: numbers.0,
                adjacency: numbers.1,
                weight: numbers.2,
                offset: numbers.3,
                location,
                tags: maps.0,
                chunks: Vec::new(),
                matches: Vec::new(),
                scores: scores.0,
                evaluations: scores.1,
                metadata: maps.1,
                extra: maps.2,
            }
        },
    )
}

type Contents = (Option<String>, Option<Bytes>, Option<NdArray>);

/// v1 has one content, which is never empty. Blobs of v2 are text in its JSON.
fn content(carrier: Carrier) -> BoxedStrategy<Contents> {
    let blob = match carrier {
        Carrier::Json(Family::V2) => text().prop_map(Bytes::from).boxed(),
        _ => vec(any::<u8>(), 0..20).prop_map(Bytes::from).boxed(),
    };
    match carrier {
        Carrier::Protobuf(Family::V1) | Carrier::Json(Family::V1) => prop_oneof![
            Just((None, None, None)),
            "\\PC{1,9}".prop_map(|text| (Some(text), None, None)),
            vec(any::<u8>(), 1..20).prop_map(|blob| (None, Some(blob.into()), None)),
            array(carrier).prop_map(|array| (None, None, Some(array))),
        ]
        .boxed(),
        _ => (option::of(text()), option::of(blob), option::of(array(carrier))).boxed(),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "\\PC{0,9}", any::<String>()]
}

/// No NaN: JSON cannot represent it, and it is not equal to itself.
fn single() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0), prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL]
}

fn double() -> impl Strategy<Value = f64> {
    prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO
}

fn array(carrier: Carrier) -> BoxedStrategy<NdArray> {
    let dense = |tensor: BoxedStrategy<Tensor>| tensor.prop_map(NdArray::Dense).boxed();
    match carrier {
        // Bytes need not be well-formed.
        Carrier::Protobuf(Family::V1) => {
            prop_oneof![dense(any_tensor(true).boxed()), sparse().boxed()].boxed()
        }
        Carrier::Protobuf(Family::V2) => dense(any_tensor(false).boxed()),
        // A list distinguishes numbers from booleans and integers from floats, but nothing more.
        Carrier::Json(family) => {
            const TOLD: [ScalarKind; 3] = [ScalarKind::F64, ScalarKind::I64, ScalarKind::Bool];
            // v2's gateways reject arrays without axes.
            let sendable = move |tensor: &Tensor| family == Family::V1 || !tensor.shape.is_empty();
            dense(listed_tensor(&TOLD, 1..4).prop_filter("no axes", sendable).boxed())
        }
        // Everything except axes behind one of length 0.
        Carrier::Plain => prop_oneof![
            dense(listed_tensor(&ScalarKind::ALL, 1..4).boxed()),
            dense(
                listed_tensor(&ScalarKind::ALL, 0..1)
                    .prop_map(|tensor| Tensor { shape: vec![0], ..tensor })
                    .boxed()
            ),
            sparse().boxed(),
        ]
        .boxed(),
    }
}

/// Only v1 has classes.
fn any_tensor(classes: bool) -> impl Strategy<Value = Tensor> {
    let class = if classes { "[a-z]{0,6}" } else { "numpy" };
    let dtype = prop_oneof!["[<>|=]?[a-z][0-9]{0,2}", text()];
    (dtype, vec(any::<u32>(), 0..3), vec(any::<u8>(), 0..20), class, map(Carrier::Plain)).prop_map(
        |(dtype, shape, data, class, parameters)| Tensor {
            class,
            parameters: doubles(parameters),
            ..Tensor::new(DType::from(dtype), shape, data)
        },
    )
}

fn sparse() -> impl Strategy<Value = NdArray> {
    let part = || any_tensor(false).prop_map(|tensor| Tensor { parameters: Map::new(), ..tensor });
    (part(), part(), vec(any::<u32>(), 0..3)).prop_map(|(indices, values, shape)| {
        let class = "scipy".to_owned();
        let parameters = Map::new();
        NdArray::Sparse(Box::new(SparseTensor { indices, values, shape, class, parameters }))
    })
}

fn listed_tensor(kinds: &'static [ScalarKind], axes: Range<u32>) -> impl Strategy<Value = Tensor> {
    let shape = vec(axes, 0..4);
    (prop::sample::select(kinds), shape).prop_flat_map(|(kind, shape)| {
        let count = shape.iter().product::<u32>() as usize;
        // Finite in its own type.
        let number = match kind {
            ScalarKind::F16 => (-65504.0..65504.0).prop_map(Number::Float).boxed(),
            ScalarKind::F32 => single().prop_map(|value| Number::Float(value.into())).boxed(),
            ScalarKind::F64 => double().prop_map(Number::Float).boxed(),
            _ => any::<i64>().prop_map(Number::Int).boxed(),
        };
        vec(number, count).prop_map(move |values| Tensor::from_values(kind, shape.clone(), values))
    })
}

/// Numbers are doubles in v1, and 32-bit integers or doubles in v2.
fn map(carrier: Carrier) -> BoxedStrategy<Map<String, Value>> {
    let map = btree_map(text(), value(), 0..3)
        .prop_map(|map| map.into_iter().collect::<Map<_, _>>())
        .boxed();
    match carrier {
        Carrier::Protobuf(Family::V1) => map.prop_map(doubles).boxed(),
        _ => map,
    }
}

/// The 19 keys of v1's JSON do not include it.
fn metadata(carrier: Carrier) -> BoxedStrategy<Map<String, Value>> {
    match carrier {
        Carrier::Json(Family::V1) => Just(Map::new()).boxed(),
        _ => map(carrier),
    }
}

pub(super) fn doubles(map: Map<String, Value>) -> Map<String, Value> {
    fn double(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().into(),
            Value::Array(values) => values.into_iter().map(double).collect(),
            Value::Object(map) => doubles(map).into(),
            other => other,
        }
    }
    map.into_iter().map(|(key, value)| (key, double(value))).collect()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        double().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(text(), inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// v1's protobuf has 32 bits for a score.
fn scores(carrier: Carrier) -> impl Strategy<Value = IndexMap<String, NamedScore>> {
    let value = match carrier {
        Carrier::Protobuf(Family::V1) => single().prop_map(f64::from).boxed(),
        _ => double().boxed(),
    };
    let score =
        (value, text(), text(), text()).prop_map(|(value, op_name, description, ref_id)| {
            NamedScore { value, op_name, description, ref_id }
        });
    btree_map(text(), score, 0..3).prop_map(|scores| scores.into_iter().collect())
}

/// Custom schema fields, which only v2 has. Their types are lost in JSON.
fn extra(carrier: Carrier) -> BoxedStrategy<IndexMap<String, NodeProto>> {
    let nodes = match carrier {
        Carrier::Protobuf(Family::V1) | Carrier::Json(Family::V1) => {
            return Just(IndexMap::new()).boxed();
        }
        Carrier::Protobuf(Family::V2) => node(true),
        Carrier::Json(Family::V2) | Carrier::Plain => node(false),
    };
    btree_map("own_[a-z]{1,4}", nodes, 0..3).prop_map(|nodes| nodes.into_iter().collect()).boxed()
}

fn node(typed: bool) -> BoxedStrategy<NodeProto> {
    let json = prop_oneof![
        Just(None),
        text().prop_map(|text| Some(Content::Text(text))),
        any::<i32>().prop_map(|value| Some(Content::Integer(value))),
        double().prop_map(|value| Some(Content::Float(value))),
        any::<bool>().prop_map(|value| Some(Content::Boolean(value))),
    ];
    let untyped = |content| NodeProto { content, docarray_type: None };
    let leaf = match typed {
        false => json.prop_map(untyped).boxed(),
        true => {
            let blob = vec(any::<u8>(), 0..9).prop_map(|blob| Some(Content::Blob(blob.into())));
            let kind = option::of("[a-z]{0,4}".prop_map(DocarrayType::Type));
            (prop_oneof![json, blob], kind)
                .prop_map(|(content, docarray_type)| NodeProto { content, docarray_type })
                .boxed()
        }
    };
    leaf.prop_recursive(2, 6, 2, move |inner| {
        let list = vec(inner.clone(), 0..3).prop_map(|data| ListOfAnyProto { data });
        let data = btree_map(text(), inner, 0..3).boxed();
        let dict = data.clone().prop_map(|data| Content::Dict(DictOfAnyProto { data }));
        let json = prop_oneof![list.clone().prop_map(Content::List), dict];
        match typed {
            false => json.prop_map(move |content| untyped(Some(content))).boxed(),
            true => prop_oneof![
                json,
                list.clone().prop_map(Content::Set),
                list.prop_map(Content::Tuple),
                data.prop_map(|data| Content::Doc(DocProto { data })),
            ]
            .prop_map(move |content| untyped(Some(content)))
            .boxed(),
        }
    })
    .boxed()
}

/// A request or a response. Parameters are doubles, as in a Struct.
pub(super) fn message(carrier: Carrier) -> impl Strategy<Value = DataRequest> {
    let header = (text(), option::of(text()), option::of(text()), option::of(status()));
    let parameters = map(Carrier::Plain).prop_map(doubles);
    (header, parameters, vec(route(), 0..3), option::of(documents(carrier))).prop_map(
        |((request_id, exec_endpoint, target_executor, status), parameters, routes, data)| {
            let status = status.map(Box::new);
            let header = Header { request_id, exec_endpoint, target_executor, status };
            DataRequest { header, parameters, routes, data }
        },
    )
}

fn status() -> impl Strategy<Value = Status> {
    let lists = (vec(text(), 0..3), vec(text(), 0..3));
    let exception = (text(), lists, text()).prop_map(|(name, (args, stacks), executor)| {
        ExceptionInfo { name, args, stacks, executor }
    });
    (any::<i32>(), text(), option::of(exception))
        .prop_map(|(code, description, exception)| Status { code, description, exception })
}

fn route() -> impl Strategy<Value = Route> {
    (text(), option::of(time()), option::of(time()), option::of(status())).prop_map(
        |(executor, start_time, end_time, status)| Route {
            executor: executor.into(),
            start_time,
            end_time,
            status: status.map(Box::new),
        },
    )
}

/// With microseconds, from 1970 to the year 9999, the range of times over HTTP.
fn time() -> impl Strategy<Value = SystemTime> {
    (0..253_402_300_799_000_000_u64).prop_map(|micros| UNIX_EPOCH + Duration::from_micros(micros))
}
