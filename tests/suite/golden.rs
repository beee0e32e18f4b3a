use flowbench::wire::*;
#[test]
fn smoke() {
    let mut n = 0;
    for (family, dir) in [(Family::V1, "v1"), (Family::V2, "v2")] {
        let form = Form::Protobuf(family);
        for entry in std::fs::read_dir(format!("tests/golden/{dir}/grpc")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.display().to_string();
            if !name.ends_with(".bin")
                || name.contains("dry_run")
                || name.contains("health")
                || name.contains("garbage")
                || name.contains("unary.req0.s0")
                || name.contains("unary.resp0.s0")
            {
                continue;
            }
            let bytes: bytes::Bytes = std::fs::read(&path).unwrap().into();
            let message = form.decode(bytes.clone()).unwrap_or_else(|e| panic!("{name}: {e:?}"));
            let again = form.encode_response(&message).unwrap();
            assert_eq!(form.decode(again.clone()).unwrap(), message, "{name}");
            if again.len() != bytes.len() {
                println!("{name} {} {}", again.len(), bytes.len());
            }
            form.decode_head(&bytes).unwrap();
            let request = form.encode_request(&message).unwrap();
            let id = RequestId { sender: 5, number: 7 };
            let mut message = message;
            message.header.request_id = String::from_utf8(id.digits().to_vec()).unwrap();
            if message.parameters.is_empty() {
                message.parameters.insert("__results__".into(), serde_json::json!({}));
            }
            assert_eq!(form.decode(request.with_id(id)).unwrap(), message, "{name}");
            n += 1;
        }
    }
    println!("{n}");
}
