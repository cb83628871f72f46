//! Reads the configuration of a running process beside the thread that keeps tokens and signals, for a limited time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::files::{Files, Progress};
use super::{Config, ConfigErrors, Loaded, Problem};
use crate::beside::{BesideError, READING, beside};

/// Reads one configuration, at the start and at each reload.
pub struct Loader {
    path: Option<PathBuf>,
    limit: Duration,
    progress: Progress,
    reading: Arc<AtomicBool>,
}

/// Says that a reading is over, also when it ends in a panic.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Loader {
    /// For the file that the command line named, if it named one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self::with_limit(path, READING)
    }

    fn with_limit(path: Option<PathBuf>, limit: Duration) -> Self {
        Self { path, limit, progress: Progress::default(), reading: Arc::default() }
    }

    /// As [`Config::load`] with the process's environment. A reading that takes longer than 5 s is given up, and
    /// while it hangs there is no other.
    ///
    /// # Errors
    /// As [`Config::load`], and when it takes too long.
    pub async fn load(&self) -> Result<Loaded, ConfigErrors> {
        let path = self.path.clone();
        self.run(move |files| {
            Config::load_in(Path::new(""), path.as_deref(), files, &|name| std::env::var_os(name))
        })
        .await
    }

    async fn run(
        &self,
        read: impl FnOnce(&Files) -> Result<Loaded, ConfigErrors> + Send + 'static,
    ) -> Result<Loaded, ConfigErrors> {
        if self.reading.swap(true, Ordering::SeqCst) {
            return Err(self.hangs("an earlier reading of the configuration still hangs"));
        }
        let (progress, reading) = (self.progress.clone(), Reading(Arc::clone(&self.reading)));
        let read = beside(self.limit, move || {
            let _reading = reading;
            read(&Files::new(progress))
        });
        match read.await {
            Ok(loaded) => loaded,
            Err(error @ BesideError::TooSlow(_)) => {
                Err(self.hangs(&format!("reading the configuration: {error}")))
            }
            Err(error @ BesideError::Failed) => {
                Err(self.problem(format!("reading the configuration: {error}")))
            }
        }
    }

    fn hangs(&self, words: &str) -> ConfigErrors {
        self.problem(format!("{words}, at {}; is the file system there?", self.progress.place()))
    }

    fn problem(&self, advice: String) -> ConfigErrors {
        let file = self.path.clone();
        ConfigErrors::Wrong(vec![Problem { file, line: None, column: None, key: None, found: None, advice }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reading_that_hangs_is_given_up_and_blamed_on_its_file() {
        let loader = Loader::with_limit(Some("wxgate.toml".into()), Duration::from_millis(50));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hung = loader.run(move |files| {
            let _ = files.read("wxgate.toml:7: account[0].secret.file".to_owned(), Path::new("/no"), 1);
            let _ = held.recv();
            Err(ConfigErrors::NothingConfigured)
        });
        let words = "at wxgate.toml:7: account[0].secret.file; is the file system there?";
        let said = hung.await.unwrap_err().to_string();
        assert_eq!(
            said,
            format!("wxgate.toml: reading the configuration: it takes longer than 50ms, {words}")
        );
        let again = loader.run(|_| Err(ConfigErrors::NothingConfigured));
        let said = again.await.unwrap_err().to_string();
        assert_eq!(
            said,
            format!("wxgate.toml: an earlier reading of the configuration still hangs, {words}")
        );
        drop(release);
        let over = async {
            while loader.reading.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), over).await.unwrap();
        let again = loader.run(|_| Err(ConfigErrors::NothingConfigured));
        assert_eq!(again.await.unwrap_err(), ConfigErrors::NothingConfigured);
    }
}
