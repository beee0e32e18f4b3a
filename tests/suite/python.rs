//! The Python package: its tests in `tests/python/`, run with this program.

use std::path::Path;
use std::process::Command;

use crate::interop::python::package;

#[test]
fn the_python_package_passes_its_tests() {
    let Some(python) = package() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ran = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "flowbench.pytest_plugin", "-p", "no:cacheprovider"])
        .current_dir(root)
        .env("FLOWBENCH_BINARY", env!("CARGO_BIN_EXE_flowbench"))
        .env("PYTHONPATH", root.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MYPY_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("mypy"))
        .env_remove("PYTEST_ADDOPTS")
        .output()
        .expect("Python can be started");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    // If the packages are installed, nothing may be skipped.
    assert!(!said.contains("skipped"), "{said}");
}
