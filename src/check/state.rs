//! The state directory and the tokens in it, looked at and left as they are.
//!
//! Opening a [`crate::credential::Store`] would make the folder, remove half-written files and set damaged ones
//! aside: right for the wxgate that owns them, wrong for a check beside it, perhaps by another user.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::geteuid;

use super::Report;
use crate::config::{Account, Config, TokenApi};
use crate::credential::{Look, Record, beijing_day, look};

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

/// What is stored of each account.
pub(super) fn tokens(config: &Config, report: &mut Report<'_>) {
    for account in &config.accounts {
        let upstream = account.upstream.to_string();
        let name = &account.name;
        match look(&config.state_dir, &account.appid, &upstream, account.token_api) {
            Look::Missing => report
                .note(format_args!("account `{name}`: no token is stored yet; the next start fetches one")),
            Look::Damaged(why) => report.warning(format_args!(
                "account `{name}`: the stored token is of no use: {why}; the next start sets the file aside and \
                 fetches one"
            )),
            Look::Held(record) => held(account, &record, SystemTime::now(), report),
        }
    }
}

fn held(account: &Account, record: &Record, now: SystemTime, report: &mut Report<'_>) {
    let Account { name, token_api, .. } = account;
    let today = if record.day == beijing_day(now) { record.fetches } else { 0 };
    let counted = match token_api {
        TokenApi::Token => format!("{today} of 2000 fetches today"),
        TokenApi::StableToken => format!("{today} fetches today"),
    };
    let generation = record.generation;
    let left = record
        .token
        .as_ref()
        .map(|token| token.expires_at.duration_since(now).unwrap_or_default().min(token.expires_in));
    match left {
        Some(left) if !left.is_zero() => report.ok(format_args!(
            "account `{name}`: the stored token is valid for {}, generation {generation}, {counted}",
            humantime::format_duration(Duration::from_secs(left.as_secs()))
        )),
        _ if generation == 0 => report.note(format_args!(
            "account `{name}`: no token has been fetched yet, {counted}; the next start fetches one"
        )),
        _ => report.note(format_args!(
            "account `{name}`: no valid token is stored, the last was generation {generation}, {counted}; the next \
             start fetches one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;
    use crate::credential::{Keep, Store, StoredToken};
    use crate::secret::Secret;

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
            assert!(text.starts_with("wrong ") && text.contains(word), "{text}");
            assert!(text.contains("Not a directory") && !text.contains(".wxgate-check"), "{text}");
        }
    }

    #[test]
    fn stored_tokens_are_described_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let upstream = config.upstream.url.to_string();
        assert!(said(|report| tokens(&config, report)).starts_with("note "));

        let now = SystemTime::now();
        let token = StoredToken {
            value: Secret::new("T0KEN".to_owned()),
            issued_at: now,
            expires_at: now + Duration::from_secs(3_601),
            expires_in: Duration::from_secs(7_200),
        };
        let mut record = Record {
            generation: 7,
            token: Some(token),
            bucket: None,
            forced: Vec::new(),
            day: beijing_day(now),
            fetches: 3,
        };
        let store = Store::open(dir.path(), "wx1", &upstream, TokenApi::Token).unwrap();
        store.save(&record).unwrap();
        let text = said(|report| tokens(&config, report));
        assert!(text.contains("is valid for 1h") || text.contains("is valid for 59m"), "{text}");
        assert!(text.contains("generation 7, 3 of 2000 fetches today") && !text.contains("T0KEN"), "{text}");

        (record.token, record.day) = (None, 0);
        store.save(&record).unwrap();
        let text = said(|report| tokens(&config, report));
        assert!(text.starts_with("note ") && text.contains("0 of 2000 fetches today"), "{text}");

        fs::write(dir.path().join("wx1.json"), "{\"token\":\"T0KEN\"").unwrap();
        let text = said(|report| tokens(&config, report));
        assert!(text.starts_with("warning ") && !text.contains("T0KEN"), "{text}");
        assert!(dir.path().join("wx1.json").exists());
    }
}
