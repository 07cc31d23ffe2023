//! The golden models of `tests/golden` (`tests/reference/make_golden.py`).

use locollm::convert::import::{Options, Report, import};
use std::path::{Path, PathBuf};

/// Folder of a golden case.
pub(crate) fn folder(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case)
}

/// Imports a golden case into `to`.
pub(crate) fn import_case(case: &str, to: &Path, options: &Options) -> Report {
    import(&folder(case), to, options, &mut |_| {}).unwrap_or_else(|e| panic!("{case}: {e}"))
}
