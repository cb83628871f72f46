//! Heads, and how each is read or refused.

use super::*;

#[test]
fn heads_end_at_an_empty_line() {
    for (bytes, right) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Ok((Some(18), false))),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", Ok((Some(24), false))),
        (b"GET / HTTP/1.1\r\nA: b\r\n", Ok((None, false))),
        (b"", Ok((None, false))),
        (b"GET / HTTP/1.1\n\nrest", Ok((Some(16), true))),
        (b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n", Ok((Some(29), true))),
        (b"GET / HTTP/1.1\nA: b\r\n\r\n", Ok((Some(23), true))),
        (b"GET / HTTP/1.1\nA: b\n", Ok((None, true))),
        // It could end here, or later.
        (b"GET / HTTP/1.1\r\nA: b\n\r\n", Err(())),
        (b"GET / HTTP/1.1\r\nA: b\n\n", Err(())),
        (b"GET / HTTP/1.1\r\nA: b\r\n\n", Err(())),
        (b"GET / HTTP/1.1\n\r\n", Err(())),
    ] {
        let found = end_of_head(bytes, 0).map(|found| (found.end, found.bare_line_feed)).map_err(|_| ());
        assert_eq!(found, right, "{}", bytes.escape_ascii());
        // Found however the bytes are cut.
        let mut bare = false;
        let cut = (1..=bytes.len()).find_map(|come| {
            let found = end_of_head(&bytes[..come], come - 1);
            bare |= found.is_ok_and(|found| found.bare_line_feed);
            found.map(|found| found.end.map(|end| (Some(end), bare))).map_err(|_| ()).transpose()
        });
        assert_eq!(cut.unwrap_or(Ok((None, bare))), right, "{}", bytes.escape_ascii());
    }
    assert_eq!(leading_empty_lines(b"\r\n\r\nGET"), 4);
    assert_eq!(leading_empty_lines(b"GET"), 0);
}

#[test]
fn the_last_request_of_a_connection_is_known() {
    for (version, fields, last) in [
        (1, "", false),
        (1, "Connection: close\r\n", true),
        (1, "connection: x ,CLOSE\r\n", true),
        (1, "Connection: keep-alive\r\n", false),
        (1, "Connection: closed\r\n", false),
        // hyper goes by the last line.
        (1, "Connection: close\r\nConnection: keep-alive\r\n", false),
        (0, "", true),
        (0, "Connection: close\r\n", true),
        (0, "Connection: keep-alive\r\n", false),
    ] {
        let head = read(format!("GET / HTTP/1.{version}\r\n{fields}\r\n").as_bytes()).unwrap();
        assert_eq!(head.last, last, "{version} {fields:?}");
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
        ("Content-Length: 18446744073709551613\r\n", None),
        ("Content-Length: 18446744073709551612\r\n", Some(Framing::Sized(u64::MAX - 3))),
        ("Transfer-Encoding: gzip, chunked\r\n", None),
        ("Transfer-Encoding: chunked, chunked\r\n", None),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", None),
        ("Transfer-Encoding: identity\r\n", None),
        ("Transfer-Encoding: \x0bchunked\r\n", None),
        ("Transfer-Encoding : chunked\r\n", None),
        ("Transfer_Encoding: chunked\r\n", None),
        ("CONTENT--LENGTH: 5\r\n", None),
        ("ContentLength: 5\r\n", None),
        ("TransferEncoding: chunked\r\n", None),
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
    assert!(read(b"GET / HTTP/1.1\r\n\r\nmore").is_err(), "one head, and no more");
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

#[test]
fn a_target_has_room_for_the_token() {
    let with = |length: usize| read(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length - 1)).as_bytes());
    assert!(with(56 << 10).is_ok());
    assert!(matches!(with((56 << 10) + 1), Err(HeadError::TooLarge(_))));
}

#[test]
fn what_never_becomes_a_request_is_named_at_its_first_byte() {
    for (first, right) in [
        (b"\r", None),
        (b"G", None),
        (b"\x16", Some("TLS")),
        (b"\n", Some("bare line feed")),
        (b" ", Some("space")),
        (b"\t", Some("space")),
        (b"\xef", Some("byte order mark")),
        (b"\x80", Some("byte order mark")),
        (b"{", Some("character that no method has")),
        (b"\0", Some("character that no method has")),
    ] {
        let said = check_beginning(first[0]).err().map(|error| error.to_string());
        assert_eq!(said.is_some(), right.is_some(), "{first:?} {said:?}");
        assert!(said.unwrap_or_default().contains(right.unwrap_or_default()), "{first:?}");
    }
}
