//! A credential's log messages: what each [`LogEvent`] means to an operator, and what to do about it.
//!
//! Upstream text arrives sanitised. No token and no secret can get here: log events hold none.

use std::time::Duration;

use tracing::{error, info, warn};

use super::lifecycle::{Limiting, LogEvent};
use super::policy::{Force, Limit, Policy};
use super::refusals::advice;
use super::types::{CredentialId, FetchMode, Outcome};
use crate::logging::path_only;

/// Writes one line.
pub(crate) fn log(id: &CredentialId, appid: &str, policy: &Policy, limit: Limit, event: &LogEvent) {
    let (account, noun) = (&*id.account, policy.kind.noun());
    let quota = policy.daily_quota;
    match event {
        LogEvent::StoredUsed { generation, left } => {
            info!(
                account,
                generation,
                seconds_left = left.as_secs(),
                "using the stored {noun}; nothing is fetched"
            );
        }
        LogEvent::StoredIgnored { why } => info!(account, "the stored {noun} is not used: {why}"),
        LogEvent::Fetched {
            mode,
            reason,
            outcome,
            generation,
            expires_in,
            fetches_today,
            failure,
            next_in,
        } => {
            let (how, reason, result) = (call(policy, *mode), reason.as_str(), outcome.as_str());
            let expires_in = expires_in.map(|life| life.as_secs());
            let next = next_in.as_secs_f64().round();
            match (outcome, failure) {
                (Outcome::Refused, Some((errcode, errmsg))) => {
                    let advice = advice(policy.product, *errcode, errmsg, appid);
                    error!(
                        account,
                        how,
                        reason,
                        outcome = result,
                        generation,
                        errcode,
                        fetches_today,
                        quota,
                        "the upstream refuses to issue a {noun}: {errcode} {errmsg}. {advice} Trying again in {next} s"
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
                    "fetching a {noun} failed: {what}; trying again in {next} s"
                ),
                _ => {
                    let what = match outcome {
                        Outcome::Same => format!("the upstream handed out the current {noun} once more"),
                        _ => format!("a new {noun}"),
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
            warn!(account, generation, "the {noun} has ended and there is no new one; callers {get}");
        }
        LogEvent::PathBlocked { path, block, though_good } => {
            let (path, block) = (path_only(path), humantime::format_duration(*block));
            let how = match though_good {
                false => "twice in a row with a token just fetched for it",
                true => "in two calls in a row, each sent three times, while other calls were accepted",
            };
            warn!(
                account,
                path,
                "`{path}` was refused {how}: the token is not at fault, the call is (is this interface open to this \
                 kind of account?). It starts no fetch for {block}"
            );
        }
        LogEvent::Limited { why } => warn!(account, "{}", limited(limit, *why)),
        LogEvent::SecondFetcher => warn!(account, "{}", second_fetcher(appid, policy)),
        LogEvent::PeerPublished { generation } => {
            info!(account, generation, "another replica has fetched a {noun}; it is used")
        }
        LogEvent::HeldByPeer => info!(account, "another replica is fetching a {noun}; waiting for it"),
    }
}

fn call(policy: &Policy, mode: FetchMode) -> String {
    match mode {
        FetchMode::Normal => policy.name.to_owned(),
        FetchMode::Forced => format!("{} with force_refresh", policy.name),
    }
}

fn odd_expires_in(said: Option<i64>, used: Duration) -> String {
    let used = used.as_secs();
    match said {
        Some(said) => format!("the upstream said expires_in = {said}, which cannot be; counting on {used} s"),
        None => format!("the upstream said no expires_in; counting on {used} s"),
    }
}

fn limited(limit: Limit, why: Limiting) -> String {
    let (all, part, apart) = match limit {
        Limit::Bucket { size, refill, unknown_paths } => {
            let each = if refill.as_secs() == 60 {
                "a minute".to_owned()
            } else {
                format!("each {} s", refill.as_secs())
            };
            (format!("{size} at once and one {each}"), format!("{unknown_paths} of {size}"), refill)
        }
        Limit::Daily { count, apart, unknown_paths } => {
            let all = format!("{count} in 24 hours, {} s apart", apart.as_secs());
            (all, format!("{unknown_paths} of {count}"), apart)
        }
    };
    let which = match why {
        Limiting::Whole => format!("the limit ({all}) that protects WeChat's quota is reached"),
        Limiting::Share => {
            format!("the share ({part}) of paths that had no accepted call within the last hour is used up")
        }
        Limiting::Apart => format!("the last one was sent less than {} s ago", apart.as_secs()),
    };
    format!("no forced refresh now: {which}; callers get the upstream's own answer")
}

fn second_fetcher(appid: &str, policy: &Policy) -> String {
    let seen = format!(
        "the token was ended from outside three times within 10 minutes: another system fetches tokens for {appid}."
    );
    match policy.force {
        Force::EachFetch => format!(
            "{seen} Take the AppSecret from that system and let it call through wxgate, or set token_api = \"stable_token\" here"
        ),
        Force::AfterNormal | Force::Never => {
            format!(
                "{seen} Take the AppSecret from that system (it uses force_refresh) and let it call through wxgate"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::policy::{STABLE_TOKEN, TOKEN};

    #[test]
    fn the_cure_fits_the_call_in_use() {
        assert!(second_fetcher("wx1", &TOKEN).contains("stable_token"));
        assert!(!second_fetcher("wx1", &STABLE_TOKEN).contains("token_api"));
    }

    #[test]
    fn the_limit_is_named_as_the_policy_has_it() {
        for (policy, why, words) in [
            (&TOKEN, Limiting::Whole, "(10 at once and one a minute)"),
            (&TOKEN, Limiting::Share, "(3 of 10)"),
            (&STABLE_TOKEN, Limiting::Whole, "(18 in 24 hours, 30 s apart)"),
            (&STABLE_TOKEN, Limiting::Share, "(6 of 18)"),
            (&STABLE_TOKEN, Limiting::Apart, "less than 30 s ago"),
        ] {
            let text = limited(policy.limit, why);
            assert!(text.contains(words), "{text}");
        }
    }
}
