//! The page as it is served.

use super::support::{admin, ask, field, get, ready};
use crate::support::wechat::WeChat;

#[tokio::test]
async fn the_page_speaks_the_readers_language_and_bears_a_nonce_of_its_own() {
    let wechat = WeChat::start().await;
    let gate = admin(&wechat.url).await;
    ready(&gate).await;
    let first = get(&gate, "/").await;
    let second = get(&gate, "/").await;
    let policy = field(&first, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_ne!(Some(policy), field(&second, "content-security-policy"), "a nonce is used once");
    assert!(first.text().contains("<title>✓ All is well – wxgate</title>"));
    for (target, accept, lang) in [
        ("/", "zh-CN,zh;q=0.9", "zh-CN"),
        ("/", "en-GB", "en"),
        ("/", "fr", "en"),
        ("/", "en;q=0.5, zh;q=0.7", "zh-CN"),
        ("/?lang=zh", "en", "zh-CN"),
        ("/?lang=en", "zh", "en"),
    ] {
        let page =
            ask(&gate, "GET", target, &["Host: localhost", &format!("Accept-Language: {accept}")], "").await;
        assert!(page.text().contains(&format!("<html lang=\"{lang}\">")), "{target} {accept}");
    }
    for token in wechat.handle.tokens_issued() {
        assert!(!first.text().contains(&token));
    }
}
