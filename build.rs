//! Compiles `proto/` in pure Rust: no `protoc` needs to be installed.

use std::path::Path;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = std::env::var("OUT_DIR")?;
    // One folder per file: both families call their package `docarray`.
    for (file, include, module) in [
        ("proto/jina.proto", "proto", "jina"),
        ("proto/v1/docarray.proto", "proto/v1", "v1"),
        ("proto/v2/docarray.proto", "proto/v2", "v2"),
        ("proto/meet.proto", "proto", "meet"),
        ("proto/prometheus.proto", "proto", "prometheus"),
    ] {
        let descriptors = protox::compile([file], [include])?;
        let folder = Path::new(&out).join(module);
        std::fs::create_dir_all(&folder)?;
        prost_build::Config::new()
            .bytes(["."])
            .btree_map(["."]) // the same values give the same bytes
            .out_dir(folder)
            .compile_fds(descriptors)?;
    }
    // The descriptors for server reflection, with all imported files.
    for family in ["v1", "v2"] {
        let folder = format!("proto/{family}");
        let descriptors = protox::compile([format!("{folder}/jina.proto")], [folder])?;
        let file = Path::new(&out).join(format!("reflection_{family}.bin"));
        std::fs::write(file, descriptors.encode_to_vec())?;
    }
    Ok(())
}
