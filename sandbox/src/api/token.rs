//! The two calls that hand out tokens: their parameters, in the order in which WeChat checks them.

use serde_json::json;

use super::Outcome;
use crate::answer::Answer;
use crate::call::{Call, text};
use crate::errors::{Refusal, refuse, refuse_ip};
use crate::fetch::Handed;
use crate::world::World;

/// `GET /cgi-bin/token?grant_type=client_credential&appid=…&secret=…`; a POST works too.
pub(super) fn token(world: &mut World, call: &Call) -> Outcome {
    let field = |name| call.parameter_or_field(name);
    let (grant_type, appid, secret) = (field("grant_type"), field("appid"), field("secret"));
    let account = credentials(world, call, grant_type.as_deref(), appid.as_deref(), secret.as_deref())?;
    let now = world.now;
    let handed = world.accounts[account].ledger.token(&mut world.tokens, account, now);
    Ok(answer(handed.map_err(refuse)?))
}

/// `POST /cgi-bin/stable_token` with JSON alone.
pub(super) fn stable_token(world: &mut World, call: &Call) -> Outcome {
    let body = call.json()?;
    let account =
        credentials(world, call, text(&body, "grant_type"), text(&body, "appid"), text(&body, "secret"))?;
    let force = body.get("force_refresh").and_then(serde_json::Value::as_bool).unwrap_or_default();
    let now = world.now;
    let handed = world.accounts[account].ledger.stable(&mut world.tokens, account, force, now);
    Ok(answer(handed.map_err(refuse)?))
}

fn credentials(
    world: &World,
    call: &Call,
    grant_type: Option<&str>,
    appid: Option<&str>,
    secret: Option<&str>,
) -> Result<usize, Refusal> {
    let appid = appid.filter(|appid| !appid.is_empty()).ok_or_else(|| refuse(41002))?;
    let account = world.account_of(appid).ok_or_else(|| refuse(40013))?;
    if grant_type != Some("client_credential") {
        return Err(refuse(40002));
    }
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or_else(|| refuse(41004))?;
    if world.accounts[account].secret != secret {
        return Err(refuse(40125));
    }
    if !world.is_allowed(call.peer) {
        return Err(refuse_ip(call.peer));
    }
    Ok(account)
}

fn answer((token, seconds): Handed) -> Answer {
    Answer::json(&json!({ "access_token": token, "expires_in": seconds }))
}
