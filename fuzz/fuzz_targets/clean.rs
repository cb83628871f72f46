//! A token in an answer that repeats a call (`rid/get`, an echoed URL): it is masked in every encoding, and nothing else
//! is touched.
//!
//! The oracle decodes all escapes, again and again until none is left, and looks for the token then.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wxgate::mask::masked;

const TOKENS: [&[u8]; 4] = [b"T+/k9", b"QXZ-_key", b"zz/zy", "q\"é😀".as_bytes()];
const OTHER: &[u8] = b"(placeholder)";

/// What an escape stands for, at the beginning of a text: its length, and the bytes.
fn escape(text: &[u8]) -> Option<(usize, Vec<u8>)> {
    let number = |at: usize, length: usize| {
        let digits = std::str::from_utf8(text.get(at..at + length)?).ok()?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    match text {
        [b'%', ..] => Some((3, vec![number(1, 2)? as u8])),
        [b'\\', b'u', ..] => {
            let mut units = vec![number(2, 4)? as u16];
            if text.get(6..8) == Some(b"\\u") {
                units.extend(number(8, 4).map(|unit| unit as u16));
            }
            let first = char::decode_utf16(units).next()?.ok()?;
            Some((6 * first.len_utf16(), first.to_string().into_bytes()))
        }
        [b'\\', other @ (b'/' | b'"' | b'\\'), ..] => Some((2, vec![*other])),
        _ => None,
    }
}

/// One escape fewer, if there is one.
fn decode_one(text: &[u8]) -> Option<Vec<u8>> {
    (0..text.len()).find_map(|at| {
        let (length, bytes) = escape(&text[at..])?;
        Some([&text[..at], &bytes, &text[at + length..]].concat())
    })
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
