//! Percent-encoding, as far as wxgate has a form of its own of it; the codec is the `percent-encoding` crate.
//!
//! [`decode`] leaves a broken escape as it is, as WeChat's and PHP's parsers do, and a `+` stays a `+`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentDecode, percent_decode, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters: letters, digits, `-`, `.`, `_`, `~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Appends `text` with everything but unreserved characters encoded.
///
/// Reserve three bytes for each of `text` beforehand where `out` will hold a secret: a buffer that grows
/// leaves a copy behind that nobody wipes.
pub fn encode(text: &str, out: &mut String) {
    out.extend(utf8_percent_encode(text, RESERVED));
}

/// The bytes of `text` with each `%XX` decoded once.
pub fn decode(text: &[u8]) -> PercentDecode<'_> {
    percent_decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_unreserved_characters_are_encoded() {
        for (text, right) in [
            ("abcXYZ019-._~", "abcXYZ019-._~"),
            ("a+b/c=d", "a%2Bb%2Fc%3Dd"),
            ("a&b#c %?", "a%26b%23c%20%25%3F"),
            ("票", "%E7%A5%A8"),
            ("\u{1}\n", "%01%0A"),
        ] {
            let mut out = String::new();
            encode(text, &mut out);
            assert_eq!(out, right);
            assert!(decode(out.as_bytes()).eq(text.bytes()));
        }
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        for (text, right) in [("%zz%4", "%zz%4"), ("%", "%"), ("%%41", "%A"), ("a+b%2B", "a+b+")] {
            assert!(decode(text.as_bytes()).eq(right.bytes()), "{text}");
        }
    }
}
