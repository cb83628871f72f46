//! The state directory and the tokens in it, looked at and left as they are.
//!
//! Opening a [`crate::store::file::FileStore`] would make the folder, remove half-written files and set damaged ones
//! aside: right for the wxgate that owns them, wrong for a check beside it, perhaps by another user.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

use super::Report;
use crate::config::{self, Account, Config};
use crate::credential::beijing_day;
use crate::store::file::{Look, is_in_use, look};
use crate::store::{StoreKey, StoredState};

/// Whether tokens can be kept.
pub(super) fn directory(dir: &Path, report: &mut Report<'_>) {
    let shown = dir.display();
    // The nearest folder that is there decides whether the missing ones can be made.
    let mut there = dir;
    while fs::symlink_metadata(there).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        match there.parent() {
            Some(parent) if parent.as_os_str().is_empty() => there = Path::new("."),
            Some(parent) => there = parent,
            None => break,
        }
    }
    if let Err(e) = can_be_written(there) {
        return if there == dir {
            report.wrong(format_args!(
                "state_dir `{shown}` cannot be written: {e}; give it to wxgate's user (chown), or set another \
                 `state_dir`"
            ));
        } else {
            report.wrong(format_args!(
                "state_dir `{shown}` cannot be created in `{}`: {e}; create it for wxgate's user, or set another \
                 `state_dir`",
                there.display()
            ));
        };
    }
    free_space(there, report);
    if there != dir {
        return report.ok(format_args!("state_dir `{shown}` is not there yet and can be created"));
    }
    report.ok(format_args!("state_dir `{shown}` can be written"));
    let Ok(meta) = fs::metadata(dir) else { return };
    let (owner, me) = (meta.uid(), geteuid().as_raw());
    if owner != me {
        report.warning(format_args!(
            "state_dir `{shown}` belongs to user {owner}, and this check runs as user {me}: run it as the user \
             that wxgate runs as"
        ));
    }
    let mode = meta.mode() & 0o7777;
    if mode & 0o077 != 0 {
        report.warning(format_args!(
            "state_dir `{shown}` is open to other users (mode {mode:o}); `chmod 700` it"
        ));
    }
}

/// Writes a file and removes it again. The name says who left it behind should the process be killed here.
fn can_be_written(dir: &Path) -> io::Result<()> {
    let probe = dir.join(format!(".wxgate-check.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe)?;
    let written = file.write_all(b"wxgate can write here\n").and_then(|()| file.sync_all());
    fs::remove_file(&probe)?;
    written
}

/// Whether a wxgate runs on this state directory; `None` where that is not locked.
pub(super) async fn in_use(config: &Config) -> Option<bool> {
    if !matches!(config.store, config::Store::File { .. }) {
        return None;
    }
    for key in config.accounts.iter().filter_map(key) {
        if is_in_use(&config.state_dir, &key).await {
            return Some(true);
        }
    }
    Some(false)
}

/// Where the state of an account's token is; `None` where wxgate keeps none.
pub(super) fn key(account: &Account) -> Option<StoreKey> {
    let (app, policy) = account.app.as_ref().zip(account.policy())?;
    Some(policy.store_key(&account.name, &app.appid, &account.upstream))
}

/// The free space that a few writes of every token need many times over.
const LITTLE: u64 = 16 << 20;

/// Whether there is room for tokens.
fn free_space(dir: &Path, report: &mut Report<'_>) {
    let shown = dir.display();
    match rustix::fs::statvfs(dir) {
        Ok(of) => {
            let free = of.f_bavail.saturating_mul(of.f_frsize);
            let text = bytesize::ByteSize(free);
            match free {
                0 => report.wrong(format_args!(
                    "free space: none at `{shown}`; a new token could not be kept over a restart. Make room"
                )),
                free if free < LITTLE => report.warning(format_args!(
                    "free space: {text} at `{shown}`; soon a new token cannot be kept over a restart. Make room"
                )),
                _ => report.ok(format_args!("free space: {text} at `{shown}`")),
            }
        }
        Err(e) => report.warning(format_args!("free space at `{shown}` cannot be told: {e}")),
    }
}

/// What is stored of each account, in the order of the configuration; nothing where wxgate keeps no token.
pub(super) async fn looks(config: &Config) -> Vec<Option<Look>> {
    let mut looks = Vec::new();
    for account in &config.accounts {
        looks.push(match key(account) {
            Some(key) => Some(look(&config.state_dir, &key).await),
            None => None,
        });
    }
    looks
}

/// Reports it.
pub(super) fn tokens(config: &Config, looks: &[Option<Look>], report: &mut Report<'_>) {
    for (account, look) in config.accounts.iter().zip(looks) {
        let name = &account.name;
        match look {
            None => {}
            Some(Look::Missing) => missing(account, report),
            Some(Look::Unusable(why)) => report.warning(format_args!(
                "account `{name}`: the stored token is unusable: {why}; the next start quarantines the file and \
                 fetches one"
            )),
            Some(Look::Held(state)) => held(account, state, SystemTime::now(), report),
        }
    }
}

/// Says that there is no state of an account.
pub(super) fn missing(account: &Account, report: &mut Report<'_>) {
    report.ok(format_args!("account `{}`: no token is stored yet; the next start fetches one", account.name));
}

/// Says what the state of an account holds.
pub(super) fn held(account: &Account, state: &StoredState, now: SystemTime, report: &mut Report<'_>) {
    let name = &account.name;
    let today = if state.day == beijing_day(now) { state.fetches } else { 0 };
    let counted = match account.policy().and_then(|policy| policy.daily_quota) {
        Some(quota) => format!("{today} of {quota} fetches today"),
        None => format!("fetches today: {today}"),
    };
    let generation = state.generation;
    let left = state
        .credential
        .as_ref()
        .map(|token| token.expires_at.duration_since(now).unwrap_or_default().min(token.expires_in));
    match left {
        Some(left) if !left.is_zero() => report.ok(format_args!(
            "account `{name}`: the stored token is valid for {}, generation {generation}, {counted}",
            humantime::format_duration(Duration::from_secs(left.as_secs()))
        )),
        _ if generation == 0 => report.ok(format_args!(
            "account `{name}`: no token has been fetched yet, {counted}; the next start fetches one"
        )),
        _ => report.ok(format_args!(
            "account `{name}`: no valid token is stored, the last was generation {generation}, {counted}; the next \
             start fetches one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;
    use crate::credential::policy;
    use crate::secret::Secret;
    use crate::store::file::FileStore;
    use crate::store::{Store, StoredCredential};

    fn config(dir: &Path) -> Config {
        let text =
            format!("state_dir = {dir:?}\n[[account]]\nname = \"a\"\nappid = \"wx1\"\nsecret = \"s\"\n");
        Config::from_toml(&text, Path::new("/nowhere/wxgate.toml"), &|_| None).unwrap().config
    }

    #[test]
    fn a_missing_directory_is_looked_at_and_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("var/lib/wxgate");
        let text = said(|report| directory(&missing, report));
        assert!(text.starts_with("ok ") && text.contains("can be created"), "{text}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_below_a_file_cannot_be_made() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for (below, word) in [("file", "cannot be written"), ("file/state", "cannot be")] {
            let text = said(|report| directory(&dir.path().join(below), report));
            assert!(text.starts_with("FAIL ") && text.contains(word), "{text}");
            assert!(text.contains("Not a directory") && !text.contains(".wxgate-check"), "{text}");
        }
    }

    #[tokio::test]
    async fn stored_tokens_are_described_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let text = async || {
            let looks = looks(&config).await;
            said(|report| tokens(&config, &looks, report))
        };
        assert!(text().await.starts_with("ok "));

        let now = SystemTime::now();
        let credential = StoredCredential {
            value: Secret::new("T0KEN".to_owned()),
            issued_at: now,
            expires_at: now + Duration::from_secs(3_601),
            expires_in: Duration::from_secs(7_200),
            began_at: now,
        };
        let mut state = StoredState {
            generation: 7,
            credential: Some(credential),
            day: beijing_day(now),
            fetches: 3,
            ..StoredState::default()
        };
        let key = policy::TOKEN.store_key("a", "wx1", &config.upstream.url);
        let store = FileStore::open(dir.path(), key).await.unwrap();
        store.publish(state.clone(), 0).await.unwrap();
        let valid = text().await;
        assert!(valid.contains("is valid for 1h") || valid.contains("is valid for 59m"), "{valid}");
        assert!(
            valid.contains("generation 7, 3 of 2000 fetches today") && !valid.contains("T0KEN"),
            "{valid}"
        );

        (state.credential, state.day) = (None, 0);
        store.publish(state, 7).await.unwrap();
        let ended = text().await;
        assert!(ended.starts_with("ok ") && ended.contains("0 of 2000 fetches today"), "{ended}");

        fs::write(dir.path().join("wx1.json"), "{\"token\":\"T0KEN\"").unwrap();
        let unusable = text().await;
        assert!(unusable.starts_with("warning ") && !unusable.contains("T0KEN"), "{unusable}");
        assert!(dir.path().join("wx1.json").exists());
    }
}
