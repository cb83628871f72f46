//! The sandbox as WeCom (`--wecom`).

use std::time::Duration;

use serde_json::json;
use wxgate_sandbox::{DEFAULT_CORPID, DEFAULT_SECRET};

use super::{Fixture, get, post, sandbox_with};
use crate::https::Response;

async fn wecom() -> Fixture {
    sandbox_with(|options| options.wecom = true).await
}

fn token_call(corpid: &str, secret: &str) -> String {
    format!("/cgi-bin/gettoken?corpid={corpid}&corpsecret={secret}")
}

async fn token(fixture: &Fixture) -> String {
    let answer = get(fixture.addr, &token_call(DEFAULT_CORPID, DEFAULT_SECRET)).await.json();
    assert_eq!((&answer["errcode"], &answer["errmsg"]), (&json!(0), &json!("ok")));
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn member(fixture: &Fixture, token: &str) -> Response {
    get(fixture.addr, &format!("/cgi-bin/user/get?access_token={token}&userid=zhangsan")).await
}

#[tokio::test]
async fn gettoken_hands_out_one_token_until_it_ends() {
    let fixture = wecom().await;
    let first = token(&fixture).await;
    assert_eq!(token(&fixture).await, first);
    assert_eq!(member(&fixture, &first).await.json()["name"], "张三");
    fixture.handle.advance(Duration::from_secs(7200));
    assert_eq!(member(&fixture, &first).await.errcode(), 42001);
    let second = token(&fixture).await;
    assert_ne!(second, first);
    fixture.handle.expire_token();
    assert_eq!(member(&fixture, &second).await.errcode(), 42001);
    let third = token(&fixture).await;
    fixture.handle.steal_token();
    assert_eq!(member(&fixture, &third).await.errcode(), 40014);
    assert_eq!(member(&fixture, &token(&fixture).await).await.errcode(), 0);
    assert_eq!(fixture.handle.stats().fetches.token, 5);
}

#[tokio::test]
async fn what_is_wrong_with_a_fetch() {
    let fixture = wecom().await;
    for (target, errcode) in [
        ("/cgi-bin/gettoken".to_owned(), 41002),
        (format!("/cgi-bin/gettoken?corpid={DEFAULT_CORPID}"), 41004),
        (token_call("wwother", DEFAULT_SECRET), 40013),
        (token_call(DEFAULT_CORPID, "wrong"), 40001),
        ("/cgi-bin/user/get".to_owned(), 41001),
        ("/cgi-bin/user/get?access_token=x".to_owned(), 40014),
        ("/cgi-bin/service/get_suite_token".to_owned(), 40082),
    ] {
        let answer = get(fixture.addr, &target).await;
        assert_eq!(answer.errcode(), errcode, "{target}");
        assert_eq!(answer.header("Error-Code"), Some(&*errcode.to_string()), "{target}");
        assert_eq!(answer.header("Content-Type"), Some("application/json; charset=UTF-8"), "{target}");
    }
}

#[tokio::test]
async fn an_address_is_refused_at_calls_and_not_at_the_fetch() {
    let fixture = sandbox_with(|options| {
        options.wecom = true;
        options.allow_ips = vec!["203.0.113.7".parse().unwrap()];
    })
    .await;
    let token = token(&fixture).await;
    let answer = member(&fixture, &token).await;
    assert_eq!(answer.errcode(), 60020);
    assert!(answer.text().contains(", from ip: 127.0.0.1, more info at "), "{}", answer.text());
    assert!(answer.header("Error-Msg").unwrap().starts_with("not allow to access from your ip, hint: ["));
}

#[tokio::test]
async fn interfaces_of_wecom() {
    let fixture = wecom().await;
    let token = token(&fixture).await;
    let send = async |message: serde_json::Value| {
        post(fixture.addr, &format!("/cgi-bin/message/send?access_token={token}"), &message.to_string())
            .await
            .json()
    };
    let text = |to: &str| json!({"touser": to, "msgtype": "text", "agentid": 1, "text": {"content": "你好"}});
    let sent = send(text("zhangsan|nobody")).await;
    assert_eq!((&sent["errcode"], &sent["invaliduser"]), (&json!(0), &json!("nobody")));
    assert_eq!(send(text("")).await["errcode"], 81013);
    assert_eq!(
        send(json!({"touser": "lisi", "msgtype": "text", "text": {"content": "a"}})).await["errcode"],
        40056
    );
    let call = async |path: &str| get(fixture.addr, &format!("{path}access_token={token}")).await.json();
    let company = call("/cgi-bin/get_jsapi_ticket?").await;
    let application = call("/cgi-bin/ticket/get?&type=agent_config&").await;
    assert_eq!((&company["errcode"], &application["errcode"]), (&json!(0), &json!(0)));
    assert_ne!(company["ticket"], application["ticket"]);
    assert_eq!(call("/cgi-bin/ticket/get?type=other&").await["errcode"], 40097);
    assert_eq!(call("/cgi-bin/user/get?userid=nobody&").await["errcode"], 60111);
}
