//! Each table is sorted and whole in both languages, and each way into it finds what it should.

mod documents;

use std::collections::BTreeSet;

use super::own::{OWN, RETRY};
use super::*;

fn all() -> impl Iterator<Item = &'static Entry> {
    let own = OWN.iter().chain(RETRY).map(|(_, entry)| entry);
    weixin::TABLE.iter().chain(wecom::TABLE).chain(own)
}

#[test]
fn tables_are_sorted_and_name_nothing_twice() {
    for table in [weixin::TABLE, wecom::TABLE] {
        for pair in table.windows(2) {
            assert!(pair[0].number < pair[1].number, "{} before {}", pair[0].number, pair[1].number);
        }
    }
    let words: BTreeSet<_> = OWN.iter().chain(RETRY).map(|(code, _)| code).collect();
    assert_eq!(words.len(), OWN.len() + RETRY.len());
    assert!(LABELS.is_sorted());
}

#[test]
fn every_text_is_whole_sentences_in_its_language() {
    for entry in all() {
        for text in [entry.means, entry.todo] {
            let Text { en, zh } = text;
            assert!(en.ends_with(['.', '?', ')']), "{}: {en}", entry.number);
            assert!(zh.ends_with(['。', '？', '）']), "{}: {zh}", entry.number);
            assert!(zh.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{zh}");
            // Half-width numbers and letters, full-width punctuation between Chinese words.
            assert!(
                !zh.chars().any(|c| ('\u{ff10}'..='\u{ff5a}').contains(&c) && !"：；？".contains(c)),
                "{zh}"
            );
            assert!(!en.contains("  ") && !zh.contains("  "), "{en} {zh}");
        }
    }
}

#[test]
fn every_labelled_errcode_is_explained() {
    for number in LABELS {
        let product = if number == 60020 { Product::Wecom } else { Product::Weixin };
        assert!(errcode(product, number).is_some(), "{number}");
        assert_eq!(LABELS[label_index(number)], number);
    }
    assert_eq!(label_index(0), LABELS.len());
    assert_eq!(label_index(12345), LABELS.len());
}

#[test]
fn the_same_number_can_mean_something_else_at_wecom() {
    let weixin = errcode(Product::Weixin, 40001).unwrap();
    let wecom = errcode(Product::Wecom, 40001).unwrap();
    assert_ne!(weixin, wecom);
    assert!(wecom.means.en.contains("secret is wrong"));
    // What WeCom's table lacks means the same.
    assert_eq!(errcode(Product::Wecom, 42001), errcode(Product::Weixin, 42001));
    assert_eq!(errcode(Product::Weixin, 60020), None);
    assert_eq!(errcode(Product::Weixin, 0), None);
}

#[test]
fn a_refused_address_is_named() {
    let errmsg = "invalid ip 101.226.140.169 ipv6 ::ffff:101.226.140.169, not in whitelist rid: 6510fcad-3d8ae261-25861ec2";
    let facts = Facts { appid: Some("wx1"), errmsg: Some(errmsg) };
    for number in [40164, 61004, 89503, 89507] {
        let entry = errcode(Product::Weixin, number).unwrap();
        for lang in [Lang::En, Lang::Zh] {
            let text = entry.explain(lang, facts);
            assert!(text.contains("101.226.140.169") && text.contains("wx1"), "{text}");
            assert!(!text.contains('{'), "{text}");
            let bare = entry.todo(lang, Facts::default());
            assert!(bare.contains(["egress IP", "出口 IP"][lang as usize]) && !bare.contains('{'), "{bare}");
        }
    }
    let wecom = "not allow to access from your ip, hint: [1730458186056773912722469], from ip: 171.43.188.73, more info at https://open.work.weixin.qq.com/devtool/query?e=60020";
    assert_eq!(seen_ip(wecom), "171.43.188.73".parse().ok());
    assert_eq!(seen_ip("invalid ip 2001:db8::7, not in whitelist"), "2001:db8::7".parse().ok());
    assert_eq!(seen_ip("not in whitelist"), None);
}

#[test]
fn own_codes_and_retry_marks_are_explained() {
    for code in crate::metrics::CODES {
        assert!(own(code).is_some(), "{code}");
    }
    for mark in ["body-too-large", "refresh-failed", "refresh-limited", "same-token"] {
        assert!(retry(mark).is_some(), "{mark}");
    }
    assert_eq!(own("unknown"), None);
}

#[test]
fn no_space_stands_between_chinese_words() {
    let chinese = |c: &char| ('\u{4e00}'..='\u{9fff}').contains(c);
    for entry in weixin::TABLE.iter().chain(wecom::TABLE) {
        let text = entry.explain(Lang::Zh, Facts::default());
        let chars: Vec<char> = text.chars().collect();
        let spaced = chars.windows(3).any(|near| near[1] == ' ' && chinese(&near[0]) && chinese(&near[2]));
        assert!(!spaced, "{text}");
    }
}
