//! The token file: `state_dir/<appid>.json`, mode 0600 in a folder of mode 0700.
//!
//! A new content goes to a new name (created exclusively, 0600), is synced, renamed over the old one, and the
//! folder is synced: whoever is killed in between leaves the old file or the new one, never a torn one. All
//! calls in here block; the task makes them on a thread where that holds nobody up. What the file means is
//! the lifecycle's business; how it is spelled is in `record.rs`.

mod aside;
mod lock;
mod record;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use tracing::{info, warn};
use zeroize::Zeroizing;

use self::lock::Lock;
use self::record::Unusable;
use crate::config::TokenApi;
use crate::credential::lifecycle::Record;

/// Where an account's record outlives the process. Its calls may block.
pub trait Keep: Send + Sync + 'static {
    /// What was kept last, if it is of any use; what is not is said and set aside by the keeper itself.
    fn load(&self) -> Option<Record>;

    /// Keeps `record` in place of what was there.
    ///
    /// # Errors
    /// In words for an operator, without secrets.
    fn save(&self, record: &Record) -> Result<(), String>;
}

/// No record is longer; a longer file is damaged.
const LONGEST_FILE: usize = 64 * 1024;

/// One account's file.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    file: PathBuf,
    key: StoreKey,
    /// None in a store that only looks.
    _lock: Option<Lock>,
}

/// Whose token a file holds; one of somebody else is never used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreKey {
    pub(crate) appid: String,
    /// `https://host:port`.
    pub(crate) upstream: String,
    pub(crate) api: TokenApi,
}

/// What a look at a token file showed.
#[derive(Debug)]
pub enum Look {
    /// There is no file.
    Missing,
    /// It is of no use, in words; the next start sets it aside.
    Damaged(String),
    /// A record of this account. Its token may have ended.
    Held(Record),
}

/// Looks at an account's file and changes nothing: neither the folder nor its files, which may belong to a
/// running wxgate. Whoever wants to use what is there opens a [`Store`].
pub fn look(dir: &Path, appid: &str, upstream: &str, api: TokenApi) -> Look {
    let store = Store {
        dir: dir.to_owned(),
        file: dir.join(format!("{appid}.json")),
        key: StoreKey { appid: appid.to_owned(), upstream: upstream.to_owned(), api },
        _lock: None,
    };
    match store.read() {
        Ok(None) => Look::Missing,
        Ok(Some(text)) => record::parse(&text, &store.key)
            .map_or_else(|unusable| Look::Damaged(unusable.why), |parsed| Look::Held(parsed.record)),
        Err(e) => Look::Damaged(format!("it cannot be read: {e}")),
    }
}

/// Why the state directory cannot be used (exit 1); the text says what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct StoreError(pub String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// Makes the folder if it is missing, proves that it can be written by writing to it, and removes what a
    /// killed process left half written. `upstream` is the text of a [`crate::upstream::BaseUrl`].
    ///
    /// While another process has this appid's file open, it waits for up to 5 s: after that, a restart whose
    /// predecessor is still draining has to be tried again. It blocks for that time, so it is for the start.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another wxgate goes on using the file.
    pub fn open(dir: &Path, appid: &str, upstream: &str, api: TokenApi) -> Result<Self, StoreError> {
        Self::open_within(lock::PATIENCE, dir, appid, upstream, api)
    }

    fn open_within(
        patience: Duration,
        dir: &Path,
        appid: &str,
        upstream: &str,
        api: TokenApi,
    ) -> Result<Self, StoreError> {
        // The appid is part of a file name: one with a slash or a dot could name any file.
        if appid.is_empty() || !appid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(StoreError(format!("`{}` cannot be an appid", appid.escape_debug())));
        }
        let shown = dir.display();
        make_dir(dir).map_err(|e| {
            StoreError(format!("state_dir `{shown}` cannot be created: {e}; create it for wxgate's user, or set another `state_dir`"))
        })?;
        let cannot_write = |e: io::Error| {
            StoreError(format!(
                "state_dir `{shown}` cannot be written: {e}; give it to wxgate's user (chown), or set another `state_dir`"
            ))
        };
        // First of all: what looks left over may be what another process is writing.
        let lock = lock::take(&dir.join(lock::name(appid)), patience).map_err(cannot_write)?;
        let Some(lock) = lock else {
            return Err(StoreError(format!(
                "another wxgate is running with the token file of {appid} in state_dir `{shown}`; stop it first, or \
                 give this appid to one of the two alone: two would end each other's tokens"
            )));
        };
        let store = Self {
            dir: dir.to_owned(),
            file: dir.join(format!("{appid}.json")),
            key: StoreKey { appid: appid.to_owned(), upstream: upstream.to_owned(), api },
            _lock: Some(lock),
        };
        let owner = store.probe().map_err(cannot_write)?;
        close_dir(dir, appid, owner);
        aside::clean(dir, appid);
        Ok(store)
    }

    /// Writes, syncs and removes a file; gives the user id that files get.
    fn probe(&self) -> io::Result<u32> {
        let mut probe = self.temp()?;
        probe.write_all(b"wxgate can write here\n")?;
        probe.as_file().sync_all()?;
        let owner = probe.as_file().metadata()?.uid();
        probe.close()?;
        Ok(owner)
    }

    fn temp(&self) -> io::Result<NamedTempFile> {
        // tempfile creates exclusively with mode 0600.
        let prefix = format!(".{}.json.", self.key.appid);
        tempfile::Builder::new().prefix(&prefix).suffix(".tmp").tempfile_in(&self.dir)
    }

    fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let file = match File::open(&self.file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST_FILE + 1));
        file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut text)?;
        Ok(Some(text))
    }

    /// Closes a file that others may read: an operator has copied it here, say.
    fn close_file(&self) {
        let open =
            fs::symlink_metadata(&self.file).is_ok_and(|meta| meta.is_file() && meta.mode() & 0o077 != 0);
        if !open {
            return;
        }
        let file = self.file.display();
        match fs::set_permissions(&self.file, Permissions::from_mode(0o600)) {
            Ok(()) => warn!("the token file `{file}` was open to other users; its mode is 0600 now"),
            Err(e) => warn!("the token file `{file}` is open to other users, and cannot be closed: {e}"),
        }
    }

    fn set_aside(&self, unusable: &Unusable) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let appid = &self.key.appid;
        let aside = self.dir.join(aside::name(appid, unusable.kind, now));
        let (file, shown, why) = (self.file.display(), aside.display(), &unusable.why);
        match fs::rename(&self.file, &aside) {
            Ok(()) => warn!(
                "the token file `{file}` is not used: {why}; it is now `{shown}`, and a token is fetched"
            ),
            Err(e) => warn!("the token file `{file}` is not used: {why}; it cannot be set aside: {e}"),
        }
        aside::clean(&self.dir, appid);
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        let text = record::render(record, &self.key);
        let mut temp = self.temp()?;
        temp.write_all(&text)?;
        temp.as_file().sync_all()?;
        temp.persist(&self.file).map_err(|e| e.error)?;
        // Without this a power cut could bring the old name's content back, or no file at all.
        File::open(&self.dir)?.sync_all()
    }
}

impl Keep for Store {
    fn load(&self) -> Option<Record> {
        self.close_file();
        let text = match self.read() {
            Ok(text) => text?,
            Err(e) => {
                self.set_aside(&Unusable::damaged(format!("it cannot be read: {e}")));
                return None;
            }
        };
        match record::parse(&text, &self.key) {
            Ok(parsed) => {
                if let Some(why) = parsed.token_ignored {
                    info!("the token in `{}` is not used: {why}", self.file.display());
                }
                Some(parsed.record)
            }
            Err(unusable) => {
                self.set_aside(&unusable);
                None
            }
        }
    }

    fn save(&self, record: &Record) -> Result<(), String> {
        self.write(record).map_err(|e| format!("`{}` cannot be written: {e}", self.file.display()))
    }
}

/// The folder itself is for wxgate's user alone; missing parents get the usual mode.
fn make_dir(dir: &Path) -> io::Result<()> {
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
/// a home) is left as it is: closing it would break them, and the token files are 0600 in any case.
fn close_dir(dir: &Path, appid: &str, owner: u32) {
    let Ok(meta) = fs::metadata(dir) else { return };
    if meta.mode() & 0o077 == 0 {
        return;
    }
    let shown = dir.display();
    let only_ours = fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.all(|entry| entry.is_ok_and(|entry| aside::is_ours(&entry.file_name(), appid)))
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

/// Whether this folder is mentioned for the first time: all accounts share it, and one warning is enough.
fn first_time(dir: &Path) -> bool {
    static MENTIONED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    MENTIONED.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned())
}

#[cfg(test)]
mod tests;
