//! The lenient reader of errcodes: never panics, whatever the coding, and agrees with serde_json on every
//! JSON object of at most 4 KiB that has an integer errcode, or none at all.
#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use wxgate::proxy::inspect::LIMIT;
use wxgate::proxy::inspect::coding::Coding;
use wxgate::proxy::inspect::errcode::{cannot_be_error, errcode as of_text};

fn errcode(coding: Coding, body: &[u8]) -> Option<i64> {
    of_text(&coding.decode(body)?)
}

/// One uncompressed meta-block (RFC 7932 section 9.2), then the empty last one.
fn brotli(text: &[u8]) -> Vec<u8> {
    let bits = (text.len() as u64 - 1) << 4 | 1 << 20;
    [&bits.to_le_bytes()[..3], text, &[0x03]].concat()
}

fn coded(coding: Coding, text: &[u8], raw: bool) -> Vec<u8> {
    fn all<W: Write>(mut encoder: W, text: &[u8], end: fn(W) -> std::io::Result<Vec<u8>>) -> Vec<u8> {
        encoder.write_all(text).and_then(|()| end(encoder)).expect("writing to memory")
    }
    // Stored blocks are the longest form that there is.
    let level = if raw { Compression::none() } else { Compression::fast() };
    match coding {
        Coding::Identity => text.to_vec(),
        Coding::Gzip => all(GzEncoder::new(Vec::new(), level), text, GzEncoder::finish),
        Coding::Deflate if raw => all(DeflateEncoder::new(Vec::new(), level), text, DeflateEncoder::finish),
        Coding::Deflate => all(ZlibEncoder::new(Vec::new(), level), text, ZlibEncoder::finish),
        Coding::Brotli => brotli(text),
    }
}

const ALL: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Deflate, Coding::Brotli];

fuzz_target!(|input: &[u8]| {
    for coding in ALL {
        let _ = errcode(coding, input);
    }
    if input.is_empty() || input.len() > LIMIT {
        assert_eq!(errcode(Coding::Identity, input), None);
        return;
    }
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(input) else { return };
    let right = match fields.get("errcode") {
        None => None,
        Some(value) => match value.as_i64() {
            Some(code) => Some(code),
            // Strings, fractions and the rest: the strict parser has no opinion.
            None => return,
        },
    };
    for coding in ALL {
        for raw in [false, true] {
            let sent = coded(coding, input, raw);
            assert!(sent.len() <= coding.limit(), "{coding:?}: too long to be kept back");
            assert!(!cannot_be_error(coding, &sent));
            assert_eq!(errcode(coding, &sent), right, "{coding:?}");
        }
    }
});
