//! One wxgate for each appid and folder: the second one would end the first one's tokens and overwrite its counts.
//!
//! The lock is the kernel's, on a file of its own (the token file is replaced with each write), and ends with the
//! process however that ends. The file stays: removing it would let two processes lock two files of one name.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tracing::warn;

use super::open;

/// How long a start waits for the process before it, whose drain may be nearly over.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Held for as long as it lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its Drop")] Option<File>);

impl Lock {
    /// Where there is no room for a lock file.
    pub(super) fn none() -> Self {
        Self(None)
    }
}

/// The name of an appid's lock file.
pub(super) fn name(appid: &str) -> String {
    format!(".{appid}.lock")
}

/// Whether another process has the lock; `false` where nobody can tell.
pub(super) fn is_held(path: &Path) -> bool {
    let Ok(Some(file)) = open::for_reading(path) else { return false };
    // Given back when the file is closed, right away; whoever wants it meanwhile waits longer than that.
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Takes the lock, waiting up to `patience`; `None` when another process has it still.
pub(super) fn take(path: &Path, patience: Duration) -> io::Result<Option<Lock>> {
    let file = open::for_locking(path)?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Lock(Some(file)))),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(BETWEEN_TRIES),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => {
                // Some network file systems have no locks; they are no reason not to serve.
                warn!(
                    "`{}` cannot be locked: {e}; take care that no other wxgate uses this folder",
                    path.display()
                );
                return Ok(Some(Lock(Some(file))));
            }
        }
    }
}
