//! The work with one credential's files. All of it blocks.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::error::OpenError;
use super::lock::{self, Lock};
use super::{StoreKey, folder, open, quarantine};
use crate::store::StoredState;
use crate::store::format::{self, Unusable};

/// The names of one credential's files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    stem: String,
    pub(super) file: PathBuf,
    pub(super) key: StoreKey,
}

impl Files {
    pub(super) fn new(dir: &Path, key: StoreKey) -> Self {
        let stem = key.stem();
        Self { dir: dir.to_owned(), file: dir.join(format!("{stem}.json")), stem, key }
    }

    /// Makes the folder, takes the lock, and proves that there can be written.
    pub(super) fn open(&self, patience: Duration) -> Result<Lock, OpenError> {
        let (dir, appid) = (self.dir.clone(), self.key.appid.clone());
        if appid.is_empty() || !appid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(OpenError::Appid(appid));
        }
        folder::make(&dir).map_err(|source| OpenError::NotCreated { dir: dir.clone(), source })?;
        // First of all: what looks left over may be what another process is writing.
        let lock = match lock::take(&dir.join(lock::name(&self.stem)), patience) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(OpenError::InUse { appid, dir }),
            Err(e) => {
                self.go_on_if_full(e)?;
                Lock::none()
            }
        };
        quarantine::clean(&dir, &self.stem);
        match folder::proven(&dir, || self.probe()) {
            Ok(owner) => folder::close(&dir, &self.stem, owner),
            Err(e) => self.go_on_if_full(e)?,
        }
        Ok(lock)
    }

    /// Whether another process has the lock.
    pub(super) fn is_locked(&self) -> bool {
        lock::is_held(&self.dir.join(lock::name(&self.stem)))
    }

    /// A folder that is only full serves its valid token; nothing else can be made of it.
    fn go_on_if_full(&self, source: io::Error) -> Result<(), OpenError> {
        let dir = self.dir.clone();
        if !is_full(&source) {
            return Err(OpenError::NotWritable { dir, source });
        }
        let stored = self.read().ok().flatten().and_then(|text| format::parse(&text, &self.key).ok());
        let valid = stored
            .and_then(|parsed| parsed.state.credential)
            .is_some_and(|credential| credential.expires_at > SystemTime::now());
        if !valid {
            return Err(OpenError::Full { dir, source });
        }
        error!(
            "state_dir `{}` is full: {source}; going on with the stored token, but what comes next cannot be kept: \
             make room there",
            dir.display()
        );
        Ok(())
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
        let prefix = format!(".{}.json.", self.stem);
        tempfile::Builder::new().prefix(&prefix).suffix(".tmp").tempfile_in(&self.dir)
    }

    pub(super) fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(file) = open::for_reading(&self.file)? else { return Ok(None) };
        // Room for all of it at once: what a growing buffer leaves behind is not wiped.
        let length = file.metadata()?.len().min(format::LONGEST as u64) + 1;
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
        file.take(length).read_to_end(&mut text)?;
        Ok(Some(text))
    }

    pub(super) fn load(&self) -> Option<StoredState> {
        self.close_file();
        let text = match self.read() {
            Ok(text) => text?,
            Err(e) => {
                self.quarantine(&Unusable::damaged(format!("it cannot be read: {e}")));
                return None;
            }
        };
        match format::parse(&text, &self.key) {
            Ok(parsed) => {
                if let Some(why) = parsed.credential_ignored {
                    info!("the token in `{}` is not used: {why}", self.file.display());
                }
                Some(parsed.state)
            }
            Err(unusable) => {
                self.quarantine(&unusable);
                None
            }
        }
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

    fn quarantine(&self, unusable: &Unusable) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let to = self.dir.join(quarantine::name(&self.stem, unusable.kind, now));
        let (file, shown, why) = (self.file.display(), to.display(), &unusable.why);
        match fs::rename(&self.file, &to) {
            Ok(()) => {
                warn!(
                    "the token file `{file}` is not used: {why}; it is now `{shown}`, and a token is fetched"
                )
            }
            Err(e) => warn!("the token file `{file}` is not used: {why}; it cannot be quarantined: {e}"),
        }
        quarantine::clean(&self.dir, &self.stem);
    }

    pub(super) fn write(&self, state: &StoredState) -> io::Result<()> {
        let text = format::render(state, &self.key);
        let mut temp = self.temp()?;
        temp.write_all(&text)?;
        temp.as_file().sync_all()?;
        temp.persist(&self.file).map_err(|e| e.error)?;
        // Without this a power cut could bring the old name's content back, or no file at all.
        File::open(&self.dir)?.sync_all()
    }
}

/// Whether nothing is wrong but the room: the disk's, the user's quota, or a limit on the size of files.
fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
