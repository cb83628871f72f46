//! How an answer's body is coded, and its decoded beginning.
//!
//! Pure, and bounded in time and memory whatever the bytes are: a body of 52 bytes can open to 64 MiB.

use std::borrow::Cow;
use std::io::Read;

use http::header::{self, HeaderMap};

use super::LIMIT;
use crate::proxy::fields;

/// A compressed answer longer than this decodes to more than [`LIMIT`]: the worst case of deflate's and
/// brotli's stored blocks, and room for a gzip header with a file name.
const COMPRESSED_LIMIT: usize = LIMIT + 512;

/// A coding that wxgate can look into.
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
    /// That of an answer with these fields. `None` for codings that cannot be looked into, and for several at once.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut lines = fields::lines(headers, &header::CONTENT_ENCODING);
        let Some(line) = lines.next() else { return Some(Self::Identity) };
        if lines.next().is_some() {
            return None;
        }
        let name = line.as_bytes().trim_ascii();
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        // A charset is no coding, and yet some write theirs here.
        if name.is_empty() || is(b"identity") || is(b"utf-8") {
            Some(Self::Identity)
        } else if is(b"gzip") || is(b"x-gzip") {
            Some(Self::Gzip)
        } else if is(b"deflate") {
            Some(Self::Deflate)
        } else if is(b"br") {
            Some(Self::Brotli)
        } else {
            None
        }
    }

    /// How many bytes of the body as sent are worth keeping back.
    pub fn limit(self) -> usize {
        match self {
            Self::Identity => LIMIT,
            Self::Gzip | Self::Deflate | Self::Brotli => COMPRESSED_LIMIT,
        }
    }

    /// A whole body decoded; `None` when it is broken, or decodes to more than [`LIMIT`].
    pub fn decode(self, body: &[u8]) -> Option<Cow<'_, [u8]>> {
        self.decode_within(body, LIMIT)
    }

    /// As [`Coding::decode`] with another limit.
    pub fn decode_within(self, body: &[u8], limit: usize) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Identity => (body.len() <= limit).then_some(Cow::Borrowed(body)),
            Self::Gzip => whole(gzip(body), limit),
            Self::Deflate => whole(zlib(body), limit).or_else(|| whole(deflate(body), limit)),
            Self::Brotli => whole(brotli(&with_small_window(body)), limit),
        }
    }

    /// What the beginning of a body decodes to, at most a little more than [`LIMIT`]; nothing where that cannot be
    /// said yet.
    pub fn decode_beginning(self, beginning: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Identity => Cow::Borrowed(beginning),
            Self::Gzip => part(gzip(beginning)),
            Self::Deflate => Some(part(zlib(beginning)))
                .filter(|part| !part.is_empty())
                .unwrap_or_else(|| part(deflate(beginning))),
            Self::Brotli => part(brotli(&with_small_window(beginning))),
        }
    }
}

/// Clients read all members, of which there may be several.
fn gzip(body: &[u8]) -> impl Read {
    flate2::bufread::MultiGzDecoder::new(body)
}

fn zlib(body: &[u8]) -> impl Read {
    flate2::bufread::ZlibDecoder::new(body)
}

fn deflate(body: &[u8]) -> impl Read {
    flate2::bufread::DeflateDecoder::new(body)
}

fn brotli(body: &[u8]) -> impl Read {
    brotli_decompressor::Decompressor::new(body, LIMIT)
}

/// The same brotli stream with a window of 256 KiB where it asks for a larger one, of up to 16 MiB.
///
/// The decoder fills its window before it hands out the first byte. The size stands in the first four bits, and what
/// a stream decodes to does not depend on it before so many bytes have come (RFC 7932 sections 4 and 9.1).
fn with_small_window(body: &[u8]) -> Cow<'_, [u8]> {
    match body {
        // A `1`, then three bits: 1 to 7 for windows of 2^18 to 2^24 bytes.
        [first, rest @ ..] if first & 1 == 1 && first & 0b1110 > 0b0010 => {
            Cow::Owned([&[first & 0xf0 | 0b0011], rest].concat())
        }
        _ => Cow::Borrowed(body),
    }
}

/// Everything the decoder yields, or nothing when that is broken or more than `limit`.
fn whole<'a>(decoder: impl Read, limit: usize) -> Option<Cow<'a, [u8]>> {
    let mut decoded = Vec::with_capacity(LIMIT + 1);
    decoder.take(limit as u64 + 1).read_to_end(&mut decoded).ok()?;
    (decoded.len() <= limit).then_some(Cow::Owned(decoded))
}

/// What the decoder yields before it needs more or finds something broken.
fn part<'a>(decoder: impl Read) -> Cow<'a, [u8]> {
    let mut decoded = Vec::with_capacity(LIMIT + 1);
    // What was read before an error stays.
    let _ = decoder.take(LIMIT as u64 + 1).read_to_end(&mut decoded);
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::io::Write;
    use std::time::{Duration, Instant};

    const ALL: [Coding; 4] = [Coding::Identity, Coding::Gzip, Coding::Deflate, Coding::Brotli];

    fn gzipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zlibbed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflated(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Bits as brotli has them, the lowest of each byte first.
    #[derive(Default)]
    struct Bits {
        bytes: Vec<u8>,
        used: usize,
    }

    impl Bits {
        fn push(mut self, value: u64, count: usize) -> Self {
            for bit in 0..count {
                if self.used.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                let last = self.bytes.len() - 1;
                self.bytes[last] |= ((value >> bit & 1) as u8) << (self.used % 8);
                self.used += 1;
            }
            self
        }
    }

    /// The text in one uncompressed meta-block of RFC 7932, under a window that takes these bits.
    fn brotli_stored(window: (u64, usize), text: &[u8]) -> Vec<u8> {
        // ISLAST 0, MNIBBLES 4, length - 1, ISUNCOMPRESSED.
        let bits = Bits::default().push(window.0, window.1).push(0, 1).push(0, 2);
        let mut sent = bits.push(text.len() as u64 - 1, 16).push(1, 1).bytes;
        sent.extend_from_slice(text);
        sent.push(0x03); // ISLAST and ISLASTEMPTY
        sent
    }

    /// 64 MiB of spaces as the reference encoder writes them, with a window of 16 MiB.
    const BROTLI_BOMB: &[u8] = &[
        0xcf, 0xff, 0xff, 0x7f, 0xf8, 0x25, 0x40, 0xe2, 0xb1, 0x40, 0x20, 0xf7, 0xfe, 0x9f, 0xff, 0xff, 0xff,
        0xf0, 0x4b, 0x00, 0xc4, 0x61, 0x01, 0x80, 0xee, 0xfd, 0x3f, 0xff, 0xff, 0xff, 0xe1, 0x97, 0x00, 0x88,
        0xc3, 0x22, 0x00, 0xdd, 0xfb, 0x7f, 0xfe, 0xff, 0xff, 0xc3, 0x2f, 0x01, 0x10, 0x87, 0x05, 0x00, 0xba,
        0xf7, 0xff, 0x03,
    ];

    #[test]
    fn codings_that_can_be_looked_into() {
        for (lines, right) in [
            (&[][..], Some(Coding::Identity)),
            (&[""], Some(Coding::Identity)),
            (&["Identity"], Some(Coding::Identity)),
            (&["gzip"], Some(Coding::Gzip)),
            (&[" X-GZIP "], Some(Coding::Gzip)),
            (&["deflate"], Some(Coding::Deflate)),
            (&["br"], Some(Coding::Brotli)),
            (&["UTF-8"], Some(Coding::Identity)),
            (&["zstd"], None),
            (&["gzip, br"], None),
            (&["gzip", "gzip"], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(Coding::of(&headers), right, "{lines:?}");
        }
    }

    #[test]
    fn bodies_are_decoded_up_to_the_limit() {
        let body = br#"{"errcode":40001,"errmsg":"invalid credential, access_token is invalid"}"#;
        for (coding, sent) in [
            (Coding::Gzip, gzipped(body)),
            (Coding::Deflate, zlibbed(body)),
            (Coding::Deflate, deflated(body)),
            (Coding::Brotli, brotli_stored((0, 1), body)),
        ] {
            assert_eq!(coding.decode(&sent).as_deref(), Some(&body[..]), "{coding:?}");
            assert_eq!(coding.decode(&sent[..sent.len() / 2]), None, "{coding:?} cut off");
        }
        let members = |parts: &[&[u8]]| parts.iter().flat_map(|part| gzipped(part)).collect::<Vec<_>>();
        for parts in [&[&b""[..], body][..], &[&body[..9], b"", &body[9..]], &[b" ", body]] {
            let sent = members(parts);
            assert_eq!(Coding::Gzip.decode(&sent).as_deref(), Some(&parts.concat()[..]));
            assert_eq!(*Coding::Gzip.decode_beginning(&sent), *parts.concat());
        }
        assert_eq!(Coding::Gzip.decode(&[&gzipped(body)[..], b"access_token"].concat()), None);
        let (most, more) = ([b'a'; LIMIT], [b'a'; LIMIT + 1]);
        for (coding, encode) in [
            (Coding::Gzip, gzipped as fn(&[u8]) -> _),
            (Coding::Deflate, zlibbed),
            (Coding::Deflate, deflated),
        ] {
            assert_eq!(coding.decode(&encode(&most)).as_deref(), Some(&most[..]));
            assert_eq!(coding.decode(&encode(&more)), None);
            assert_eq!(coding.decode(b"none of that"), None);
        }
        assert_eq!(Coding::Identity.decode(&most).as_deref(), Some(&most[..]));
        assert_eq!(Coding::Identity.decode(&more), None);
    }

    #[test]
    fn a_beginning_decodes_to_all_that_can_be_said_and_little_more_than_the_limit() {
        let long = vec![b'a'; 2 * LIMIT];
        for (coding, encode) in [
            (Coding::Gzip, gzipped as fn(&[u8]) -> _),
            (Coding::Deflate, zlibbed),
            (Coding::Deflate, deflated),
            (Coding::Brotli, |text| brotli_stored((0, 1), text)),
        ] {
            assert_eq!(*coding.decode_beginning(&encode(b"<html>")), *b"<html>", "{coding:?}");
            assert_eq!(*coding.decode_beginning(&encode(&long)), long[..=LIMIT], "{coding:?}");
            assert_eq!(*coding.decode_beginning(&[]), *b"");
        }
        // All but the checksum has come.
        let [gzip, zlib] = [gzipped(b"<html>"), zlibbed(b"<html>")];
        assert_eq!(*Coding::Gzip.decode_beginning(&gzip[..gzip.len() - 8]), *b"<html>");
        assert_eq!(*Coding::Deflate.decode_beginning(&zlib[..zlib.len() - 4]), *b"<html>");
    }

    #[test]
    fn a_window_of_any_size_decodes_to_the_same() {
        let text = b"{\"errcode\":40001}".repeat(100);
        let windows = [(0, 1), (0b0000001, 7), (0b0100001, 7), (0b1110001, 7)];
        let larger = (1..8).map(|n| (n << 1 | 1, 4));
        for window in windows.into_iter().chain(larger) {
            let sent = brotli_stored(window, &text);
            assert_eq!(Coding::Brotli.decode(&sent).as_deref(), Some(&text[..]), "{window:?}");
        }
    }

    #[test]
    fn what_opens_to_many_mebibytes_costs_neither_time_nor_memory() {
        let zeros = vec![b' '; 4 << 20];
        let many_members = gzipped(b"").repeat(COMPRESSED_LIMIT / gzipped(b"").len());
        for (coding, body) in [
            (Coding::Brotli, &BROTLI_BOMB.to_vec()),
            (Coding::Gzip, &gzipped(&zeros)),
            (Coding::Deflate, &zlibbed(&zeros)),
            (Coding::Gzip, &many_members),
        ] {
            // The best of some: a busy machine is no fault.
            let took = (0..20).map(|_| {
                let start = Instant::now();
                let _ = std::hint::black_box(coding.decode(&body[..body.len().min(COMPRESSED_LIMIT)]));
                let _ =
                    std::hint::black_box(coding.decode_beginning(&body[..body.len().min(COMPRESSED_LIMIT)]));
                start.elapsed()
            });
            let took = took.min().unwrap();
            // Without optimisation a byte costs some 20 ns.
            assert!(took < Duration::from_millis(40), "{coding:?}: {took:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for coding in ALL {
                let _ = coding.decode(&body);
                let _ = coding.decode_beginning(&body);
            }
        }

        #[test]
        fn a_beginning_decodes_to_the_beginning(text in "[ -~]{1,2000}", cut in 0.0..1.0) {
            for (coding, sent) in [(Coding::Gzip, gzipped(text.as_bytes())), (Coding::Deflate, zlibbed(text.as_bytes()))] {
                let cut = (sent.len() as f64 * cut) as usize;
                let part = coding.decode_beginning(&sent[..cut]);
                prop_assert!(text.as_bytes().starts_with(&part), "{coding:?}");
            }
        }
    }
}
