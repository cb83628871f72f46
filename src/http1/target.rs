//! What a request target may look like: the path and query checks, byte by byte.
//!
//! Nothing is ever normalised: a path that two programs could read differently is refused, so that what the
//! rules allowed is what the upstream receives. This file knows bytes; it does not know accounts or rules.

/// Why a path is refused; the text is part of an answer to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadTarget(pub &'static str);

/// Checks the path of a target (everything before the first `?`).
///
/// # Errors
/// For `.` and `..` segments, `//`, `\`, NUL, an encoded `/` or `\`, an encoded character that needs no
/// encoding, a broken escape, and bytes outside visible ASCII.
pub fn check_path(path: &[u8]) -> Result<(), BadTarget> {
    if path.first() != Some(&b'/') {
        return Err(BadTarget("the path does not start with `/`"));
    }
    let mut at = 0;
    let mut segment = 1;
    while at < path.len() {
        match PATH_CLASS[usize::from(path[at])] {
            Class::Plain => {}
            Class::Slash => {
                if at > 0 {
                    check_segment(&path[segment..at], false)?;
                }
                segment = at + 1;
            }
            Class::Percent => {
                check_escape(path.get(at + 1), path.get(at + 2))?;
                at += 2;
            }
            Class::Refused => return Err(BadTarget(refusal_of(path[at]))),
        }
        at += 1;
    }
    check_segment(&path[segment..], true)
}

/// `/cgi-bin/` ends in an empty segment, which is fine; `//` has one inside, which is not. An encoded dot
/// never comes here, since a dot needs no encoding.
fn check_segment(segment: &[u8], last: bool) -> Result<(), BadTarget> {
    match segment {
        b"" if !last => Err(BadTarget("the path has an empty segment (`//`)")),
        b"." | b".." => Err(BadTarget("the path has a `.` or `..` segment")),
        _ => Ok(()),
    }
}

fn check_escape(high: Option<&u8>, low: Option<&u8>) -> Result<(), BadTarget> {
    let (Some(high), Some(low)) = (high.and_then(|b| hex(*b)), low.and_then(|b| hex(*b))) else {
        return Err(BadTarget("the path has a `%` that is not followed by two hexadecimal digits"));
    };
    match high << 4 | low {
        b'/' | b'\\' => Err(BadTarget("the path has an encoded `/` or `\\`")),
        0 => Err(BadTarget("the path has an encoded NUL")),
        // `/cgi-bin/%74oken` would be the token call in disguise.
        byte if is_unreserved(byte) => {
            Err(BadTarget("the path has an encoded character that needs no encoding; send it as it is"))
        }
        _ => Ok(()),
    }
}

fn refusal_of(byte: u8) -> &'static str {
    match byte {
        b'\\' => "the path has a `\\`",
        0x80.. => "the path has bytes outside ASCII; percent-encode them",
        _ => "the path has a character that must be percent-encoded",
    }
}

/// Checks the query (everything after the first `?`). Raw UTF-8 is fine, a space, a control character, `"`,
/// `<`, `>` and `#` are not.
///
/// # Errors
/// For those bytes, and for bytes above ASCII that are not UTF-8.
pub fn check_query(query: &[u8]) -> Result<(), BadTarget> {
    // To its end in any case: without a way out the compiler looks at many bytes at a time.
    let refused = |byte: u8| matches!(byte, 0..=b' ' | 0x7f | b'"' | b'<' | b'>' | b'#');
    if query.iter().fold(false, |found, &byte| found | refused(byte)) {
        return Err(BadTarget(
            "the query has a space, a control character, `\"`, `<`, `>` or `#`; percent-encode it",
        ));
    }
    if !query.is_ascii() && std::str::from_utf8(query).is_err() {
        return Err(BadTarget("the query has bytes that are not UTF-8; percent-encode them"));
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Percent,
    Refused,
}

/// One look-up for each byte of a path.
static PATH_CLASS: [Class; 256] = {
    let mut table = [Class::Refused; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            b'"' | b'#' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Refused,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

/// RFC 3986 section 2.3.
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The value of one hexadecimal digit.
pub fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Decodes `%XX`; a broken escape stays as it is, as WeChat's and PHP's parsers do it. `+` stays `+`.
pub fn percent_decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *text.get(at)?;
        at += 1;
        if byte == b'%'
            && let (Some(high), Some(low)) =
                (text.get(at).and_then(|b| hex(*b)), text.get(at + 1).and_then(|b| hex(*b)))
        {
            at += 2;
            return Some(high << 4 | low);
        }
        Some(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_pass() {
        for path in [
            "/",
            "/cgi-bin/",
            "/cgi-bin/user/get",
            "/cgi-bin/a.b/c..d/...",
            "/cgi-bin/%E4%BD%A0",
            "/cgi-bin/a%20b",
            "/cgi-bin/!$&'()*+,;=:@",
            "/cgi-bin/%25",
        ] {
            assert_eq!(check_path(path.as_bytes()), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_are_refused() {
        for path in [
            &b""[..],
            b"cgi-bin",
            b"*",
            b"//cgi-bin/",
            b"/cgi-bin//user",
            b"/cgi-bin/user//",
            b"/./cgi-bin",
            b"/cgi-bin/../sns",
            b"/cgi-bin/..",
            b"/cgi-bin/.",
            b"/cgi-bin/%2e%2e/",
            b"/cgi-bin/%2E",
            b"/cgi-bin\\user",
            b"/cgi-bin/%5cuser",
            b"/cgi-bin/%2fuser",
            b"/cgi-bin/%2Fuser",
            b"/cgi-bin/%00",
            b"/cgi-bin/%74oken",
            b"/cgi-bin/%7E",
            b"/cgi-bin/%",
            b"/cgi-bin/%4",
            b"/cgi-bin/%zz",
            b"/cgi-bin/a b",
            b"/cgi-bin/\x00",
            b"/cgi-bin/\x7f",
            b"/cgi-bin/\xe4\xbd\xa0",
            b"/cgi-bin/a\"b",
            b"/cgi-bin/<>",
            b"/cgi-bin/a#b",
        ] {
            assert!(check_path(path).is_err(), "{}", String::from_utf8_lossy(path));
        }
    }

    #[test]
    fn queries() {
        for query in ["", "a=1&b=2", "a=%zz&&=", "名=值", "a={\"x\":1}".trim_matches('"'), "a='|^`{}\\[]"] {
            let right = !query.contains('"');
            assert_eq!(check_query(query.as_bytes()).is_ok(), right, "{query}");
        }
        for query in [&b"a b"[..], b"a\tb", b"a\"b", b"<", b">", b"\x7f", b"a#b", b"\xff\xfe", b"a\r"] {
            assert!(check_query(query).is_err(), "{}", String::from_utf8_lossy(query));
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_a_uri_that_keeps_every_byte(
            path in proptest::collection::vec(any::<u8>(), 0..40),
            query in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let path = [b"/".as_slice(), &path].concat();
            if check_path(&path).is_ok() && check_query(&query).is_ok() {
                let target = [path.as_slice(), b"?", &query].concat();
                let uri = http::Uri::try_from(target.as_slice()).expect("what passes the checks is a URI");
                prop_assert_eq!(uri.to_string().into_bytes(), target);
            }
        }

        #[test]
        fn printable_paths_of_plain_segments_pass(segments in proptest::collection::vec("[a-z_-]{1,8}", 1..6)) {
            let path = format!("/{}", segments.join("/"));
            prop_assert!(check_path(path.as_bytes()).is_ok());
        }
    }
}
