//! Bytes of real clients and gateways.

use flowbench::wire::{Family, Form};
use serde_json::Value;

#[test]
fn json_of_real_gateways_reads_and_writes() {
    for (family, dir) in [(Family::V1, "v1"), (Family::V2, "v2")] {
        let form = Form::Json(family);
        for entry in std::fs::read_dir(format!("tests/golden/{dir}/http")).unwrap() {
            let path = entry.unwrap().path();
            let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            for exchange in case["exchanges"].as_array().unwrap() {
                let (request, response) = (&exchange["request"], &exchange["response"]);
                if request["method"] != "POST" || response["status"] != 200 {
                    continue;
                }
                let body = serde_json::to_vec(&response["body"]).unwrap().into();
                let message = form.decode(body).unwrap();
                let again = form.encode_response(&message).unwrap();
                let again: Value = serde_json::from_slice(&again).unwrap();
                assert_eq!(again, response["body"], "{}", path.display());
            }
        }
    }
}
