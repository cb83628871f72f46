//! Opens and reads regular files, and refuses everything else before it can block.
//!
//! Opening a FIFO waits for its other end, reading a terminal waits for a person, and opening a device can do
//! something by itself. Whoever names one as a file of wxgate's gets an error instead. A file system that hangs can
//! still block: callers that must not wait use [`crate::beside`].

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;
use zeroize::Zeroizing;

/// Why a file could not be read. No text of it holds a path, which may be a secret in the wrong place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The system refused.
    #[error("{}", reason(.0))]
    System(#[from] io::Error),
    /// It is no regular file, but this.
    #[error("it is {0}, want a regular file")]
    NotRegular(&'static str),
    /// It holds more than the caller would read.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
}

/// A whole file.
pub(crate) struct Contents {
    /// What it holds; wiped when dropped.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Owner, mode and times.
    pub(crate) meta: Metadata,
}

/// Opens a regular file for reading; symbolic links are followed.
///
/// # Errors
/// When the system refuses, or it is no regular file.
pub(crate) fn open(path: &Path) -> Result<(File, Metadata), ReadError> {
    regular(&std::fs::metadata(path)?)?;
    // It may have been replaced since: NONBLOCK keeps the open from waiting, and the second look decides.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    regular(&meta)?;
    Ok((file, meta))
}

/// Reads a whole regular file of at most `most` bytes.
///
/// # Errors
/// As [`open`], and when it is longer.
pub(crate) fn read(path: &Path, most: usize) -> Result<Contents, ReadError> {
    let (mut file, meta) = open(path)?;
    let expected = usize::try_from(meta.len()).unwrap_or(most).min(most);
    let mut bytes = read_at_most(&file, expected)?;
    if bytes.len() > expected && expected < most {
        // It has grown meanwhile, or its file system tells no lengths.
        file.rewind()?;
        bytes = read_at_most(&file, most)?;
    }
    match bytes.len() > most {
        true => Err(ReadError::TooLong(most)),
        false => Ok(Contents { bytes, meta }),
    }
}

/// A file's beginning, one byte more than `most` if it is longer. The buffer is made once and wiped after use:
/// growing would leave unwiped copies behind.
fn read_at_most(file: impl Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut text)?;
    Ok(text)
}

fn regular(meta: &Metadata) -> Result<(), ReadError> {
    match meta.is_file() {
        true => Ok(()),
        false => Err(ReadError::NotRegular(kind(meta.file_type()))),
    }
}

fn kind(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The operating system's reason without anything that a path could have contributed.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code).to_string(),
        None => error.kind().to_string(),
    }
}

impl ReadError {
    /// What to do about it where that is not plain; empty otherwise.
    pub(crate) fn cure(&self) -> String {
        match self {
            Self::System(error) if error.kind() == io::ErrorKind::PermissionDenied => format!(
                "; let the user that wxgate runs as (uid {}) read it, or have systemd pass it (`LoadCredential=NAME:PATH` \
                 in the unit, {{ credential = \"NAME\" }} here)",
                geteuid().as_raw()
            ),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_of_a_secret_never_grows() {
        for (length, read) in [(0, 0), (1, 1), (1000, 1000), (1001, 1001), (5000, 1001)] {
            let text = read_at_most(vec![b'x'; length].as_slice(), 1000).unwrap();
            assert_eq!((text.len(), text.capacity()), (read, 1001), "{length}");
        }
    }

    #[test]
    fn a_file_of_another_user_comes_with_a_cure() {
        let refused = |kind: io::ErrorKind| ReadError::System(kind.into()).cure();
        let cure = refused(io::ErrorKind::PermissionDenied);
        assert!(cure.contains("LoadCredential") && cure.contains(&geteuid().as_raw().to_string()), "{cure}");
        assert_eq!(refused(io::ErrorKind::NotFound), "");
    }

    #[test]
    fn a_regular_file_is_read_through_symbolic_links_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "12345").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(*read(&link, 5).unwrap().bytes, b"12345");
        assert_eq!(read(&link, 4).err().unwrap().to_string(), "it is longer than 4 bytes");
        let missing = read(&dir.path().join("no"), 4).err().unwrap().to_string();
        assert_eq!(missing, "No such file or directory (os error 2)");
    }

    #[test]
    fn what_could_block_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, socket) = (dir.path().join("fifo"), dir.path().join("socket"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, what) in [
            (fifo.as_path(), "a FIFO"),
            (&socket, "a socket"),
            (dir.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/tty"), "a device"),
        ] {
            let error = read(path, 100).err().unwrap().to_string();
            assert_eq!(error, format!("it is {what}, want a regular file"), "{}", path.display());
        }
    }
}
