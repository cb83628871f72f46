//! All reading of files for a configuration goes through here: regular files alone, with the place in the
//! configuration that named them, so that a reading that hangs can be blamed on it.

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
}

impl Files {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress }
    }

    /// Reads a file of at most `most` bytes. `place` says what names it, and never holds its path where that may be
    /// a secret in the wrong place.
    pub(super) fn read(&self, place: String, path: &Path, most: usize) -> Result<Contents, ReadError> {
        self.reading(place);
        read(path, most)
    }

    /// Notes that something is being read that is no file, a folder say.
    pub(super) fn reading(&self, place: String) {
        self.progress.set(place);
    }
}
