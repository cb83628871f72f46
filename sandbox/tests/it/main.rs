//! The sandbox over real TLS: each behaviour of the WeChat API that it imitates, one fact per test.

#![allow(clippy::unwrap_used, reason = "in a test, also in its helpers, a panic is how a failure is said")]

// A client that the proxy's tests use too.
#[path = "../../../tests/it/support/https.rs"]
#[allow(dead_code, reason = "the proxy's tests use more of it")]
mod https;

mod checks;
mod interfaces;
mod media;
mod options;
mod secure;
mod steering;
mod tokens;
mod wecom;
mod wire;

use std::net::SocketAddr;

use serde_json::json;
use wxgate_sandbox::{DEFAULT_APPID, DEFAULT_SECRET, Handle, Options, Sandbox};

use crate::https::{Connection, Response, request};

/// A sandbox on a port of its own, which ends with the test's runtime.
struct Fixture {
    addr: SocketAddr,
    handle: Handle,
}

async fn sandbox() -> Fixture {
    sandbox_with(|_| {}).await
}

async fn sandbox_with(change: impl FnOnce(&mut Options)) -> Fixture {
    let mut options = Options { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..Options::default() };
    change(&mut options);
    let sandbox = Sandbox::bind(options).await.unwrap();
    let fixture = Fixture { addr: sandbox.addr(), handle: sandbox.handle() };
    tokio::spawn(sandbox.run(std::future::pending()));
    fixture
}

fn token_call() -> String {
    format!("/cgi-bin/token?grant_type=client_credential&appid={DEFAULT_APPID}&secret={DEFAULT_SECRET}")
}

fn stable_body(force: bool) -> String {
    json!({
        "grant_type": "client_credential",
        "appid": DEFAULT_APPID,
        "secret": DEFAULT_SECRET,
        "force_refresh": force,
    })
    .to_string()
}

impl Fixture {
    async fn token(&self) -> String {
        let answer = get(self.addr, &token_call()).await.json();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn stable(&self, force: bool) -> (String, u64) {
        let answer = post(self.addr, "/cgi-bin/stable_token", stable_body(force)).await.json();
        (answer["access_token"].as_str().unwrap().to_owned(), answer["expires_in"].as_u64().unwrap())
    }

    /// A call that succeeds with any living token.
    async fn errcode_with(&self, token: &str) -> i64 {
        get(self.addr, &format!("/cgi-bin/user/get?access_token={token}")).await.errcode()
    }

    async fn get(&self, path: &str, query: &str) -> Response {
        get(self.addr, &format!("{path}?access_token={}&{query}", self.token().await)).await
    }

    async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        post(self.addr, &format!("{path}?access_token={}", self.token().await), body).await
    }
}

/// One request over TLS on a connection of its own.
async fn send(addr: SocketAddr, request: &[u8]) -> Response {
    Connection::tls(addr).await.send(request).await.unwrap()
}

/// `GET` over TLS on a connection of its own.
async fn get(addr: SocketAddr, target: &str) -> Response {
    send(addr, request("GET", target, &[], b"").as_slice()).await
}

/// `POST` over TLS on a connection of its own.
async fn post(addr: SocketAddr, target: &str, body: impl AsRef<[u8]>) -> Response {
    send(addr, request("POST", target, &["Content-Type: application/json"], body.as_ref()).as_slice()).await
}

/// The body is WeChat's form of an error, with a request id behind the text.
#[track_caller]
fn assert_refused(response: &Response, code: i64, text: &str) {
    assert_eq!((response.status, response.errcode()), (200, code), "{response:?}");
    let errmsg = response.json()["errmsg"].as_str().unwrap().to_owned();
    let (said, rid) = errmsg.split_once(" rid: ").unwrap_or_else(|| panic!("{errmsg}"));
    assert_eq!(said, text);
    let groups: Vec<_> = rid.split('-').collect();
    assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 8, 8], "{rid}");
}
