//! Who may use the store: users, passwords from files, and a password that is changed while wxgate runs.

use std::time::Duration;

use tempfile::TempDir;

use super::{PATH, admin, all_serve, check, fetches, is_up, two_share, with_admin};
use crate::support::child::{Child, serve};
use crate::support::gate::{Settings, note_credential};
use crate::support::https::Connection;
use crate::support::redis::{PATIENT, Redis};
use crate::support::until::{until, until_async};
use crate::support::wechat::WeChat;

const PASSWORD: &str = "acl-passw0rd-of-wxgate";

/// All that docs/replicas.md tells an operator to allow.
const USER: &str = "ACL SETUSER gateway on >acl-passw0rd-of-wxgate ~wxgate:* &wxgate:* -@all +select +ping +time +get +set \
                    +del +pttl +pexpire +eval +publish +subscribe";

fn table(redis: &Redis, user: &str, password: &std::path::Path) -> String {
    format!(
        "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}/3\"\nuser = \"{user}\"\npassword = {{ file = {password:?} }}\n{PATIENT}",
        redis.port
    )
}

#[tokio::test]
async fn a_user_with_a_password_from_a_file_needs_a_dozen_commands_and_its_own_keys() {
    note_credential(PASSWORD);
    let (wechat, redis, dir) = (WeChat::start().await, Redis::start().await, TempDir::new().unwrap());
    redis.run(USER);
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, format!("{PASSWORD}\n")).unwrap();
    std::fs::write(&wrong, "acl-wr0ng-passw0rd\n").unwrap();
    let store = table(&redis, "gateway", &right);
    let (code, said) = check(&wechat, store.clone()).await;
    assert_eq!(code, 0, "{said}");
    let _gates = two_share(&wechat, &store).await;
    for (user, password) in [("gateway", &wrong), ("nobody", &right)] {
        let store = table(&redis, user, password);
        let (code, said) = check(&wechat, store.clone()).await;
        assert!(code == 1 && said.contains("(AUTH)") && said.contains("store.password"), "{said}");
        assert!(!said.contains("passw0rd"), "{said}");
        let gate = with_admin(&wechat, &store).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0);
        assert!(!is_up(&gate).await);
    }
    // One that may read and not write.
    redis.run("ACL SETUSER reader on >acl-passw0rd-of-wxgate %R~wxgate:* &wxgate:* +@all");
    let (code, said) = check(&wechat, table(&redis, "reader", &right)).await;
    assert!(code == 1 && said.contains("cannot be written"), "{said}");
    // One of another prefix.
    redis.run("ACL SETUSER other on >acl-passw0rd-of-wxgate ~other:* &other:* +@all");
    let (code, said) = check(&wechat, table(&redis, "other", &right)).await;
    assert!(code == 1 && said.contains("keys that begin with `wxgate:`"), "{said}");
    // None at all where one is asked for.
    let locked = Redis::with(&["--requirepass", PASSWORD]).await;
    let (code, said) = check(&wechat, locked.table()).await;
    assert!(code == 1 && said.contains("NOAUTH") && said.contains("store.password"), "{said}");
}

#[tokio::test]
async fn a_password_that_is_changed_while_it_runs_costs_no_caller_an_answer_and_changed_back_it_heals() {
    note_credential(PASSWORD);
    let (wechat, redis) = (WeChat::start().await, Redis::with(&["--requirepass", PASSWORD]).await);
    let (dir, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = dir.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let store = format!(
        "[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\npassword = {{ file = {file:?} }}\n{PATIENT}",
        redis.port
    );
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    let child = Child::start(&mut serve(
        home.path(),
        &wechat.url,
        &Settings { tables: store, ..Settings::default() },
    ));
    all_serve(&gates).await;
    let by_child = async || {
        let get = format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        Connection::plain(child.addr().await).await.send(get.as_bytes()).await.unwrap().errcode()
    };
    assert_eq!((by_child().await, fetches(&wechat)), (0, 1));
    // The change first; then all connections end, that of the operator, too.
    redis.run_as(PASSWORD, "CONFIG SET requirepass another-one");
    redis.run_as("another-one", "CLIENT KILL TYPE normal");
    redis.run_as("another-one", "CLIENT KILL TYPE pubsub");
    until_async("the loss of the store is seen", async || {
        all_serve(&gates).await;
        !is_up(&gates[0]).await && !is_up(&gates[1]).await
    })
    .await;
    assert!(admin(&gates[0], "/metrics").await.contains("wxgate_store_up 0"));
    child.line("refuses the user or the password").await;
    wechat.handle.steal_token();
    all_serve(&gates).await;
    assert_eq!(by_child().await, 0);
    assert!((2..=4).contains(&fetches(&wechat)), "{}", fetches(&wechat));
    redis.run_as("another-one", &format!("CONFIG SET requirepass {PASSWORD}"));
    until_async("all use it again", async || is_up(&gates[0]).await && is_up(&gates[1]).await).await;
    until("the log says so", || child.stderr().contains("is back")).await;
    let alone = fetches(&wechat);
    // One that is refused takes over what another has fetched, even where that one was stolen meanwhile: two faults at
    // once are one too many for a call. So all have the latest first, which takes a poll.
    tokio::time::sleep(Duration::from_secs(2)).await;
    all_serve(&gates).await;
    wechat.handle.steal_token();
    all_serve(&gates).await;
    assert_eq!(by_child().await, 0);
    assert_eq!(fetches(&wechat), alone + 1, "one fetch by all of them together");
    assert!(!child.stderr().contains(PASSWORD));
}
