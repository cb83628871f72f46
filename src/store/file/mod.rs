//! The state file: `state_dir/<appid>.json` (`<appid>-<kind>.json` for a ticket, `<corpid>_<account>.json` for WeCom), mode
//! 0600 in a folder of mode 0700.
//!
//! A new content goes to a new name (created exclusively, 0600), is synced, renamed over the old one, and the
//! folder is synced: a process that is killed in between leaves the old file or the new one, never a torn one. The
//! file's lock makes this process the only one that fetches, so its lease is always granted and no peer publishes.
//! What the state means is the lifecycle's business; how it is spelled is in `store/format.rs`.

mod error;
mod files;
mod folder;
mod lock;
mod open;
mod quarantine;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::error;

pub use self::error::OpenError;
use self::files::Files;
use self::lock::Lock;
use super::format;
use super::{Lease, Pending, PublishError, Published, Store, StoreEvent, StoreKey, StoredState};
use crate::beside::{BesideError, READING, beside};

/// So many threads at most work with the files of running accounts at one moment, and as many open others.
const AT_ONCE: usize = 48;

static THREADS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Of their own for opening, which may wait seconds for a lock: those of running accounts write meanwhile.
static OPENING: Semaphore = Semaphore::const_new(AT_ONCE);

/// As [`beside`], once there is a thread to be had: where all hang in the system, that takes longer than `limit`, too.
async fn in_turn<T: Send + 'static>(
    threads: &'static Semaphore,
    limit: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BesideError> {
    let turn = timeout(limit, threads.acquire()).await.map_err(|_| BesideError::TooSlow(limit))?;
    let turn = turn.map_err(|_| BesideError::Failed)?;
    beside(limit, move || {
        let done = run();
        drop(turn);
        done
    })
    .await
}

/// What a look at a state file showed.
#[derive(Debug)]
pub enum Look {
    /// There is no file.
    Missing,
    /// It is unusable, in words; the next start quarantines it.
    Unusable(String),
    /// The state of this credential. What it holds may have ended.
    Held(Box<StoredState>),
}

/// Looks at a credential's file and changes nothing: neither the folder nor its files, which may belong to a
/// running wxgate. To use what is there, open a [`FileStore`].
pub async fn look(dir: &Path, key: &StoreKey) -> Look {
    let (dir, key) = (dir.to_owned(), key.clone());
    let looked = beside(READING, move || {
        let files = Files::new(&dir, key);
        match files.read() {
            Ok(None) => Look::Missing,
            Ok(Some(text)) => format::parse(&text, &files.key).map_or_else(
                |unusable| Look::Unusable(unusable.why),
                |parsed| Look::Held(Box::new(parsed.state)),
            ),
            Err(e) => Look::Unusable(format!("it cannot be read: {e}")),
        }
    });
    looked.await.unwrap_or_else(|e| Look::Unusable(format!("it cannot be read: {e}")))
}

/// Whether another process, a running wxgate, has locked a credential's file; `false` where nobody can tell.
pub async fn is_in_use(dir: &Path, key: &StoreKey) -> bool {
    let files = Files::new(dir, key.clone());
    beside(READING, move || files.is_locked()).await.unwrap_or_default()
}

/// One credential's file, locked for this process.
#[derive(Debug)]
pub struct FileStore {
    files: Arc<Files>,
    lock: Arc<Lock>,
    /// The generation in the file.
    stored: Arc<Mutex<u64>>,
}

impl FileStore {
    /// Makes the folder if it is missing, proves that it can be written by writing to it, and removes what a
    /// killed process left half written. A folder that is only full will do while it holds a valid token.
    ///
    /// While another process has this file open, it waits for up to 5 s: after that, a restart whose predecessor
    /// is still draining has to be tried again.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or another wxgate goes on using the file.
    pub async fn open(dir: &Path, key: StoreKey) -> Result<Self, OpenError> {
        Self::open_within(lock::PATIENCE, dir, key).await
    }

    async fn open_within(patience: Duration, dir: &Path, key: StoreKey) -> Result<Self, OpenError> {
        let files = Arc::new(Files::new(dir, key));
        let opening = Arc::clone(&files);
        let opened = in_turn(&OPENING, patience + READING, move || opening.open(patience)).await;
        let failed = |e| OpenError::NotWritable { dir: dir.to_owned(), source: io::Error::other(e) };
        let lock = opened.map_err(failed)??;
        Ok(Self { files, lock: Arc::new(lock), stored: Arc::default() })
    }

    /// The same file for another key of the same appid, under the lock that this store holds: for an account that
    /// is started anew with another upstream or token call.
    pub fn rekeyed(&self, key: StoreKey) -> Option<Self> {
        let files = Files::new(&self.files.dir, key);
        (files.file == self.files.file).then(|| Self {
            files: Arc::new(files),
            lock: Arc::clone(&self.lock),
            stored: Arc::default(),
        })
    }
}

impl Store for FileStore {
    fn load(&self) -> Pending<'_, Option<StoredState>> {
        let (files, stored) = (Arc::clone(&self.files), Arc::clone(&self.stored));
        Box::pin(async move {
            let loaded = in_turn(&THREADS, READING, move || {
                let state = files.load();
                *stored.lock().unwrap_or_else(PoisonError::into_inner) =
                    state.as_ref().map_or(0, |state| state.generation);
                state
            });
            loaded.await.unwrap_or_else(|e| {
                error!("`{}` cannot be read: {e}; a token is fetched", self.files.file.display());
                None
            })
        })
    }

    fn publish(&self, state: StoredState, over: u64) -> Pending<'_, Result<Published, PublishError>> {
        let (files, stored) = (Arc::clone(&self.files), Arc::clone(&self.stored));
        Box::pin(async move {
            let written = in_turn(&THREADS, READING, move || {
                // Held for the whole write; a write that hangs must not gather others behind it.
                let mut stored = match stored.try_lock() {
                    Ok(stored) => stored,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => {
                        return Err(io::Error::other("the write before this one has not come back"));
                    }
                };
                if *stored != over
                    && let Some(newer) = files.load().filter(|newer| newer.generation != over)
                {
                    *stored = newer.generation;
                    return Ok(Published::Superseded(Box::new(newer)));
                }
                files.write(&state)?;
                *stored = state.generation;
                Ok(Published::Stored)
            });
            let written = written.await.map_err(io::Error::other).and_then(|written| written);
            written.map_err(|e| {
                PublishError(format!(
                    "`{}` cannot be written: {e} (is the disk full or read-only?)",
                    self.files.file.display()
                ))
            })
        })
    }

    fn lease(&self, _: u64) -> Pending<'_, Lease> {
        Box::pin(std::future::ready(Lease::alone()))
    }

    fn watch(&self) -> Pending<'_, StoreEvent> {
        Box::pin(std::future::pending())
    }
}
