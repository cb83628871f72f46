//! Opens files of the state directory so that no name in it can mislead: no symbolic link is followed, and what is no
//! regular file (a FIFO hangs its reader) is not read.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens an existing file for reading; `None` where there is none.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub(super) fn for_reading(path: &Path) -> io::Result<Option<File>> {
    match guarded(path, OpenOptions::new().read(true)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Opens a file for its lock, and makes it where it is missing. Not truncated: what counts is the lock on it.
///
/// # Errors
/// As [`for_reading`].
pub(super) fn for_locking(path: &Path) -> io::Result<File> {
    guarded(path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600))
}

fn guarded(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    // The flags of open(2) fit an int by definition.
    let opened = options.custom_flags(flags.cast_signed()).open(path);
    let file = opened.map_err(|e| match e.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::LOOP) => irregular("it is a symbolic link, which is not followed"),
        // A FIFO that nobody reads cannot be opened for writing.
        Some(rustix::io::Errno::NXIO) => irregular("it is no regular file"),
        _ => e,
    })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(irregular("it is no regular file")),
    }
}

fn irregular(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
