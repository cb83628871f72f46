//! Reads an HTTP/1 request head, strictly: its framing, and what else the listener has to know of it.
//!
//! Pure. It decides where a message ends, so that the listener and hyper can never disagree about it: whatever
//! two programs could read in two ways (RFC 9112 sections 2.2, 6.1 and 6.3) is refused before hyper sees it.
//! It knows neither sockets nor WeChat; what a target may look like is checked again, and in full, by the
//! proxy's `admit` step.

use std::mem::MaybeUninit;

use super::chunks::is_token;
use super::target::{check_query, why_not_in_path};
use crate::header_case::HeaderCase;

/// The fields one head may have; hyper's own limit.
const MOST_FIELDS: usize = 100;

/// hyper's parser takes targets up to 64 KiB, and wxgate puts a token in.
const LONGEST_TARGET: usize = 56 * 1024;

/// Why a head is refused; the text says what is wrong and how to mend it, and is shown to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It is not plainly one HTTP request.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is over `max_header_bytes`, or has too many fields or too long a target.
    #[error("{0}")]
    TooLarge(&'static str),
}

const MIXED_LINE_ENDS: &str = "the empty line behind the request head has another line end than the lines before it; end all lines with CR LF";

/// A head over `max_header_bytes`.
pub const TOO_LARGE: HeadError =
    HeadError::TooLarge("the request head is too large; send less, or raise limits.max_header_bytes");

/// Where the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Sized(u64),
    /// After the last chunk.
    Chunked,
}

/// What the listener has to know of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Where its body ends.
    pub framing: Framing,
    /// Whether hyper ends the connection behind the answer, because the caller asks for that in plain words.
    pub last: bool,
    /// How its names are spelled, unless all of them are `Like-This`.
    pub case: Option<HeaderCase>,
}

/// What is known of a head's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The length of the head, its empty line included; `None` while it has not come to its end.
    pub end: Option<usize>,
    /// Whether a line, of those that were looked at, ends in a bare line feed.
    pub bare_line_feed: bool,
}

/// Looks for the end of a head at the beginning of `bytes`. `from` is where to look first, so that a head that
/// comes byte by byte is not searched again and again.
///
/// # Errors
/// [`HeadError::Malformed`] when it could end here or elsewhere: at an empty line whose line end is of another kind
/// than those before it.
pub fn end_of_head(bytes: &[u8], from: usize) -> Result<End, HeadError> {
    let mut at = from;
    let mut bare_line_feed = false;
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        let line_feed = at + found;
        at = line_feed + 1;
        let end = match &bytes[..line_feed] {
            [.., b'\r', b'\n', b'\r'] => true,
            [.., b'\n', b'\r'] => return malformed(MIXED_LINE_ENDS),
            [.., b'\r'] => false,
            before => {
                bare_line_feed = true;
                let empty = matches!(before, [] | [.., b'\n']);
                if empty && memchr::memmem::find(before, b"\r\n").is_some() {
                    return malformed(MIXED_LINE_ENDS);
                }
                empty
            }
        };
        if end {
            return Ok(End { end: Some(at), bare_line_feed });
        }
    }
    Ok(End { end: None, bare_line_feed })
}

/// How many bytes of empty lines stand before a request line; old clients send one after a POST body
/// (RFC 9112 section 2.2).
pub fn leading_empty_lines(bytes: &[u8]) -> usize {
    bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count() * 2
}

/// Refuses at its first byte what can never become a request, so that nobody waits for the rest of it.
///
/// # Errors
/// [`HeadError::Malformed`] when no method begins with this byte.
pub fn check_beginning(first: u8) -> Result<(), HeadError> {
    match first {
        // The first half of an empty line, perhaps.
        b'\r' => Ok(()),
        byte if is_token(byte) => Ok(()),
        // The first byte of a TLS handshake.
        0x16 => malformed(
            "this is a listener for plain HTTP, and the caller speaks TLS; use http://, or a listener of [tls]",
        ),
        b'\n' => malformed("the request begins with a bare line feed; begin it with the method"),
        b' ' | b'\t' => malformed("the request line begins with a space; begin it with the method"),
        0x80.. => malformed(
            "the request begins with a byte outside ASCII; begin it with the method, without a byte order mark",
        ),
        _ => malformed("the request begins with a character that no method has; send HTTP/1.1"),
    }
}

/// Whether a field has the name of one that frames messages but for its punctuation: `Transfer_Encoding` and
/// `Content---Length` are nothing to wxgate, and the same as the real ones to programs that turn names into
/// variables.
pub fn look_alike(name: &str) -> bool {
    let is = |real: &[u8]| {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase());
        letters.eq(real.iter().copied())
    };
    // Most names are shorter.
    name.len() >= b"contentlength".len()
        && (is(b"contentlength") && !name.eq_ignore_ascii_case("content-length")
            || is(b"transferencoding") && !name.eq_ignore_ascii_case("transfer-encoding"))
}

/// Several Content-Lengths, even where they agree.
pub const SEVERAL_LENGTHS: HeadError =
    HeadError::Malformed("there is more than one Content-Length; send one");

/// A field that is a [`look_alike`].
pub const LOOK_ALIKE: HeadError = HeadError::Malformed(
    "a header name differs from Content-Length or Transfer-Encoding in its punctuation alone; spell it as they do, or \
     leave it out",
);

/// Reads one complete head.
///
/// # Errors
/// [`HeadError::Malformed`] for everything that is not plainly one HTTP/1 request, [`HeadError::TooLarge`]
/// for too many fields or too long a target.
pub fn read(head: &[u8]) -> Result<Head, HeadError> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::TooLarge("the request has more than 100 header fields; send fewer"));
        }
        // [`super::lenient`] names the cause.
        Ok(_) | Err(_) => return malformed("the request head is malformed"),
    }
    check_target(request.path.unwrap_or_default().as_bytes())?;
    let mut length = None;
    let mut chunked = false;
    // Nothing said is a word of its own; two lines are not plain.
    let mut options = None;
    let mut plain = true;
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(SEVERAL_LENGTHS);
            }
            length = Some(content_length(field.value)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked {
                return malformed(
                    "there is more than one Transfer-Encoding; send one `chunked`, or a Content-Length",
                );
            }
            if request.version != Some(1) || !field.value.eq_ignore_ascii_case(b"chunked") {
                return malformed(
                    "the only Transfer-Encoding that is understood is one `chunked`, in HTTP/1.1; send a Content-Length instead",
                );
            }
            chunked = true;
        } else if field.name.eq_ignore_ascii_case("connection") {
            plain = options.replace(field.value).is_none();
        } else if look_alike(field.name) {
            return Err(LOOK_ALIKE);
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => {
            return malformed("there are both Content-Length and Transfer-Encoding; send one of them");
        }
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Sized(length.unwrap_or(0)),
    };
    let last = match options {
        None => request.version == Some(0),
        Some(line) => {
            plain && (has(line, b"close") || request.version == Some(0) && !has(line, b"keep-alive"))
        }
    };
    let case = HeaderCase::of(request.headers.iter().map(|field| field.name.as_bytes()));
    Ok(Head { framing, last, case })
}

fn has(options: &[u8], name: &[u8]) -> bool {
    options.split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
}

pub(super) fn malformed<T>(text: &'static str) -> Result<T, HeadError> {
    Err(HeadError::Malformed(text))
}

/// Digits and nothing else: `+5`, `5, 5` and `0x5` are read in several ways.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let digits =
        std::str::from_utf8(value).ok().filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        // hyper keeps the two largest values for itself.
        Some(length) if length < u64::MAX - 2 => Ok(length),
        _ => malformed("the Content-Length is not a number; send digits alone"),
    }
}

/// Checks what hyper would answer or repair by itself: it drops a fragment without a word, and refuses some bytes
/// with an empty answer.
///
/// # Errors
/// Which character is not allowed, and how to send it.
pub(super) fn check_target(target: &[u8]) -> Result<(), HeadError> {
    if target.len() > LONGEST_TARGET {
        return Err(HeadError::TooLarge("the request target is longer than 56 KiB; send less in the query"));
    }
    let (path, query) = target.split_at(memchr::memchr(b'?', target).unwrap_or(target.len()));
    let refused = |b: u8| matches!(b, 0..=b' ' | b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..);
    // To its end, as in `check_query`.
    if path.iter().fold(false, |found, &byte| found | refused(byte)) {
        let first = path.iter().copied().find(|&byte| refused(byte)).unwrap_or_default();
        return malformed(why_not_in_path(first));
    }
    check_query(query.get(1..).unwrap_or_default()).map_err(|e| HeadError::Malformed(e.0))?;
    // What begins with a slash and has these bytes alone is a path to hyper too. Of the other forms hyper
    // refuses some, with an empty answer.
    if target.starts_with(b"/") || http::Uri::try_from(target).is_ok() {
        return Ok(());
    }
    malformed("the request target is neither a path nor a URL; send a path that begins with `/`")
}

/// What docs/hyper.md has of this file.
#[cfg(test)]
mod beside_hyper {
    use proptest::prelude::*;

    use super::check_target;

    proptest! {
        #[test]
        fn hyper_can_read_every_target_that_passes(target in "/[\\PC]{0,30}") {
            if check_target(target.as_bytes()).is_ok() {
                let uri: http::Uri = target.parse().expect("what passes is a URI");
                prop_assert_eq!(uri.to_string(), target);
            }
        }
    }
}

#[cfg(test)]
mod tests;
