//! The main promise: a caller never sees a dead token, and a dead token never costs more than one fetch.

mod bursts;
mod doubt;
mod gives_up;
mod lives;
mod restarts;
mod rules;
mod stable;

use crate::support::https::{Connection, Response, request};

/// A refusal as WeChat writes it.
const REFUSED: &str = r#"{"errcode":40001,"errmsg":"invalid credential, access_token is invalid or not latest rid: 6aac0063-7ed08fb9-1250f724"}"#;

/// The end of a token as WeChat writes it: unlike a refusal, a proof by itself.
const EXPIRED: &str = r#"{"errcode":42001,"errmsg":"access_token expired rid: 5f5cafe9-456a174e-4e992ccd"}"#;

/// A call whose answer repeats `marker` as `language`: an answer that reached the wrong caller would show.
fn marked_call(marker: &str) -> Vec<u8> {
    let target = format!("/cgi-bin/user/info?openid=oSandboxFollower000000000001&lang={marker}");
    request("GET", &target, &[], b"")
}

/// Sends a marked call and checks that its own answer came back, and no error.
async fn call_and_check(connection: &mut Connection, marker: &str) {
    let response = connection.send(&marked_call(marker)).await.expect("a whole response");
    check(&response, marker);
}

fn check(response: &Response, marker: &str) {
    assert_eq!(response.status, 200, "{marker}: {response:?}");
    assert_eq!(response.json()["language"], marker, "{}", response.text());
    assert_eq!(response.json().get("errcode"), None, "{marker}");
    assert_eq!(response.header("X-Wxgate-Retry"), None, "{marker}");
}
