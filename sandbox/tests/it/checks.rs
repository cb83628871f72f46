//! What stands before every interface: the token, the whitelist, 412, quotas.

use serde_json::json;
use wxgate_sandbox::{DEFAULT_APPID, Failure, How};

use super::{assert_refused, get, post, sandbox, sandbox_with, send};
use crate::https::request;

#[tokio::test]
async fn a_token_is_taken_from_the_query_alone() {
    let it = sandbox().await;
    let token = it.token().await;
    let headers = [&*format!("Authorization: Bearer {token}"), &*format!("access_token: {token}")];
    let response = send(it.addr, &request("GET", "/cgi-bin/user/get", &headers, b"")).await;
    assert_refused(&response, 41001, "access_token missing");
    let response = post(it.addr, "/cgi-bin/user/get", format!("access_token={token}")).await;
    assert_eq!(response.errcode(), 41001);
    assert_eq!(get(it.addr, "/cgi-bin/user/get?access_token=").await.errcode(), 41001);
}

#[tokio::test]
async fn an_unknown_token_and_no_token_at_all_are_told_apart() {
    let it = sandbox().await;
    let target = |token: &str| format!("/cgi-bin/user/get?access_token={token}");
    assert_refused(
        &get(it.addr, &target(&"A".repeat(140))).await,
        40001,
        "invalid credential, access_token is invalid or not latest, could get access_token by \
         getStableAccessToken, more details at https://mmbizurl.cn/s/JtxxFh33r",
    );
    assert_refused(&get(it.addr, &target("placeholder")).await, 40014, "invalid access_token");
}

#[tokio::test]
async fn a_second_token_parameter_is_counted_and_the_first_is_used() {
    let it = sandbox().await;
    let token = it.token().await;
    let target = format!("/cgi-bin/user/get?access_token={token}&%61ccess_token=x");
    assert_eq!(get(it.addr, &target).await.errcode(), 0);
    assert_eq!(it.handle.stats().duplicated_token_params, 1);
}

#[tokio::test]
async fn a_chunked_body_is_a_precondition_that_failed() {
    let it = sandbox().await;
    let token = it.token().await;
    it.handle.fail(Failure { count: 1, path: None, how: How::Errcode(-1) });
    for path in ["/cgi-bin/stable_token", "/cgi-bin/media/upload", "/cgi-bin/message/custom/send", "/sns/x"] {
        let target = format!("{path}?access_token={token}");
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        let response = send(it.addr, format!("{head}2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).await;
        assert_eq!((response.status, response.text()), (412, ""), "{path}");
    }
    let stats = it.handle.stats();
    assert_eq!((stats.chunked_bodies, stats.failures_left), (4, 1), "it comes before every other check");
}

#[tokio::test]
async fn an_unknown_interface_is_refused_after_its_token() {
    let it = sandbox().await;
    assert_refused(&it.get("/cgi-bin/nothing/here", "").await, 40066, "invalid url");
    assert_eq!(get(it.addr, "/cgi-bin/nothing/here?access_token=x").await.errcode(), 40014);
}

#[tokio::test]
async fn a_path_outside_the_api_is_not_found() {
    let it = sandbox().await;
    assert_eq!(get(it.addr, "/index.html").await.status, 404);
}

#[tokio::test]
async fn each_interface_has_a_quota_of_the_day() {
    let it = sandbox_with(|options| options.api_quota = 2).await;
    let token = it.token().await;
    let call = || it.errcode_with(&token);
    assert_eq!([call().await, call().await, call().await], [0, 0, 45009]);
    assert_eq!(it.get("/cgi-bin/getcallbackip", "").await.errcode(), 0);
    let body = json!({ "appid": DEFAULT_APPID }).to_string();
    assert_eq!(it.post("/cgi-bin/clear_quota", &body).await.errcode(), 0);
    assert_eq!(call().await, 0);
}

#[tokio::test]
async fn quotas_are_cleared_ten_times_a_month_and_for_the_tokens_own_appid() {
    let it = sandbox().await;
    let body = json!({ "appid": DEFAULT_APPID }).to_string();
    assert_eq!(it.post("/cgi-bin/clear_quota", r#"{"appid":"wx1"}"#).await.errcode(), 40013);
    for _ in 0..10 {
        assert_eq!(it.post("/cgi-bin/clear_quota", &body).await.errcode(), 0);
    }
    assert_eq!(it.post("/cgi-bin/clear_quota", &body).await.errcode(), 48006);
}
