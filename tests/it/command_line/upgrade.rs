//! A new version takes over what an earlier one left in the state directory.
//!
//! The texts are written down as those versions wrote them, not made with the code that reads them.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::started;
use crate::support::gate::{APPID, CORPID, SECRET, Settings, note_credential};
use crate::support::https::{Connection, request};
use crate::support::until::until_some;
use crate::support::wechat::WeChat;

/// What stands in every state of 0.1.0, with a token that was issued 100 seconds ago: no longer young, and a ticket is not yet due. `MORE` and `TOKEN_MORE` are what
/// its builds added one after the other.
const STATE: &str = r#"{"version":1,"appid":"APPID","upstream":"UPSTREAM","token_api":"API","generation":41,"token":{"access_token":"TOKEN","issued_at_ms":ISSUED,"expires_at_ms":ENDS,"expires_in_ms":7200000TOKEN_MORE},"bucket":{"level":7,"next_in_ms":100000,"at_ms":ISSUED},"forced_ms":[ISSUED]MORE,"day":DAY,"fetches":17}
"#;

const MORE: [(&str, &str); 4] = [
    ("", ""),
    ("", r#","forced_by_unknown_paths_ms":[]"#),
    (r#","began_ms":ISSUED"#, r#","forced_by_unknown_paths_ms":[ISSUED]"#),
    (
        r#","began_ms":ISSUED"#,
        r#","forced_by_unknown_paths_ms":[],"blame":[{"path":"/cgi-bin/x","granted":7,"counted":6,"in_a_row":1,"blocks":2,"blocked_until_ms":null,"at_ms":ISSUED}]"#,
    ),
];

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Days are WeChat's: they begin at midnight in Beijing.
fn day() -> u64 {
    (now_ms() / 1000 + 8 * 3600) / 86_400
}

fn state(token_more: &str, more: &str, appid: &str, upstream: &str, api: &str, token: &str) -> String {
    let issued = now_ms() - 100_000;
    STATE
        .replace("TOKEN_MORE", token_more)
        .replace("MORE", more)
        .replace("APPID", appid)
        .replace("UPSTREAM", upstream)
        .replace("API", api)
        .replace("TOKEN", token)
        .replace("ISSUED", &issued.to_string())
        .replace("ENDS", &(issued + 7_200_000).to_string())
        .replace("DAY", &day().to_string())
}

/// The folder of an earlier version, with this file in it.
fn left(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join("state")).unwrap();
    std::fs::write(dir.join("state").join(name), text).unwrap();
}

fn read(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("state").join(name)).unwrap_or_default())
        .unwrap_or_default()
}

/// A token that the API has issued, as an earlier version would have got it.
async fn issued(wechat: &WeChat, call: &str) -> String {
    let answer = Connection::plain(wechat.addr).await.send(&request("GET", call, &[], b"")).await.unwrap();
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    note_credential(&token);
    token
}

#[tokio::test]
async fn a_state_of_0_1_0_goes_on_with_its_token_its_generation_and_its_counts() {
    for (token_more, more) in MORE {
        let wechat = WeChat::with(&["--plain"]).await;
        let call = format!("/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret={SECRET}");
        let token = issued(&wechat, &call).await;
        let dir = tempfile::tempdir().unwrap();
        let name = format!("{APPID}.json");
        let today = day();
        left(dir.path(), &name, &state(token_more, more, APPID, &wechat.url, "token", &token));

        let (mut child, addr) = started(dir.path(), &wechat.url, &Settings::default()).await;
        let mut caller = Connection::plain(addr).await;
        let call = request("GET", "/cgi-bin/user/get", &[], b"");
        assert_eq!(caller.send(&call).await.unwrap().errcode(), 0, "{more}");
        let stats = wechat.handle.stats();
        assert_eq!((stats.fetches.token, stats.per_token[0].calls), (1, 1), "{more}: it uses what is there");
        // And goes on from there.
        wechat.handle.steal_token();
        assert_eq!(caller.send(&call).await.unwrap().errcode(), 0, "{more}");
        let stored = until_some("the next generation is stored", || {
            Some(read(dir.path(), &name)).filter(|stored| stored["generation"] == 42)
        })
        .await;
        assert_eq!((&stored["version"], &stored["appid"]), (&1.into(), &APPID.into()), "{more}");
        if day() == today {
            assert_eq!(stored["fetches"], 18, "{more}");
        }
        // One of seven and of what has come since.
        assert!(stored["bucket"]["level"].as_u64().is_some_and(|level| (6..10).contains(&level)), "{stored}");
        assert_eq!(stored["forced_ms"].as_array().unwrap().len(), 1, "{stored}");
        child.signal("TERM");
        assert_eq!(child.code().await, 0);
        let said = child.stderr();
        assert!(!said.contains("damaged") && !said.contains("set aside"), "{said}");
    }
}

#[tokio::test]
async fn a_ticket_and_a_wecom_token_of_0_1_0_are_used_too() {
    let wechat = WeChat::with(&["--plain"]).await;
    let dir = tempfile::tempdir().unwrap();
    note_credential("kgt-of-an-earlier-version");
    let (token_more, more) = MORE[2];
    let ticket = state(token_more, more, APPID, &wechat.url, "getticket", "kgt-of-an-earlier-version");
    left(dir.path(), &format!("{APPID}-jsapi_ticket.json"), &ticket);
    let settings = Settings { account: "tickets = true".to_owned(), ..Settings::default() };
    let (_child, addr) = started(dir.path(), &wechat.url, &settings).await;
    let call = request("GET", "/cgi-bin/ticket/getticket?type=jsapi", &[], b"");
    let answer = Connection::plain(addr).await.send(&call).await.unwrap().json();
    assert_eq!(answer["ticket"], "kgt-of-an-earlier-version", "{answer}");

    let wecom = WeChat::with(&["--plain", "--wecom"]).await;
    let token = issued(&wecom, &format!("/cgi-bin/gettoken?corpid={CORPID}&corpsecret={SECRET}")).await;
    let dir = tempfile::tempdir().unwrap();
    let name = format!("{CORPID}_main.json");
    let owner = format!("{CORPID}_main");
    left(dir.path(), &name, &state(token_more, more, &owner, &wecom.url, "gettoken", &token));
    let settings = Settings { account: "kind = \"wecom\"".to_owned(), ..Settings::default() };
    let (_child, addr) = started(dir.path(), &wecom.url, &settings).await;
    let call = request("GET", "/cgi-bin/user/get?userid=zhangsan", &[], b"");
    assert_eq!(Connection::plain(addr).await.send(&call).await.unwrap().errcode(), 0);
    assert_eq!(wecom.handle.stats().per_token.iter().map(|token| token.calls).sum::<u64>(), 1);
    assert_eq!(wecom.handle.stats().calls_by_path["/cgi-bin/gettoken"], 1, "no other than the test's own");
}
