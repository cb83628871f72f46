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

/// The user id that new files get: what `probe` says, or what another account's said that began after this was called. A
/// thousand accounts that start together sync a few files, not a thousand.
pub(super) fn proven(dir: &Path, probe: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
    static PROBES: ByFolder<u32> = Mutex::new(BTreeMap::new());
    shared(&PROBES, Instant::now(), dir, probe)
}

/// The names of all files, read once for all who ask meanwhile.
pub(super) fn names(dir: &Path) -> io::Result<Arc<[String]>> {
    static LISTS: ByFolder<Arc<[String]>> = Mutex::new(BTreeMap::new());
    shared(&LISTS, Instant::now(), dir, || {
        let entries = fs::read_dir(dir)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    })
}

/// What came last of some work with a folder, and when that began.
type Last<T> = Arc<Mutex<Option<(Instant, T)>>>;
type ByFolder<T> = Mutex<BTreeMap<PathBuf, Last<T>>>;

/// What comes of `work`, or what came of another's who began after `called`. A failure is for one alone.
fn shared<T: Clone>(
    all: &ByFolder<T>,
    called: Instant,
    dir: &Path,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let last =
        Arc::clone(all.lock().unwrap_or_else(PoisonError::into_inner).entry(dir.to_owned()).or_default());
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, done)) = last.as_ref().filter(|(began, _)| *began > called) {
        return Ok(done.clone());
    }
    let began = Instant::now();
    let done = work()?;
    *last = Some((began, done.clone()));
    Ok(done)
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
    fn work_counts_for_those_who_asked_before_it_began() {
        let (all, dir) = (Mutex::default(), Path::new("/state"));
        let (before, undone) = (Instant::now(), || panic!("done once more"));
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert!(shared(&all, Instant::now(), dir, full).is_err());
        assert_eq!(shared(&all, before, dir, || Ok(7)).unwrap(), 7, "a failure is for one alone");
        assert_eq!(shared(&all, before, dir, undone).unwrap(), 7);
        assert_eq!(shared(&all, before, Path::new("/other"), || Ok(8)).unwrap(), 8);
        assert!(shared(&all, Instant::now(), dir, full).is_err(), "what is over counts no more");
    }

    #[test]
    fn an_open_folder_is_mentioned_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!([first_time(dir.path()), first_time(dir.path())], [true, false]);
    }
}
