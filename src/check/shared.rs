//! The store that several wxgate share: what it can do, and what stands in it. Leaves both as they are.

use std::time::SystemTime;

use super::{Report, state};
use crate::config::Config;
use crate::store::redis::{Finding, Look, RedisSettings, look, probe};

/// Asks it.
pub(super) async fn store(config: &Config, settings: &RedisSettings, report: &mut Report<'_>) {
    let findings = probe(settings).await;
    // Where it cannot be asked, that is said already.
    let answers = findings.first().is_some_and(|first| first.works);
    for Finding { works, text } in findings {
        if works {
            report.ok(format_args!("{text}"));
        } else {
            report.wrong(format_args!("{text}"));
        }
    }
    if answers {
        tokens(config, settings, report).await;
    }
}

/// What is stored of each account that wxgate keeps a token for.
async fn tokens(config: &Config, settings: &RedisSettings, report: &mut Report<'_>) {
    let accounts = config.accounts.iter();
    let (accounts, wanted): (Vec<_>, Vec<_>) = accounts
        .filter_map(|account| {
            let secret = account.app.as_ref()?.secret.clone();
            Some((account, (state::key(account)?, secret)))
        })
        .unzip();
    let looks = match look(settings, wanted).await {
        Ok(looks) => looks,
        Err(why) => return report.wrong(format_args!("what the store holds cannot be read: {why}")),
    };
    for (account, look) in accounts.into_iter().zip(looks) {
        let name = &account.name;
        match look {
            Look::Missing => report
                .ok(format_args!("account `{name}`: no token is stored yet; the next start fetches one")),
            Look::Held(held) => state::held(account, &held, SystemTime::now(), report),
            Look::OtherSecret(key) => report.wrong(format_args!(
                "account `{name}`: the store holds under `{key}` a state that was written with another AppSecret, or is \
                 damaged. It is left as it is until WeChat has accepted this AppSecret in a fetch, which replaces it; \
                 where this AppSecret is the wrong one, correct it"
            )),
            Look::Foreign(key) => report.wrong(format_args!(
                "account `{name}`: the store holds under `{key}` what wxgate did not write. It is left as it is, and each \
                 replica fetches for itself; remove it, or set another `store.key_prefix`"
            )),
        }
    }
}
