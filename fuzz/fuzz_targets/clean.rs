//! A token in an answer that repeats a call (`rid/get`, an echoed URL): it is masked in every encoding, and nothing else
//! is touched.
//!
//! The oracle decodes all escapes, again and again until none is left, and looks for the token then.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wxgate::mask::masked;

const TOKENS: [&[u8]; 3] = [b"T+/k9", b"QXZ-_key", b"zz/zy"];
const OTHER: &[u8] = b"(placeholder)";

/// One escape fewer, if there is one.
fn decode_one(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let digits = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit).then(|| hex(digits)).flatten();
    for at in 0..text.len() {
        let (length, byte) = match &text[at..] {
            [b'%', two @ ..] if two.len() >= 2 && digits(&two[..2]).is_some() => (3, digits(&two[..2])?),
            [b'\\', b'u', b'0', b'0', two @ ..] if two.len() >= 2 && digits(&two[..2]).is_some() => {
                (6, digits(&two[..2])?)
            }
            [b'\\', b'/', ..] => (2, b'/'),
            _ => continue,
        };
        return Some([&text[..at], &[byte], &text[at + length..]].concat());
    }
    None
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    while let Some(next) = decode_one(&text) {
        text = next;
    }
    text
}

fn count(text: &[u8], token: &[u8]) -> usize {
    text.windows(token.len()).filter(|window| *window == token).count()
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else { return };
    let token = TOKENS[usize::from(*choice) % TOKENS.len()];
    let clean = masked(text, token, OTHER);
    let found = count(&decoded(text), token);
    let shown = text.escape_ascii();
    assert_eq!(clean.is_some(), found > 0, "{shown}");
    if let Some(clean) = clean {
        assert_eq!(count(&decoded(&clean), token), 0, "{shown} became {}", clean.escape_ascii());
        assert_eq!(
            count(&clean, OTHER),
            found + count(text, OTHER),
            "{shown} became {}",
            clean.escape_ascii()
        );
    }
});
