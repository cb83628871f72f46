//! What the token file survives. Killing a writer is in `tests/it/token.rs`.

use super::*;
use crate::credential::lifecycle::{StoredBucket, StoredToken};
use crate::secret::Secret;

const UPSTREAM: &str = "https://api.weixin.qq.com:443";

fn open(dir: &Path) -> Store {
    Store::open(dir, "wx1", UPSTREAM, TokenApi::Token).unwrap()
}

fn at(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

fn record(token: &str) -> Record {
    Record {
        generation: 7,
        token: Some(StoredToken {
            value: Secret::new(token.to_owned()),
            issued_at: at(1_800_000_000),
            expires_at: at(1_800_007_200),
            expires_in: Duration::from_secs(7200),
        }),
        bucket: Some(StoredBucket { level: 3, next_in: Duration::from_millis(1500), at: at(1_800_000_001) }),
        forced: vec![at(1_799_999_000), at(1_799_999_100)],
        day: 20_833,
        fetches: 12,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// All but the lock files.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
    names.sort();
    names
}

#[test]
fn what_was_saved_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert!(store.load().is_none());
    for token in ["T", "quo\"te \\ \u{1} 票", "x".repeat(2048).as_str(), "\u{1}".repeat(2048).as_str()] {
        store.save(&record(token)).unwrap();
        assert_eq!(format!("{:?}", store.load().unwrap()), format!("{:?}", record(token)));
        assert_eq!(store.load().unwrap().token.unwrap().value.expose(), token);
    }
    assert_eq!(names(dir.path()), ["wx1.json"]);
}

#[test]
fn folder_0700_file_0600_and_missing_parents_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b/state");
    let store = open(&state);
    store.save(&record("T")).unwrap();
    assert_eq!((mode(&state), mode(&state.join("wx1.json"))), (0o700, 0o600));
}

#[test]
fn an_open_folder_of_ours_is_closed_and_a_shared_one_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours");
    fs::create_dir(&ours).unwrap();
    fs::write(ours.join("wx2.json"), "").unwrap();
    fs::write(ours.join("wx2.json.damaged-1800000000"), "").unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("package.json"), "").unwrap();
    for folder in [&ours, &shared] {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        open(folder);
    }
    assert_eq!((mode(&ours), mode(&shared)), (0o700, 0o755));
}

#[test]
fn a_damaged_or_foreign_file_is_set_aside() {
    let good = |from: &str, to: &str| {
        let key = StoreKey { appid: "wx1".into(), upstream: UPSTREAM.into(), api: TokenApi::Token };
        let text = String::from_utf8(record::render(&record("T"), &key).to_vec()).unwrap();
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    };
    for (kind, content) in [
        ("damaged", Vec::new()),
        ("damaged", b"{".to_vec()),
        ("damaged", b"\xff\xfe".to_vec()),
        ("damaged", b"[]".to_vec()),
        ("damaged", vec![b' '; 70_000]),
        ("other-version", good("\"version\":1", "\"version\":2")),
        ("other-appid", good("\"wx1\"", "\"wx2\"")),
        ("other-upstream", good("https://", "http://")),
        ("damaged", good("\"T\"", "\"\"")),
        ("damaged", good("\"T\"", &format!("\"{}\"", "x".repeat(2049)))),
        ("damaged", good("\"generation\":7", "\"generation\":-7")),
        ("damaged", good("\"fetches\":12", "\"fetches\":\"12\"")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        fs::write(dir.path().join("wx1.json"), &content).unwrap();
        let shown = String::from_utf8_lossy(&content[..content.len().min(300)]).into_owned();
        assert!(store.load().is_none(), "{shown}");
        let left = names(dir.path());
        assert!(left.len() == 1 && left[0].starts_with(&format!("wx1.json.{kind}-")), "{left:?}");
        store.save(&record("T")).unwrap();
        assert!(store.load().is_some());
    }
}

#[test]
fn of_the_files_set_aside_only_the_newest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["wx1.json.damaged-9", "wx1.json.other-upstream-10", "wx2.json.damaged-8", "wx1.json.damaged-me"]
    {
        fs::write(dir.path().join(name), "{").unwrap();
    }
    let store = open(dir.path());
    assert_eq!(
        names(dir.path()),
        ["wx1.json.damaged-me", "wx1.json.other-upstream-10", "wx2.json.damaged-8"]
    );
    fs::write(dir.path().join("wx1.json"), "{").unwrap();
    assert!(store.load().is_none());
    let left = names(dir.path());
    assert!(left.len() == 3 && !left.contains(&"wx1.json.other-upstream-10".to_owned()), "{left:?}");
}

#[test]
fn a_file_that_others_may_read_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (open(dir.path()), dir.path().join("wx1.json"));
    store.save(&record("T")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(look(dir.path(), "wx1", UPSTREAM, TokenApi::Token), Look::Held(_)));
    assert_eq!(mode(&file), 0o644, "a look changes nothing");
    assert!(store.load().is_some());
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn an_open_folder_is_mentioned_once() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!([first_time(dir.path()), first_time(dir.path())], [true, false]);
}

#[test]
fn one_appid_is_one_wxgates_and_a_start_waits_for_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let open_within = |millis, appid| {
        let patience = Duration::from_millis(millis);
        Store::open_within(patience, dir.path(), appid, UPSTREAM, TokenApi::Token)
    };
    let first = open(dir.path());
    let error = open_within(0, "wx1").unwrap_err().to_string();
    assert!(error.contains("another wxgate") && error.contains("wx1"), "{error}");
    assert!(open_within(0, "wx2").is_ok(), "another appid's file is another");
    assert!(matches!(look(dir.path(), "wx1", UPSTREAM, TokenApi::Token), Look::Missing));
    assert_eq!(mode(&dir.path().join(".wx1.lock")), 0o600);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| open_within(5_000, "wx1"));
        drop(first);
        assert!(second.join().unwrap().is_ok());
    });
}

#[test]
fn times_beyond_all_reason_do_not_panic() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.save(&record("T")).unwrap();
    let text = fs::read_to_string(dir.path().join("wx1.json")).unwrap();
    let text =
        text.replace("1800007200000", "18446744073709551615").replace("7200000,", "18446744073709551615,");
    fs::write(dir.path().join("wx1.json"), text).unwrap();
    let _ = store.load();
}

#[test]
fn a_token_of_the_other_call_is_not_used_but_the_counters_are() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).save(&record("T")).unwrap();
    let stable = Store::open(dir.path(), "wx1", UPSTREAM, TokenApi::StableToken).unwrap();
    let loaded = stable.load().unwrap();
    assert!(loaded.token.is_none());
    assert_eq!((loaded.generation, loaded.fetches, loaded.forced.len()), (7, 12, 2));
}

#[test]
fn leftovers_of_a_killed_process_are_removed_and_other_files_kept() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".wx1.json.Ab12.tmp", ".wx2.json.Ab12.tmp", "notes.tmp"] {
        fs::write(dir.path().join(name), "torn").unwrap();
    }
    open(dir.path());
    assert_eq!(names(dir.path()), [".wx2.json.Ab12.tmp", "notes.tmp"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error_with_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for bad in [file.clone(), file.join("below"), PathBuf::from("/proc/wxgate")] {
        let error = Store::open(&bad, "wx1", UPSTREAM, TokenApi::Token).unwrap_err().to_string();
        assert!(error.contains("state_dir") && error.contains("set another"), "{error}");
    }
}

#[test]
fn an_appid_never_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    for appid in ["", "../wx1", "a/b", "a.b", "a\0"] {
        assert!(Store::open(dir.path(), appid, UPSTREAM, TokenApi::Token).is_err());
    }
}

#[test]
fn a_failing_write_keeps_the_old_file_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let store = open(&state);
    fs::remove_dir_all(&state).unwrap();
    let error = store.save(&record("T")).unwrap_err();
    assert!(error.contains("wx1.json") && error.contains("cannot be written"), "{error}");
}
