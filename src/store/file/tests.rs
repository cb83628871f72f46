//! What the state file survives. Killing a writer is in `tests/it/token.rs`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use tempfile::TempDir;

use super::*;
use crate::secret::Secret;
use crate::store::{StoredBlame, StoredBucket, StoredCredential, StoredForced, StoredLimits};

fn key(appid: &str) -> StoreKey {
    StoreKey {
        appid: appid.to_owned(),
        kind: "access_token",
        upstream: "https://api.weixin.qq.com:443".to_owned(),
        issued_by: "token",
    }
}

async fn open(dir: &Path) -> FileStore {
    FileStore::open(dir, key("wx1")).await.unwrap()
}

fn at(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

/// Valid until about the year 2096.
fn state(token: &str) -> StoredState {
    StoredState {
        generation: 7,
        credential: Some(StoredCredential {
            value: Secret::new(token.to_owned()),
            issued_at: at(4_000_000_000),
            expires_at: at(4_000_007_200),
            expires_in: Duration::from_secs(7200),
            began_at: at(3_999_999_999),
        }),
        previous: Some(Secret::new(token.chars().rev().collect())),
        limits: StoredLimits {
            bucket: Some(StoredBucket {
                level: 3,
                next_in: Duration::from_millis(1500),
                at: at(1_800_000_001),
            }),
            unknown_paths: Some(StoredBucket {
                level: 2,
                next_in: Duration::from_millis(2500),
                at: at(1_800_000_001),
            }),
            blame: vec![StoredBlame {
                path: "/a".to_owned(),
                granted: 7,
                counted: 6,
                in_a_row: 1,
                blocks: 2,
                blocked_until: Some(at(4_000_000_100)),
                at: at(4_000_000_000),
            }],
            forced: vec![
                StoredForced { at: at(1_799_999_000), unknown_path: false },
                StoredForced { at: at(1_799_999_100), unknown_path: true },
            ],
        },
        day: 20_833,
        fetches: 12,
    }
}

async fn save(store: &FileStore, state: StoredState) {
    let over = *store.stored.lock().unwrap();
    assert!(matches!(store.publish(state, over).await, Ok(Published::Stored)));
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

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[tokio::test]
async fn what_was_published_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert!(store.load().await.is_none());
    for token in ["T", "quo\"te \\ \u{1} 票", "x".repeat(2048).as_str(), "\u{1}".repeat(2048).as_str()] {
        save(&store, state(token)).await;
        let loaded = store.load().await.unwrap();
        assert_eq!(format!("{loaded:?}"), format!("{:?}", state(token)));
        assert_eq!(loaded.credential.unwrap().value.expose(), token);
        assert!(loaded.previous == state(token).previous);
    }
    assert_eq!(names(dir.path()), ["wx1.json"]);
}

#[tokio::test]
async fn a_state_is_replaced_only_by_one_that_knew_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    save(&store, state("SEVEN")).await;
    let eight = StoredState { generation: 8, ..state("EIGHT") };
    match store.publish(eight.clone(), 3).await.unwrap() {
        Published::Superseded(stored) => assert_eq!(stored.credential.unwrap().value.expose(), "SEVEN"),
        Published::Stored => panic!("it overwrote what it did not know"),
    }
    assert!(matches!(store.publish(eight, 7).await, Ok(Published::Stored)));
    assert_eq!(store.load().await.unwrap().generation, 8);
}

#[tokio::test]
async fn folder_0700_file_0600_and_missing_parents_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b/state");
    save(&open(&folder).await, state("T")).await;
    assert_eq!((mode(&folder), mode(&folder.join("wx1.json"))), (0o700, 0o600));
}

#[tokio::test]
async fn an_open_folder_of_ours_is_closed_and_a_shared_one_left_alone() {
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
        open(folder).await;
    }
    assert_eq!((mode(&ours), mode(&shared)), (0o700, 0o755));
}

#[tokio::test]
async fn a_damaged_or_foreign_file_is_quarantined() {
    let good = |from: &str, to: &str| {
        let text = String::from_utf8(format::render(&state("T"), &key("wx1")).to_vec()).unwrap();
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
        let store = open(dir.path()).await;
        fs::write(dir.path().join("wx1.json"), &content).unwrap();
        let shown = String::from_utf8_lossy(&content[..content.len().min(300)]).into_owned();
        assert!(store.load().await.is_none(), "{shown}");
        let left = names(dir.path());
        assert!(left.len() == 1 && left[0].starts_with(&format!("wx1.json.{kind}-")), "{left:?}");
        save(&store, state("T")).await;
        assert!(store.load().await.is_some());
    }
}

#[tokio::test]
async fn a_state_file_that_is_a_fifo_or_a_link_hangs_nobody_and_is_quarantined() {
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("target");
    fs::write(&target, "somebody's own").unwrap();
    let kinds: [fn(&Path, &Path); 4] = [
        |_, file| fifo(file),
        |target, file| symlink(target, file).unwrap(),
        |_, file| symlink("/nowhere", file).unwrap(),
        |_, file| fs::create_dir(file).unwrap(),
    ];
    for (n, make) in kinds.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).await;
        make(&target, &dir.path().join("wx1.json"));
        let begun = Instant::now();
        let Look::Unusable(why) = look(dir.path(), &key("wx1")).await else { panic!("{n}") };
        assert!(why.contains("no regular file") || why.contains("symbolic link"), "{n}: {why}");
        assert!(store.load().await.is_none(), "{n}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{n}: {:?}", begun.elapsed());
        let left = names(dir.path());
        assert!(left.len() == 1 && left[0].starts_with("wx1.json.damaged-"), "{n}: {left:?}");
        save(&store, state("T")).await;
        assert!(store.load().await.is_some(), "{n}");
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "somebody's own");
    assert_eq!(mode(&target), 0o644, "nor has its mode been touched");
}

#[tokio::test]
async fn a_lock_file_that_is_a_fifo_or_a_link_is_refused_in_words() {
    for (n, make) in
        [|file: &Path| fifo(file), |file: &Path| symlink("/nowhere", file).unwrap()].into_iter().enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join(".wx1.lock"));
        let begun = Instant::now();
        let error = FileStore::open(dir.path(), key("wx1")).await.unwrap_err().to_string();
        assert!(error.contains("no regular file") || error.contains("symbolic link"), "{n}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{n}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn of_the_quarantined_files_only_the_newest_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    for name in
        ["wx1.json.damaged-9", "wx1.json.other-upstream-10", "wx2.json.damaged-8", "wx1.json.damaged-me"]
    {
        fs::write(dir.path().join(name), "{").unwrap();
    }
    let store = open(dir.path()).await;
    assert_eq!(
        names(dir.path()),
        ["wx1.json.damaged-me", "wx1.json.other-upstream-10", "wx2.json.damaged-8"]
    );
    fs::write(dir.path().join("wx1.json"), "{").unwrap();
    assert!(store.load().await.is_none());
    let left = names(dir.path());
    assert!(left.len() == 3 && !left.contains(&"wx1.json.other-upstream-10".to_owned()), "{left:?}");
}

#[tokio::test]
async fn a_file_that_others_may_read_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (open(dir.path()).await, dir.path().join("wx1.json"));
    save(&store, state("T")).await;
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(look(dir.path(), &key("wx1")).await, Look::Held(_)));
    assert_eq!(mode(&file), 0o644, "a look changes nothing");
    assert!(store.load().await.is_some());
    assert_eq!(mode(&file), 0o600);
}

#[tokio::test]
async fn one_appid_is_one_wxgates_and_a_start_waits_for_the_one_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let open_within = async |millis, appid| {
        let patience = Duration::from_millis(millis);
        FileStore::open_within(patience, dir.path(), key(appid)).await
    };
    let first = open(dir.path()).await;
    let error = open_within(0, "wx1").await.unwrap_err().to_string();
    assert!(error.contains("another wxgate") && error.contains("wx1"), "{error}");
    assert!(open_within(0, "wx2").await.is_ok(), "another appid's file is another");
    assert!(matches!(look(dir.path(), &key("wx1")).await, Look::Missing));
    assert_eq!(mode(&dir.path().join(".wx1.lock")), 0o600);
    let (second, ()) = tokio::join!(open_within(5_000, "wx1"), async { drop(first) });
    assert!(second.is_ok());
}

#[tokio::test]
async fn a_rekeyed_store_keeps_the_lock_and_another_file_has_none_to_share() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    let stable = StoreKey { issued_by: "stable_token", ..key("wx1") };
    let second = first.rekeyed(stable).unwrap();
    assert!(first.rekeyed(key("wx2")).is_none());
    drop(first);
    assert!(FileStore::open_within(Duration::ZERO, dir.path(), key("wx1")).await.is_err());
    drop(second);
    // Within the patience of a start: a program that another test is just starting has a copy of the descriptor, and
    // with it the lock, until its exec.
    open(dir.path()).await;
}

#[tokio::test]
async fn times_beyond_all_reason_do_not_panic() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    save(&store, state("T")).await;
    let text = fs::read_to_string(dir.path().join("wx1.json")).unwrap();
    let text =
        text.replace("4000007200000", "18446744073709551615").replace("7200000,", "18446744073709551615,");
    fs::write(dir.path().join("wx1.json"), text).unwrap();
    let _ = store.load().await;
}

#[tokio::test]
async fn a_token_of_the_other_call_is_not_used_but_the_counters_are() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).await;
    save(&first, state("T")).await;
    let stable = first.rekeyed(StoreKey { issued_by: "stable_token", ..key("wx1") }).unwrap();
    let loaded = stable.load().await.unwrap();
    assert!(loaded.credential.is_none());
    assert_eq!((loaded.generation, loaded.fetches, loaded.limits.forced.len()), (7, 12, 2));
}

#[tokio::test]
async fn a_file_of_an_older_wxgate_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let text = r#"{"version":1,"appid":"wx1","upstream":"https://api.weixin.qq.com:443","token_api":"token",
        "generation":7,"token":{"access_token":"T","issued_at_ms":4000000000000,"expires_at_ms":4000007200000,
        "expires_in_ms":7200000},"bucket":{"level":3,"next_in_ms":1500,"at_ms":1800000001000},
        "forced_ms":[1799999000000],"day":20833,"fetches":12}"#;
    fs::write(dir.path().join("wx1.json"), text).unwrap();
    let loaded = store.load().await.unwrap();
    assert_eq!(loaded.credential.unwrap().value.expose(), "T");
    assert_eq!(loaded.limits.bucket.unwrap().level, 3);
    assert_eq!(loaded.limits.forced, [StoredForced { at: at(1_799_999_000), unknown_path: false }]);
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_removed_and_other_files_kept() {
    let dir = tempfile::tempdir().unwrap();
    for name in [".wx1.json.Ab12.tmp", ".wx2.json.Ab12.tmp", "notes.tmp"] {
        fs::write(dir.path().join(name), "torn").unwrap();
    }
    open(dir.path()).await;
    assert_eq!(names(dir.path()), [".wx2.json.Ab12.tmp", "notes.tmp"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_with_words() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for bad in [file.clone(), file.join("below"), PathBuf::from("/proc/wxgate")] {
        let error = FileStore::open(&bad, key("wx1")).await.unwrap_err().to_string();
        assert!(error.contains("state_dir") && error.contains("set another"), "{error}");
    }
}

#[tokio::test]
async fn an_appid_never_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    for appid in ["", "../wx1", "a/b", "a.b", "a\0"] {
        assert!(FileStore::open(dir.path(), key(appid)).await.is_err());
    }
}

#[tokio::test]
async fn a_failing_write_keeps_the_old_file_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let store = open(&folder).await;
    fs::remove_dir_all(&folder).unwrap();
    let error = store.publish(state("T"), 0).await.unwrap_err().to_string();
    assert!(error.contains("wx1.json") && error.contains("cannot be written"), "{error}");
}

#[tokio::test]
async fn a_write_does_not_gather_behind_one_that_hangs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    // A write that hangs holds this.
    let stored = Arc::clone(&store.stored);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (held, is_held) = tokio::sync::oneshot::channel();
    let hanging = std::thread::spawn(move || {
        let _stored = stored.lock().unwrap();
        held.send(()).unwrap();
        released.recv().unwrap();
    });
    is_held.await.unwrap();
    let error = store.publish(state("T"), 0).await.unwrap_err().to_string();
    assert!(error.contains("has not come back"), "{error}");
    release.send(()).unwrap();
    hanging.join().unwrap();
    save(&store, state("T")).await;
}

/// A folder on a file system of its own with room for little; `None` where this user may not mount one.
struct Small(TempDir);

impl Small {
    fn mounted(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Until nothing more fits.
    fn fill(&self) {
        let filler = fs::write(self.path().join("filler"), vec![0; 1 << 20]);
        assert_eq!(filler.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }

    /// The lock file is open, so the file system itself cannot be made read-only; a second mount over it can.
    fn turn_read_only(&self) {
        for options in [&["--bind"][..], &["-o", "remount,ro,bind"]] {
            let mut mount = Command::new("mount");
            mount.args(options).arg(self.path());
            if options == ["--bind"] {
                mount.arg(self.path());
            }
            assert!(mount.status().unwrap().success());
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Twice where it was turned read-only; lazily, since a file may still be open.
        for _ in 0..2 {
            let _ = Command::new("umount").arg("-l").arg(self.path()).stderr(Stdio::null()).status();
        }
    }
}

#[tokio::test]
async fn a_full_folder_will_do_while_it_holds_a_valid_token() {
    let Some(small) = Small::mounted("64k") else {
        assert!(std::env::var_os("CI").is_none(), "no small file system can be mounted here: it takes root");
        println!("not root: not tried");
        return;
    };
    // Full from the start, before there is anything.
    small.fill();
    let error = FileStore::open(small.path(), key("wx1")).await.unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error}");
    assert!(error.to_string().contains("is full"), "{error}");
    small.make_room();

    let store = open(small.path()).await;
    save(&store, state("T")).await;
    small.fill();
    // It fills up later: the write fails in words, what was stored stays.
    let error = store.publish(state("U"), 7).await.unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    drop(store);
    for lock_is_missing in [false, true] {
        if lock_is_missing {
            fs::remove_file(small.path().join(".wx1.lock")).unwrap();
        }
        let store = open(small.path()).await;
        assert_eq!(store.load().await.unwrap().credential.unwrap().value.expose(), "T");
    }
    // A token that has ended is nothing to go on with.
    small.make_room();
    let store = open(small.path()).await;
    let mut ended = state("T");
    ended.credential.as_mut().unwrap().expires_at = at(1_700_000_000);
    save(&store, ended).await;
    drop(store);
    small.fill();
    let error = FileStore::open(small.path(), key("wx1")).await.unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_that_turns_read_only_fails_writes_and_a_start() {
    let Some(small) = Small::mounted("64k") else {
        assert!(std::env::var_os("CI").is_none(), "no small file system can be mounted here: it takes root");
        println!("not root: not tried");
        return;
    };
    let store = open(small.path()).await;
    save(&store, state("T")).await;
    small.turn_read_only();
    let error = store.publish(state("U"), 7).await.unwrap_err().to_string();
    assert!(error.contains("Read-only"), "{error}");
    assert!(store.load().await.is_some(), "what is there can still be read");
    drop(store);
    let error = FileStore::open(small.path(), key("wx1")).await.unwrap_err();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
}
