//! Finds a secret in a text in whatever encoding it was repeated, and puts something else in its place.
//!
//! An upstream that echoes a request gives its token back as it was sent, or once more encoded for each layer that
//! it went through. Pure.

use memchr::{memchr, memchr_iter, memchr2, memchr3, memmem};

/// The text with `other` wherever `secret` stands in it: as it is, percent-encoded however often, or with the
/// escapes of JSON. `None` where it stands nowhere.
pub fn masked(text: &[u8], secret: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    if secret.is_empty() || text.len() < secret.len() {
        return None;
    }
    let plain = replaced(text, secret, other);
    let text = plain.as_deref().unwrap_or(text);
    decoded_and_replaced(text, secret, other).or(plain)
}

/// As it is.
fn replaced(text: &[u8], secret: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut found = find(text, secret)?;
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        out.extend_from_slice(&rest[..found]);
        out.extend_from_slice(other);
        rest = &rest[found + secret.len()..];
        match find(rest, secret) {
            Some(next) => found = next,
            None => break,
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Where the secret stands first. Every small answer is searched, and a search by all of the secret would be made
/// ready anew for each; so it goes by one letter that is rare in texts, and that nearly every token has.
fn find(text: &[u8], secret: &[u8]) -> Option<usize> {
    let landmark = memchr3(b'Q', b'X', b'Z', secret).unwrap_or(secret.len() - 1);
    memchr_iter(secret[landmark], text)
        .filter_map(|at| at.checked_sub(landmark))
        .find(|&start| text[start..].starts_with(secret))
}

/// In any encoding.
fn decoded_and_replaced(text: &[u8], secret: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    // Nearly all texts have no escape at all.
    memchr2(b'%', b'\\', text)?;
    let has = |escape: &[u8]| memmem::find(text, escape).is_some();
    // JSON writers escape what they must, a `/`, and what is not printable or not ASCII.
    let by_json =
        || memchr3(b'/', b'"', b'\\', secret).is_some() || has(b"\\u00") || !secret.is_ascii() && has(b"\\u");
    if memchr(b'%', text).is_none() && !by_json() {
        return None;
    }
    let decoded = Decoded::of(text);
    let secret = Decoded::of(secret).bytes;
    let mut out = Vec::new();
    let mut copied = 0;
    for at in memmem::find_iter(&decoded.bytes, &secret) {
        out.extend_from_slice(&text[copied..decoded.spans[at].0]);
        out.extend_from_slice(other);
        copied = decoded.spans[at + secret.len() - 1].1;
    }
    out.extend_from_slice(&text[copied..]);
    (copied > 0).then_some(out)
}

/// A text decoded until there is nothing left to decode.
struct Decoded {
    bytes: Vec<u8>,
    /// Where each of them begins and ends in the text.
    spans: Vec<(usize, usize)>,
}

impl Decoded {
    /// In one pass, however often it was encoded: what a new byte completes is decoded at once.
    fn of(text: &[u8]) -> Self {
        let mut decoded =
            Self { bytes: Vec::with_capacity(text.len()), spans: Vec::with_capacity(text.len()) };
        for (at, byte) in text.iter().enumerate() {
            decoded.bytes.push(*byte);
            decoded.spans.push((at, at + 1));
            while let Some((length, meant)) = escape(&decoded.bytes) {
                let end = at + 1;
                let first = decoded.bytes.len() - length;
                let start = decoded.spans[first].0;
                decoded.bytes.truncate(first);
                decoded.spans.truncate(first);
                decoded.bytes.extend_from_slice(meant.bytes());
                decoded.spans.resize(decoded.bytes.len(), (start, end));
            }
        }
        decoded
    }
}

/// What an escape stands for.
enum Meant {
    Byte([u8; 1]),
    Char([u8; 4], usize),
}

impl Meant {
    fn char(code: u32) -> Option<Self> {
        let mut bytes = [0; 4];
        let length = char::from_u32(code)?.encode_utf8(&mut bytes).len();
        Some(Self::Char(bytes, length))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Byte(byte) => byte,
            Self::Char(bytes, length) => &bytes[..*length],
        }
    }
}

/// The escape that stands at the end: its length and what it stands for. What looks like the beginning of another one
/// before it hides none.
fn escape(bytes: &[u8]) -> Option<(usize, Meant)> {
    by_percent(bytes).or_else(|| by_number(bytes)).or_else(|| by_itself(bytes))
}

fn by_percent(bytes: &[u8]) -> Option<(usize, Meant)> {
    let [.., b'%', high, low] = bytes else { return None };
    Some((3, Meant::Byte([hex(*high)? << 4 | hex(*low)?])))
}

/// JSON's `\u`.
fn by_number(bytes: &[u8]) -> Option<(usize, Meant)> {
    let [before @ .., b'\\', b'u', a, b, c, d] = bytes else { return None };
    let unit = unit([*a, *b, *c, *d])?;
    match high_surrogate(before) {
        Some(high) if matches!(unit, 0xdc00..0xe000) => {
            Some((12, Meant::char(0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00))?))
        }
        _ => Some((6, Meant::char(unit)?)),
    }
}

/// JSON's backslash before what would mean something else without it.
fn by_itself(bytes: &[u8]) -> Option<(usize, Meant)> {
    let [.., b'\\', byte @ (b'/' | b'"' | b'\\')] = bytes else { return None };
    Some((2, Meant::Byte([*byte])))
}

/// The first half of a character that JSON writes in two: one above the first 65,536.
fn high_surrogate(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [.., b'\\', b'u', a, b, c, d] => unit([*a, *b, *c, *d]).filter(|unit| matches!(unit, 0xd800..0xdc00)),
        _ => None,
    }
}

/// Four digits of JSON's `\u`.
fn unit(digits: [u8; 4]) -> Option<u32> {
    digits.into_iter().try_fold(0, |unit, digit| Some(unit << 4 | u32::from(hex(digit)?)))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::percent;
    use proptest::prelude::*;

    fn mask(text: &str, secret: &str) -> Option<String> {
        masked(text.as_bytes(), secret.as_bytes(), b"***").map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands_and_however_often_encoded() {
        for (text, right) in [
            ("https://h/?access_token=T+/k&b=T+/k", "https://h/?access_token=***&b=***"),
            ("T%2B%2Fk", "***"),
            ("?a=T%2b%2fk&c", "?a=***&c"),
            ("T+%2F%6B", "***"),
            // No other escape in the text.
            (r"\u0054+/k", "***"),
            (r"T+\/k", "***"),
            ("%54%2B%2F%6b", "***"),
            ("%2554%252B%252F%256b!", "***!"),
            ("T%25252B%2525252Fk", "***"),
            ("%25%35%34+/k", "***"),
            ("T+\\/k", "***"),
            ("\\u0054+\\/k", "***"),
            ("TT+/k", "T***"),
            ("T+/kT%2B/k", "******"),
            ("%4T+/k", "%4***"),
        ] {
            assert_eq!(mask(text, "T+/k").as_deref(), Some(right), "{text}");
        }
        for text in ["", "T+/", "T%2B%2", "T%zz/k", "nothing at all", "T%252B%2", "%%%%%%%%"] {
            assert_eq!(mask(text, "T+/k"), None, "{text}");
        }
        assert_eq!(mask("a%25b", "a%b").as_deref(), Some("***"));
        assert_eq!(mask("a%b", "a%b").as_deref(), Some("***"));
        assert_eq!(mask("a%41b%2541b", "a%41b").as_deref(), Some("***%2541b"));
        assert_eq!(mask("anything", ""), None);
        for (text, secret) in [
            (r#"T\"k"#, r#"T"k"#),
            (r"T\\k", r"T\k"),
            (r#"T\\\"k"#, r#"T"k"#),
            (r"T\\u002Fk", "T/k"),
            (r"T\u00e9\u4e2D!", "Té中!"),
            ("T%C3%A9\\u4e2d!", "Té中!"),
            (r"\ud83d\ude00k", "😀k"),
            (r"\u4e2d\u0054k", "中Tk"),
            (r"\ud83d\u0054k", "Tk"),
            (r"\uzzzz\u0054k", "Tk"),
            (r"%\/k", "/k"),
            (r"\u00\/k", "/k"),
        ] {
            let masked = mask(&format!("a {text}b"), secret).unwrap_or_else(|| panic!("{text}"));
            assert!(masked.starts_with("a ") && masked.ends_with("***b"), "{text}: {masked}");
        }
    }

    #[test]
    fn much_encoded_text_takes_one_pass() {
        let text = format!("%{}41bcd", "25".repeat(100_000));
        assert_eq!(mask(&text, "Abcd").as_deref(), Some("***"));
    }

    proptest! {
        #[test]
        fn no_encoding_hides_a_secret(
            secret in "[A-Za-z0-9_+/=-]{4,40}", before in "[ -$&-~]{0,9}x", after in "[g-z ]{0,9}", times in 0..5,
        ) {
            let mut encoded = secret.clone();
            for _ in 0..times {
                let mut next = String::new();
                percent::encode(&encoded, &mut next);
                encoded = next;
            }
            let text = format!("{before}{encoded}{after}");
            let masked = mask(&text, &secret);
            prop_assert!(masked.is_some(), "{text}");
            prop_assert!(!masked.unwrap().contains(&encoded));
        }
    }
}
