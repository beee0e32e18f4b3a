//! JSON as Jina's client writes it and as its gateways do, also where that is not quite JSON.

use flowbench::client::{Call, CallError, Request};
use flowbench::wire::{
    DataRequest, Document, Family, Form, NdArray, Protocol, ScalarKind, SparseTensor, Tensor,
};
use serde_json::{Value, json};

use crate::scripted::{answer_all, ask, config, listen, open, response};

const V1: Form = Form::Json(Family::V1);
const V2: Form = Form::Json(Family::V2);

/// What a request with this Document is over HTTP.
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
    // v2 keeps whole numbers apart.
    assert_eq!(sent(V2, doc).unwrap()["tags"]["one"].to_string(), "1");
}

/// Three values of a matrix of two rows and three columns.
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
        (int([3, 2], &[0, 0, 0, 3, 1, 1]), vec![2, 3], "an index lies outside of its shape"),
        (int([3, 2], &[0, 0, 0, -1, 1, 1]), vec![2, 3], "an index lies outside of its shape"),
        (int([1, 2], &[0, 0]), vec![2, 3], "its indices do not go with its shape and values"),
        (int([3, 2], &[0; 6]), vec![100_000, 100_000], "takes over 64 MiB with all its zeros"),
    ] {
        let NdArray::Sparse(mut tensor) = sparse("scipy", indices) else { unreachable!() };
        tensor.shape = shape;
        let doc = Document { tensor: Some(NdArray::Sparse(tensor)), ..Document::default() };
        let error = sent(V1, doc).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

/// The first array of an answer.
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
            "response cannot be decoded: `data[1].weight` is not as it should be: ",
        ),
        (
            Family::V2,
            r#"{"data": [{"embedding": [[1], [2, 3]]}]}"#,
            "response cannot be decoded: `data[0].embedding",
        ),
        (
            Family::V1,
            r#"{"header": 5}"#,
            "response cannot be decoded: `header` is not as it should be: invalid type: integer `5`",
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
