//! The store that several wxgate share: what it can do, and what stands in it. Leaves both as they are.

use std::time::SystemTime;

use super::{Report, state};
use crate::config::Config;
use crate::store::redis::{Finding, Look, Probe, RedisSettings};

/// Asks it.
pub(super) async fn store(config: &Config, settings: &RedisSettings, report: &mut Report<'_>) {
    let mut probe = match Probe::connect(settings).await {
        Ok(probe) => probe,
        Err(why) => {
            return report.wrong(format_args!("the store {} cannot be used: {why}", settings.shown()));
        }
    };
    for Finding { works, text } in probe.try_all().await {
        if works {
            report.ok(format_args!("{text}"));
        } else {
            report.wrong(format_args!("{text}"));
        }
    }
    tokens(config, &mut probe, report).await;
}

/// What is stored of each account that wxgate keeps a token for.
async fn tokens(config: &Config, probe: &mut Probe, report: &mut Report<'_>) {
    let accounts = config.accounts.iter();
    let (accounts, wanted): (Vec<_>, Vec<_>) = accounts
        .filter_map(|account| {
            let secret = account.app.as_ref()?.secret.clone();
            Some((account, (state::key(account)?, secret)))
        })
        .unzip();
    let looks = match probe.look(wanted).await {
        Ok(looks) => looks,
        Err(why) => return report.wrong(format_args!("what the store holds cannot be read: {why}")),
    };
    for (account, look) in accounts.into_iter().zip(looks) {
        let name = &account.name;
        match look {
            Look::Missing => state::missing(account, report),
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
