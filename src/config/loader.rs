//! Reads the configuration of a running process beside the thread that keeps tokens and signals, for a limited time.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::files::{Files, Progress};
use super::{Admin, Config, ConfigErrors, Loaded, Problem};
use crate::beside::{BesideError, READING, beside};

/// Reads one configuration, at the start and at each reload.
pub struct Loader {
    path: Option<PathBuf>,
    limit: Duration,
    progress: Progress,
    reading: Arc<AtomicBool>,
    /// What the files held when they were read last.
    fingerprint: Mutex<Option<u64>>,
}

/// Says that a reading is over, also when it ends in a panic.
struct Reading(Arc<AtomicBool>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

type Outcome<T = Loaded> = Result<T, ConfigErrors>;

impl Loader {
    /// For the file that the command line named, if it named one.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self::with_limit(path, READING)
    }

    fn with_limit(path: Option<PathBuf>, limit: Duration) -> Self {
        let (progress, reading, fingerprint) = (Progress::default(), Arc::default(), Mutex::default());
        Self { path, limit, progress, reading, fingerprint }
    }

    /// As [`Config::load`] with the process's environment. A reading that takes longer than 5 s is given up, and
    /// while it hangs there is no other.
    ///
    /// # Errors
    /// As [`Config::load`], and when it takes too long.
    pub async fn load(&self) -> Result<Loaded, ConfigErrors> {
        let (outcome, fingerprint) = self.read().await?;
        self.replace_fingerprint(fingerprint);
        outcome
    }

    /// As [`Loader::load`] if the content of any file, or the list of files, has changed since the last reading;
    /// else `None`, and also while the files cannot be read in time.
    pub async fn load_if_changed(&self) -> Option<Result<Loaded, ConfigErrors>> {
        let (outcome, fingerprint) = match self.read().await {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, "the files of the configuration are not watched for the moment");
                return None;
            }
        };
        let before = self.replace_fingerprint(fingerprint);
        before.is_some_and(|before| before != fingerprint).then_some(outcome)
    }

    /// Where the admin listener is, for whoever wants to ask it: whatever else is wrong with the configuration, also what
    /// can be had in the environment of the running process alone, is left aside. `None`: there is no such listener.
    ///
    /// # Errors
    /// When the file cannot be read or is no TOML, when its `[admin]` does not say where, and as [`Loader::load`].
    pub async fn load_admin(&self) -> Result<Option<Admin>, ConfigErrors> {
        let path = self.path.clone();
        let read =
            self.run(move |files| Config::load_admin(path.as_deref(), files, &|name| std::env::var_os(name)));
        read.await?.0
    }

    fn replace_fingerprint(&self, new: u64) -> Option<u64> {
        self.fingerprint.lock().unwrap_or_else(PoisonError::into_inner).replace(new)
    }

    async fn read(&self) -> Result<(Outcome, u64), ConfigErrors> {
        let path = self.path.clone();
        self.run(move |files| {
            Config::load_in(Path::new(""), path.as_deref(), files, &|name| std::env::var_os(name))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Files) -> Outcome<T> + Send + 'static,
    ) -> Result<(Outcome<T>, u64), ConfigErrors> {
        if self.reading.swap(true, Ordering::SeqCst) {
            return Err(self.hangs("an earlier reading of the configuration still hangs"));
        }
        let (progress, reading) = (self.progress.clone(), Reading(Arc::clone(&self.reading)));
        let read = beside(self.limit, move || {
            let _reading = reading;
            let files = Files::new(progress);
            let outcome = read(&files);
            (outcome, files.fingerprint())
        });
        read.await.map_err(|error| match error {
            BesideError::TooSlow(_) => self.hangs(&format!("reading the configuration: {error}")),
            BesideError::Failed => self.problem(format!("reading the configuration: {error}")),
        })
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
            Outcome::<()>::Err(ConfigErrors::NothingConfigured)
        });
        let words = "at wxgate.toml:7: account[0].secret.file; is the file system there?";
        let said = hung.await.unwrap_err().to_string();
        assert_eq!(
            said,
            format!("wxgate.toml: reading the configuration: it takes longer than 50ms, {words}")
        );
        let again = loader.run(|_| Outcome::<()>::Err(ConfigErrors::NothingConfigured));
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
        let again = loader.run(|_| Outcome::<()>::Err(ConfigErrors::NothingConfigured));
        assert_eq!(again.await.unwrap().0.unwrap_err(), ConfigErrors::NothingConfigured);
    }

    /// As a ConfigMap is changed: the name stays, the link behind it leads to another folder.
    #[tokio::test]
    async fn a_change_of_content_is_seen_through_links_and_one_of_time_alone_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let account = "[[account]]\nname = 'NAME'\nappid = 'wx1'\nsecret = { file = 'appsecret' }\n";
        let write = |folder: &str, secret: &str| {
            std::fs::create_dir_all(at(folder)).unwrap();
            let main = "state_dir = 's'\naccounts = ['*.account.toml']\n";
            std::fs::write(at(folder).join("wxgate.toml"), main).unwrap();
            std::fs::write(at(folder).join("a.account.toml"), account.replace("NAME", "a")).unwrap();
            std::fs::write(at(folder).join("appsecret"), secret).unwrap();
        };
        write("one", "s3cret-1");
        write("two", "s3cret-2");
        std::os::unix::fs::symlink("one", at("data")).unwrap();
        let loader = Loader::new(Some(at("data/wxgate.toml")));
        assert!(loader.load().await.is_ok());
        write("one", "s3cret-1");
        assert!(loader.load_if_changed().await.is_none(), "only times have changed");
        std::fs::remove_file(at("data")).unwrap();
        std::os::unix::fs::symlink("two", at("data")).unwrap();
        let loaded = loader.load_if_changed().await.unwrap().unwrap();
        assert_eq!(loaded.config.accounts[0].app.as_ref().unwrap().secret.expose(), "s3cret-2");
        let more = account.replace("NAME", "b").replace("wx1", "wx2") + "prefix = '/b'\n";
        std::fs::write(at("two/b.account.toml"), more).unwrap();
        assert_eq!(loader.load_if_changed().await.unwrap().unwrap().config.accounts.len(), 2);
        std::fs::remove_file(at("two/appsecret")).unwrap();
        assert!(loader.load_if_changed().await.unwrap().is_err());
        assert!(loader.load_if_changed().await.is_none(), "the same error once");
    }
}
