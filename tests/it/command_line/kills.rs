//! `kill -9` at any moment: the next start finds a whole file, or none, and serves.

use std::time::Duration;

use serde_json::Value;

use super::started;
use crate::support::gate::{APPID, Settings};
use crate::support::https::{Connection, request};
use crate::support::until::until;
use crate::support::wechat::WeChat;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_while_it_stores_leaves_a_state_that_the_next_one_starts_from() {
    // Each round may cost two forced refreshes, the thief's and that of a token that was not stored any
    // more; the bucket holds ten.
    const ROUNDS: u64 = 5;
    let wechat = WeChat::start().await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = state.join(format!("{APPID}.json"));
    let fetches = || wechat.handle.stats().fetches.token;
    let mut generation = 0;
    for round in 0..=ROUNDS {
        let (mut child, addr) = started(dir.path(), &wechat.url, &Settings::default()).await;
        let call = request("GET", "/cgi-bin/user/get", &[], b"");
        let response = Connection::plain(addr).await.send(&call).await.unwrap();
        assert_eq!(response.errcode(), 0, "round {round}");
        assert!(!child.stderr().contains("is not used"), "round {round}: {}", child.stderr());
        if round == ROUNDS {
            child.signal("TERM");
            assert_eq!(child.code().await, 0);
            break;
        }
        until("the token in use is stored", || file.is_file()).await;
        let before = fetches();
        wechat.handle.steal_token();
        let caller = tokio::spawn(async move { Connection::plain(addr).await.send(&call).await });
        until("the upstream has issued the next token", || fetches() > before).await;
        // Any moment from here on has to do: before, while and after the new token is written.
        std::thread::sleep(Duration::from_micros(round * 700));
        child.signal("KILL");
        assert_eq!(child.ended().await.code(), None, "ended by the signal");
        // Its caller may have been answered before that, or not.
        _ = caller.await.unwrap();
        let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).expect("a whole file");
        let stored = record["generation"].as_u64().unwrap();
        assert!(stored >= generation, "round {round}: {stored} after {generation}");
        generation = stored;
    }
    let mut names: Vec<_> =
        std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let right = [format!(".{APPID}.lock"), format!("{APPID}.json")];
    assert_eq!(names, right.map(std::ffi::OsString::from), "nothing set aside, nothing left over");
}
