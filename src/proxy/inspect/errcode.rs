//! Looks for WeChat's `errcode` in an answer that can be an error.
//!
//! Pure: headers and bytes in, a number out. Never looks at more than [`LIMIT`] decoded bytes, never fails:
//! what cannot be read has no errcode. The reader is lenient on purpose, since bodies with raw control
//! characters and broken UTF-8 exist (seen in recorded traffic), and a strict parser would hide the errcode.

use std::io::Read;
use std::sync::LazyLock;

use http::header::{self, HeaderMap};
use memchr::{memchr, memmem};

use crate::proxy::inject::headers;

/// Decoded size up to which an answer can be an error, in bytes.
pub const LIMIT: usize = 4096;

/// A compressed answer longer than this decodes to more than [`LIMIT`]: the worst case of deflate's and
/// brotli's stored blocks, and room for a gzip header with a file name.
const COMPRESSED_LIMIT: usize = LIMIT + 512;

/// Made once, since that takes longer than the search.
static ERRCODE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("errcode"));

/// How the body of an answer that can be an error is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`: zlib, or raw as some servers send it.
    Deflate,
    /// `br`.
    Brotli,
}

impl Coding {
    /// How many bytes of the body as sent are worth keeping back.
    pub fn limit(self) -> usize {
        match self {
            Self::Identity => LIMIT,
            Self::Gzip | Self::Deflate | Self::Brotli => COMPRESSED_LIMIT,
        }
    }
}

/// Whether an answer with these fields can be an error, and how it is coded. `length` is the exact length of
/// its body where that is known.
pub fn can_be_error(headers: &HeaderMap, length: Option<u64>) -> Option<Coding> {
    let kind = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let kind = kind.split(|b| *b == b';').next()?.trim_ascii();
    let begins = |with: &[u8]| kind.get(..with.len()).is_some_and(|part| part.eq_ignore_ascii_case(with));
    let ends =
        |with: &[u8]| kind.len() >= with.len() && kind[kind.len() - with.len()..].eq_ignore_ascii_case(with);
    let textual = begins(b"text/") || ends(b"/json") || ends(b"+json");
    if !textual {
        return None;
    }
    let coding = coding(headers)?;
    match length {
        Some(0) => None,
        Some(length) if length > coding.limit() as u64 => None,
        _ => Some(coding),
    }
}

/// `None` for codings that cannot be looked into, and for several at once.
fn coding(headers: &HeaderMap) -> Option<Coding> {
    let mut lines = headers::lines(headers, &header::CONTENT_ENCODING);
    let Some(line) = lines.next() else { return Some(Coding::Identity) };
    if lines.next().is_some() {
        return None;
    }
    let name = line.as_bytes().trim_ascii();
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if name.is_empty() || is(b"identity") {
        Some(Coding::Identity)
    } else if is(b"gzip") || is(b"x-gzip") {
        Some(Coding::Gzip)
    } else if is(b"deflate") {
        Some(Coding::Deflate)
    } else if is(b"br") {
        Some(Coding::Brotli)
    } else {
        None
    }
}

/// Whether the beginning of a body rules out that it is an error, so that it need not be kept back.
pub fn cannot_be_error(coding: Coding, beginning: &[u8]) -> bool {
    match coding {
        Coding::Identity => match object(beginning) {
            Some(rest) => !rest.starts_with(b"{"),
            None => false,
        },
        Coding::Gzip | Coding::Deflate | Coding::Brotli => false,
    }
}

/// The top-level errcode of a whole body as sent; `None` without one, or when it decodes to over [`LIMIT`].
pub fn errcode(coding: Coding, body: &[u8]) -> Option<i64> {
    match coding {
        Coding::Identity if body.len() > LIMIT => None,
        Coding::Identity => top_level_errcode(body),
        Coding::Gzip => top_level_errcode(&bounded(flate2::read::MultiGzDecoder::new(body))?),
        Coding::Deflate => {
            let decoded = bounded(flate2::read::ZlibDecoder::new(body))
                .or_else(|| bounded(flate2::read::DeflateDecoder::new(body)))?;
            top_level_errcode(&decoded)
        }
        Coding::Brotli => top_level_errcode(&bounded(brotli_decompressor::Decompressor::new(body, LIMIT))?),
    }
}

/// Everything the decoder yields, or nothing when that is broken or more than [`LIMIT`].
fn bounded(decoder: impl Read) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(LIMIT + 1);
    decoder.take(LIMIT as u64 + 1).read_to_end(&mut decoded).ok()?;
    (decoded.len() <= LIMIT).then_some(decoded)
}

/// The text from its first meaningful byte on; `None` while there is none.
fn object(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let start = text.iter().position(|b| *b > b' ')?;
    Some(&text[start..])
}

/// Reads the errcode of a JSON object: a number or a string of digits, of the outermost object alone. As in
/// PHP's `json_decode`, the last of several wins.
fn top_level_errcode(text: &[u8]) -> Option<i64> {
    // Most answers are no errors and have the name nowhere; one that hides it in `\u` escapes is read on.
    let escaped = || memchr(b'\\', text).is_some() && memmem::find(text, b"\\u").is_some();
    if ERRCODE.find(text).is_none() && !escaped() {
        return None;
    }
    let mut cursor = Cursor { text: object(text)?, at: 0 };
    if cursor.next()? != b'{' {
        return None;
    }
    let mut found = None;
    loop {
        cursor.skip_space();
        match cursor.next() {
            Some(b'"') => {}
            Some(b',') => continue,
            // The end of the object, or of a text that was cut off, or no JSON at all.
            _ => return found,
        }
        let Some(name) = cursor.string() else { return found };
        cursor.skip_space();
        if cursor.next() != Some(b':') {
            return found;
        }
        cursor.skip_space();
        let value = cursor.value();
        if is_errcode(name) {
            found = number(value).or(found);
        }
    }
}

/// Compares a raw JSON string with `errcode`, its `\u` escapes decoded.
fn is_errcode(raw: &[u8]) -> bool {
    if !raw.contains(&b'\\') {
        return raw == b"errcode";
    }
    let quoted = [b"\"", raw, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).is_ok_and(|name| name == "errcode")
}

fn number(value: &[u8]) -> Option<i64> {
    let digits = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    let text = std::str::from_utf8(digits).ok()?;
    match text.parse::<i64>() {
        Ok(number) => Some(number),
        // 40001.0 and 4.0001e4 are the same number to every JSON reader.
        Err(_) if digits.len() == value.len() => {
            let float = text.parse::<f64>().ok()?;
            (float.fract() == 0.0 && float.abs() < 1e15).then_some(float as i64)
        }
        Err(_) => None,
    }
}

/// A forward reader over JSON text that minds strings and nesting and nothing else.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// JSON's white space, and every other control character besides.
    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|b| *b <= b' ') {
            self.at += 1;
        }
    }

    /// The raw inside of a string whose opening quote has been read; `None` when it never ends.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', &self.text[self.at..])?;
            match self.next()? {
                b'"' => return Some(&self.text[start..self.at - 1]),
                // Whatever is escaped does not end the string.
                _ => self.next()?,
            };
        }
    }

    /// The raw text of one value, nested ones included; an unfinished one is what there is of it.
    fn value(&mut self) -> &'a [u8] {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    if self.string().is_none() {
                        break;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                b',' if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        self.text[start..self.at.min(self.text.len())].trim_ascii_end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn errcode_is_read_at_the_top_level_alone() {
        for (body, right) in [
            (&br#"{"errcode":40001,"errmsg":"x"}"#[..], Some(40001)),
            (br#"{"errcode":"42001"}"#, Some(42001)),
            (br#"{"errcode":-1,"errmsg":"system error"}"#, Some(-1)),
            (br#"{"errcode":0,"errmsg":"ok"}"#, Some(0)),
            (br#"  { "errmsg" : "x" , "errcode" : 40001 } "#, Some(40001)),
            (b"\xef\xbb\xbf{\"errcode\":1}", Some(1)),
            (br#"{"errcode":40001.0}"#, Some(40001)),
            (br#"{"errcode":4.0001e4}"#, Some(40001)),
            (br#"{"err\u0063ode":40001}"#, Some(40001)),
            (br#"{"list":[{"errcode":40001}],"total":1}"#, None),
            (br#"{"a":{"errcode":40001}}"#, None),
            (br#"{"base_resp":{"errcode":40001}}"#, None),
            (br#"[{"errcode":40001}]"#, None),
            (br#"{"a":"\"errcode\":40001"}"#, None),
            (br#"{"a":"}","errcode":7}"#, Some(7)),
            (br#"{"a":[1,{"b":"]"}],"errcode":7}"#, Some(7)),
            (br#"{"errcode":1,"errcode":2}"#, Some(2)),
            (br#"{"errcode":null}"#, None),
            (br#"{"errcode":"abc"}"#, None),
            (br#"{"errcode":true}"#, None),
            (br#"{"errcode":{"a":1}}"#, None),
            (br#"{"errcode":"4.0e4"}"#, None),
            (b"{\"errmsg\":\"a\x01b\xff\xfe\",\"errcode\":40001}", Some(40001)),
            (b"{\x02\"errcode\"\x00:\t40001}", Some(40001)),
            (br#"{"errcode":40001,"errmsg":"cut"#, Some(40001)),
            (br#"{"errcode"#, None),
            (br#"{"errcode":"#, None),
            (b"", None),
            (b"   ", None),
            (b"hello", None),
            (b"<html>errcode</html>", None),
        ] {
            assert_eq!(errcode(Coding::Identity, body), right, "{}", String::from_utf8_lossy(body));
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_bodies_are_decoded_up_to_the_limit() {
        let body = br#"{"errcode":40001,"errmsg":"invalid credential"}"#;
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(body).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        raw.write_all(body).unwrap();
        // A stored block needs no encoder.
        let brotli = brotli_stored(body);
        for (coding, sent) in [
            (Coding::Gzip, gzip(body)),
            (Coding::Deflate, zlib.finish().unwrap()),
            (Coding::Deflate, raw.finish().unwrap()),
            (Coding::Brotli, brotli),
        ] {
            assert_eq!(errcode(coding, &sent), Some(40001), "{coding:?}");
            assert_eq!(errcode(coding, &sent[..sent.len() / 2]), None, "{coding:?} cut off");
        }
        let bomb = gzip(&[b' '; 1 << 20]);
        assert_eq!(errcode(Coding::Gzip, &bomb), None);
        let long = [br#"{"errcode":40001,"x":""#.as_slice(), &[b'a'; LIMIT], b"\"}"].concat();
        assert_eq!(errcode(Coding::Gzip, &gzip(&long)), None);
        assert_eq!(errcode(Coding::Identity, &long), None);
        assert_eq!(errcode(Coding::Gzip, b"not gzip"), None);
    }

    /// One uncompressed meta-block of RFC 7932: window bits, ISLAST 0, MNIBBLES 4, length, ISUNCOMPRESSED.
    fn brotli_stored(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len() - 1).unwrap();
        // Bits, lowest first: WBITS=16 is `0`; ISLAST `0`; MNIBBLES=4 is `00`; 16 bits length-1; `1`.
        let bits = u64::from(length) << 4 | 1 << 20;
        let mut sent = bits.to_le_bytes()[..3].to_vec();
        sent.extend_from_slice(text);
        sent.push(0x03); // ISLAST and ISLASTEMPTY
        sent
    }

    #[test]
    fn only_small_texts_are_looked_into() {
        let headers = |kind: &'static str, coding: &'static str| {
            let mut map = HeaderMap::new();
            if !kind.is_empty() {
                map.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            }
            if !coding.is_empty() {
                map.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            map
        };
        for (kind, coding, length, right) in [
            ("application/json; encoding=utf-8", "", Some(100), Some(Coding::Identity)),
            ("application/json", "", None, Some(Coding::Identity)),
            ("Text/Plain", "", Some(4096), Some(Coding::Identity)),
            ("application/problem+json", "identity", None, Some(Coding::Identity)),
            ("text/plain", "", Some(4097), None),
            ("application/json", "gzip", Some(4100), Some(Coding::Gzip)),
            ("application/json", "gzip", Some(40_000), None),
            ("application/json", "X-GZIP", None, Some(Coding::Gzip)),
            ("application/json", "deflate", None, Some(Coding::Deflate)),
            ("application/json", "br", None, Some(Coding::Brotli)),
            ("application/json", "zstd", None, None),
            ("application/json", "gzip, br", None, None),
            ("application/json", "", Some(0), None),
            ("image/jpeg", "", Some(100), None),
            ("application/octet-stream", "", Some(100), None),
            ("", "", Some(100), None),
        ] {
            assert_eq!(can_be_error(&headers(kind, coding), length), right, "{kind} {coding} {length:?}");
        }
    }

    #[test]
    fn a_beginning_that_is_no_object_is_let_go() {
        for (beginning, right) in [
            (&b""[..], false),
            (b"  ", false),
            (b" {", false),
            (b"[", true),
            (b"hello", true),
            (b"\xef\xbb\xbf{", false),
        ] {
            assert_eq!(cannot_be_error(Coding::Identity, beginning), right);
        }
        assert!(!cannot_be_error(Coding::Gzip, b"\x1f\x8b"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for coding in [Coding::Identity, Coding::Gzip, Coding::Deflate, Coding::Brotli] {
                let _ = errcode(coding, &body);
            }
        }

        #[test]
        fn agrees_with_a_strict_parser_on_valid_json(
            code in any::<i32>(), before in "[^\\p{Cc}]{0,20}", nested in any::<i32>(),
        ) {
            let value = serde_json::json!({"a": before, "n": [{"errcode": nested}], "errcode": code, "z": {"errcode": nested}});
            let body = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(errcode(Coding::Identity, &body), Some(i64::from(code)));
        }
    }
}
