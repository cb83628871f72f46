//! The interfaces that take and give small JSON.

use std::time::Duration;

use serde_json::json;
use wxgate_sandbox::{DEFAULT_APPID, DEFAULT_SECRET};

use super::{assert_refused, get, sandbox, sandbox_with};

const FOLLOWER: &str = "oSandboxFollower000000000001";

#[tokio::test]
async fn followers_are_listed_after_the_given_one() {
    let it = sandbox().await;
    let all = it.get("/cgi-bin/user/get", "next_openid=").await.json();
    assert_eq!((&all["total"], &all["count"]), (&json!(3), &json!(3)));
    let rest = it.get("/cgi-bin/user/get", &format!("next_openid={FOLLOWER}")).await.json();
    assert_eq!(rest["count"], 2);
    let last = all["next_openid"].as_str().unwrap();
    let none = it.get("/cgi-bin/user/get", &format!("next_openid={last}")).await.json();
    assert_eq!((&none["count"], none.get("data")), (&json!(0), None));
    assert_eq!(it.get("/cgi-bin/user/get", "next_openid=o1").await.errcode(), 40003);
}

#[tokio::test]
async fn a_follower_is_shown_by_openid() {
    let it = sandbox().await;
    let one = it.get("/cgi-bin/user/info", &format!("openid={FOLLOWER}&lang=en")).await.json();
    assert_eq!((&one["openid"], &one["language"]), (&json!(FOLLOWER), &json!("en")));
    assert_refused(&it.get("/cgi-bin/user/info", "").await, 41009, "missing openid");
    assert_refused(&it.get("/cgi-bin/user/info", "openid=o1").await, 40003, "invalid openid");
}

#[tokio::test]
async fn a_custom_message_is_checked_and_accepted() {
    let it = sandbox().await;
    let path = "/cgi-bin/message/custom/send";
    assert_refused(&it.get(path, "").await, 43002, "require POST method");
    let text = |to: &str, content: &str| {
        json!({ "touser": to, "msgtype": "text", "text": { "content": content } }).to_string()
    };
    for (body, code) in [
        (String::new(), 44002),
        ("{".to_owned(), 47001),
        (text("o1", "你好"), 40003),
        (json!({ "touser": FOLLOWER }).to_string(), 40008),
        (json!({ "touser": FOLLOWER, "msgtype": "smell", "smell": {} }).to_string(), 40008),
        (text(FOLLOWER, ""), 44004),
        (text(FOLLOWER, "X").replace('X', "\\u4f60"), 40033),
        (text(FOLLOWER, "你好"), 0),
    ] {
        assert_eq!(it.post(path, &body).await.errcode(), code, "{body}");
    }
}

#[tokio::test]
async fn a_template_message_has_an_id() {
    let it = sandbox().await;
    let body = json!({ "touser": FOLLOWER, "template_id": "t", "data": {} }).to_string();
    let answer = it.post("/cgi-bin/message/template/send", body).await.json();
    assert!(answer["msgid"].is_u64(), "{answer}");
    let body = json!({ "touser": FOLLOWER }).to_string();
    assert_eq!(it.post("/cgi-bin/message/template/send", body).await.errcode(), 40037);
}

#[tokio::test]
async fn a_menu_is_kept_as_it_was_created() {
    let it = sandbox().await;
    assert_refused(&it.get("/cgi-bin/menu/get", "").await, 46003, "menu no exist");
    let menu = json!({ "button": [{ "name": "今日歌曲", "type": "click", "key": "K" }] });
    assert_eq!(it.post("/cgi-bin/menu/create", menu.to_string()).await.errcode(), 0);
    assert_eq!(it.get("/cgi-bin/menu/get", "").await.json(), json!({ "menu": menu }));
    assert_eq!(it.post("/cgi-bin/menu/create", r#"{"button":[]}"#).await.errcode(), 40016);
    assert_eq!(it.post("/cgi-bin/menu/create", r#"{"button":[{"name":"\u4eca"}]}"#).await.errcode(), 40033);
}

#[tokio::test]
async fn a_ticket_stays_the_same_until_its_time_is_over() {
    let it = sandbox_with(|options| options.token_ttl = Duration::from_secs(86_400)).await;
    let ticket = async |kind: &str| it.get("/cgi-bin/ticket/getticket", &format!("type={kind}")).await.json();
    let first = ticket("jsapi").await;
    assert_eq!(first["ticket"], ticket("jsapi").await["ticket"]);
    assert_ne!(first["ticket"], ticket("wx_card").await["ticket"]);
    it.handle.advance(Duration::from_secs(7200));
    assert_ne!(first["ticket"], ticket("jsapi").await["ticket"]);
    assert_eq!(ticket("other").await["errcode"], 40097);
}

#[tokio::test]
async fn small_interfaces_answer_in_wechats_form() {
    let it = sandbox().await;
    assert!(it.get("/cgi-bin/getcallbackip", "").await.json()["ip_list"].is_array());
    assert!(it.get("/cgi-bin/get_api_domain_ip", "").await.json()["ip_list"].is_array());
    let code =
        it.post("/cgi-bin/qrcode/create", r#"{"action_name":"QR_SCENE","expire_seconds":30}"#).await.json();
    assert_eq!(code["expire_seconds"], 30);
    assert!(code["ticket"].is_string() && code["url"].is_string());
    let picture = it.post("/wxa/getwxacodeunlimit", r#"{"scene":"a=1"}"#).await;
    assert_eq!(picture.header("Content-Type"), Some("image/png"));
    assert!(picture.body.starts_with(b"\x89PNG"));
    let range = r#"{"begin_date":"2026-01-01","end_date":"2026-01-02"}"#;
    assert_eq!(it.post("/datacube/getusersummary", range).await.json(), json!({ "list": [] }));
}

#[tokio::test]
async fn the_accounts_token_opens_neither_platforms_nor_sns() {
    let it = sandbox().await;
    let platform = it.get("/cgi-bin/component/api_query_auth", "").await;
    assert_eq!(platform.errcode(), 40001);
    assert_eq!(get(it.addr, "/cgi-bin/component/api_query_auth").await.errcode(), 41001);
    let user = it.get("/sns/userinfo", "").await;
    assert_eq!((user.errcode(), user.header("Content-Type")), (40001, Some("text/plain")));
    assert_eq!(get(it.addr, "/sns/userinfo").await.errcode(), 41001);
    // As WeChat words it there: no advice about the account's token, and a comma before the request id.
    let errmsg = user.json()["errmsg"].as_str().unwrap().to_owned();
    assert!(
        errmsg.starts_with("invalid credential, access_token is invalid or not latest, rid: "),
        "{errmsg}"
    );
}

#[tokio::test]
async fn a_code_becomes_a_session_with_appid_and_secret() {
    let it = sandbox().await;
    let target = format!("/sns/jscode2session?appid={DEFAULT_APPID}&secret={DEFAULT_SECRET}&js_code=c");
    let session = get(it.addr, &target).await;
    assert_eq!(session.header("Content-Type"), Some("text/plain"));
    assert!(session.json()["session_key"].is_string());
    assert_eq!(get(it.addr, "/sns/jscode2session").await.errcode(), 41002);
    let wrong = get(it.addr, &target.replace(DEFAULT_APPID, "wxother")).await.json();
    let errmsg = wrong["errmsg"].as_str().unwrap();
    assert!(errmsg.starts_with("invalid appid, rid: "), "{errmsg}");
}

#[tokio::test]
async fn each_interface_refuses_a_call_without_its_required_parameters() {
    let it = sandbox().await;
    for (path, code) in [
        ("/cgi-bin/user/info", 41009),
        ("/cgi-bin/media/get", 41006),
        ("/cgi-bin/ticket/getticket", 40097),
        ("/cgi-bin/menu/get", 46003),
    ] {
        assert_eq!(it.get(path, "").await.errcode(), code, "{path}");
    }
    for (path, code) in [
        ("/cgi-bin/message/custom/send", 40003),
        ("/cgi-bin/message/template/send", 40003),
        ("/cgi-bin/menu/create", 40016),
        ("/cgi-bin/qrcode/create", 40097),
        ("/cgi-bin/media/upload", 40004),
        ("/cgi-bin/material/add_material", 40004),
        ("/cgi-bin/clear_quota", 41002),
        ("/wxa/getwxacodeunlimit", 40097),
        ("/datacube/getusersummary", 40097),
    ] {
        assert_eq!(it.post(path, "{}").await.errcode(), code, "{path}");
        if !path.contains("/media/") && !path.contains("/material/") {
            assert_eq!(it.post(path, "").await.errcode(), 44002, "{path} with an empty body");
            assert_eq!(it.get(path, "").await.errcode(), 43002, "GET {path}");
        }
    }
}
