//! Which answers are read as errors: seen by whether the call is repeated with a new token.

use std::io::Write as _;

use super::gzip;
use crate::support::fake::{Fake, Reply, token};
use crate::support::gate::Gate;
use crate::support::raw::Raw;

fn deflated(text: &[u8], zlib: bool) -> Vec<u8> {
    let level = flate2::Compression::default();
    if zlib {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    } else {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }
}

/// One uncompressed meta-block of RFC 7932.
fn brotli(text: &[u8]) -> Vec<u8> {
    let bits = (text.len() as u64 - 1) << 4 | 1 << 20;
    [&bits.to_le_bytes()[..3], text, b"\x03"].concat()
}

fn chunked(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for byte in body {
        bytes.extend([b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// Sends a call whose first token is refused with this reply; whether it was repeated. The first answer must
/// otherwise have passed byte for byte.
async fn is_repeated(reply: Reply, body: &[u8]) -> bool {
    let fake = Fake::renewing(move |seen| match seen.line().contains(&token(0)) {
        true => reply.clone(),
        false => Reply::ok(&[], "second"),
    })
    .await;
    let gate = Gate::before(&fake.url()).await;
    let response = Raw::to(gate.addr).await.ask("GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let repeated = response.body == b"second";
    // A 40001 is tried once more with the same token, which is young; a 42001 is not.
    assert_eq!(fake.fetches(), if repeated { 2 } else { 1 });
    assert_eq!(fake.seen().len() > 1, repeated);
    if !repeated {
        assert!(response.body == body, "{response:?}");
        assert_eq!(response.header("X-Wxgate-Retry"), None);
    }
    repeated
}

const JSON: &str = "Content-Type: application/json; encoding=utf-8";
const REFUSED: &[u8] = br#"{"errcode":40001,"errmsg":"invalid credential"}"#;

fn padded(length: usize) -> Vec<u8> {
    let mut body = br#"{"errcode":40001,"x":""#.to_vec();
    body.resize(length - 2, b'a');
    body.extend(b"\"}");
    body
}

#[tokio::test]
async fn these_answers_are_token_errors() {
    for body in [
        REFUSED,
        br#"{"errcode":42001,"errmsg":"x"}"#,
        br#"{"errcode":40014}"#,
        br#"{"errcode":"40001"}"#,
        br#"{"errmsg":"first","errcode" : 40001 , "z":[{"errcode":0}]}"#,
        b"{\"errmsg\":\"a\x01\x00b\xff\xfe\",\"errcode\":40001}",
        b"\xef\xbb\xbf{\"errcode\":40001}",
        b"\r\n {\"errcode\":40001}\r\n",
        b"\r\n \xef\xbb\xbf\n{\"errcode\":40001}\r\n",
        &padded(4096),
    ] {
        assert!(is_repeated(Reply::ok(&[JSON], body), body).await, "{}", String::from_utf8_lossy(body));
    }
    for kind in [
        "text/plain",
        "text/html; charset=utf-8",
        "application/json",
        "APPLICATION/JSON",
        "application/problem+json",
        "application/json:UTF-8",
        "plain/text",
        "application/octet-stream",
        "",
        "json",
    ] {
        assert!(
            is_repeated(Reply::ok(&[&format!("Content-Type: {kind}")], REFUSED), REFUSED).await,
            "{kind}"
        );
    }
    assert!(is_repeated(Reply::ok(&[], REFUSED), REFUSED).await, "without a type");
    for (coding, body) in [
        ("gzip", gzip(REFUSED)),
        ("x-gzip", gzip(REFUSED)),
        ("GZIP", gzip(&padded(4096))),
        ("gzip", [gzip(b""), gzip(&REFUSED[..9]), gzip(b""), gzip(&REFUSED[9..])].concat()),
        ("deflate", deflated(REFUSED, true)),
        ("deflate", deflated(REFUSED, false)),
        ("br", brotli(REFUSED)),
        ("identity", REFUSED.to_vec()),
    ] {
        let reply = Reply::ok(&[JSON, &format!("Content-Encoding: {coding}")], &body);
        assert!(is_repeated(reply, &body).await, "{coding}");
    }
}

#[tokio::test]
async fn a_token_error_is_found_however_its_bytes_come() {
    let Reply::Bytes(whole) = Reply::ok(&[JSON], REFUSED) else { unreachable!() };
    let closing = [format!("HTTP/1.0 200 OK\r\n{JSON}\r\n\r\n").as_bytes(), REFUSED].concat();
    let status = String::from_utf8(whole.clone()).unwrap().replace("200 OK", "500 Broken").into_bytes();
    for (what, reply) in [
        ("one chunk a byte", Reply::Bytes(chunked(&format!("{JSON}\r\n"), REFUSED))),
        ("one segment a byte", Reply::Dribble(whole.clone())),
        ("until the end of the connection", Reply::Close(closing)),
        ("with another status", Reply::Bytes(status)),
        ("a byte order mark cut in two", in_pieces(&[b"\xef", b"\xbb\xbf", REFUSED])),
        ("a byte order mark cut behind white space", in_pieces(&[b" \n", b"\xef\xbb", b"\xbf ", REFUSED])),
        ("white space alone at first", in_pieces(&[b"\r\n", b" ", REFUSED])),
        (
            "in gzip, a byte a chunk",
            Reply::Bytes(chunked(&format!("{JSON}\r\nContent-Encoding: gzip\r\n"), &gzip(REFUSED))),
        ),
    ] {
        assert!(is_repeated(reply, REFUSED).await, "{what}");
    }
}

/// A reply in these chunks: the proxy gets one after the other.
fn in_pieces(pieces: &[&[u8]]) -> Reply {
    let mut all =
        vec![format!("HTTP/1.1 200 OK\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes()];
    all.extend(pieces.iter().map(|piece| {
        let size = format!("{:x}\r\n", piece.len());
        [size.as_bytes(), piece, b"\r\n"].concat()
    }));
    all.push(b"0\r\n\r\n".to_vec());
    Reply::Bytes(all.concat())
}

#[tokio::test]
async fn these_answers_are_none() {
    for body in [
        &br#"{"errcode":0,"errmsg":"ok"}"#[..],
        br#"{"errcode":45009}"#,
        br#"{"errcode":-1}"#,
        br#"{"errcode":"40001x"}"#,
        br#"{"errcode":400010}"#,
        br#"{"list":[{"errcode":40001}]}"#,
        br#"{"base_resp":{"errcode":40001}}"#,
        br#"[{"errcode":40001}]"#,
        br#"{"errmsg":"\"errcode\":40001"}"#,
        br#"{"Errcode":40001}"#,
        b"errcode: 40001",
        b"",
        &padded(4097),
        &padded(100_000),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(!is_repeated(Reply::ok(&[JSON], body), body).await, "{shown}");
        assert!(
            !is_repeated(Reply::Bytes(chunked(&format!("{JSON}\r\n"), body)), body).await,
            "{shown} in chunks"
        );
    }
    for fields in [
        &["Content-Type: image/jpeg"][..],
        &["Content-Type: audio/amr"],
        &["Content-Type: VIDEO/mp4"],
        &["Content-Type: font/woff2"],
        &[JSON, "Content-disposition: attachment; filename=\"MEDIA_ID.json\""],
        &[JSON, "Content-Encoding: zstd"],
        &[JSON, "Content-Encoding: gzip, br"],
        &[JSON, "Content-Encoding: gzip", "Content-Encoding: gzip"],
        &[JSON, "Content-Encoding: gzip"],
    ] {
        assert!(!is_repeated(Reply::ok(fields, REFUSED), REFUSED).await, "{fields:?}");
    }
}

#[tokio::test]
async fn what_decodes_to_more_than_4_kib_is_not_looked_into() {
    let bomb = gzip(&vec![b' '; 64 << 20]);
    for body in [bomb, gzip(&padded(4097)), deflated(&padded(5000), true), brotli(&padded(4097))] {
        for (coding, body) in [("gzip", &body), ("deflate", &body), ("br", &body)] {
            let fields = [JSON, &format!("Content-Encoding: {coding}")];
            assert!(!is_repeated(Reply::ok(&fields, body), body).await, "{coding} {}", body.len());
        }
    }
}

#[tokio::test]
async fn errcodes_of_the_callers_choice_are_retried_and_no_others() {
    for (errcode, repeated) in [(40001, false), (61024, true)] {
        let fake = Fake::renewing(move |seen| match seen.line().contains(&token(0)) {
            true => Reply::errcode(errcode),
            false => Reply::ok(&[], "second"),
        })
        .await;
        let account = "refresh_on = [61024]".to_owned();
        let gate =
            Gate::with(&fake.url(), crate::support::gate::Settings { account, ..Default::default() }).await;
        assert_eq!(gate.get("/cgi-bin/x").await.body == b"second", repeated, "{errcode}");
    }
}
