//! The path of requests through the graph of Executors.

use flowbench::wire::{DataRequest, Document, Family, NdArray, Tensor};
use serde_json::json;

use super::{ask, ask_as, request, start, texts, texts_of, way};

/// The Executors that processed a request, by the texts that `foo` and `bar` append.
fn visitors(answer: &DataRequest) -> Vec<&str> {
    let texts = texts_of(answer.docs()).into_iter();
    texts.filter_map(|text| text.split_once(" was here").map(|(name, _)| name)).collect()
}

#[tokio::test]
async fn branches_are_joined_where_they_meet() {
    for (family, name) in [(Family::V1, "v1"), (Family::V2, "v2")] {
        let flow = start(&format!(
            "
            family: {name}
            executors:
              - {{name: first, default: {{set: {{tags: {{a: 1.5}}}}}}}}
              - {{name: left, uses: foo, default: {{set: {{tags: {{of: left}}}}}}}}
              - {{name: right, uses: bar, needs: [first]}}
              - {{name: last, needs: [left, right]}}
            "
        ))
        .await;
        // The first request to a v1 gateway differs, see below.
        ask_as(family, &flow, request("/", Vec::new())).await;
        let answer = ask_as(family, &flow, request("/", texts(&["x"]))).await;
        // In the order of a real gateway: the first path to its end, then the next.
        assert_eq!(way(&answer), ["gateway", "first", "left", "last", "right"]);
        let mut visitors = visitors(&answer);
        visitors.sort_unstable();
        assert_eq!(visitors, ["bar", "foo"], "{name}");
        let x = answer.docs().iter().find(|doc| doc.id == "d0").expect("it is still there");
        assert_eq!(x.tags["a"], json!(1.5), "{name}: both got it from `first`");
        assert_eq!(answer.docs().len(), 3, "{name}: d0 is there once");
        flow.stop().await;
    }
}

#[tokio::test]
async fn an_exception_in_one_branch_leaves_the_other_alone() {
    let flow = start(
        "
        executors:
          - {name: left, uses: failer}
          - {name: right, uses: foo, needs: [gateway]}
          - {name: last, needs: [left, right]}
        ",
    )
    .await;
    let answer = ask(&flow, request("/", texts(&["fail"]))).await;
    let status = answer.header.status.as_ref().expect("an exception");
    assert_eq!(status.description, "ValueError('failer was asked to fail')");
    assert_eq!(way(&answer)[1], "!left");
    assert!(!way(&answer).contains(&"last".to_owned()), "nothing comes to it");
    flow.stop().await;
}

#[tokio::test]
async fn conditions_choose_the_documents_of_an_executor() {
    let flow = start(
        "
        executors:
          - {name: start}
          - name: german
            needs: [start]
            when: {tags__lang: {$eq: de}}
            default: {set: {tags: {seen: german}}}
          - name: other
            needs: [start]
            when: {tags__lang: {$neq: de}}
            default: {set: {tags: {seen: other}}}
          - {name: last, needs: [german, other]}
        ",
    )
    .await;
    let doc = |id: &str, lang: &str| Document {
        id: id.into(),
        tags: [("lang".to_owned(), json!(lang))].into_iter().collect(),
        ..Document::default()
    };
    let docs = vec![doc("a", "en"), doc("b", "de"), doc("c", "fr"), doc("d", "de")];
    let answer = ask(&flow, request("/", docs)).await;
    let seen: Vec<_> =
        answer.docs().iter().map(|doc| (&*doc.id, doc.tags["seen"].as_str().unwrap())).collect();
    assert_eq!(
        seen,
        [("a", "other"), ("b", "german"), ("c", "other"), ("d", "german")],
        "in the order they came"
    );
    flow.stop().await;
}

#[tokio::test]
async fn replicas_take_turns_and_keep_to_themselves() {
    let flow = start("executors: [{name: indexer, uses: memory_index, replicas: 2}]").await;
    let mut docs = texts(&["x"]);
    docs[0].embedding = Some(NdArray::Dense(Tensor::from_f32(&[1.0, 0.0])));
    ask(&flow, request("/index", docs)).await;
    let mut counts = Vec::new();
    for _ in 0..3 {
        let answer = ask(&flow, request("/status", Vec::new())).await;
        let results = answer.parameters["__results__"].as_object().expect("a map").clone();
        counts.extend(results.into_iter().map(|(pod, status)| (pod, status["count"].clone())));
    }
    let expected = [("indexer/rep-1", 0.0), ("indexer/rep-0", 1.0), ("indexer/rep-1", 0.0)]
        .map(|(pod, count)| (pod.to_owned(), json!(count)));
    assert_eq!(counts, expected);
    flow.stop().await;
}

#[tokio::test]
async fn executors_take_part_where_they_bind_the_endpoint() {
    for (name, family) in [("v1", Family::V1), ("v2", Family::V2)] {
        let flow = start(&format!(
            "
            family: {name}
            executors:
              - {{name: all, uses: foo}}
              - {{name: named, uses: named}}
              - {{name: two, endpoints: {{/a: {{set: {{text: a}}}}, /b: {{set: {{text: b}}}}}}}}
            "
        ))
        .await;
        let first = ask_as(family, &flow, request("/nosuch", texts(&["x"]))).await;
        match family {
            // It has not asked its Executors for their endpoints yet, so it tries them all.
            Family::V1 => assert_eq!(way(&first), ["gateway", "all", "named", "two"]),
            Family::V2 => assert_eq!(way(&first), ["gateway", "all", "-named", "-two"]),
        }
        assert_eq!(visitors(&first), ["foo"], "{name}");
        for (endpoint, expected) in [
            ("/nosuch", ["gateway", "all", "-named", "-two"]),
            ("/named", ["gateway", "all", "named", "-two"]),
            ("/a", ["gateway", "all", "-named", "two"]),
        ] {
            let answer = ask_as(family, &flow, request(endpoint, texts(&["x"]))).await;
            assert_eq!(way(&answer), expected, "{name} {endpoint}");
        }
        let answer = ask_as(family, &flow, request("/b", texts(&["x"]))).await;
        assert_eq!(answer.docs()[0].text.as_deref(), Some("b"));
        flow.stop().await;
    }
}

#[tokio::test]
async fn a_target_is_a_pattern_that_names_begin_with() {
    let flow = start(
        "executors: [{name: fooExecutor, uses: foo}, {name: barExecutor, uses: bar}, {name: echo}]",
    )
    .await;
    for (target, expected) in [
        ("foo", ["gateway", "fooExecutor", "-barExecutor", "-echo"]),
        ("bar*", ["gateway", "-fooExecutor", "barExecutor", "-echo"]),
        ("Executor", ["gateway", "-fooExecutor", "-barExecutor", "-echo"]),
        (".*Executor", ["gateway", "fooExecutor", "barExecutor", "-echo"]),
        ("(?!bar)", ["gateway", "fooExecutor", "-barExecutor", "echo"]),
        ("", ["gateway", "fooExecutor", "barExecutor", "echo"]),
    ] {
        let mut request = request("/", texts(&["x"]));
        request.header.target_executor = Some(target.into());
        let answer = ask(&flow, request).await;
        assert_eq!(way(&answer), expected, "{target}");
        assert_eq!(answer.header.target_executor.as_deref(), Some(""), "{target}");
    }
    flow.stop().await;
}

#[tokio::test]
async fn parameters_find_their_executor_and_come_back_as_they_went() {
    let flow = start("executors: [{name: a, uses: appender}, {name: b, uses: appender}]").await;
    let count = async |parameters: serde_json::Value| {
        let mut request = request("/", Vec::new());
        request.parameters = parameters.as_object().cloned().expect("a map");
        let answer = ask(&flow, request).await;
        assert_eq!(json!(answer.parameters), parameters);
        answer.docs().len()
    };
    assert_eq!(count(json!({})).await, 0);
    assert_eq!(count(json!({"append": true})).await, 2);
    assert_eq!(count(json!({"a": {"append": true, "append_count": 3.0}})).await, 3);
    assert_eq!(count(json!({"b__append": true})).await, 1);
    assert_eq!(count(json!({"append": true, "b__append": false})).await, 1);
    assert_eq!(count(json!({"c__append": true})).await, 0);
    flow.stop().await;
}

#[tokio::test]
async fn parameters_come_back_as_the_last_executor_read_them_where_that_was_skipped() {
    let flow = start("executors: [{name: a}, {name: b}, {name: c}]").await;
    let parameters = json!({"x": 1.0, "a__k": 2.0, "c__k": 3.0, "b": {"y": 4.0}});
    for (target, left) in [
        // The last Executor to work puts them back.
        ("c", parameters.clone()),
        (".*", parameters.clone()),
        ("a", json!({"x": 1.0, "b": {"y": 4.0}, "y": 4.0, })),
        ("b", json!({"x": 1.0, "k": 3.0, "b": {"y": 4.0}})),
    ] {
        let mut request = request("/", texts(&["x"]));
        request.parameters = parameters.as_object().cloned().expect("a map");
        request.header.target_executor = Some(target.into());
        let answer = ask(&flow, request).await;
        assert_eq!(json!(answer.parameters), left, "{target}");
    }
    flow.stop().await;
}

#[tokio::test]
async fn what_nobody_waits_for_does_not_hold_the_answer() {
    let flow = start(
        "
        executors:
          - {name: first}
          - {name: aside, needs: [first], service_time: 1h}
          - {name: last, needs: [first]}
        ",
    )
    .await;
    let answer = ask(&flow, request("/", texts(&["x"]))).await;
    assert_eq!(way(&answer), ["gateway", "first", "last"]);
    flow.stop().await;
}
