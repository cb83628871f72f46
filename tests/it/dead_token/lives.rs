//! Single tokens: odd ones, short ones, and one that is being replaced while callers come and go.

use std::time::{Duration, Instant};

use wxgate_sandbox::{Failure, How};

use super::{EXPIRED, call_and_check};
use crate::support::fake::{Fake, Reply};
use crate::support::gate::{APPID, Gate};
use crate::support::https::{Connection, request};
use crate::support::until::until;
use crate::support::wechat::WeChat;

const TOKEN_CALL: &str = "/cgi-bin/token";

fn fail_fetches(wechat: &WeChat, how: How) {
    wechat.handle.fail(Failure { count: 1, path: Some(TOKEN_CALL.to_owned()), how });
}

fn fetches_begun(wechat: &WeChat) -> u64 {
    wechat.handle.stats().calls_by_path.get(TOKEN_CALL).copied().unwrap_or_default()
}

#[tokio::test]
async fn a_caller_that_leaves_during_a_refresh_does_not_cancel_it() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.expire_token();
    fail_fetches(&wechat, How::Hang(Duration::from_secs(3)));
    let addr = gate.addr;
    let leaving = tokio::spawn(async move {
        let mut connection = Connection::plain(addr).await;
        connection.send(&request("GET", "/cgi-bin/user/get", &[], b"")).await
    });
    until("the refresh is under way", || fetches_begun(&wechat) == 2).await;
    leaving.abort();
    assert!(leaving.await.unwrap_err().is_cancelled(), "it left before its answer came");
    // Nobody asks meanwhile; the fetch ends all the same.
    let file = gate.state_dir().join(format!("{APPID}.json"));
    until("the refresh is over", || {
        // It may not even have been written for the first time.
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|stored| stored["generation"] == 2)
    })
    .await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    let stats = wechat.handle.stats();
    assert_eq!((fetches_begun(&wechat), stats.refused[&42001]), (2, 1), "its token is in use");
}

#[tokio::test]
async fn those_who_stay_get_the_token_that_one_who_left_had_asked_for() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    fail_fetches(&wechat, How::Hang(Duration::from_secs(3)));
    let addr = gate.addr;
    let call = |marker: &'static str| {
        tokio::spawn(async move { call_and_check(&mut Connection::plain(addr).await, marker).await })
    };
    let leaving = call("leaves");
    until("the refresh is under way", || fetches_begun(&wechat) == 2).await;
    let staying = call("stays");
    until("the second one is refused too", || wechat.handle.stats().refused[&40001] == 2).await;
    leaving.abort();
    staying.await.unwrap();
    assert_eq!(fetches_begun(&wechat), 2);
}

#[tokio::test]
async fn the_old_token_is_served_while_its_replacement_fails() {
    // Replaced from 80 % of its life on, at 12 s; a failed fetch is repeated after 1.2 s at most.
    let wechat = WeChat::with(&["--token-ttl", "15s"]).await;
    let gate = Gate::before(&wechat.url).await;
    let mut connection = Connection::plain(gate.addr).await;
    call_and_check(&mut connection, "first").await;
    fail_fetches(&wechat, How::Status(500));
    let started = Instant::now();
    let (mut calls, mut while_failing) = (0, 0);
    while wechat.handle.stats().fetches.token < 2 {
        assert!(started.elapsed() < Duration::from_secs(30), "no second token");
        call_and_check(&mut connection, "on-and-on").await;
        calls += 1;
        if fetches_begun(&wechat) == 2 && wechat.handle.stats().failures_left == 0 {
            while_failing += 1;
        }
    }
    println!("{calls} calls in {:?}, {while_failing} of them after the failed fetch", started.elapsed());
    assert!(while_failing > 0);
    call_and_check(&mut connection, "last").await;
    assert_eq!(wechat.handle.stats().refused.len(), 0, "no dead token was ever used");
}

#[tokio::test]
async fn a_token_of_odd_characters_and_2_kib_is_kept_and_sent_whole() {
    fn odd(nth: usize) -> String {
        let mut token = format!("{nth} +/=&?#%41\"\\'<>;,|票\u{7f}");
        while token.len() < 2048 {
            token.push(char::from(b'!' + u8::try_from(token.len() % 94).unwrap()));
        }
        token
    }
    let fake = Fake::issuing(odd, |seen| {
        let query = seen.line().split([' ', '?']).nth(2).unwrap();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let right =
            |nth: usize| pairs == [("access_token".to_owned(), odd(nth)), ("a".to_owned(), "1".to_owned())];
        match () {
            () if right(1) => Reply::json(EXPIRED),
            () if right(2) => Reply::json(r#"{"whole":true}"#),
            () => Reply::json(r#"{"errcode":41001,"errmsg":"not a token of this upstream"}"#),
        }
    })
    .await;
    assert_eq!(odd(1).len(), 2048);
    let gate = Gate::before(&fake.url()).await;
    assert_eq!(gate.get("/cgi-bin/user/get?a=1").await.text(), r#"{"whole":true}"#);
    let line = fake.seen()[1].line().to_owned();
    assert!(line.is_ascii() && line.contains("access_token=2%20%2B%2F%3D%26%3F%23%2541%22"), "{line}");
}
