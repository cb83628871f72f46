//! What the unit tests of several parts need.

use std::path::Path;

/// Fails where a file of the repository, named by its path in it, is not what was made from the code. With
/// `WXGATE_WRITE_DOCUMENTS=1` in the environment the file is written anew before.
pub(crate) fn assert_document(path: &str, made: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("WXGATE_WRITE_DOCUMENTS").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, made).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(there, made)| there != made);
    assert!(
        there == made,
        "{path} is not what the code says ({differs:?}); write it anew with\n    \
         WXGATE_WRITE_DOCUMENTS=1 cargo test --lib documents_are_made"
    );
}
