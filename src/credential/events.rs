//! A credential's log messages: what each [`LogEvent`] means to an operator, and what to do about it.
//!
//! Upstream text arrives sanitised. No token and no secret can get here: log events hold none.

use std::net::IpAddr;
use std::time::Duration;

use tracing::{error, info, warn};

use super::lifecycle::LogEvent;
use super::types::{CredentialId, FetchMode, Outcome};
use crate::config::TokenApi;
use crate::logging::path_only;

/// Writes one line.
pub(crate) fn log(id: &CredentialId, appid: &str, api: TokenApi, quota: Option<u32>, event: &LogEvent) {
    let account = &*id.account;
    match event {
        LogEvent::StoredUsed { generation, left } => {
            info!(
                account,
                generation,
                seconds_left = left.as_secs(),
                "using the stored token; nothing is fetched"
            );
        }
        LogEvent::StoredIgnored { why } => info!(account, "the stored token is not used: {why}"),
        LogEvent::Fetched {
            mode: how,
            reason,
            outcome,
            generation,
            expires_in,
            fetches_today,
            failure,
            next_in,
        } => {
            let (how, reason, result) = (call(*how), reason.as_str(), outcome.as_str());
            let expires_in = expires_in.map(|life| life.as_secs());
            let next = next_in.as_secs_f64().round();
            match (outcome, failure) {
                (Outcome::Refused, Some((errcode, errmsg))) => {
                    let advice = advice(*errcode, errmsg, appid);
                    error!(
                        account,
                        how,
                        reason,
                        outcome = result,
                        generation,
                        errcode,
                        fetches_today,
                        quota,
                        "the upstream refuses to issue a token: {errcode} {errmsg}. {advice} Trying again in {next} s"
                    );
                }
                (Outcome::Failed, Some((_, what))) => warn!(
                    account,
                    how,
                    reason,
                    outcome = result,
                    generation,
                    fetches_today,
                    quota,
                    "fetching a token failed: {what}; trying again in {next} s"
                ),
                _ => {
                    let what = match outcome {
                        Outcome::Same => "the upstream handed out the current token once more",
                        _ => "a new token",
                    };
                    info!(
                        account,
                        how,
                        reason,
                        outcome = result,
                        generation,
                        expires_in,
                        fetches_today,
                        quota,
                        "{what}"
                    );
                }
            }
        }
        LogEvent::OddExpiresIn { said, used } => warn!(account, "{}", odd_expires_in(*said, *used)),
        LogEvent::Ended { generation, refused } => {
            let get = if *refused { "get 502 token-refused" } else { "wait, or get 503 no-token" };
            warn!(account, generation, "the token has ended and there is no new one; callers {get}");
        }
        LogEvent::PathBlocked { path, block } => {
            let (path, block) = (path_only(path), humantime::format_duration(*block));
            warn!(
                account,
                path,
                "`{path}` was refused twice in a row with a token just fetched for it: the token is not at fault, \
                 the call is (is this interface open to this kind of account?). It starts no fetch for {block}"
            );
        }
        LogEvent::Limited => warn!(account, "{}", limited(api)),
        LogEvent::SomebodyElse => warn!(account, "{}", somebody_else(appid, api)),
    }
}

fn call(how: FetchMode) -> &'static str {
    match how {
        FetchMode::Token => "token",
        FetchMode::StableNormal => "stable_token",
        FetchMode::StableForced => "stable_token with force_refresh",
    }
}

fn odd_expires_in(said: Option<i64>, used: Duration) -> String {
    let used = used.as_secs();
    match said {
        Some(said) => format!("the upstream said expires_in = {said}, which cannot be; counting on {used} s"),
        None => format!("the upstream said no expires_in; counting on {used} s"),
    }
}

fn limited(api: TokenApi) -> String {
    let limit = match api {
        TokenApi::Token => "10 at once and one a minute",
        TokenApi::StableToken => "18 in 24 hours, 30 s apart",
    };
    format!(
        "no forced refresh now: the limit ({limit}) that protects WeChat's quota is reached; callers get the upstream's own answer"
    )
}

fn somebody_else(appid: &str, api: TokenApi) -> String {
    let seen = format!(
        "the token was ended from outside three times within 10 minutes: another system fetches tokens for {appid}."
    );
    match api {
        TokenApi::Token => format!(
            "{seen} Take the AppSecret from that system and let it call through wxgate, or set token_api = \"stable_token\" here"
        ),
        TokenApi::StableToken => {
            format!(
                "{seen} Take the AppSecret from that system (it uses force_refresh) and let it call through wxgate"
            )
        }
    }
}

/// What to do about a refusal, by WeChat's errcode.
pub fn advice(errcode: i64, errmsg: &str, appid: &str) -> String {
    match errcode {
        40164 => {
            let ip = seen_ip(errmsg).map_or_else(|| "the egress IP".to_owned(), |ip| ip.to_string());
            format!(
                "Put {ip} on the IP whitelist of {appid} in WeChat's console; a change takes 5 to 10 minutes to work."
            )
        }
        40013 | 41002 => format!("Check the account's `appid`: WeChat does not know `{appid}`."),
        40001 | 40125 | 41004 => format!(
            "Check the account's `secret`: it is not the AppSecret of {appid}, or it was reset in WeChat's console."
        ),
        40002 => {
            "WeChat did not understand grant_type: does `upstream.url` lead to the WeChat API?".to_owned()
        }
        45009 => "The day's quota of token fetches is used up; it starts anew at midnight in Beijing. \
                  Find what else fetches tokens for this appid, or set token_api = \"stable_token\"."
            .to_owned(),
        45011 => "Too many calls in one minute: something else fetches tokens for this appid too.".to_owned(),
        48001 | 50002 | 50004 | 50007 | 61024 | 89503 | 89506 | 89507 => {
            format!("See WeChat's console whether {appid} is in good standing and may use this interface.")
        }
        _ => format!("Look {errcode} up in WeChat's list of return codes."),
    }
}

/// The address in `invalid ip 101.226.140.169 ipv6 ::ffff:101.226.140.169, not in whitelist`.
pub fn seen_ip(errmsg: &str) -> Option<IpAddr> {
    let mut words = errmsg.split(|c: char| c.is_whitespace() || c == ',');
    words.find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_ON_THE_LIST: &str = "invalid ip 101.226.140.169 ipv6 ::ffff:101.226.140.169, not in whitelist rid: 6510fcad-3d8ae261-25861ec2";

    #[test]
    fn a_whitelist_refusal_names_the_ip_that_wechat_saw() {
        let advice = advice(40164, NOT_ON_THE_LIST, "wx1");
        assert!(advice.contains("101.226.140.169") && advice.contains("whitelist"), "{advice}");
        assert_eq!(seen_ip("invalid ip 2001:db8::7, not in whitelist"), "2001:db8::7".parse().ok());
        assert_eq!(seen_ip("not in whitelist"), None);
    }

    #[test]
    fn each_refusal_says_which_key_to_look_at() {
        for (errcode, key) in [
            (40013, "`appid`"),
            (41002, "`appid`"),
            (40001, "`secret`"),
            (40125, "`secret`"),
            (41004, "`secret`"),
            (45009, "quota"),
            (40164, "the egress IP"),
            (12345, "12345"),
        ] {
            let advice = advice(errcode, "", "wx1");
            assert!(advice.contains(key), "{errcode}: {advice}");
        }
    }

    #[test]
    fn the_cure_fits_the_call_in_use() {
        assert!(somebody_else("wx1", TokenApi::Token).contains("stable_token"));
        assert!(!somebody_else("wx1", TokenApi::StableToken).contains("token_api"));
    }
}
