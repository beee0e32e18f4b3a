//! Bytes that real clients and gateways of both families have sent, each with what a decoder must find in it:
//! `tests/golden/README.md` describes their origin.
//!
//! Every test compares the number of cases it checked with the number in the folder, so that none is silently
//! skipped.

mod expect;
mod http;
mod protobuf;
mod save;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flowbench::wire::Family;
use serde_json::Value;

const FAMILIES: [(Family, &str); 2] = [(Family::V1, "v1"), (Family::V2, "v2")];

/// A file of the golden data.
pub(crate) fn file(path: impl AsRef<Path>) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path);
    match fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

/// The files of a folder, by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder);
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<_> =
        entries.map(|entry| Path::new(folder).join(entry.expect("readable").file_name())).collect();
    names.sort();
    names
}

/// The cases of a folder: name and content of each sidecar.
pub(crate) fn cases(folder: &str) -> Vec<(String, Value)> {
    let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let read = |path: PathBuf| {
        let name = path.display().to_string();
        let case = serde_json::from_slice(&file(&path)).unwrap_or_else(|e| panic!("{name}: {e}"));
        (name, case)
    };
    files(folder).into_iter().filter(is_json).map(read).collect()
}

/// The items of a list in a sidecar; empty if there is no such list.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
