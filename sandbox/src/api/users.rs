//! Followers, and the calls that the account's token does not open: third-party platforms and `/sns`.
//!
//! The sandbox has three followers and no third-party platform.

use serde_json::json;

use super::Outcome;
use crate::answer::{Answer, TEXT};
use crate::call::Call;
use crate::errors::{refuse, refuse_user_token};
use crate::world::World;

/// Openids have 28 characters and begin with `o`.
const FOLLOWERS: [&str; 3] =
    ["oSandboxFollower000000000001", "oSandboxFollower000000000002", "oSandboxFollower000000000003"];

/// Whether messages can be sent to this openid.
pub(super) fn follows(openid: &str) -> bool {
    FOLLOWERS.contains(&openid)
}

/// `GET /cgi-bin/user/get?next_openid=…`: the followers after that one.
pub(super) fn list(_: &mut World, _: usize, call: &Call) -> Outcome {
    let after = match call.parameter("next_openid").filter(|openid| !openid.is_empty()) {
        None => 0,
        Some(openid) => FOLLOWERS.iter().position(|one| *one == openid).ok_or_else(|| refuse(40003))? + 1,
    };
    let page = &FOLLOWERS[after..];
    let mut body = json!({
        "total": FOLLOWERS.len(),
        "count": page.len(),
        "next_openid": page.last().copied().unwrap_or_default(),
    });
    // An empty page has no `data` (WeChat's page on user/get).
    if !page.is_empty() {
        body["data"] = json!({ "openid": page });
    }
    Ok(Answer::json(&body))
}

/// `GET /cgi-bin/user/info?openid=…&lang=zh_CN`.
pub(super) fn info(_: &mut World, _: usize, call: &Call) -> Outcome {
    let openid = call.parameter("openid").filter(|openid| !openid.is_empty()).ok_or_else(|| refuse(41009))?;
    if !follows(openid) {
        return Err(refuse(40003));
    }
    Ok(Answer::json(&json!({
        "subscribe": 1,
        "openid": openid,
        "nickname": "",
        "sex": 0,
        "language": call.parameter("lang").unwrap_or("zh_CN"),
        "city": "",
        "province": "",
        "country": "",
        "headimgurl": "",
        "subscribe_time": 1_700_000_000,
        "remark": "",
        "groupid": 0,
        "tagid_list": [],
        "subscribe_scene": "ADD_SCENE_QR_CODE",
        "qr_scene": 0,
        "qr_scene_str": "",
    })))
}

/// `/cgi-bin/component/*`: wants a third-party platform's own token, and there is none that would be right.
pub(super) fn component(call: &Call) -> Outcome {
    let token = call.parameter("component_access_token").or(call.parameter("access_token"));
    Err(refuse(if token.is_none_or(str::is_empty) { 41001 } else { 40001 }))
}

/// `/sns/*`: appid and secret for a code, or a user's token. Everything comes as `text/plain`.
pub(super) fn sns(world: &mut World, call: &Call) -> Outcome {
    let code = match call.path() {
        "/sns/jscode2session" => "js_code",
        "/sns/oauth2/access_token" => "code",
        // The rest wants a token of a user; the account's own is none.
        _ => {
            return Err(match call.parameter("access_token").is_none_or(str::is_empty) {
                true => refuse(41001),
                false => refuse_user_token(),
            });
        }
    };
    let given = |name| call.parameter(name).filter(|value| !value.is_empty());
    let account =
        world.account_of(given("appid").ok_or_else(|| refuse(41002))?).ok_or_else(|| refuse(40013))?;
    if given("secret").ok_or_else(|| refuse(41004))? != world.accounts[account].secret {
        return Err(refuse(40125));
    }
    let given = given(code).ok_or_else(|| refuse(41008))?;
    if !world.accounts[account].codes.insert(given.to_owned()) {
        return Err(refuse(40163));
    }
    let mut body = json!({ "openid": FOLLOWERS[0] });
    if code == "js_code" {
        body["session_key"] = json!("c2FuZGJveCBzZXNzaW9uIQ==");
    } else {
        body["access_token"] = json!("sandbox-user-token");
        body["expires_in"] = json!(7200);
        body["refresh_token"] = json!("sandbox-refresh-token");
        body["scope"] = json!("snsapi_base");
    }
    Ok(Answer::json(&body).with_mime(TEXT))
}
