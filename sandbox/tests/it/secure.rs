//! The API security mode (`--api-security`): what is refused before anything is decrypted. What comes behind it is
//! tested with the proxy, which signs.

use serde_json::json;
use wxgate_sandbox::DEFAULT_APPID;

use super::{Fixture, assert_refused, get, sandbox_with, send};
use crate::https::{Response, request};

const RISK: &str = "/wxa/getuserriskrank";

async fn secure() -> Fixture {
    sandbox_with(|options| options.api_security = true).await
}

async fn with_fields(fixture: &Fixture, fields: &[String]) -> Response {
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    let target = format!("{RISK}?access_token={}", fixture.token().await);
    send(fixture.addr, &request("POST", &target, &fields, b"{\"iv\":\"\",\"data\":\"\",\"authtag\":\"\"}"))
        .await
}

#[tokio::test]
async fn a_plain_call_is_refused_by_what_it_lacks() {
    let fixture = secure().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let signature = "Wechatmp-Signature: AAAA".to_owned();
    let at = |seconds: u64| format!("Wechatmp-TimeStamp: {seconds}");
    let appid = |appid: &str| format!("Wechatmp-Appid: {appid}");
    for (fields, errcode, text) in [
        (vec![], 40232, "API_Missing_Wechatmp_Signature"),
        (vec![signature.clone()], 40231, "API_Missing_Wechatmp_Timestamp"),
        (vec![signature.clone(), at(now)], 40233, "API_Missing_Wechatmp_Appid"),
        (vec![signature.clone(), at(now), appid("wx-other")], 40236, "API_Invalid_Wechatmp_Appid"),
        (
            vec![signature.clone(), at(now - 400), appid(DEFAULT_APPID)],
            40240,
            "API_Expired_Wechatmp_Timestamp",
        ),
        (vec![signature, at(now), appid(DEFAULT_APPID)], 40234, "API_Invalid_Signature"),
    ] {
        assert_refused(&with_fields(&fixture, &fields).await, errcode, text);
    }
}

#[tokio::test]
async fn other_interfaces_and_dead_tokens_are_as_ever() {
    let fixture = secure().await;
    assert_eq!(fixture.get("/cgi-bin/user/get", "").await.errcode(), 0);
    let dead = super::post(fixture.addr, &format!("{RISK}?access_token=dead"), "{}").await;
    assert_eq!(dead.errcode(), 40014);
    let plain = super::sandbox().await;
    let order = json!({ "openid": "o1", "client_ip": "127.0.0.1" }).to_string();
    assert_eq!(plain.post(RISK, order).await.json()["errmsg"], "getuserriskrank succ");
}

#[tokio::test]
async fn its_keys_are_shown_and_its_answers_can_be_ordered() {
    let fixture = secure().await;
    let keys = get(fixture.addr, "/sandbox/sealed").await.json();
    assert!(keys["private_key"].as_str().unwrap().starts_with("-----BEGIN RSA PRIVATE KEY-----"), "{keys}");
    let order = |body: &'static str| super::post(fixture.addr, "/sandbox/sealed", body);
    for (body, status) in [
        (r#"{"how":"tampered"}"#, 200),
        (r#"{"how":{"errcode":40001},"count":2}"#, 200),
        (r#"{"how":"nice"}"#, 400),
        ("", 400),
    ] {
        assert_eq!(order(body).await.status, status, "{body}");
    }
    let plain = super::sandbox().await;
    assert_eq!(super::post(plain.addr, "/sandbox/sealed", r#"{"how":"stale"}"#).await.status, 409);
}
