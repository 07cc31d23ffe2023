//! Data that tests may use but the project does not carry.
//!
//! Unit tests use it as `crate::testing`, integration tests with `#[path = "../src/testing.rs"] mod testing;`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A file of the shared test data: in `$LOCO_TEST_DATA`, or in `../shared/data` beside the project.
///
/// # Panics
/// If `LOCO_TEST_DATA` is set and the file is not there: who names the data wants the test to run. Without the
/// variable the test is to return, and a line on standard error, which is not captured, says so.
pub(crate) fn shared_data(name: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("LOCO_TEST_DATA") {
        let path = PathBuf::from(folder).join(name);
        assert!(path.is_file(), "no {} (LOCO_TEST_DATA)", path.display());
        return Some(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.is_file() {
        return Some(path);
    }
    // Not `eprintln!`, which the test runner captures. If the line cannot be written, nobody is there to read it.
    _ = std::io::stderr().write_all(format!("skipped: no {name} in the test data\n").as_bytes());
    None
}
