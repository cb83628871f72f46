//! Uploaded media, kept in memory up to a total size: the oldest goes first.
//!
//! It knows no HTTP; which sizes are allowed for which type is in `api/media.rs`.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// All media together; a test's uploads must not grow the process without bound.
const TOTAL: usize = 64 << 20;

/// One stored file.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) account: usize,
    /// `image`, `voice`, `video` or `thumb`.
    pub(crate) kind: &'static str,
    pub(crate) mime: String,
    pub(crate) bytes: Bytes,
}

/// The files by their media_id.
#[derive(Default)]
pub(crate) struct MediaStore {
    files: HashMap<String, Stored>,
    oldest_first: VecDeque<String>,
    size: usize,
}

impl MediaStore {
    /// Keeps the file and returns its media_id.
    pub(crate) fn put(&mut self, stored: Stored) -> String {
        self.size += stored.bytes.len();
        let id: String = std::iter::repeat_with(fastrand::alphanumeric).take(64).collect();
        self.files.insert(id.clone(), stored);
        self.oldest_first.push_back(id.clone());
        while self.size > TOTAL
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            if let Some(gone) = self.files.remove(&oldest) {
                self.size -= gone.bytes.len();
            }
        }
        id
    }

    pub(crate) fn get(&self, account: usize, id: &str) -> Option<&Stored> {
        self.files.get(id).filter(|stored| stored.account == account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_the_store_is_full() {
        let mut store = MediaStore::default();
        let bytes = Bytes::from(vec![0; TOTAL / 4]);
        let mut put = || {
            store.put(Stored {
                account: 0,
                kind: "image",
                mime: "image/jpeg".to_owned(),
                bytes: bytes.clone(),
            })
        };
        let ids: Vec<_> = std::iter::repeat_with(&mut put).take(5).collect();
        assert!(store.get(0, &ids[0]).is_none());
        assert!(ids[1..].iter().all(|id| store.get(0, id).is_some()));
        assert!(store.get(1, &ids[1]).is_none(), "another account's");
    }
}
