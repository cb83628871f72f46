//! All reading of files for a configuration goes through here: regular files alone, with the place in the
//! configuration that named them, so that a reading that hangs can be blamed on it.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::regular_file::{Contents, ReadError, read};

/// Which file is being read at the moment, for whoever waits on another thread.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Mutex<String>>);

impl Progress {
    /// The place in the configuration that names the file; empty before the first one.
    pub(super) fn place(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, place: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
}

/// The files of one configuration.
#[derive(Default)]
pub(super) struct Files {
    progress: Progress,
    read: RefCell<DefaultHasher>,
}

impl Files {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, ..Self::default() }
    }

    /// Reads a file of at most `most` bytes. `place` says what names it, and never holds its path where that may be
    /// a secret in the wrong place.
    pub(super) fn read(&self, place: String, path: &Path, most: usize) -> Result<Contents, ReadError> {
        self.reading(place);
        let contents = read(path, most);
        let mut hash = self.read.borrow_mut();
        path.hash(&mut *hash);
        match &contents {
            Ok(contents) => contents.bytes.hash(&mut *hash),
            Err(error) => error.to_string().hash(&mut *hash),
        }
        contents
    }

    /// Differs when other files were read, or one of them had another content.
    pub(super) fn fingerprint(&self) -> u64 {
        self.read.borrow().finish()
    }

    /// Notes that something is being read that is no file, a folder say.
    pub(super) fn reading(&self, place: String) {
        self.progress.set(place);
    }
}
