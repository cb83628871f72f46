//! The state directory itself: made where it is missing, closed to other users where it is wxgate's own.
//!
//! Knows no file but by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::{info, warn};

use super::quarantine;

/// The folder itself is for wxgate's user alone; missing parents get the usual mode.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // Another account's store of the same program was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// Closes an existing folder to others, or says that it is open. One that holds other people's files (`/tmp`,
/// a home) is left as it is: closing it would break them, and the state files are 0600 in any case.
pub(super) fn close(dir: &Path, stem: &str, owner: u32) {
    let Ok(meta) = fs::metadata(dir) else { return };
    if meta.mode() & 0o077 == 0 {
        return;
    }
    let shown = dir.display();
    let only_ours = fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| quarantine::is_ours(&entry.file_name(), stem)))
    });
    let sticky = meta.mode() & 0o1000 != 0;
    if meta.uid() == owner
        && only_ours
        && !sticky
        && fs::set_permissions(dir, Permissions::from_mode(0o700)).is_ok()
    {
        info!("state_dir `{shown}` was open to other users; its mode is 0700 now");
    } else if first_time(dir) {
        let mode = meta.mode() & 0o7777;
        warn!(
            "state_dir `{shown}` is open to other users (mode {mode:o}): give wxgate a folder of its own, mode 0700"
        );
    }
}

/// The outcome of `probe`, or of another account's that began after this was called: a thousand accounts that start
/// together sync a few files, not a thousand.
pub(super) fn proven(dir: &Path, probe: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
    proven_since(Instant::now(), dir, probe)
}

fn proven_since(called: Instant, dir: &Path, probe: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
    /// When the last probe of a folder began that went well, and the user id that its file got.
    type Last = Arc<Mutex<Option<(Instant, u32)>>>;
    static FOLDERS: Mutex<BTreeMap<PathBuf, Last>> = Mutex::new(BTreeMap::new());
    let last =
        Arc::clone(FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).entry(dir.to_owned()).or_default());
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, owner)) = last.filter(|(began, _)| *began > called) {
        return Ok(owner);
    }
    let began = Instant::now();
    let owner = probe()?;
    *last = Some((began, owner));
    Ok(owner)
}

/// Whether this folder is mentioned for the first time: all accounts share it, and one warning is enough.
fn first_time(dir: &Path) -> bool {
    static MENTIONED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    MENTIONED.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_counts_for_those_who_asked_before_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let (before, unasked) = (Instant::now(), || panic!("one more probe"));
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert!(proven(dir.path(), full).is_err());
        assert_eq!(proven(dir.path(), || Ok(7)).unwrap(), 7, "one that failed counts for nobody");
        assert_eq!(proven_since(before, dir.path(), unasked).unwrap(), 7);
        assert!(proven(dir.path(), full).is_err(), "one that is over counts no more");
    }

    #[test]
    fn an_open_folder_is_mentioned_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!([first_time(dir.path()), first_time(dir.path())], [true, false]);
    }
}
