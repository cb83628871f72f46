//! Heads as old code sends them: header lines that end in a bare line feed (PHP's `PHP_EOL`), several spaces in the
//! request line.
//!
//! Such a head is rewritten into its strict form, so that there is one reading of it: what hyper then reads. Whatever
//! another program could read in another way is refused, and every refusal names its cause. Pure; only heads that
//! [`super::head::read`] does not take as they are come here.

use super::chunks::is_token;
use super::head::{self, Head, HeadError, check_target, malformed};

const BARE_CARRIAGE_RETURN: &str =
    "the request head has a carriage return without a line feed; end each line with CR LF";

/// Reads a complete head; where it is not in its strict form, though it can be read in one way only, with that form.
/// `bare_line_feed`: a line of it ends in one.
///
/// # Errors
/// What is wrong with it.
pub fn read(head: &[u8], bare_line_feed: bool) -> Result<(Head, Option<Vec<u8>>), HeadError> {
    if !bare_line_feed && let Ok(read) = head::read(head) {
        return Ok((read, None));
    }
    let strict = rewrite(head)?;
    let read = head::read(&strict)?;
    check_length(head, &read)?;
    Ok((read, Some(strict)))
}

/// The strict form of a complete head.
///
/// # Errors
/// What is wrong with it, where it cannot be read in one way only. A head may still be refused by
/// [`head::read`], for its lengths, say.
fn rewrite(head: &[u8]) -> Result<Vec<u8>, HeadError> {
    let mut strict = Vec::with_capacity(head.len() + 64);
    let mut lines = lines(head);
    request_line(lines.next().map_or(&b""[..], |line| line.text), &mut strict)?;
    for line in lines {
        check_field(line.text)?;
        strict.extend_from_slice(line.text);
        strict.extend_from_slice(b"\r\n");
    }
    strict.extend_from_slice(b"\r\n");
    Ok(strict)
}

/// Checks that the body of a head that was rewritten ends where it ends for a program that does not take a bare line
/// feed for a line end; `strict` is what was read of it.
///
/// # Errors
/// When it does not, and such a program could take the body for another request.
fn check_length(head: &[u8], strict: &Head) -> Result<(), HeadError> {
    // Whoever reads a request line that ends so takes every bare line feed for a line end.
    let only_bare = lines(head).all(|line| line.bare);
    let mut after_bare = false;
    for line in lines(head) {
        let name = line.text.split(|byte| *byte == b':').next().unwrap_or_default();
        let beside = line.bare || after_bare;
        if beside && name.eq_ignore_ascii_case(b"transfer-encoding") {
            return malformed(
                "the Transfer-Encoding stands beside a bare line feed; end all header lines with CR LF",
            );
        }
        // What follows the last request of a connection is nobody's request.
        if beside && !only_bare && !strict.last && name.eq_ignore_ascii_case(b"content-length") {
            return malformed(
                "the Content-Length stands beside a bare line feed, on a connection that is kept; end all header \
                 lines with CR LF, or send Connection: close",
            );
        }
        after_bare = line.bare;
    }
    Ok(())
}

/// One line of a head, without its line end.
struct Line<'h> {
    text: &'h [u8],
    /// Whether it ends in a bare line feed.
    bare: bool,
}

/// The lines of a complete head but for the empty one at its end.
fn lines(head: &[u8]) -> impl Iterator<Item = Line<'_>> {
    head.split(|byte| *byte == b'\n').map_while(|text| {
        let stripped = text.strip_suffix(b"\r");
        let line = Line { text: stripped.unwrap_or(text), bare: stripped.is_none() };
        (!line.text.is_empty()).then_some(line)
    })
}

/// Appends the request line with one space between its parts.
fn request_line(line: &[u8], strict: &mut Vec<u8>) -> Result<(), HeadError> {
    if line.contains(&b'\r') {
        return malformed(BARE_CARRIAGE_RETURN);
    }
    if line.contains(&b'\t') {
        return malformed("the request line has a tab; put one space between method, target and version");
    }
    if line.starts_with(b" ") {
        return malformed("the request line begins with a space; begin it with the method");
    }
    if line.ends_with(b" ") {
        return malformed("the request line ends in a space; end it with HTTP/1.1");
    }
    let Some((method, rest)) = split_once(line, b' ') else {
        return malformed("the request line is one word; send method, target and version");
    };
    let rest = rest.trim_ascii_start();
    if !method.iter().all(|byte| is_token(*byte)) {
        return malformed("the method has a character that no method has; send GET or POST");
    }
    let version = rest.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    if !version.starts_with(b"HTTP/") {
        return malformed("the request line has no HTTP version at its end; end it with HTTP/1.1");
    }
    if !matches!(version, b"HTTP/1.0" | b"HTTP/1.1") {
        return malformed("the request is not HTTP/1.0 or HTTP/1.1; send one of these");
    }
    let target = rest[..rest.len() - version.len()].trim_ascii_end();
    if target.is_empty() {
        return malformed("the request line has no target; send a path between method and version");
    }
    check_target(target)?;
    for part in [method, b" ", target, b" ", version, b"\r\n"] {
        strict.extend_from_slice(part);
    }
    Ok(())
}

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..position], &bytes[position + 1..]))
}

/// Names what a parser would only call malformed.
fn check_field(line: &[u8]) -> Result<(), HeadError> {
    if line.contains(&b'\r') {
        return malformed(BARE_CARRIAGE_RETURN);
    }
    if matches!(line, [b' ' | b'\t', ..]) {
        return malformed(
            "a header line begins with a space or a tab; send each header in one line, unfolded",
        );
    }
    let Some((name, value)) = split_once(line, b':') else {
        return malformed("a header line has no colon; send `Name: value`");
    };
    match name {
        [] => return malformed("a header line has no name before its colon; send `Name: value`"),
        [.., b' ' | b'\t'] => {
            return malformed("a header has a space between its name and the colon; leave it out");
        }
        _ => {}
    }
    if !name.is_ascii() {
        return malformed("a header name has bytes outside ASCII; send ASCII names");
    }
    if !name.iter().all(|byte| is_token(*byte)) {
        return malformed("a header name has a character that no name has; use letters, digits and `-`");
    }
    if value.iter().any(|byte| matches!(byte, 0..=8 | 10..=31 | 0x7f)) {
        return malformed("a header value has a control character; leave it out");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::Framing;

    /// What the listener makes of a head that is not in its strict form.
    fn taken(head: &str) -> Result<(String, Framing), String> {
        let (found, strict) = read(head.as_bytes(), true).map_err(|error| error.to_string())?;
        Ok((String::from_utf8(strict.unwrap()).unwrap(), found.framing))
    }

    #[test]
    fn what_has_one_reading_is_brought_into_its_strict_form() {
        let strict = "POST /a?b=c HTTP/1.1\r\nHost: h\r\nX:  y \r\nContent-Length: 5\r\n\r\n";
        for head in [
            strict.to_owned(),
            strict.replace("h\r\n", "h\n"),
            strict.replace("HTTP/1.1\r\n", "HTTP/1.1\n"),
            strict.replace("POST /a?b=c HTTP", "POST   /a?b=c  HTTP"),
            // A line feed beside the length, where every line ends so.
            strict.replace("\r\n", "\n"),
            strict.replace("\r\n", "\n").replace("POST /a", "POST  /a"),
        ] {
            assert_eq!(taken(&head), Ok((strict.to_owned(), Framing::Sized(5))), "{head:?}");
        }
        // As PHP sends it, when the headers of a stream context are joined with PHP_EOL.
        let php = "POST /a HTTP/1.0\r\nHost: h\r\nConnection: close\r\nContent-Type: a/b\nContent-Length: 5\r\n\r\n";
        assert_eq!(taken(php), Ok((php.replace("a/b\n", "a/b\r\n"), Framing::Sized(5))));
        let chunked = "POST  /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(taken(chunked), Ok((chunked.replace("T  /", "T /"), Framing::Chunked)));
    }

    #[test]
    fn a_length_that_another_program_could_miss_is_refused() {
        let get = "GET /a HTTP/1.1\r\nHost: h\r\n";
        for (fields, word) in [
            ("X: y\nContent-Length: 5\r\n", "Content-Length stands beside"),
            ("Content-Length: 5\nX: y\r\n", "Content-Length stands beside"),
            ("X: y\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding stands beside"),
            ("X: y\ntransfer-encoding: chunked\r\nConnection: close\r\n", "Transfer-Encoding stands beside"),
            ("Transfer-Encoding: chunked\nX: y\r\n", "Transfer-Encoding stands beside"),
            ("X: y\nA: b\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "both"),
            ("X: y\nA: b\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "more than one Content-Length"),
            ("Content-Length: 5\nContent-Length: 6\r\nConnection: close\r\n", "more than one Content-Length"),
            ("X: y\nA: b\r\nContent-Length: +5\r\n", "not a number"),
            ("X: y\nTransfer_Encoding: chunked\r\n", "punctuation"),
        ] {
            let refused = taken(&format!("{get}{fields}\r\n")).unwrap_err();
            assert!(refused.contains(word), "{fields:?}: {refused}");
        }
        let all_bare = "POST /a HTTP/1.1\nTransfer-Encoding: chunked\n\n";
        assert!(taken(all_bare).unwrap_err().contains("Transfer-Encoding stands beside"));
    }

    #[test]
    fn every_cause_has_its_own_text_with_the_cure() {
        let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
        let field = |field: &str| format!("GET /a HTTP/1.1\r\n{field}\r\n\r\n");
        let mut seen = std::collections::BTreeSet::new();
        for head in [
            line("GET /a?b=c d HTTP/1.1"),
            line("GET /a b HTTP/1.1"),
            line("GET /名 HTTP/1.1"),
            line("GET /a?\x07 HTTP/1.1"),
            line("GET /a\x07 HTTP/1.1"),
            line("GET /a?b\" HTTP/1.1"),
            line("GET /a?b< HTTP/1.1"),
            line("GET /a?b> HTTP/1.1"),
            line("GET /a?b#c HTTP/1.1"),
            line("GET /a#c HTTP/1.1"),
            line("GET /a\\b HTTP/1.1"),
            line("GET /a`b HTTP/1.1"),
            line("GET a HTTP/1.1").replace("GET a", "GET a/b"),
            line("GET /a"),
            line("GET"),
            line("GET HTTP/1.1"),
            line("GET /a HTTP/1.2"),
            line("GET\t/a HTTP/1.1"),
            line(" GET /a HTTP/1.1"),
            line("GET /a HTTP/1.1 "),
            line("GE(T /a HTTP/1.1"),
            line("GET /a\rb HTTP/1.1"),
            field("X: a\r\n b"),
            field("no colon"),
            field("X : a"),
            field(": a"),
            field("X(: a"),
            field("名: a"),
            field("X: \x07"),
            field("Content-Length: x"),
            field("Content-Length: 1\r\nContent-Length: 1"),
            field("Transfer-Encoding: gzip"),
            field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            field("Transfer-Encoding: chunked\r\nContent-Length: 1"),
            field("Content_Length: 1"),
            field(&"A: b\r\n".repeat(101)).replace("\r\n\r\n\r\n", "\r\n\r\n"),
        ] {
            let refused = taken(&head).unwrap_err();
            assert!(seen.insert(refused.clone()), "not its own: {head:?}: {refused}");
            assert!(!refused.contains("malformed"), "{head:?}: {refused}");
            let cure = refused.contains([';', ':']);
            assert!(cure, "no cure: {head:?}: {refused}");
        }
        // GBK.
        for (head, word) in [
            (&b"GET /a?b=\xc4\xe3 HTTP/1.1\r\n\r\n"[..], "the query has bytes that are not UTF-8 (GBK"),
            (b"GET /\xc4\xe3 HTTP/1.1\r\n\r\n", "the path has bytes outside ASCII"),
        ] {
            let refused = rewrite(head).unwrap_err().to_string();
            assert!(refused.starts_with(word), "{refused}");
        }
    }
}
