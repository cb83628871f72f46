//! WeCom's interfaces (`--wecom`): a token that a fetch does not rotate, errors that a header repeats, and an address
//! that is checked at calls but not at the fetch.
//!
//! Sources: WeCom's documentation, recorded answers; what each of them has is in no other file.

use serde_json::{Value, json};

use super::{Outcome, content, media};
use crate::answer::{Answer, WECOM_JSON};
use crate::call::{Call, text};
use crate::clock::Moment;
use crate::errors::{Refusal, refuse};
use crate::world::World;

type Handler = fn(&mut World, usize, &Call) -> Outcome;

/// The interfaces that take the application's token.
const INTERFACES: &[(&str, Handler)] = &[
    ("/cgi-bin/message/send", send),
    ("/cgi-bin/user/get", member),
    ("/cgi-bin/media/upload", upload),
    ("/cgi-bin/media/get", media::get),
    ("/cgi-bin/get_jsapi_ticket", company_ticket),
    ("/cgi-bin/ticket/get", application_ticket),
    ("/cgi-bin/getcallbackip", ips),
    ("/cgi-bin/get_api_domain_ip", ips),
];

/// The company's members.
const MEMBERS: [(&str, &str); 2] = [("zhangsan", "张三"), ("lisi", "李四")];

/// Whether a path is the call that hands out tokens.
pub(super) fn is_token_call(path: &str) -> bool {
    path == "/cgi-bin/gettoken"
}

/// The answer to any request for WeCom's API.
pub(super) fn answer(world: &mut World, call: &Call) -> Outcome {
    match call.path() {
        path if is_token_call(path) => gettoken(world, call),
        // A service provider's own tokens, and there is none that would be right.
        path if path.starts_with("/cgi-bin/service/") => Err(refuse(40082)),
        path => {
            let account = authorise(world, call)?;
            let (name, handler) =
                INTERFACES.iter().find(|(name, _)| *name == path).ok_or_else(|| refuse(40066))?;
            world.spend(account, name)?;
            handler(world, account, call)
        }
    }
}

/// An error in WeCom's form.
pub(crate) fn error(refusal: &Refusal, call: &Call, now: Moment) -> Answer {
    let (code, words) = (refusal.code, words(refusal.code));
    let hint = format!("{}{:014}", now.as_secs(), fastrand::u64(..100_000_000_000_000));
    let errmsg = format!(
        "{words}, hint: [{hint}], from ip: {}, more info at https://open.work.weixin.qq.com/devtool/query?e={code}",
        call.peer
    );
    wecoms(&json!({ "errcode": code, "errmsg": errmsg }))
}

/// A body with errcode and errmsg, which two headers repeat.
fn wecoms(body: &Value) -> Answer {
    let member =
        |name: &str| body.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let (code, message) = (member("errcode").unwrap_or_default(), member("errmsg").unwrap_or_default());
    Answer::of(http::StatusCode::OK, WECOM_JSON, body.to_string())
        .with_header("error-code", code)
        .with_header("error-msg", message)
}

fn words(code: i64) -> &'static str {
    match code {
        40001 => "invalid credential",
        40013 => "invalid corpid",
        40014 => "invalid access_token",
        40056 => "invalid agentid",
        40082 => "invalid suite_access_token",
        41002 => "corpid missing",
        41004 => "corpsecret missing",
        42001 => "access_token expired",
        60020 => "not allow to access from your ip",
        60111 => "userid not found",
        81013 => "user & party & tag all invalid",
        code => crate::errors::text(code),
    }
}

/// `GET /cgi-bin/gettoken?corpid=…&corpsecret=…`: the same token until it ends. The caller's address is not checked.
fn gettoken(world: &mut World, call: &Call) -> Outcome {
    let given = |name| call.parameter(name).filter(|value| !value.is_empty());
    let corpid = given("corpid").ok_or_else(|| refuse(41002))?;
    let secret = given("corpsecret").ok_or_else(|| refuse(41004))?;
    let known = world.account_of(corpid).is_some();
    let account =
        world.application_of(corpid, secret).ok_or_else(|| refuse(if known { 40001 } else { 40013 }))?;
    let now = world.now;
    let (token, seconds) = world.accounts[account].ledger.same(&mut world.tokens, account, now);
    Ok(wecoms(&json!({ "errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": seconds })))
}

/// The account whose token the query holds.
pub(super) fn authorise(world: &mut World, call: &Call) -> Result<usize, Refusal> {
    let token =
        call.parameter("access_token").filter(|token| !token.is_empty()).ok_or_else(|| refuse(41001))?;
    if !world.is_allowed(call.peer) {
        return Err(refuse(60020));
    }
    world.tokens.look_up(token, world.now).map_err(|code| refuse(if code == 40001 { 40014 } else { code }))
}

/// `POST /cgi-bin/message/send`: text alone is looked into.
fn send(_: &mut World, _: usize, call: &Call) -> Outcome {
    let message = call.json()?;
    let receivers = ["touser", "toparty", "totag"];
    if !receivers.iter().any(|name| text(&message, name).is_some()) {
        return Err(refuse(81013));
    }
    let agent = message.get("agentid");
    if !agent
        .is_some_and(|agent| agent.is_u64() || agent.as_str().is_some_and(|text| text.parse::<u64>().is_ok()))
    {
        return Err(refuse(40056));
    }
    match text(&message, "msgtype") {
        None => return Err(refuse(40008)),
        Some("text") if message.get("text").and_then(|object| text(object, "content")).is_none() => {
            return Err(refuse(44004));
        }
        Some(_) => {}
    }
    let unknown = |user: &&str| *user != "@all" && !MEMBERS.iter().any(|(id, _)| id == user);
    let invalid: Vec<&str> = text(&message, "touser")
        .unwrap_or_default()
        .split('|')
        .filter(|user| !user.is_empty())
        .filter(unknown)
        .collect();
    let msgid = format!("sandbox{:032x}", fastrand::u128(..));
    Ok(wecoms(&json!({ "errcode": 0, "errmsg": "ok", "invaliduser": invalid.join("|"), "msgid": msgid })))
}

/// `GET /cgi-bin/user/get?userid=…`
fn member(_: &mut World, _: usize, call: &Call) -> Outcome {
    let id = call.parameter("userid").filter(|id| !id.is_empty()).ok_or_else(|| refuse(41009))?;
    let (id, name) = MEMBERS.iter().find(|(known, _)| *known == id).ok_or_else(|| refuse(60111))?;
    Ok(wecoms(&json!({
        "errcode": 0, "errmsg": "ok", "userid": id, "name": name, "department": [1], "status": 1, "isleader": 0,
    })))
}

/// `POST /cgi-bin/media/upload?type=…`: as at WeChat, but that errcode 0 comes along, and the time as a text.
fn upload(world: &mut World, account: usize, call: &Call) -> Outcome {
    let (kind, id) = media::stored(world, account, call)?;
    let created = world.now.as_secs().to_string();
    Ok(wecoms(&json!({ "errcode": 0, "errmsg": "ok", "type": kind, "media_id": id, "created_at": created })))
}

/// `GET /cgi-bin/get_jsapi_ticket`
fn company_ticket(world: &mut World, account: usize, _: &Call) -> Outcome {
    Ok(wecoms(&content::ticket_of(world, account, "jsapi")))
}

/// `GET /cgi-bin/ticket/get?type=agent_config`
fn application_ticket(world: &mut World, account: usize, call: &Call) -> Outcome {
    match call.parameter("type") {
        Some("agent_config") => Ok(wecoms(&content::ticket_of(world, account, "agent_config"))),
        _ => Err(refuse(40097)),
    }
}

fn ips(_: &mut World, _: usize, _: &Call) -> Outcome {
    Ok(wecoms(&json!({ "ip_list": ["203.0.113.10"], "errcode": 0, "errmsg": "ok" })))
}
