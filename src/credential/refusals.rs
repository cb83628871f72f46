//! The errcodes with which the upstream refuses to issue a credential: when to ask again, and what to do.

use std::time::Duration;

use crate::errcodes::{self, Facts, Lang, Product};

/// A refusal is not over in seconds: asking more often only spends the quota.
const USUAL: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// When to ask again after a refusal with this errcode.
pub(crate) fn retry_after(errcode: i64) -> Duration {
    match errcode {
        // For so long WeChat takes no call from this address, an administrator having refused it.
        89506 => DAY,
        89507 => HOUR,
        _ => USUAL,
    }
}

/// What a refusal means and what to do about it.
pub fn advice(product: Product, errcode: i64, errmsg: &str, appid: &str) -> String {
    let facts = Facts { appid: Some(appid), errmsg: Some(errmsg) };
    match errcodes::errcode(product, errcode) {
        Some(entry) => entry.explain(Lang::En, facts),
        None => format!("Look {errcode} up in WeChat's list of return codes."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_ON_THE_LIST: &str = "invalid ip 101.226.140.169 ipv6 ::ffff:101.226.140.169, not in whitelist rid: 6510fcad-3d8ae261-25861ec2";

    #[test]
    fn a_whitelist_refusal_names_the_ip_that_wechat_saw() {
        for errcode in [40164, 61004] {
            let advice = advice(Product::Weixin, errcode, NOT_ON_THE_LIST, "wx1");
            assert!(advice.contains("101.226.140.169") && advice.contains("whitelist"), "{advice}");
        }
    }

    #[test]
    fn each_refusal_says_what_to_do_and_is_tried_again_in_time() {
        for (errcode, word, secs) in [
            (40001, "`secret`", 60),
            (40002, "grant_type", 60),
            (40013, "`appid`", 60),
            (40125, "`secret`", 60),
            (40164, "the egress IP", 60),
            (40243, "frozen", 60),
            (41002, "`appid`", 60),
            (41004, "`secret`", 60),
            (45009, "quota", 60),
            (45011, "minute", 60),
            (61004, "whitelist", 60),
            (89501, "not been confirmed", 60),
            (89502, "asks an administrator", 60),
            (89503, "must confirm", 60),
            (89504, "waits for an administrator", 60),
            (89505, "still waits", 60),
            (89506, "24 hours", 86_400),
            (89507, "1 hour", 3600),
            (12345, "12345", 60),
        ] {
            let advice = advice(Product::Weixin, errcode, "", "wx1");
            assert!(advice.contains(word), "{errcode}: {advice}");
            assert_eq!(retry_after(errcode).as_secs(), secs, "{errcode}");
        }
    }

    #[test]
    fn each_refusal_with_an_errcode_of_its_own_has_a_text_of_its_own() {
        let own = [40243, 61004, 89501, 89502, 89503, 89504, 89505, 89506, 89507];
        let texts: std::collections::BTreeSet<_> =
            own.iter().map(|n| advice(Product::Weixin, *n, "", "wx1")).collect();
        assert_eq!(texts.len(), own.len());
    }
}
