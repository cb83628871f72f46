//! `clear_quota` in its two forms: with the account's token, and with appid and secret.

use serde_json::json;

use super::{Outcome, ok};
use crate::answer::Answer;
use crate::call::{Call, text};
use crate::clock::beijing_month;
use crate::errors::refuse;
use crate::world::World;

/// Ten times a month (WeChat's page on clear_quota).
const CLEARS_A_MONTH: u32 = 10;

/// `POST /cgi-bin/clear_quota` with `{"appid": …}`, the token's own.
pub(super) fn clear(world: &mut World, account: usize, call: &Call) -> Outcome {
    let body = call.json()?;
    let appid = text(&body, "appid").ok_or_else(|| refuse(41002))?;
    if appid != world.accounts[account].appid {
        return Err(refuse(40013));
    }
    spend_and_clear(world, account)
}

/// `POST /cgi-bin/clear_quota/v2` with `appid` and `appsecret` and no token: in the query, as WeChat's own example has
/// them, or in JSON. SDKs do the one or the other.
pub(super) fn clear_with_secret(world: &mut World, call: &Call) -> Outcome {
    call.require_post()?;
    let body = call.json().unwrap_or_default();
    let given = |name| call.parameter(name).or(text(&body, name)).filter(|value| !value.is_empty());
    let appid = given("appid").ok_or_else(|| refuse(41002))?;
    let secret = given("appsecret").ok_or_else(|| refuse(41004))?;
    let account = world.account_of(appid).ok_or_else(|| refuse(40013))?;
    if secret != world.accounts[account].secret {
        return Err(refuse(40125));
    }
    spend_and_clear(world, account)
}

/// `POST /cgi-bin/openapi/quota/get` with `{"cgi_path": …}`: nothing of it is used up.
pub(super) fn get(_: &mut World, _: usize, call: &Call) -> Outcome {
    let body = call.json()?;
    text(&body, "cgi_path").filter(|path| path.starts_with('/')).ok_or_else(|| refuse(76003))?;
    Ok(Answer::json(&json!({
        "errcode": 0, "errmsg": "ok", "quota": { "daily_limit": 100_000, "used": 0, "remain": 100_000 },
    })))
}

fn spend_and_clear(world: &mut World, account: usize) -> Outcome {
    let month = beijing_month(world.now);
    let clears = &mut world.accounts[account].clears;
    if clears.0 != month {
        *clears = (month, 0);
    }
    if clears.1 >= CLEARS_A_MONTH {
        return Err(refuse(48006));
    }
    clears.1 += 1;
    world.clear_quotas(account);
    ok()
}
