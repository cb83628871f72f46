//! A store that sentinels watch over: the master is asked for, and followed in a failover.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tls::certificates;
use super::{PATH, admin, all_serve, check, fetches, is_up, with_admin};
use crate::support::nobody::nobody;
use crate::support::redis::{PATIENT, Redis};
use crate::support::until::{until, until_async};
use crate::support::wechat::WeChat;

fn replicates(server: &Redis) -> bool {
    let said = server.says("INFO replication");
    said.contains("role:slave") && said.contains("master_link_status:up")
}

fn is_master(server: &Redis) -> bool {
    server.says("INFO replication").contains("role:master")
}

async fn pair() -> (Redis, Redis) {
    let (master, replica) = (Redis::start().await, Redis::start().await);
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    until("the replica follows", || replicates(&replica)).await;
    (master, replica)
}

#[tokio::test]
async fn a_failover_is_followed_within_twenty_seconds_and_no_caller_notices() {
    let (wechat, (first, second)) = (WeChat::start().await, pair().await);
    let sentinels = [
        Redis::sentinel(&first, "").await,
        Redis::sentinel(&first, "").await,
        Redis::sentinel(&first, "").await,
    ];
    let (_held, nobody) = nobody();
    let hosts: Vec<_> = sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
    let store = format!(
        "[store]\nkind = \"redis\"\nurl = \"redis-sentinel://{nobody},{}/main/0\"\n{PATIENT}",
        hosts.join(",")
    );
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), 1);
    assert!(is_up(&gates[0]).await && is_up(&gates[1]).await);
    let (code, said) = check(&wechat, store.clone()).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the store redis-sentinel://127.0.0.1:"), "{said}");

    until("a sentinel knows all", || {
        sentinels[0].says("INFO sentinel").contains("status=ok,")
            && sentinels[0].says("INFO sentinel").contains("slaves=1,sentinels=3")
    })
    .await;
    sentinels[0].run("SENTINEL FAILOVER main");
    until_async("the other one is the master", async || {
        all_serve(&gates).await;
        is_master(&second)
    })
    .await;
    let promoted = Instant::now();
    // Of each gate one connection for commands and one for news; the sentinels name theirs.
    let uses = |server: &Redis, mark: &str| {
        server
            .says("CLIENT LIST")
            .lines()
            .filter(|line| !line.contains("name=sentinel") && line.contains(mark))
            .count()
    };
    until_async("both have followed", async || {
        all_serve(&gates).await;
        let commands: usize = ["cmd=set", "cmd=get", "cmd=time"].iter().map(|mark| uses(&second, mark)).sum();
        commands >= 2 && uses(&second, "sub=1") >= 2 && is_up(&gates[0]).await && is_up(&gates[1]).await
    })
    .await;
    assert!(promoted.elapsed() < Duration::from_secs(20), "{:?}", promoted.elapsed());
    assert_eq!(fetches(&wechat), 1, "a failover fetches nothing");
    wechat.handle.steal_token();
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), 2, "they share as before");
    assert!(admin(&gates[0], "/metrics").await.contains("wxgate_store_up 1"));
}

#[tokio::test]
async fn a_sentinel_that_knows_another_master_or_none_is_said() {
    let wechat = WeChat::start().await;
    let master = Redis::start().await;
    let sentinel = Redis::sentinel(&master, "").await;
    let table = |hosts: &str, name: &str| {
        format!("[store]\nkind = \"redis\"\nurl = \"redis-sentinel://{hosts}/{name}\"\n")
    };
    let host = format!("127.0.0.1:{}", sentinel.port);
    let (_held, nobody) = nobody();
    for (store, why) in [
        (table(&host, "other"), "it knows no master `other`".to_owned()),
        (table(&nobody.to_string(), "main"), format!("sentinel {nobody}: ")),
        (table(&format!("127.0.0.1:{}", master.port), "main"), "this is no sentinel".to_owned()),
    ] {
        let (code, said) = check(&wechat, store.clone()).await;
        assert!(code == 1 && said.contains(&why), "{why}: {said}");
        let gate = with_admin(&wechat, &store).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0);
        assert!(!is_up(&gate).await);
    }
}

#[tokio::test]
async fn a_sentinel_with_the_servers_password_and_one_that_is_out_of_date_are_dealt_with() {
    let wechat = WeChat::start().await;
    let secret = "sentinels-passw0rd";
    let master = Redis::with(&["--requirepass", secret]).await;
    let sentinel =
        Redis::sentinel(&master, &format!("requirepass {secret}\nsentinel auth-pass main {secret}")).await;
    // The default user's, and that of a user whom the sentinel does not know.
    master.run_as(secret, &format!("ACL SETUSER gateway on >{secret} ~* &* +@all"));
    // A sentinel that was cut off tells of a server that is the replica now.
    let follower = Redis::with(&["--requirepass", secret, "--masterauth", secret]).await;
    follower.run_as(secret, &format!("REPLICAOF 127.0.0.1 {}", master.port));
    let stale = sentinel_that_names(follower.port, follower.port).await;
    for user in ["", "user = \"gateway\"\n"] {
        let store = format!(
            "[store]\nkind = \"redis\"\nurl = \"redis-sentinel://127.0.0.1:{}/main\"\n{user}password = \"{secret}\"\n",
            sentinel.port
        );
        let (code, said) = check(&wechat, store.clone()).await;
        assert_eq!(code, 0, "{user}{said}");
        let gate = with_admin(&wechat, &store.replace("://", &format!("://{stale},"))).await;
        assert_eq!(gate.get(PATH).await.errcode(), 0);
        until_async("it asks the other sentinel", async || is_up(&gate).await).await;
    }
}

#[tokio::test]
async fn sentinels_and_their_master_are_asked_over_tls() {
    let (wechat, dir) = (WeChat::start().await, certificates());
    let master = Redis::with_tls(dir.path(), &["--tls-auth-clients", "no"]).await;
    let file = |name: &str| dir.path().join(name);
    let (ca, cert, key) = (file("ca.pem"), file("redis.pem"), file("redis.key"));
    let tls = format!(
        "port 0\ntls-port PORT\ntls-ca-cert-file {ca:?}\ntls-cert-file {cert:?}\ntls-key-file {key:?}\n\
         tls-auth-clients no\ntls-replication yes"
    );
    let sentinel = Redis::sentinel(&master, &tls).await;
    let port = sentinel.port;
    let store = format!(
        "[store]\nkind = \"redis\"\nurl = \"rediss-sentinel://127.0.0.1:{port}/main\"\nca = {ca:?}\n"
    );
    let (code, said) = check(&wechat, store.clone()).await;
    assert_eq!(code, 0, "{said}");
    let gates = [with_admin(&wechat, &store).await, with_admin(&wechat, &store).await];
    all_serve(&gates).await;
    assert_eq!(fetches(&wechat), 1);
}

#[tokio::test]
async fn a_failover_while_the_connection_is_made_is_followed() {
    let wechat = WeChat::start().await;
    let (before, after) = (Redis::start().await, Redis::start().await);
    // The one before takes writes, as one does that the sentinels are cut off from.
    let sentinel = sentinel_that_names(before.port, after.port).await;
    let store = format!("[store]\nkind = \"redis\"\nurl = \"redis-sentinel://{sentinel}/main\"\n");
    let gate = with_admin(&wechat, &store).await;
    assert_eq!(gate.get(PATH).await.errcode(), 0);
    until("it writes to the master of now", || {
        after.says("DBSIZE").parse::<u64>().is_ok_and(|keys| keys > 0)
    })
    .await;
}

/// Answers the first question with one port, all others with the other.
async fn sentinel_that_names(first: u16, then: u16) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut chunk = [0; 1024];
                while stream.read(&mut chunk).await.is_ok_and(|length| length > 0) {
                    let port = if asked.swap(true, Ordering::SeqCst) { then } else { first }.to_string();
                    let answer = format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}
