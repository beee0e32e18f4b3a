use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::source::{Problems, Sources};
use crate::wire::{NdArray, Tensor};

fn compile(text: &str) -> Result<Documents, String> {
    compile_in(text, Path::new(""))
}

fn compile_in(text: &str, base: &Path) -> Result<Documents, String> {
    let (mut sources, mut problems) = (Sources::new(), Vec::new());
    let documents =
        sources.parse("d.yaml", text.into(), None, &mut problems).and_then(|mut node| {
            let spec = Sources::read(&mut node, "the generator", &mut problems)?;
            let key = Key::new(1).part("d");
            let context = Context::new(
                json!({"lang": "en"}).as_object().cloned().unwrap_or_default(),
                Default::default(),
                Default::default(),
            );
            Documents::compile(None, &spec, Spot::of(&node), &context, key, base, &mut problems)
        });
    match Problems::new(&sources, problems) {
        None => Ok(documents.expect("documents")),
        Some(problems) => Err(problems.iter().map(Problem::message).collect::<Vec<_>>().join("; ")),
    }
}

fn get(text: &str, i: u64) -> Document {
    compile(text).unwrap_or_else(|error| panic!("{text}: {error}")).get(i, None).expect(text)
}

fn tensor(array: Option<NdArray>) -> Tensor {
    match array {
        Some(NdArray::Dense(tensor)) => tensor,
        other => panic!("expected a dense array, found {other:?}"),
    }
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.data.chunks(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}

#[test]
fn every_field_can_be_made() {
    let text = r#"
count: 10
id: article-${{ i }}
text: {words: 5..30}
tags: {lang: "${{ vars.lang }}", price: "${{ uniform(1, 100) }}", deep: {list: [1, "${{ i }}"]}}
embedding: {shape: [512], dtype: float32, distribution: normal, normalize: l2}
uri: https://example.com/${{ i }}
mime_type: text/plain
modality: text
weight: 0.5
location: [1, "${{ i }}"]
offset: ${{ i * 2 }}
granularity: 1
adjacency: 0
parent_id: p
scores: {cosine: 0.25, other: {value: "${{ i }}", op_name: op, description: d, ref_id: "r${{ i }}"}}
evaluations: {recall: 1}
chunks: {count: 3, text: {words: 5}, id: "c${{ i }}"}
matches: {count: 1..2, embedding: [1, 2], matches: {count: 1, text: deep}}
"#;
    let document = get(text, 7);
    assert_eq!(document.id, "article-7");
    let words = document.text.as_deref().expect("text").split(' ').count();
    assert!((5..=30).contains(&words));
    assert_eq!(document.tags["lang"], json!("en"));
    assert_eq!(document.tags["deep"], json!({"list": [1, 7]}));
    let embedding = tensor(document.embedding.clone());
    assert_eq!(embedding.shape, [512]);
    let length: f32 = floats(&embedding).iter().map(|n| n * n).sum();
    assert!((length - 1.0).abs() < 1e-4, "{length}");
    assert_eq!(document.uri, "https://example.com/7");
    assert_eq!((document.weight, document.offset), (0.5, 14.0));
    assert_eq!(document.location, [1.0, 7.0]);
    assert_eq!((document.granularity, document.adjacency), (1, 0));
    assert_eq!(document.scores["cosine"].value, 0.25);
    assert_eq!(document.scores["other"].ref_id, "r7");
    assert_eq!(document.evaluations["recall"].value, 1.0);
    assert_eq!(document.chunks.len(), 3);
    let chunk = &document.chunks[2];
    assert_eq!((chunk.id.as_str(), chunk.parent_id.as_str()), ("c2", "article-7"));
    assert_eq!((chunk.granularity, chunk.adjacency), (2, 0));
    assert_ne!(document.chunks[0].text, document.chunks[1].text);
    assert!((1..=2).contains(&document.matches.len()));
    assert_eq!(floats(&tensor(document.matches[0].embedding.clone())), [1.0, 2.0]);
    assert_eq!(document.matches[0].matches[0].adjacency, 2);
    assert_eq!(get(text, 7), document, "the same seed and index give the same Document");
    assert_ne!(get(text, 8), document);
}

#[test]
fn a_field_that_is_added_does_not_change_the_others() {
    let one = get("text: {words: 8}", 3);
    let two = get("{text: {words: 8}, embedding: {shape: [4]}, id: \"${{ uuid() }}\"}", 3);
    assert_eq!(one.text, two.text);
}

#[test]
fn arrays_have_every_type_and_distribution() {
    let array = |text: &str| tensor(get(&format!("tensor: {text}"), 1).tensor);
    for (dtype, size) in [
        ("bool", 1),
        ("int8", 1),
        ("int16", 2),
        ("int32", 4),
        ("int64", 8),
        ("uint8", 1),
        ("uint16", 2),
        ("uint32", 4),
        ("uint64", 8),
        ("float16", 2),
        ("float32", 4),
        ("float64", 8),
        ("complex64", 8),
        ("complex128", 16),
    ] {
        let made = array(&format!("{{shape: [3, 5], dtype: {dtype}}}"));
        assert_eq!(made.data.len(), 15 * size, "{dtype}");
        let made = array(&format!("{{shape: [2], dtype: {dtype}, distribution: ones}}"));
        assert_eq!(made.data.len(), 2 * size, "{dtype}");
    }
    let made = array("{shape: [1000], dtype: uint8, distribution: {uniform: 3..5}}");
    assert!(
        (3..=5).all(|n| made.data.contains(&n)) && made.data.iter().all(|n| (3..=5).contains(n))
    );
    let made = array("{shape: [4], dtype: int8, distribution: {constant: 300}}");
    assert_eq!(made.data, Bytes::from_static(&[127; 4]));
    let made = floats(&array("{shape: [2000], distribution: {exponential: 2}}"));
    let mean = made.iter().sum::<f32>() / 2000.0;
    assert!((1.8..2.2).contains(&mean) && made.iter().all(|n| *n >= 0.0), "{mean}");
    let made = floats(&array("{shape: [2000], distribution: {normal: {mean: 5, deviation: 2}}}"));
    let mean = made.iter().sum::<f32>() / 2000.0;
    assert!((4.8..5.2).contains(&mean), "{mean}");
    assert_eq!(array("[[1, 2], [3, 4], [5, 6]]").shape, [3, 2]);
    assert_eq!(floats(&array("{values: [3, 4], normalize: l2}")), [0.6, 0.8]);
    assert_eq!(array("{values: [1, 2, 3, 4], shape: [2, 2]}").shape, [2, 2]);
}

#[test]
fn blobs_are_random_or_given() {
    let blob = |text: &str, i| get(text, i).blob.expect("a blob");
    for i in 0..20 {
        assert!((10..=2048).contains(&blob("blob: {bytes: 10B..2KiB}", i).len()));
    }
    assert_ne!(blob("blob: {bytes: 16}", 0), blob("blob: {bytes: 16}", 1));
    assert_eq!(blob("blob: {base64: aGVsbG8=}", 0), "hello");
}

#[test]
fn documents_that_never_change_are_known_as_such() {
    for (text, constant) in [
        ("text: hello", true),
        ("{text: \"${{ vars.lang }}\", embedding: [1, 2], chunks: {count: 2, text: a}}", true),
        ("{tensor: {shape: [3], distribution: zeros}}", true),
        ("text: hello ${{ i }}", false),
        ("text: {words: 5}", false),
        ("embedding: {shape: [2]}", false),
        ("{chunks: {count: 1..2, text: a}}", false),
        ("scores: {a: \"${{ i }}\"}", false),
    ] {
        assert_eq!(compile(text).expect(text).is_constant(), constant, "{text}");
    }
}

#[test]
fn a_count_bounds_the_stream_unless_it_repeats() {
    assert_eq!(compile("{count: 3, id: \"${{ i }}\"}").expect("documents").count(), Some(3));
    let endless = compile("{count: 3, id: \"${{ i }}\", repeat: true}").expect("documents");
    assert_eq!(endless.count(), None);
    assert_eq!(endless.get(5, None).expect("a Document").id, "2");
    assert_eq!(compile("text: a").expect("documents").count(), None);
}

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

fn lines(count: usize) -> Vec<u8> {
    (0..count)
        .map(|n| format!("{{\"id\": \"{n}\", \"text\": \"line {n}\"}}\n"))
        .collect::<String>()
        .into()
}

fn ids(documents: &Documents, count: u64) -> Vec<String> {
    (0..count).map(|i| documents.get(i, None).expect("a Document").id).collect()
}

#[test]
fn lines_of_json_are_documents_in_any_order() {
    let folder = folder(&[("q.jsonl", &lines(100))]);
    let open = |more: &str| {
        compile_in(&format!("{{jsonl: q.jsonl{more}}}"), folder.path()).expect("documents")
    };
    let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let sequential = open("");
    assert_eq!(sequential.count(), Some(100));
    assert_eq!(ids(&sequential, 100), all);
    let shuffled = open(", order: shuffle, repeat: true");
    assert_eq!(shuffled.count(), None);
    let (first, second) = (ids(&shuffled, 100), ids(&shuffled, 200).split_off(100));
    for round in [&first, &second] {
        let mut sorted = round.clone();
        sorted.sort_by_key(|id| id.parse::<u32>().expect("a number"));
        assert_eq!(sorted, all, "every line comes once a round");
        assert_ne!(*round, all);
    }
    assert_ne!(first, second, "each round has an order of its own");
    let random = open(", order: random, count: 1000");
    assert_eq!(random.count(), Some(1000));
    assert!(ids(&random, 1000).iter().all(|id| all.contains(id)));
    let zipf = ids(&open(", order: zipf, exponent: 1.5, count: 1000"), 1000);
    let often = |id: &str| zipf.iter().filter(|other| *other == id).count();
    assert!(often("0") > often("1") && often("1") > often("9"), "{} {}", often("0"), often("1"));
    let topped = open(", tags: {n: \"${{ i }}\"}").get(3, None).expect("a Document");
    assert_eq!((topped.text.as_deref(), &topped.tags["n"]), (Some("line 3"), &json!(3)));
}

#[test]
fn lines_may_be_blank_long_and_without_an_end() {
    let long = "x".repeat(200_000);
    let text = format!("\n{{\"id\": \"a\"}}\r\n\n  \n{{\"text\": \"{long}\"}}\n{{\"id\": \"é\"}}");
    let folder = folder(&[("q.jsonl", text.as_bytes())]);
    let documents = compile_in("jsonl: q.jsonl", folder.path()).expect("documents");
    assert_eq!(documents.count(), Some(3));
    assert_eq!(ids(&documents, 3), ["a", "", "é"]);
    assert_eq!(
        documents.get(1, None).expect("a Document").text.map(|text| text.len()),
        Some(200_000)
    );
}

#[test]
fn columns_of_csv_go_into_fields() {
    let text = "title,price,lang,vector,empty\n\
                \"two\nlines, quoted\",9.5,en,\"[1, 2]\",\n\
                plain,x,de,[3],\n";
    let folder = folder(&[("data.csv", text.as_bytes()), ("t.tsv", b"id\ttags.a.b\n1\ttrue\n")]);
    let spec = "{csv: data.csv, columns: {text: title, tags.price: price, tags.deep.lang: lang, \
                embedding: vector, uri: empty, scores.s: price}}";
    let error = compile_in(spec, folder.path()).map(|_| ()).expect_err("a bad line");
    assert!(error.ends_with("line 4: expected a number, found `x`"), "{error}");
    let spec = spec.replace(", scores.s: price", "");
    let documents = compile_in(&spec, folder.path()).expect("documents");
    assert_eq!(documents.count(), Some(2));
    let first = documents.get(0, None).expect("a Document");
    assert_eq!(first.text.as_deref(), Some("two\nlines, quoted"));
    assert_eq!(first.tags["price"], json!(9.5));
    assert_eq!(first.tags["deep"], json!({"lang": "en"}));
    assert_eq!(floats(&tensor(first.embedding)), [1.0, 2.0]);
    assert_eq!(documents.get(1, None).expect("a Document").tags["price"], json!("x"));
    let tabs =
        compile_in("csv: t.tsv", folder.path()).expect("documents").get(0, None).expect("one");
    assert_eq!((tabs.id.as_str(), &tabs.tags["a"]), ("1", &json!({"b": true})));
}

#[test]
fn files_become_blobs() {
    let folder = folder(&[("b.jpg", b"bb"), ("a.jpg", b"a"), ("c.png", b"ccc")]);
    let documents = compile_in("{blob: {files: \"*.jpg\"}, mime_type: image/jpeg}", folder.path())
        .expect("documents");
    assert_eq!(documents.count(), Some(2));
    let first = documents.get(0, None).expect("a Document");
    assert_eq!((first.blob.as_deref(), first.mime_type.as_str()), (Some(&b"a"[..]), "image/jpeg"));
    assert!(first.uri.ends_with("a.jpg"));
}

#[test]
fn document_arrays_of_every_format_are_read_in_parts() {
    use crate::wire::Family;
    use crate::wire::files::{FileFormat, write};
    let docs: Vec<Document> = (0..50)
        .map(|n| Document {
            id: n.to_string(),
            chunks: vec![Document::from_text("chunk, [with] \"brackets\" {\\}")],
            ..Document::from_text(format!("é {n}"))
        })
        .collect();
    for family in [Family::V1, Family::V2] {
        for format in [FileFormat::Json, FileFormat::ProtobufArray, FileFormat::ProtobufStream] {
            for gzip in [false, true] {
                let mut content = Vec::new();
                write(&docs, family, format, gzip, &mut content).expect("written");
                let folder = folder(&[("docs", &content)]);
                let documents = compile_in("docarray: docs", folder.path()).expect("documents");
                assert_eq!(documents.count(), Some(50), "{family:?} {format:?} {gzip}");
                for (i, expected) in docs.iter().enumerate() {
                    let found = documents.get(i as u64, None).expect("a Document");
                    assert_eq!(found, *expected, "{family:?} {format:?} {gzip}");
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_data_set_is_said_before_the_load() {
    let folder = folder(&[
        ("bad.jsonl", b"{\"id\": \"a\"}\n{\"id\": 5}\nnothing\n{\"text\": \"\xff\"}\n"),
        ("empty.jsonl", b"\n\n"),
        ("short.csv", b"id,text\n1\n"),
        ("strange.csv", b"id,titel\n1,a\n"),
        ("none.csv", b""),
        ("docs.pickle", b"\x80\x04\x95"),
        ("cut.bin", b"\x0a\x05ab"),
        ("cut.json", b"[{\"id\": \"a\"}, {"),
        ("wrong.json", b"[{\"id\": \"a\"}, {\"id\": 7}]"),
        ("good.jsonl", b"{\"id\": \"a\"}\n"),
    ]);
    for (text, message) in [
        (
            "jsonl: nowhere.jsonl",
            "could not read `nowhere.jsonl`: No such file or directory (os error 2)",
        ),
        (
            "jsonl: bad.jsonl",
            "`bad.jsonl` line 2: column 8: invalid type: integer `5`, expected a string; fields \
             of a custom schema belong under `fields`; `bad.jsonl` line 3: column 2: not valid \
             JSON; `bad.jsonl` line 4: the line is not UTF-8 text",
        ),
        ("jsonl: empty.jsonl", "there are no Documents in `empty.jsonl`"),
        ("csv: short.csv", "`short.csv` line 2: expected 2 columns, found 1"),
        ("csv: strange.csv", "column `titel` of `strange.csv` matches no Document field"),
        ("{csv: strange.csv, columns: {text: title}}", "`strange.csv` has no column `title`"),
        (
            "{csv: strange.csv, columns: {txt: titel}}",
            "`txt` is not a field that a column can be mapped to",
        ),
        ("csv: none.csv", "could not read `none.csv`: it has no header line"),
        (
            "docarray: docs.pickle",
            "`docs.pickle` is a Python pickle, which can run code and is therefore not read; \
             save with protocol='protobuf-array'",
        ),
        ("docarray: cut.bin", "`cut.bin` ends in the middle of a Document"),
        ("docarray: cut.json", "`cut.json` ends in the middle of its JSON array"),
        (
            "docarray: wrong.json",
            "`wrong.json` Document 2: not a file of Documents: not the expected structure: \
             invalid type: integer `7`, expected a string at line 1 column 9",
        ),
        ("blob: {files: \"*.jpg\"}", "no file matches `*.jpg`"),
        ("{jsonl: good.jsonl, csv: short.csv}", "documents come from one data set"),
        (
            "{jsonl: good.jsonl, count: 5}",
            "expected at most the 1 Documents of the data set, found `5`",
        ),
        ("{text: a, order: random}", "`order` has no effect without a data set"),
        ("{jsonl: good.jsonl, exponent: 2}", "`exponent` has no effect without `order: zipf`"),
        ("{jsonl: good.jsonl, columns: {}}", "`columns` has no effect without `csv`"),
        ("{text: a, repeat: true}", "`repeat` has no effect without an end"),
    ] {
        let shown = compile_in(text, folder.path()).map(|_| ());
        let shown =
            shown.map_err(|error| error.replace(&format!("{}/", folder.path().display()), ""));
        assert_eq!(shown, Err(message.into()), "{text}");
    }
}

#[test]
fn what_cannot_be_made_is_said_before_the_load() {
    for (text, message) in [
        (
            "{text: a, blob: {bytes: 1}}",
            "a Document has at most one of `text`, `blob` and `tensor`",
        ),
        ("{text: a, content: b}", "`content` is short for `text`; leave one out"),
        ("text: ${{ vars.lng }}", "`vars.lng` is not defined"),
        ("text: ${{ i.x }}", "`i.x` is not defined"),
        ("embedding: {dtype: float32}", "an array needs its `shape`, such as `shape: [512]`"),
        (
            "embedding: {shape: [4], dtype: int8, normalize: l2}",
            "only an array of a floating-point type can be scaled to length 1",
        ),
        ("embedding: [[1], [2, 3]]", "the lists in it are not of the same length"),
        ("embedding: [1, a]", "expected numbers, found `\"a\"`"),
        ("tensor: {shape: [65536, 65536]}", "an array has at most 2147483648 values"),
        ("embedding: {values: [1, 2, 3], shape: [2]}", "3 values do not fill the shape [2]"),
        ("blob: {bytes: 3GiB}", "a blob has at most 2GiB"),
        ("blob: {base64: \"*\"}", "not valid base64: Invalid symbol 42, offset 0."),
        ("count: 1..5", "expected one number, found the range `1..5`"),
        ("count: 0", "expected a count of at least 1, found `0`"),
        ("weight: heavy", "expected a number, found `heavy`"),
        ("chunks: {jsonl: a.jsonl}", "`jsonl` is for Documents, not for their chunks or matches"),
        (
            "embedding: {shape: [2], distribution: gauss}",
            "expected `normal`, `uniform`, `exponential`, `zeros` or `ones`, found `gauss`",
        ),
        (
            "embedding: {shape: [2], distribution: {normal: {deviation: -1}}}",
            "`deviation` must be 0 or above, found `-1`",
        ),
    ] {
        assert_eq!(compile(text).map(|_| ()), Err(message.into()), "{text}");
    }
}

/// The custom fields of a Document, in plain JSON.
fn own(text: &str, i: u64) -> serde_json::Value {
    let document = get(text, i);
    assert!(document.has_own_schema(), "{text}");
    let mut plain = serde_json::to_value(&document).expect("JSON");
    plain.as_object_mut().expect("an object").remove("id");
    plain
}

#[test]
fn own_fields_have_any_name_and_type() {
    assert_eq!(
        own(
            "fields: {text: 5, uri: \"u-${{ i }}\", tags: [a, b], scores: [0.5], weight: heavy, \
             chunks: 3, on: true, nothing: null, big: 3000000000, d: {a: {b: 1.5}}, ll: [[1], [2, 3]]}",
            7,
        ),
        json!({
            "text": 5, "uri": "u-7", "tags": ["a", "b"], "scores": [0.5], "weight": "heavy",
            "chunks": 3, "on": true, "nothing": null, "big": 3_000_000_000.0,
            "d": {"a": {"b": 1.5}}, "ll": [[1], [2, 3]],
        }),
    );
    let drawn = own("fields: {t: \"${{ uniform(0, 1) }}\"}", 1)["t"].as_f64().expect("a number");
    assert!((0.0..1.0).contains(&drawn));
}

#[test]
fn own_fields_have_the_generators_of_v1s() {
    let made = own(
        "fields: {w: {words: 3}, t: {text: {words: 2}}, b: {base64: aGVsbG8=}, r: {blob: {bytes: 9}}, \
         a: {shape: [2, 3], dtype: int8, distribution: zeros}, e: {tensor: {shape: [2]}}, \
         v: {embedding: {values: [3, 4]}}}",
        0,
    );
    let words = |name: &str| made[name].as_str().expect(name).split(' ').count();
    assert_eq!((words("w"), words("t")), (3, 2));
    assert_eq!(made["b"], "aGVsbG8=");
    assert_eq!(made["r"].as_str().expect("base64").len(), 12);
    assert_eq!(made["a"], json!([[0, 0, 0], [0, 0, 0]]));
    assert_eq!(made["e"].as_array().expect("an array").len(), 2);
    assert_eq!(made["v"], json!([3.0, 4.0]));
    assert_ne!(own("fields: {w: {words: 9}}", 0), own("fields: {w: {words: 9}}", 1));
}

#[test]
fn own_fields_may_be_documents() {
    assert_eq!(
        own(
            "fields: {one: {fields: {x: 1, in: {fields: {y: \"${{ i }}\"}}}}, \
             many: {count: 2, fields: {n: \"${{ i }}\", v: {values: [1, 2], dtype: int8}}}, \
             map: {v: {values: [1], dtype: int8}}, list: [{v: {values: [1], dtype: int8}}]}",
            5,
        ),
        json!({
            "one": {"x": 1, "in": {"y": 5}},
            "many": [{"n": 0, "v": [1, 2]}, {"n": 1, "v": [1, 2]}],
            "map": {"v": [1]}, "list": [{"v": [1]}],
        }),
    );
    // A map that has a generator's key and others is a value.
    let value = json!({"meta": {"count": 3, "shape": "round", "text": "a"}});
    assert_eq!(own("fields: {meta: {count: 3, shape: round, text: a}}", 0), value);
}

#[test]
fn own_fields_come_from_data_sets_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect(name);
    write(
        "a.csv",
        "id,fields.prompt,fields.code,fields.n,fields.meta.lang,fields.v\n1,hi,007,1.5,en,\"[1, 2]\"\n",
    );
    write(
        "a.jsonl",
        "{\"fields\": {\"tags\": [1], \"text\": 5}}\n{\"prompt\": \"a\", \"tags\": [\"x\"], \"uri\": \"u\"}\n{\"prompt\": \"a\", \"uri\": \"u\"}\n",
    );
    write("a.jpg", "bytes");
    let at = |text: &str, i| {
        let documents = compile_in(text, folder.path()).expect(text);
        serde_json::to_value(documents.get(i, None).expect(text)).expect("JSON")
    };
    assert_eq!(
        at("csv: a.csv", 0),
        json!({"id": "1", "prompt": "hi", "code": "007", "n": 1.5, "meta": {"lang": "en"}, "v": [1, 2]}),
    );
    assert_eq!(at("jsonl: a.jsonl", 0), json!({"tags": [1], "text": 5}));
    assert_eq!(at("jsonl: a.jsonl", 1), json!({"prompt": "a", "tags": ["x"], "uri": "u"}));
    assert_eq!(at("jsonl: a.jsonl", 2), json!({"prompt": "a", "uri": "u"}));
    assert_eq!(
        at("{jsonl: a.jsonl, fields: {n: 1}}", 2),
        json!({"prompt": "a", "uri": "u", "n": 1})
    );
    assert_eq!(
        at("fields: {image: {files: '*.jpg'}, n: 1}", 0),
        json!({"image": "Ynl0ZXM=", "n": 1})
    );
}

#[test]
fn what_is_wrong_with_own_fields_is_told() {
    for (text, message) in [
        ("fields: {a: \"${{ vars.lng }}\"}", "`vars.lng` is not defined"),
        (
            "fields: {a: {b: [{words: many}]}}",
            "expected a whole number such as `5` or a range such as `5..30`, found `many`",
        ),
        ("fields: {a: {shape: [99999999999]}}", ""),
        ("fields: {a: {shape: [90000, 90000]}}", "an array has at most 2147483648 values"),
        (
            "fields: {a: {shape: [9000, 9000]}}",
            "a Document may take up to 309 MiB, more than the limit of 64MiB",
        ),
        ("fields: {a: {base64: '?'}}", "not valid base64: Invalid symbol 63, offset 0."),
        ("fields: {a: {count: 9999999, fields: {}}}", "a field has at most 1000000 Documents"),
        ("fields: {a: {fields: {b: {files: x}}}}", "`files` is for a field of the Document itself"),
    ] {
        let found = compile(text).expect_err(text);
        assert!(found.contains(message), "{text}: {found}");
    }
}
