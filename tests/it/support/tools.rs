//! Files of the repository, and the programs that `tests/run` has installed.

use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What `tests/run` has installed under this name.
pub(crate) fn tool(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| file("target"), PathBuf::from);
    target.join("test-tools").join(name)
}

/// The Python with the libraries: the one of `tests/run`, or the one that the environment names.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("WXGATE_TEST_PYTHON").map_or_else(|| tool("python/bin/python"), PathBuf::from)
}
