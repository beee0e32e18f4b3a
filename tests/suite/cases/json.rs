//! JSON as written by Jina's client and by its gateways, including some that is not quite valid JSON.

use flowbench::client::{Call, CallError, Client, FamilyChoice, Request};
use flowbench::wire::{
    DataRequest, Document, Family, Form, NdArray, Protocol, ScalarKind, SparseTensor, Tensor,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::endless::run;
use crate::scripted::{answer_all, ask, config, listen, open, read_request, response};

const V1: Form = Form::Json(Family::V1);
const V2: Form = Form::Json(Family::V2);

/// The HTTP body of a request with this Document.
fn sent(form: Form, doc: Document) -> Result<Value, String> {
    let request = DataRequest { data: Some(vec![doc]), ..DataRequest::default() };
    let message = form.encode_request(&request).map_err(|error| {
        let behind = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", behind.unwrap_or_default())
    })?;
    let message = [&message.head()[..], &message.tail()].concat();
    let text = String::from_utf8(message).expect("JSON is text");
    let data = text.find("\"data\":").expect("it has data");
    let docs = serde_json::Deserializer::from_str(&text[data + 7..]).into_iter::<Value>().next();
    Ok(docs.expect("a list").expect("is JSON")[0].clone())
}

#[test]
fn numbers_of_tags_have_a_decimal_point_over_http_of_v1() {
    let tags = json!({"one": 1, "zero": 0, "list": [1, {"deep": 2}], "half": 0.5, "yes": true});
    let Value::Object(tags) = tags else { unreachable!() };
    let doc = Document { tags, ..Document::default() };
    let shown = sent(V1, doc.clone()).unwrap()["tags"].to_string();
    assert_eq!(shown, r#"{"one":1.0,"zero":0.0,"list":[1.0,{"deep":2.0}],"half":0.5,"yes":true}"#);
    // v2 distinguishes integers from floats.
    assert_eq!(sent(V2, doc).unwrap()["tags"]["one"].to_string(), "1");
}

/// Three values in a matrix with two rows and three columns.
fn sparse(class: &str, indices: Tensor) -> NdArray {
    NdArray::Sparse(Box::new(SparseTensor {
        indices,
        values: Tensor::from_f32(&[1.5, 2.5, 3.5]),
        shape: vec![2, 3],
        class: class.into(),
        parameters: flowbench::wire::Map::new(),
    }))
}

fn int(shape: [u32; 2], values: &[i32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(ScalarKind::I32, shape.to_vec(), data)
}

#[test]
fn sparse_arrays_are_made_dense_over_http_of_v1() {
    let by_row = int([3, 2], &[0, 0, 0, 2, 1, 1]);
    let by_column = int([2, 3], &[0, 0, 1, 0, 2, 1]);
    for (class, indices) in [("scipy", by_row), ("torch", by_column)] {
        let doc = Document { embedding: Some(sparse(class, indices)), ..Document::default() };
        let dense = json!([[1.5, 0.0, 2.5], [0.0, 3.5, 0.0]]);
        assert_eq!(sent(V1, doc).unwrap()["embedding"], dense, "{class}");
    }
    for (indices, shape, told) in [
        (int([3, 2], &[0, 0, 0, 3, 1, 1]), vec![2, 3], "an index is outside its shape"),
        (int([3, 2], &[0, 0, 0, -1, 1, 1]), vec![2, 3], "an index is outside its shape"),
        (int([1, 2], &[0, 0]), vec![2, 3], "its indices do not match its shape and values"),
        (int([3, 2], &[0; 6]), vec![100_000, 100_000], "take over 64 MiB with all its zeros"),
    ] {
        let NdArray::Sparse(mut tensor) = sparse("scipy", indices) else { unreachable!() };
        tensor.shape = shape;
        let doc = Document { tensor: Some(NdArray::Sparse(tensor)), ..Document::default() };
        let error = sent(V1, doc).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

/// The first array in a response.
async fn embedding(family: Family, body: &str) -> Result<Vec<f64>, String> {
    let answer = response(200, "content-type: application/json\r\n", body.as_bytes());
    let port = listen(move |connection| answer_all(connection, answer.clone())).await;
    let session = open(config(Protocol::Http, port, family)).await;
    let reply = ask(&session).await.map_err(|failure| failure.error.to_string())?;
    let decoded = reply.decode().map_err(|error| CallError::Decode(error.into()).to_string())?;
    match &decoded.docs()[0].embedding {
        Some(NdArray::Dense(tensor)) => Ok(tensor.values_f64().expect("numbers").collect()),
        other => Err(format!("{other:?}")),
    }
}

#[tokio::test]
async fn nan_and_infinity_are_read_however_gateways_write_them() {
    for (family, written) in [
        (Family::V2, "[null, 1.5]"),
        (Family::V2, "[NaN, 1.5]"),
        (Family::V1, "[NaN, 1.5]"),
        (Family::V1, r#"["NaN", 1.5]"#),
    ] {
        let body = format!(
            r#"{{"header": {{"request_id": "a NaN -Infinity \" b"}}, "data": [{{"embedding": {written}}}]}}"#
        );
        let values = embedding(family, &body).await.unwrap();
        assert!(values[0].is_nan() && values[1] == 1.5, "{written}: {values:?}");
    }
    let values = embedding(Family::V1, r#"{"data": [{"embedding": [-Infinity, Infinity]}]}"#).await;
    assert_eq!(values.unwrap(), [f64::NEG_INFINITY, f64::INFINITY]);
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_names_its_field() {
    for (family, body, told) in [
        (
            Family::V1,
            r#"{"data": [{"text": "a"}, {"weight": "heavy"}]}"#,
            "response cannot be decoded: `data[1].weight` does not have the expected structure: ",
        ),
        (Family::V2, r#"{"data": [7]}"#, "response cannot be decoded: `data[0]"),
        (
            Family::V1,
            r#"{"header": 5}"#,
            "response cannot be decoded: `header` does not have the expected structure: invalid \
             type: integer `5`",
        ),
        (Family::V1, r#"{"data": [}"#, "response cannot be decoded: not valid JSON: "),
    ] {
        let error = embedding(family, body).await.unwrap_err();
        assert!(error.starts_with(told), "{error}");
    }
}

#[tokio::test]
async fn the_nan_of_a_graphql_answer_is_read() {
    let body = r#"{"data": {"docs": [{"id": "NaN", "embedding": [NaN, 1.0]}]}}"#;
    let answer = response(200, "content-type: application/json\r\n", body.as_bytes());
    let port = listen(move |connection| answer_all(connection, answer.clone())).await;
    let session = open(config(Protocol::Http, port, Family::V1)).await;
    let request = Request::Mutate { body: r#"{"query": "{x}"}"#.into() };
    let reply = session.call(request).await.unwrap();
    let flowbench::client::Body::GraphQl(body) = reply.body else { panic!("{:?}", reply.body) };
    let body: Value = serde_json::from_slice(&body).expect("it is JSON now");
    assert_eq!(body["data"]["docs"][0], json!({"id": "NaN", "embedding": ["NaN", 1.0]}));
}

#[test]
fn an_array_without_axes_is_refused_over_http_of_v2() {
    let scalar = Some(NdArray::Dense(Tensor::from_nested(&json!(1.5)).expect("a number")));
    let doc = Document { embedding: scalar.clone(), ..Document::default() };
    let error = sent(V2, doc.clone()).unwrap_err();
    assert!(error.contains("shape [] has no axes"), "{error}");
    assert_eq!(sent(V1, doc.clone()).unwrap()["embedding"], 1.5);
    // Inside a chunk as well; gRPC can carry it.
    let doc = Document { chunks: vec![doc], ..Document::default() };
    assert!(sent(V2, doc.clone()).is_err());
    let request = DataRequest { data: Some(vec![doc]), ..DataRequest::default() };
    assert!(Form::Protobuf(Family::V2).encode_request(&request).is_ok());
}

/// A gateway with this OpenAPI description that responds to everything with an empty success; also returns the
/// bodies it got.
async fn gateway(paths: Value) -> (u16, mpsc::UnboundedReceiver<Value>) {
    let (saw, seen) = mpsc::unbounded_channel();
    let port = listen(move |mut connection| {
        let (saw, paths) = (saw.clone(), json!({"paths": paths}).to_string());
        async move {
            while let Some(request) = read_request(&mut connection).await {
                let answer = match request.line.split(' ').nth(1) {
                    Some("/openapi.json") => response(200, "", paths.as_bytes()),
                    Some("/status") => response(404, "", b"{}"),
                    _ => response(200, "", b"{\"data\": []}"),
                };
                if let Ok(body) = serde_json::from_slice(&request.body) {
                    let _ = saw.send(body);
                }
                let _ = connection.write_all(&answer).await;
            }
        }
    })
    .await;
    (port, seen)
}

#[tokio::test]
async fn a_deployment_with_endpoints_of_its_own_alone_is_of_v2() {
    for (paths, family) in [
        (json!({"/index": {"post": {}}, "/search": {"post": {}}}), Family::V2),
        (json!({"/default": {"post": {}}}), Family::V2),
        (json!({"/post": {"post": {}}, "/index": {"post": {}}}), Family::V1),
    ] {
        let (port, _seen) = gateway(paths.clone()).await;
        let mut config = config(Protocol::Http, port, Family::V1);
        config.family = FamilyChoice::Auto;
        assert_eq!(open(config).await.family(), family, "{paths}");
    }
}

#[tokio::test]
async fn documents_over_http_of_v2_get_an_id_each_as_jinas_client_gives_one() {
    let id = |doc: &Value| doc["id"].as_str().unwrap_or_default().to_owned();
    let (port, mut seen) = gateway(json!({"/default": {"post": {}}})).await;
    let client = Client::new(config(Protocol::Http, port, Family::V2));
    let own = Document { id: "own".into(), ..Document::from_text("b") };
    let _ = client.post("/").inputs(vec![Document::from_text("a"), own]).send().await.unwrap();
    let body = seen.recv().await.unwrap();
    assert_eq!(id(&body["data"][0]).len(), 32);
    assert_eq!(id(&body["data"][1]), "own");

    let suite = format!(
        "flows: {{f: {{host: 'http://127.0.0.1:{port}', family: v2}}}}\n\
         scenarios: [{{name: s, flow: f, documents: {{text: same}}, request_size: 2, \
         load: {{clients: 1, requests: 2}}}}]\n"
    );
    run(&suite).await;
    let mut ids = Vec::new();
    while let Ok(body) = seen.try_recv() {
        ids.extend(body["data"].as_array().unwrap().iter().map(id));
    }
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has its own");
}

#[tokio::test]
async fn chunks_of_documents_in_a_file_know_how_deep_they_are_and_whose() {
    let (port, mut seen) = gateway(json!({"/post": {"post": {}}})).await;
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("docs.jsonl");
    let line = json!({"id": "d", "chunks": [{"id": "c", "chunks": [{"id": "cc"}]}],
        "matches": [{"id": "m", "chunks": [{"id": "mc"}]}]});
    std::fs::write(&path, format!("{line}\n")).expect("it can be written");
    let suite = format!(
        "flows: {{f: {{host: 'http://127.0.0.1:{port}', family: v1}}}}\n\
         scenarios: [{{name: s, flow: f, documents: {{jsonl: '{}'}}}}]\n",
        path.display()
    );
    let (result, _) = run(&suite).await;
    assert_eq!(result["scenarios"][0]["requests"]["ok"], 1, "{result}");
    let body = seen.recv().await.unwrap();
    let doc = &body["data"][0];
    let (chunk, found) = (&doc["chunks"][0], &doc["matches"][0]);
    assert_eq!((&chunk["granularity"], &chunk["parent_id"]), (&json!(1), &json!("d")));
    // As in Python, where Documents are built from the inside out.
    assert_eq!(chunk["chunks"][0]["granularity"], 1);
    assert_eq!(chunk["chunks"][0]["parent_id"], "c");
    assert_eq!(found["adjacency"], 1);
    assert_eq!(found["chunks"][0]["granularity"], 1);
}
