//! Messages, menus, tickets, addresses and codes: the interfaces that take and give small JSON.
//!
//! Nothing is sent to anybody; what a menu holds is kept, everything else is checked and forgotten.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

use super::{Outcome, ok, users};
use crate::answer::Answer;
use crate::call::{Call, text};
use crate::errors::{Refusal, refuse};
use crate::world::World;

/// `POST /cgi-bin/message/custom/send`.
pub(super) fn custom_send(_: &mut World, _: usize, call: &Call) -> Outcome {
    let message = call.json_without_escapes()?;
    addressee(&message)?;
    let kind = text(&message, "msgtype").ok_or_else(|| refuse(40008))?;
    let known = [
        "text",
        "image",
        "voice",
        "video",
        "music",
        "news",
        "mpnews",
        "mpnewsarticle",
        "msgmenu",
        "wxcard",
        "miniprogrampage",
        "link",
    ];
    let content = message.get(kind).filter(|_| known.contains(&kind)).ok_or_else(|| refuse(40008))?;
    if kind == "text" && text(content, "content").is_none() {
        return Err(refuse(44004));
    }
    ok()
}

/// `POST /cgi-bin/message/template/send`.
pub(super) fn template_send(_: &mut World, _: usize, call: &Call) -> Outcome {
    let message = call.json_without_escapes()?;
    addressee(&message)?;
    text(&message, "template_id").ok_or_else(|| refuse(40037))?;
    let msgid = fastrand::u64(1_000_000_000_000_000_000..4_000_000_000_000_000_000);
    Ok(Answer::json(&json!({ "errcode": 0, "errmsg": "ok", "msgid": msgid })))
}

fn addressee(message: &Value) -> Result<(), Refusal> {
    if text(message, "touser").is_some_and(users::follows) { Ok(()) } else { Err(refuse(40003)) }
}

/// `POST /cgi-bin/menu/create`: one to three buttons, each with a name.
pub(super) fn menu_create(world: &mut World, account: usize, call: &Call) -> Outcome {
    let menu = call.json_without_escapes()?;
    let buttons = menu.get("button").and_then(Value::as_array).ok_or_else(|| refuse(40016))?;
    if !(1..=3).contains(&buttons.len()) {
        return Err(refuse(40016));
    }
    if buttons.iter().any(|button| text(button, "name").is_none()) {
        return Err(refuse(40018));
    }
    world.accounts[account].menu = Some(menu);
    ok()
}

/// `GET /cgi-bin/menu/get`: what was created.
pub(super) fn menu_get(world: &mut World, account: usize, _: &Call) -> Outcome {
    let menu = world.accounts[account].menu.as_ref().ok_or_else(|| refuse(46003))?;
    Ok(Answer::json(&json!({ "menu": menu })))
}

/// `GET /cgi-bin/menu/delete`.
pub(super) fn menu_delete(world: &mut World, account: usize, _: &Call) -> Outcome {
    world.accounts[account].menu = None;
    ok()
}

/// `GET /cgi-bin/ticket/getticket?type=jsapi|wx_card`: the same ticket until its two hours are over. As WeChat does, it
/// says 7200 whatever is left (users' reports).
pub(super) fn ticket(world: &mut World, account: usize, call: &Call) -> Outcome {
    let kind = match call.parameter("type") {
        Some("jsapi") => "jsapi",
        Some("wx_card") => "wx_card",
        _ => return Err(refuse(40097)),
    };
    Ok(Answer::json(&ticket_of(world, account, kind)))
}

/// The ticket of this kind while it lives, then another.
pub(super) fn ticket_of(world: &mut World, account: usize, kind: &'static str) -> Value {
    const LIFE: Duration = Duration::from_secs(7200);
    let now = world.now;
    let tickets = &mut world.accounts[account].tickets;
    tickets.retain(|_, (_, end)| *end > now);
    let (ticket, _) = tickets.entry(kind).or_insert_with(|| (random_text(86), now + LIFE));
    json!({ "errcode": 0, "errmsg": "ok", "ticket": ticket, "expires_in": LIFE.as_secs() })
}

/// `GET /cgi-bin/getcallbackip`: addresses kept for documentation (RFC 5737).
pub(super) fn callback_ips(_: &mut World, _: usize, _: &Call) -> Outcome {
    Ok(Answer::json(&json!({ "ip_list": ["203.0.113.10", "203.0.113.11"] })))
}

/// `GET /cgi-bin/get_api_domain_ip`: the same.
pub(super) fn api_ips(_: &mut World, _: usize, _: &Call) -> Outcome {
    Ok(Answer::json(&json!({ "ip_list": ["198.51.100.20", "198.51.100.21"] })))
}

/// `POST /cgi-bin/qrcode/create`.
pub(super) fn qrcode(_: &mut World, _: usize, call: &Call) -> Outcome {
    let order = call.json_without_escapes()?;
    let action = text(&order, "action_name").ok_or_else(|| refuse(40097))?;
    let ticket = format!("gQ{}", random_text(94));
    let url = format!("http://weixin.qq.com/q/{}", random_text(22));
    let mut body = json!({ "ticket": ticket, "url": url });
    // Codes that last for ever, QR_LIMIT_*, have no end (WeChat's page on qrcode/create).
    if !action.starts_with("QR_LIMIT") {
        body["expire_seconds"] = json!(order.get("expire_seconds").and_then(Value::as_u64).unwrap_or(60));
    }
    Ok(Answer::json(&body))
}

/// `POST /wxa/getuserriskrank`: nobody is a risk.
pub(super) fn risk_rank(_: &mut World, _: usize, call: &Call) -> Outcome {
    let order = call.json()?;
    text(&order, "openid").ok_or_else(|| refuse(40003))?;
    text(&order, "client_ip").ok_or_else(|| refuse(40097))?;
    Ok(Answer::json(&json!({
        "errcode": 0, "errmsg": "getuserriskrank succ", "risk_rank": 0, "unoin_id": fastrand::u32(..),
    })))
}

/// `POST /wxa/getwxacodeunlimit`: a picture, or an error as JSON.
pub(super) fn wxa_code(_: &mut World, _: usize, call: &Call) -> Outcome {
    let order = call.json_without_escapes()?;
    text(&order, "scene").ok_or_else(|| refuse(40097))?;
    Ok(Answer::of(StatusCode::OK, "image/png", Bytes::from_static(include_bytes!("../code.png"))))
}

/// `POST /datacube/getusersummary`: nobody came, nobody went.
pub(super) fn user_summary(_: &mut World, _: usize, call: &Call) -> Outcome {
    let range = call.json()?;
    if text(&range, "begin_date").is_none() || text(&range, "end_date").is_none() {
        return Err(refuse(40097));
    }
    Ok(Answer::json(&json!({ "list": [] })))
}

fn random_text(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
