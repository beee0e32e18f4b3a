//! Checks `README.md`. The commands in it are run by `tests/python/test_guides.py`.

const README: &str = include_str!("../../README.md");

#[test]
fn it_is_read_within_two_screens() {
    assert!(README.lines().count() <= 100, "{} lines", README.lines().count());
}

#[test]
fn its_links_lead_to_files() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for link in README.split("](").skip(1) {
        let path = link.split(')').next().unwrap_or_default();
        assert!(root.join(path).is_file(), "{path}");
    }
}
