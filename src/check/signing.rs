//! The API security mode: when platform certificates end, and whether WeChat has the other halves of the keys.

use std::time::{Duration, SystemTime};

use super::Report;
use crate::config::{Account, App, Product};
use crate::credential::advice;
use crate::proxy::sealed_call::probe::{Probe, probe};
use crate::proxy::signing::keys::Keys;
use crate::secret::Secret;
use crate::upstream::ApiHost;

/// WeChat signs with the next one before, and it has to be fetched by hand.
const SOON: Duration = Duration::from_secs(30 * 86_400);

/// Errcodes that speak of keys and signatures.
const ABOUT_KEYS: std::ops::RangeInclusive<i64> = 40230..=40240;

/// When the certificates of all accounts end.
pub(super) fn certificates(accounts: &[Account], report: &mut Report<'_>) {
    for account in accounts {
        if let Some(keys) = &account.signing {
            ends(&account.name, keys, SystemTime::now(), report);
        }
    }
}

fn ends(account: &str, keys: &Keys, now: SystemTime, report: &mut Report<'_>) {
    for certificate in &keys.certificates {
        let (number, ends) = (&certificate.number, humantime::format_rfc3339_seconds(certificate.ends));
        let left = certificate.ends.duration_since(now).unwrap_or_default();
        let last = keys.last_end() == Some(certificate.ends);
        match (left, last) {
            (Duration::ZERO, true) => report.wrong(format_args!(
                "account `{account}`: the platform certificate {number} ended at {ends}, and there is none after it; \
                 download the current one in the console (API安全) and add it to `signing.certificates`"
            )),
            (Duration::ZERO, false) => report.warning(format_args!(
                "account `{account}`: the platform certificate {number} ended at {ends}; take it out"
            )),
            (left, true) if left < SOON => report.warning(format_args!(
                "account `{account}`: the platform certificate {number} ends in {} days, at {ends}; download the next \
                 one in the console (API安全) and add it to `signing.certificates`",
                left.as_secs() / 86_400
            )),
            _ => report.ok(format_args!(
                "account `{account}`: keys of the API security mode are whole; platform certificate {number}, valid until {ends}"
            )),
        }
    }
}

/// Makes one encrypted call with this token.
pub(super) async fn call(
    account: &Account,
    app: &App,
    token: &Secret,
    host: &ApiHost,
    report: &mut Report<'_>,
) {
    let Some(keys) = &account.signing else { return };
    let name = &account.name;
    match probe(keys, &app.appid, token, host).await {
        Probe::Accepted { replaced_by: None } => report.ok(format_args!(
            "account `{name}`: WeChat takes encrypted calls, and its answer is signed and encrypted as the keys have it"
        )),
        Probe::Accepted { replaced_by: Some(number) } => report.warning(format_args!(
            "account `{name}`: WeChat takes encrypted calls, and is replacing the platform certificate by {number}; \
             download that one in the console (API安全) and add it to `signing.certificates`"
        )),
        Probe::Refused { errcode, errmsg } if ABOUT_KEYS.contains(&errcode) => report.wrong(format_args!(
            "account `{name}`: WeChat refuses an encrypted call: {errcode} {errmsg}. {}",
            advice(Product::Weixin, errcode, &errmsg, &app.appid)
        )),
        Probe::Refused { errcode, errmsg } => report.warning(format_args!(
            "account `{name}`: whether WeChat takes encrypted calls is not known: {errcode} {errmsg}"
        )),
        Probe::Unverified(why) => {
            report.wrong(format_args!("account `{name}`: WeChat's answer to an encrypted call is not good: {why}"));
        }
        Probe::Failed(why) => report
            .warning(format_args!("account `{name}`: an encrypted call was tried and not answered: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::said;
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_certificate_that_ends_is_said_in_time() {
        let text = "[[account]]\nappid = 'wx1'\nsecret = 's'\n[account.signing]\nkey_number = '1'\n\
            key = 'otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY='\nprivate_key = 'certs/signing/app.key'\n\
            certificates = { a = 'certs/signing/guide-platform.pem', b = 'certs/signing/platform.pem' }\n";
        let home = |name: &str| (name == "HOME").then(|| "/home/wx".into());
        let loaded = Config::from_toml(text, std::path::Path::new("wxgate.toml"), &home).unwrap();
        let both = loaded.config.accounts[0].signing.clone().unwrap();
        let mut one = both.clone();
        one.certificates.truncate(1);
        let end = one.last_end().unwrap();
        let told = |keys: &Keys, at: SystemTime| said(|report| ends("shop", keys, at, report));
        let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3600));
        for (keys, at, kind, words) in [
            (&one, end - 31 * day, "ok ", "platform certificate a, valid until 2027-09-04T08:39:22Z"),
            (&one, end - 3 * day - hour, "warning ", "a ends in 3 days, at 2027-09-04"),
            (&one, end + hour, "FAIL ", "a ended at 2027-09-04T08:39:22Z, and there is none after it"),
            (&both, end - hour, "ok ", "platform certificate a, valid until"),
            (&both, end + hour, "warning ", "a ended at 2027-09-04T08:39:22Z; take it out"),
        ] {
            let text = told(keys, at);
            assert!(text.starts_with(kind) && text.contains(words), "{text}");
        }
    }
}
