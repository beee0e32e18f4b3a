//! Files of Documents.

use flowbench::wire::Family;
use flowbench::wire::files;
use serde_json::{Value, json};

use super::{FAMILIES, expect, file, files as names};

#[test]
fn every_saved_file_holds_its_documents() {
    for (family, folder) in FAMILIES {
        let folder = format!("{folder}/save");
        let readme: Value =
            serde_json::from_slice(&file(format!("{folder}/README.json"))).expect("JSON");
        let mut expected = readme["documents"].clone();
        expect::without_empty_nodes(&mut expected);
        let described = readme["files"].as_object().expect("names");
        assert_eq!(described.len() + 1, names(&folder).len(), "{folder}");
        for name in described.keys() {
            let docs = files::read(file(format!("{folder}/{name}")))
                .unwrap_or_else(|error| panic!("{folder}/{name}: {error:?}"));
            let docs: Value = docs.iter().map(|doc| expect::document(family, doc)).collect();
            let mut expected = expected.clone();
            // Lists do not preserve 32-bit precision, and v1's JSON turns a 1 into `true`.
            if ["docs.json", "docs.json-array"].contains(&name.as_str()) {
                expect_lists(family, &mut expected);
            }
            assert_eq!(docs, expected, "{folder}/{name}");
        }
    }
}

fn expect_lists(family: Family, docs: &mut Value) {
    let dense = match family {
        Family::V1 => {
            docs[0]["tags"]["one"] = true.into();
            &mut docs[1]["tensor"]["dense"]
        }
        Family::V2 => &mut docs[1]["tensor"]["value"]["dense"],
    };
    *dense = json!({"dtype": "<f8", "shape": [2], "buffer_len": 16, "values_flat": [1.0, 2.0]});
}
