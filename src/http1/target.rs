//! What a request target may look like: the path and query checks, byte by byte.
//!
//! Runs of `/` become one, as WeChat's own documents and base URLs that end in `/` need it; nothing else is
//! repaired: what two programs could read differently is refused, so that what the rules allowed is what the
//! upstream receives. This file knows bytes; it does not know accounts or rules.

use std::borrow::Cow;

/// Why a target is refused, and the cure; the text is part of an answer to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTarget(pub &'static str);

/// The path of a target (everything before the first `?`) in the one form that the rules and the upstream see.
///
/// # Errors
/// For `.` and `..` segments, `\`, `%`, `;`, control characters, bytes outside visible ASCII, and characters that
/// no URL has in its path. No path of the API needs any of them, and each has made a path mean one thing to a
/// proxy and another behind it: `/cgi-bin/%74oken` and `/cgi-bin/token;x` are the token call to some programs.
pub fn clean_path(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(BadTarget("the path does not start with `/`; put one before it"));
    }
    let mut segment = 1;
    let mut has_runs = false;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match PATH_CLASS[usize::from(byte)] {
            Class::Plain => {}
            Class::Slash => {
                has_runs |= at == segment;
                check_segment(&bytes[segment..at])?;
                segment = at + 1;
            }
            Class::Refused => return Err(BadTarget(why_not_in_path(byte))),
        }
    }
    check_segment(&bytes[segment..])?;
    Ok(if has_runs { Cow::Owned(without_runs(path)) } else { Cow::Borrowed(path) })
}

fn check_segment(segment: &[u8]) -> Result<(), BadTarget> {
    match segment {
        b"." | b".." => Err(BadTarget("the path has a `.` or `..` segment; send the path that it leads to")),
        _ => Ok(()),
    }
}

/// `//cgi-bin///user` as `/cgi-bin/user`.
fn without_runs(path: &str) -> String {
    let mut before = ' ';
    path.chars().filter(|&now| std::mem::replace(&mut before, now) != '/' || now != '/').collect()
}

/// Why a byte may not stand in a path, and the cure. For those alone that do not fit.
pub fn why_not_in_path(byte: u8) -> &'static str {
    match byte {
        b'\\' => "the path has a `\\`; send `/`",
        b'%' => {
            "the path has a `%`: no path of the WeChat API needs an escape; send the characters as they are"
        }
        b';' => "the path has a `;`: no path of the WeChat API has parameters; put them into the query",
        b'#' => "the path has a `#`: a fragment is for browsers alone; leave it out",
        b' ' => "the path has a space; leave it out",
        0..b' ' | 0x7f => "the path has a control character; leave it out",
        0x80.. => {
            "the path has bytes outside ASCII: no path of the WeChat API has them; put them into the query, percent-encoded"
        }
        _ => {
            "the path has one of the characters `\"`, `<`, `>`, `^`, `` ` ``, `{`, `|`, `}`: no path of the WeChat API has them; put them into the query, percent-encoded"
        }
    }
}

/// Checks the query (everything after the first `?`). Raw UTF-8 is fine, a space, a control character, `"`,
/// `<`, `>` and `#` are not.
///
/// # Errors
/// For those bytes, and for bytes above ASCII that are not UTF-8.
pub fn check_query(query: &[u8]) -> Result<(), BadTarget> {
    if let Some(&first) = query.iter().find(|&&byte| !fits_query(byte)) {
        return Err(BadTarget(why_not_in_query(first)));
    }
    if !query.is_ascii() && std::str::from_utf8(query).is_err() {
        return Err(BadTarget(
            "the query has bytes that are not UTF-8 (GBK, perhaps); convert the text to UTF-8 and percent-encode it",
        ));
    }
    Ok(())
}

/// Whether a byte may stand in a query; those above ASCII have to be UTF-8 besides.
pub fn fits_query(byte: u8) -> bool {
    FITS_QUERY[usize::from(byte)]
}

/// One look-up for each byte of a query.
static FITS_QUERY: [bool; 256] = {
    let mut table = [true; 256];
    let mut byte = 0;
    while byte < 0x80 {
        table[byte] = !matches!(byte as u8, 0..=b' ' | 0x7f | b'"' | b'<' | b'>' | b'#');
        byte += 1;
    }
    table
};

/// Why a byte may not stand in a query, and the cure. For those alone that do not fit.
pub fn why_not_in_query(byte: u8) -> &'static str {
    match byte {
        b' ' => "the query has a space; send it as %20",
        b'"' => "the query has a `\"`; send it as %22",
        b'<' => "the query has a `<`; send it as %3C",
        b'>' => "the query has a `>`; send it as %3E",
        b'#' => {
            "the query has a `#`; send it as %23, or leave it and what follows it out if it is a fragment"
        }
        _ => "the query has a control character; percent-encode it",
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Refused,
}

/// One look-up for each byte of a path.
static PATH_CLASS: [Class; 256] = {
    let mut table = [Class::Refused; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' | b';' | b'\\' | b'#' | b'?' => Class::Refused,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Refused,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_pass() {
        for path in
            ["/", "/cgi-bin/", "/cgi-bin/user/get", "/cgi-bin/a.b/c..d/...", "/cgi-bin/!$&'()*+,=:@[]~"]
        {
            assert!(matches!(clean_path(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn runs_of_slashes_become_one() {
        for (path, right) in [
            ("//", "/"),
            ("//cgi-bin/", "/cgi-bin/"),
            ("/cgi-bin//message/mass/delete", "/cgi-bin/message/mass/delete"),
            ("////cgi-bin///user//", "/cgi-bin/user/"),
        ] {
            assert_eq!(clean_path(path).as_deref(), Ok(right), "{path}");
        }
        assert!(clean_path("//..//a").is_err() && clean_path("/a//.").is_err());
    }

    #[test]
    fn each_cause_has_its_own_text() {
        let mut texts = std::collections::HashSet::new();
        for (paths, word) in [
            (&["", "cgi-bin", "*", "http://h/"][..], "start with"),
            (&["/./cgi-bin", "/cgi-bin/../sns", "/cgi-bin/..", "/cgi-bin/."], "segment"),
            (&["/cgi-bin\\user", "/cgi-bin/..\\x"], "`\\`"),
            (&["/cgi-bin/%74oken", "/cgi-bin/%", "/%2e%2e/", "/a%252e", "/%E4%BD%A0"], "`%`"),
            (&["/cgi-bin/token;x", "/cgi-bin/..;/token"], "`;`"),
            (&["/cgi-bin/a#b"], "`#`"),
            (&["/cgi-bin/a b"], "space"),
            (&["/cgi-bin/\0", "/cgi-bin/\x7f", "/a\tb"], "control"),
            (&["/cgi-bin/你"], "outside ASCII"),
            (&["/a\"b", "/<>", "/a^b", "/a`b", "/{a}", "/a|b"], "`<`"),
        ] {
            let mut own = std::collections::BTreeSet::new();
            for path in paths {
                let text = clean_path(path).expect_err(path).0;
                assert!(text.contains(word), "{path}: {text}");
                own.insert(text);
            }
            assert_eq!(own.len(), 1, "{word}");
            assert!(texts.insert(own), "{word} shares its text");
        }
    }

    #[test]
    fn queries() {
        for query in ["", "a=1&b=2", "a=%zz&&=", "名=值", "a={x:1}", "a='|^`{}\\[];%;"] {
            assert_eq!(check_query(query.as_bytes()), Ok(()), "{query}");
        }
        let mut texts = std::collections::HashSet::new();
        for (query, word) in [
            (&b"a b"[..], "space"),
            (b"a\"b", "%22"),
            (b"<", "%3C"),
            (b"a>", "%3E"),
            (b"a#b", "%23"),
            (b"a\x7f", "control"),
            (b"\xb9\xfe", "not UTF-8"),
        ] {
            let text = check_query(query).expect_err(word).0;
            assert!(text.contains(word) && texts.insert(text), "{word}: {text}");
        }
        for query in [&b"a\tb"[..], b"a\r", b"\0"] {
            assert!(check_query(query).unwrap_err().0.contains("control"));
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_a_uri_that_keeps_every_byte(
            path in "/[ -~]{0,40}",
            query in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(path) = clean_path(&path) && check_query(&query).is_ok() {
                let target = [path.as_bytes(), b"?", &query].concat();
                let uri = http::Uri::try_from(target.as_slice()).expect("what passes the checks is a URI");
                prop_assert_eq!(uri.to_string().into_bytes(), target);
                prop_assert!(matches!(clean_path(&path), Ok(Cow::Borrowed(_))), "clean stays clean");
            }
        }

        #[test]
        fn printable_paths_of_plain_segments_pass(segments in proptest::collection::vec("[a-z_-]{1,8}", 1..6)) {
            let path = format!("/{}", segments.join("/"));
            prop_assert!(clean_path(&path).is_ok());
        }
    }
}
