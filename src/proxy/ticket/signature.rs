//! The signatures of WeChat's JS-SDK and of cards. Pure: what is signed comes in, hexadecimal digits go out.
//!
//! Both are SHA-1, which WeChat prescribes. Source: WeChat's documentation of the JS-SDK, appendices 1 and 4.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// For `wx.config` and `wx.agentConfig`: names in this order, values as they are, without URL encoding.
pub(super) fn jssdk(ticket: &str, nonce: &str, timestamp: u64, url: &[u8]) -> String {
    let mut text = Vec::with_capacity(ticket.len() + nonce.len() + url.len() + 64);
    for part in [b"jsapi_ticket=", ticket.as_bytes(), b"&noncestr=", nonce.as_bytes(), b"&timestamp="] {
        text.extend_from_slice(part);
    }
    text.extend_from_slice(timestamp.to_string().as_bytes());
    text.extend_from_slice(b"&url=");
    text.extend_from_slice(url);
    sha1(&text)
}

/// For a card: the values alone, sorted as bytes, one behind the other. Empty ones add nothing.
pub(super) fn card(values: &mut [&[u8]]) -> String {
    values.sort_unstable();
    sha1(&values.concat())
}

fn sha1(text: &[u8]) -> String {
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, text).as_ref())
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WeChat's own example.
    #[test]
    fn the_published_signature_for_a_page() {
        let ticket = "sM4AOVdWfPE4DxkXGEs8VMCPGGVi4C3VM0P37wVUCFvkVAy_90u5h9nbSlYy3-Sl-HhTdfl2fzFy1AOcHKP7qg";
        let signature =
            jssdk(ticket, "Wm3WZYTPz0wzccnW", 1_414_587_457, b"http://mp.weixin.qq.com?params=value");
        assert_eq!(signature, "0f9de62fce790f9a083d5c99e95740ceb90c27ed");
    }

    /// WeChat's own example.
    #[test]
    fn the_published_signature_of_a_card() {
        let mut values: [&[u8]; 6] = [
            b"ojZ8YtyVyr30HheH3CM73y7h4jJE",
            b"1404896688",
            b"pjZ8Yt1XGILfi-FUsewpnnolGgZk",
            b"1434008071",
            b"123",
            b"",
        ];
        assert_eq!(card(&mut values), "f137ab68b7f8112d20ee528ab6074564e2796250");
        let concatenated = "12314048966881434008071ojZ8YtyVyr30HheH3CM73y7h4jJEpjZ8Yt1XGILfi-FUsewpnnolGgZk";
        assert_eq!(String::from_utf8(values.concat()).unwrap(), concatenated);
    }
}
