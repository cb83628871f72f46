//! The way of a request as a caller and an upstream see it.

use crate::support::fake::{Fake, Reply, TOKEN};
use crate::support::gate::Gate;
use crate::support::https::request;
use crate::support::wechat::WeChat;

#[tokio::test]
async fn a_call_without_credentials_reaches_the_api() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    let response = gate.get("/cgi-bin/user/get").await;
    assert_eq!((response.status, response.errcode()), (200, 0));
    assert_eq!(response.json()["total"], 3);
}

#[tokio::test]
async fn a_stolen_token_is_never_seen_by_the_caller() {
    let wechat = WeChat::start().await;
    let gate = Gate::before(&wechat.url).await;
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
    wechat.handle.steal_token();
    assert_eq!(gate.get("/cgi-bin/user/get").await.errcode(), 0);
}

#[tokio::test]
async fn header_names_keep_their_spelling_both_ways() {
    let answer =
        "HTTP/1.1 200 OK\r\ncOnTeNt-TyPe: application/json\r\nX-ODD-name: 1\r\nContent-Length: 2\r\n\r\n{}";
    let fake = Fake::answering(move |_| Reply::Bytes(answer.into())).await;
    let gate = Gate::before(&fake.url()).await;
    let response = gate.send(&request("GET", "/cgi-bin/x?a=1", &["X-oDD: 2", "accept: */*"], b"")).await;
    assert_eq!(response.header("cOnTeNt-TyPe"), Some("application/json"));
    assert_eq!(response.header("X-ODD-name"), Some("1"));
    let seen = &fake.seen()[0];
    assert_eq!(seen.line(), format!("GET /cgi-bin/x?access_token={TOKEN}&a=1 HTTP/1.1"));
    assert_eq!(seen.fields("X-oDD"), ["2"]);
    assert_eq!(seen.fields("accept"), ["*/*"]);
}
