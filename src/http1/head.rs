//! Reads an HTTP/1 request head, strictly: its framing, and what else the guard has to know of it.
//!
//! Pure. It decides where a message ends, so that the guard and hyper can never disagree about it: whatever
//! two programs could read in two ways (RFC 9112 sections 2.2, 6.1 and 6.3) is refused before hyper sees it.
//! It knows neither sockets nor WeChat; what a target may look like is checked again, and in full, by the
//! proxy's `admit` step.

use std::mem::MaybeUninit;

use super::chunks::is_token;
use crate::http1::target::{check_query, why_not_in_path};

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

/// What the guard has to know of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Where its body ends.
    pub framing: Framing,
    /// Whether every field name is spelt in the way in which hyper writes names by itself, `Content-Type`: then
    /// nobody needs to remember the spelling.
    pub usual_names: bool,
    /// Whether hyper ends the connection behind the answer, because the caller asks for that in plain words.
    pub last: bool,
}

/// The length of a complete head at the beginning of `bytes`, its empty line included. `from` is where to
/// look first, so that a head that comes byte by byte is not searched again and again.
///
/// # Errors
/// [`HeadError::Malformed`] at the first line that ends in a bare line feed.
pub fn end_of_head(bytes: &[u8], from: usize) -> Result<Option<usize>, HeadError> {
    let mut at = from;
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        let line_feed = at + found;
        if line_feed == 0 || bytes[line_feed - 1] != b'\r' {
            return bad("a line of the request head ends in a bare line feed");
        }
        if line_feed >= 3 && &bytes[line_feed - 3..line_feed] == b"\r\n\r" {
            return Ok(Some(line_feed + 1));
        }
        at = line_feed + 1;
    }
    Ok(None)
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
        0x16 => bad(
            "this is a listener for plain HTTP, and the caller speaks TLS; use http://, or a listener of [tls]",
        ),
        _ => bad("the request head is malformed"),
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
    is(b"contentlength") && !name.eq_ignore_ascii_case("content-length")
        || is(b"transferencoding") && !name.eq_ignore_ascii_case("transfer-encoding")
}

/// A field that is a [`look_alike`].
pub const LOOK_ALIKE: HeadError = HeadError::Malformed(
    "a field name differs from Content-Length or Transfer-Encoding in its punctuation alone",
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
        Ok(_) => return bad("the request head is malformed"),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HeadError::TooLarge("the request has more than 100 header fields; send fewer"));
        }
        Err(httparse::Error::Version) => return bad("the request is not HTTP/1.0 or HTTP/1.1"),
        Err(_) => return bad("the request head is malformed"),
    }
    check_target(request.path.unwrap_or_default())?;
    let mut length = None;
    let mut chunked = false;
    let mut usual_names = true;
    // Nothing said is a word of its own; two lines are not plain.
    let mut options = None;
    let mut plain = true;
    for field in request.headers.iter() {
        usual_names = usual_names && is_usual(field.name);
        if field.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return bad("there is more than one Content-Length");
            }
            length = Some(content_length(field.value)?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked {
                return bad("there is more than one Transfer-Encoding");
            }
            if request.version != Some(1) || !field.value.eq_ignore_ascii_case(b"chunked") {
                return bad("the only Transfer-Encoding that is understood is one `chunked`, in HTTP/1.1");
            }
            chunked = true;
        } else if field.name.eq_ignore_ascii_case("connection") {
            plain = options.replace(field.value).is_none();
        } else if look_alike(field.name) {
            return Err(LOOK_ALIKE);
        }
    }
    let framing = match (length, chunked) {
        (Some(_), true) => return bad("there are both Content-Length and Transfer-Encoding"),
        (None, true) => Framing::Chunked,
        (length, false) => Framing::Sized(length.unwrap_or(0)),
    };
    let last = match options {
        None => request.version == Some(0),
        Some(line) => plain && request.version == Some(1) && has_close(line),
    };
    Ok(Head { framing, usual_names, last })
}

fn has_close(options: &[u8]) -> bool {
    options.split(|b| *b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Whether the first letter of each word of a field name is upper case, and no other.
fn is_usual(name: &str) -> bool {
    let mut before = b'-';
    name.bytes().all(|byte| {
        let first = std::mem::replace(&mut before, byte) == b'-';
        if first { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() }
    })
}

fn bad<T>(text: &'static str) -> Result<T, HeadError> {
    Err(HeadError::Malformed(text))
}

/// Digits and nothing else: `+5`, `5, 5` and `0x5` are read in several ways.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    let digits =
        std::str::from_utf8(value).ok().filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        // hyper keeps the two largest values for itself.
        Some(length) if length < u64::MAX - 2 => Ok(length),
        _ => bad("the Content-Length is not a number"),
    }
}

/// What hyper would answer or repair by itself: it drops a fragment without a word, and refuses some bytes
/// with an empty answer.
fn check_target(target: &str) -> Result<(), HeadError> {
    if target.len() > LONGEST_TARGET {
        return Err(HeadError::TooLarge("the request target is longer than 56 KiB; send less in the query"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let refused = |b: u8| matches!(b, 0..=b' ' | b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..);
    // To its end, as in `check_query`.
    if path.bytes().fold(false, |found, byte| found | refused(byte)) {
        return bad(why_not_in_path(path.bytes().find(|byte| refused(*byte)).unwrap_or_default()));
    }
    check_query(query.as_bytes()).map_err(|e| HeadError::Malformed(e.0))?;
    // What begins with a slash and has these bytes alone is a path to hyper too. Of the other forms hyper
    // refuses some, with an empty answer.
    if target.starts_with('/') || target.parse::<http::Uri>().is_ok() {
        return Ok(());
    }
    bad("the request target is neither a path nor a URL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_end_at_an_empty_line_of_crlf() {
        for (bytes, right) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Some(Some(18))),
            (b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", Some(Some(24))),
            (b"GET / HTTP/1.1\r\nA: b\r\n", Some(None)),
            (b"", Some(None)),
            (b"GET / HTTP/1.1\n\n", None),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", None),
            (b"\n", None),
        ] {
            assert_eq!(end_of_head(bytes, 0).ok(), right, "{}", String::from_utf8_lossy(bytes));
        }
        // Found however the bytes are cut.
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(end_of_head(head, cut).unwrap().is_some(), cut < head.len());
        }
        assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
        assert_eq!(leading_empty_lines(b"GET"), 0);
    }

    #[test]
    fn what_else_the_guard_knows() {
        for (version, fields, usual_names, last) in [
            (1, "", true, false),
            (1, "Host: h\r\nX-Wx-1a: 1\r\nX--A: 1\r\n", true, false),
            (1, "host: h\r\n", false, false),
            (1, "HOST: h\r\n", false, false),
            (1, "Host: h\r\nContent-type: a\r\n", false, false),
            (1, "ETag: a\r\n", false, false),
            (1, "Connection: close\r\n", true, true),
            (1, "connection: x ,CLOSE\r\n", false, true),
            (1, "Connection: keep-alive\r\n", true, false),
            (1, "Connection: closed\r\n", true, false),
            // hyper goes by the last line.
            (1, "Connection: close\r\nConnection: keep-alive\r\n", true, false),
            (0, "", true, true),
            (0, "Connection: keep-alive\r\n", true, false),
        ] {
            let head = read(format!("GET / HTTP/1.{version}\r\n{fields}\r\n").as_bytes()).unwrap();
            assert_eq!((head.usual_names, head.last), (usual_names, last), "{version} {fields:?}");
        }
    }

    #[test]
    fn framings() {
        for (fields, right) in [
            ("", Some(Framing::Sized(0))),
            ("Content-Length: 5\r\n", Some(Framing::Sized(5))),
            ("content-length:5\r\n", Some(Framing::Sized(5))),
            ("Transfer-Encoding: chunked\r\n", Some(Framing::Chunked)),
            ("transfer-encoding: CHUNKED\r\n", Some(Framing::Chunked)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", None),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", None),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", None),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", None),
            ("Content-Length: 5, 5\r\n", None),
            ("Content-Length: +5\r\n", None),
            ("Content-Length: -5\r\n", None),
            ("Content-Length: 0x5\r\n", None),
            ("Content-Length: \r\n", None),
            ("Content-Length: 99999999999999999999\r\n", None),
            ("Transfer-Encoding: gzip, chunked\r\n", None),
            ("Transfer-Encoding: chunked, chunked\r\n", None),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", None),
            ("Transfer-Encoding: identity\r\n", None),
            ("Transfer-Encoding: \x0bchunked\r\n", None),
            ("Transfer-Encoding : chunked\r\n", None),
            ("Transfer_Encoding: chunked\r\n", None),
            ("CONTENT--LENGTH: 5\r\n", None),
            ("X-Content-Length: 5\r\n", Some(Framing::Sized(0))),
            ("A: b\r\n c\r\n", None),
            ("A\x00: b\r\n", None),
            ("A: b\x00\r\n", None),
            ("A: b\rc\r\n", None),
            (": b\r\n", None),
        ] {
            let head = format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            assert_eq!(read(head.as_bytes()).ok().map(|head| head.framing), right, "{fields:?}");
        }
        assert!(read(b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        let many = "A: b\r\n".repeat(101);
        let refused = read(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes());
        assert!(matches!(refused, Err(HeadError::TooLarge(_))));
    }

    #[test]
    fn request_lines() {
        for (line, right) in [
            ("GET /a?b=c HTTP/1.1", true),
            ("GET http://h/a HTTP/1.1", true),
            ("OPTIONS * HTTP/1.1", true),
            ("CONNECT h:443 HTTP/1.1", true),
            ("GET /a?名=值 HTTP/1.1", true),
            ("GET /a HTTP/1.0", true),
            ("GET /a HTTP/2.0", false),
            ("GET /a HTTP/1.2", false),
            ("GET /a", false),
            ("GET  /a HTTP/1.1", false),
            ("GET /a  HTTP/1.1", false),
            ("GET /a b HTTP/1.1", false),
            ("GET /a#b HTTP/1.1", false),
            ("GET /a?b#c HTTP/1.1", false),
            ("GET /a\\b HTTP/1.1", false),
            ("GET /名 HTTP/1.1", false),
            ("GET /a?\"b\" HTTP/1.1", false),
            ("GET http:///a HTTP/1.1", false),
            ("G\x7fT /a HTTP/1.1", false),
            (" GET /a HTTP/1.1", false),
        ] {
            let head = format!("{line}\r\nHost: h\r\n\r\n");
            assert_eq!(read(head.as_bytes()).is_ok(), right, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn hyper_can_read_every_target_that_passes(target in "/[\\PC]{0,30}") {
            if check_target(&target).is_ok() {
                let uri: http::Uri = target.parse().expect("what passes is a URI");
                prop_assert_eq!(uri.to_string(), target);
            }
        }
    }
}
