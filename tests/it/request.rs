//! The way of a request as a caller and an upstream see it, over real sockets.

mod accounts;
mod attacks;
mod attacks_http2;
mod body;
mod errcode;
mod framing;
mod headers;
mod http2;
mod idle;
mod limits;
mod own_answers;
mod races;
mod resources;
mod response;
mod retry;
mod target;

use std::io::Write as _;

use crate::support::fake::{Fake, Reply, Seen};
use crate::support::gate::{Gate, Settings};
use crate::support::https::Response;
use crate::support::wechat::WeChat;

/// One row of the table of own answers, in WeChat's form.
#[track_caller]
pub(crate) fn assert_refused(response: &Response, status: u16, errcode: i64, code: &str, what: &str) {
    assert_eq!(response.status, status, "{what:?}: {response:?}");
    assert_eq!(response.errcode(), errcode, "{what:?}: {response:?}");
    assert_eq!(response.header("X-Wxgate-Error"), Some(code), "{what:?}: {response:?}");
    assert_eq!(response.header("Content-Type"), Some("application/json; encoding=utf-8"), "{what:?}");
    let json = response.json();
    assert!(json["errmsg"].as_str().is_some_and(|text| text.starts_with("wxgate: ")), "{what:?}: {json}");
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(2), "{what:?}: {json}");
}

/// A scripted upstream and a proxy of one worker that keeps no connections ready: one call after the other
/// goes over the same upstream connection as long as that lives.
async fn lonely(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Fake, Gate) {
    let fake = Fake::answering(script).await;
    let settings = Settings {
        top: "workers = 1".to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), settings).await;
    (fake, gate)
}

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

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
