//! Attacks on HTTP/1 framing from public lists, transcribed as bytes: what is severe or ambiguous gets a 4xx
//! and a closed connection, what is only odd becomes exactly one upstream request.
//!
//! The cases follow the tiers of AWS's http-desync-guardian, the bugs that the HTTP Garden has found in
//! servers and proxies, and PortSwigger's collection of Transfer-Encoding obfuscations. Where those disagree
//! with wxgate's contract, the contract is what is tested. What `framing.rs` tests is not repeated.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::fake::{Fake, Reply};
use crate::support::gate::Gate;
use crate::support::raw::{Raw, refused};

/// What an attacker wants the upstream to see as a request of its own.
const SMUGGLED: &[u8] = b"GET /cgi-bin/smuggled HTTP/1.1\r\nHost: h\r\nX: ";

async fn pair() -> (Fake, Gate) {
    let fake = Fake::answering(|_| Reply::json("{}")).await;
    let gate = Gate::before(&fake.url()).await;
    (fake, gate)
}

/// A POST with these field lines, and a body that ends a chunked message and begins another request.
fn post(fields: &[u8]) -> Vec<u8> {
    let head: &[u8] = b"POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\n";
    [head, fields, b"\r\n\r\n0\r\n\r\n", SMUGGLED].concat()
}

/// Each must be answered at once, without the end of what the caller sends, and end the connection.
async fn all_refused(payloads: impl IntoIterator<Item = Vec<u8>>) {
    let (fake, gate) = pair().await;
    for payload in payloads {
        let shown = payload.escape_ascii().to_string();
        let response = refused(gate.addr, &payload).await;
        assert!((400..500).contains(&response.status), "{shown}: {response:?}");
        assert!(response.header("X-Wxgate-Error").is_some(), "{shown}: {response:?}");
        assert_eq!(response.header("Connection"), Some("close"), "{shown}");
        assert_eq!(fake.began(), 0, "{shown}");
    }
}

#[tokio::test]
async fn every_obfuscated_transfer_encoding_is_refused() {
    let lines: &[&[u8]] = &[
        b"Transfer-Encoding: chunked1",
        b"Transfer-Encoding: chunk",
        b"Transfer-Encoding: cow",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: , chunked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: chunked ,",
        b"Transfer-Encoding: x,chunked",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: chunked identity",
        b"Transfer-Encoding: chunked;",
        b"Transfer-Encoding: chunked; q=1",
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: [chunked]",
        b"Transfer-Encoding: (chunked)",
        b"Transfer-Encoding: chu\tnked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: \x0cchunked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding: chunked\x11",
        b"Transfer-Encoding: \x00chunked",
        b"Transfer-Encoding: chunked\x00",
        b"Transfer-Encoding: \x7fchunked",
        b"Transfer-Encoding: \xa0chunked",
        b"Transfer-Encoding: chunked\xa0",
        b"Transfer-Encoding: \xc2\xa0chunked",
        b"Transfer-Encoding: \xefchunked",
        b"Transfer-Encoding: ch\xc3\xbcnked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding:\n chunked",
        b"Transfer-Encoding: chunked\r\n ",
        b"Transfer-Encoding\r\n: chunked",
        b"Transfer-Encoding\n: chunked",
        b"Transfer-\r\nEncoding: chunked",
        b"X: X\nTransfer-Encoding: chunked",
        b"X: X\rTransfer-Encoding: chunked",
        b"X: X\r\r\nTransfer-Encoding: chunked",
        b"X:\n\nTransfer-Encoding: chunked",
        b"X: X\r\n Transfer-Encoding: chunked",
        b"X: X\r\n\tTransfer-Encoding: chunked",
        b"\x0bTransfer-Encoding: chunked",
        b"\x01Transfer-Encoding: chunked",
        b"\x00Transfer-Encoding: chunked",
        b"\xa0Transfer-Encoding: chunked",
        b"\xe3\x80\x80Transfer-Encoding: chunked",
        b"Transfer-Encoding\x0b: chunked",
        b"Transfer-Encoding\x00: chunked",
        b"Transfer-Encoding\x88: chunked",
        b"Transfer-Encoding \x01: chunked",
        b"Transfer-Encoding x: chunked",
        b"Transfer-Encoding chunked",
        b"Transfer-Encoding=: chunked",
        b"Transfer-Encoding;: chunked",
        b"Transfer Encoding: chunked",
        b"Transfer- Encoding: chunked",
        b"Transfer_Encoding: chunked",
        b"Transfer___Encoding: chunked",
        b"Transfer---Encoding: chunked",
        b"TRANSFERENCODING: chunked",
        b"'Transfer-Encoding': chunked",
        b"Transfer\xe2\x80\x95Encoding: chunked",
        b"Tran\xc5\xbffer-Encoding: chunked",
        b"Transfer-Encod\xc4\xb1ng: chunked",
        b":Some:Transfer-Encoding:: chunked",
        b": chunked",
        b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow",
        b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: blah\r\nTransfer-Encoding: chunked",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length:",
        b"TrAnSfEr-EnCoDiNg: chunked\r\ncOnTeNt-LeNgTh: 5",
        b"Transfer-Encoding: ,chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: gzip\r\nContent-Length: 5",
        b"Transfer_Encoding: chunked\r\nContent-Length: 5",
        b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    ];
    all_refused(lines.iter().map(|lines| post(lines))).await;
    let old = |line: &[u8]| [b"POST /cgi-bin/x ", line, b"\r\n0\r\n\r\n", SMUGGLED].concat();
    all_refused([
        old(b"HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"),
        old(b"HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        old(b"HTTP/0.9\r\nTransfer-Encoding: chunked\r\n"),
        old(b"HTTP/0.9\r\nContent-Length: 5\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn every_obfuscated_content_length_is_refused() {
    let lines: &[&[u8]] = &[
        b"Content-Length: +1_0",
        b"Content-Length: 1_0",
        b"Content-Length: 5.0",
        b"Content-Length: 5e0",
        b"Content-Length: 5;5",
        b"Content-Length: 5,5",
        b"Content-Length: 5,",
        b"Content-Length: ,5",
        b"Content-Length: 1000.1000",
        b"Content-Length: 1000 1000",
        b"Content-Length: 1Z",
        b"Content-Length: 0X5",
        b"Content-Length: 0b1",
        b"Content-Length: 0o5",
        b"Content-Length: \"5\"",
        b"Content-Length: -48",
        b"Content-Length: -0",
        b"Content-Length: NaN",
        b"Content-Length: \t ",
        b"Content-Length: 5\x11",
        b"Content-Length: \x005",
        b"Content-Length: 5\x00",
        b"Content-Length: \x0b5",
        b"Content-Length: \x0c5",
        b"Content-Length: 5\xa0",
        b"Content-Length: \xd9\xa5",
        b"Content-Length: \xef\xbc\x95",
        b"Content-Length: 18446744073709551615",
        b"Content-Length: 18446744073709551616",
        b"Content-Length: 18446744073709551621",
        b"Content-Length: 340282366920938463463374607431768211461",
        b"Content-Length:\r\n 5",
        b"Content-Length: 5\r\n , 6",
        b"Content-Length: 5\r\n 6",
        b"Content-Length\x85: 5",
        b"Content-Length\xa0: 5",
        b"Content-Length\t: 5",
        b"Content-Length\r: 5",
        b"Content-Length\n: 5",
        b"\tContent-Length: 5",
        b"\x01Content-Length: 5",
        b"\x01\x01Content-Length: 5",
        b"\xa0Content-Length: 5",
        b"Content-Length 5",
        b"Content Length: 5",
        b"Content_Length: 5",
        b"Content--Length: 5",
        b"ContentLength: 5",
        b"Content-Length:\r\nContent-Length: 59",
        b"Content-Length: 59\r\nContent-Length:",
        b"Content-Length: 0\r\nContent-Length: 31",
        b"Content-Length: 5\r\nCONTENT-LENGTH: 5",
        b"Content-Length: 5\r\nContent_Length: 6",
        b"X: X\rContent-Length: 5",
        b"X: X\nContent-Length: 5",
        b"X: X\x00Content-Length: 5",
    ];
    all_refused(lines.iter().map(|lines| post(lines))).await;
}

#[tokio::test]
async fn a_field_name_with_any_odd_byte_is_refused_wherever_it_stands() {
    let odd = (0..=0xff_u8).filter(|b| !b.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~:".contains(b));
    all_refused(odd.flat_map(|byte| {
        let name = |before: &[u8], after: &[u8]| post(&[before, &[byte], after, b": v"].concat());
        [name(b"", b"Name"), name(b"Na", b"me"), name(b"Name", b"")]
    }))
    .await;
    let lines: &[&[u8]] =
        &[b":", b": ignored", b" :", b"\t\t : v", b"no colon", b"\rZ: v", b"Z\r", b"a:b\r\nc\x00"];
    all_refused(lines.iter().map(|lines| post(lines))).await;
}

#[tokio::test]
async fn a_field_value_with_any_control_character_is_refused_wherever_it_stands() {
    let control = (0..0x20_u8).chain([0x7f]).filter(|&b| b != b'\t');
    all_refused(control.flat_map(|byte| {
        let value = |before: &[u8], after: &[u8]| post(&[b"X: ", before, &[byte], after].concat());
        [value(b"", b"value"), value(b"va", b"lue"), value(b"value", b"")]
    }))
    .await;
    let lines: &[&[u8]] =
        &[b"X: x\n\r\x00", b"X: v\n\x00\ralue", b"X: a\r\n\r", b"X: a\r\n\rZGET /evil: HTTP/1.1"];
    all_refused(lines.iter().map(|lines| post(lines))).await;
}

#[tokio::test]
async fn every_trick_with_the_host_is_refused() {
    let heads: &[&[u8]] = &[
        b"Host: h\r\nhost: h",
        b"Host: h\r\nHOST: other",
        b"Host: h\r\nHost:",
        b"Host:\r\nHost: h",
        b"Host: h\x00.other",
        b"Host: h\tother",
        b"Host: h#other",
        b"Host: h?other",
        b"Host: h\\other",
        b"Host: h%00",
        b"Host: h:80:80",
        b"Host: h:+80",
        b"Host: h:8 0",
        b"Host: h:-1",
        b"Host: [::1",
        b"Host: [::1]x",
        b"Host: http://h",
        b"Host: \"h\"",
        b"Host: h;other",
        b"Host: h\xff",
        b"Host h",
        b" Host: h",
        b"Hos\xc5\xa7: h",
    ];
    let request = |head: &&[u8]| [b"GET /cgi-bin/x HTTP/1.1\r\n", *head, b"\r\n\r\n"].concat();
    all_refused(heads.iter().map(request)).await;
}

#[tokio::test]
async fn every_trick_with_the_request_line_is_refused() {
    let lines: &[&[u8]] = &[
        b"GET /cgi-bin/x HTTP/1.32",
        b"GET /cgi-bin/x HTTP/4294967295.255",
        b"GET /cgi-bin/x HTTP/11",
        b"GET /cgi-bin/x HTTP/1.",
        b"GET /cgi-bin/x HTTP/.1",
        b"GET /cgi-bin/x HTTP/01.1",
        b"GET /cgi-bin/x HTTP/1,1",
        b"GET /cgi-bin/x HTTP/0.9",
        b"GET /cgi-bin/x HTTP/3.0",
        b"GET /cgi-bin/x http/1.1",
        b"GET /cgi-bin/x HTTP/ 1.1",
        b"GET /cgi-bin/x HTTP /1.1",
        b"GET /cgi-bin/x HTTP/1.1 ",
        b"GET /cgi-bin/x HTTP/1.1\t",
        b"GET /cgi-bin/x HTTP/1.1\x00",
        b"GET /cgi-bin/x HTTP/1.1\r",
        b"GET /cgi-bin/x HTTP/1.1 HTTP/1.1",
        b"GET /cgi-bin/x XTTP/1.1",
        b"GET /cgi-bin/x ICY/1.1",
        b"GET /cgi-bin/x",
        b"GET /cgi-bin/x ",
        b"GET",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b" /cgi-bin/x HTTP/1.1",
        b"GET/cgi-bin/x HTTP/1.1",
        b"GET /cgi-bin/x\tHTTP/1.1",
        b"GET /cgi-bin/x\rHTTP/1.1",
        b"GET /cgi-bin/x\nHTTP/1.1",
        b"GET /cgi-bin/x\x0bHTTP/1.1",
        b"GET\x0b/cgi-bin/x HTTP/1.1",
        b"GET\x00/cgi-bin/x HTTP/1.1",
        b"GET /cgi-bin/x\x00 HTTP/1.1",
        b"GET /cgi-bin/x\xff HTTP/1.1",
        b"GET /cgi-bin/x?\xff HTTP/1.1",
        b"GET /cgi-bin/x?a=\x00 HTTP/1.1",
        b"GET /cgi-bin/x?a=\rb HTTP/1.1",
        b"GET /cgi-bin/x? HTTP/1.1\rHost: h HTTP/1.1",
        b"GET /cgi-bin/x /cgi-bin/y HTTP/1.1",
        b"GET ! HTTP/1.1",
        b"GET ?a HTTP/1.1",
        b"GET /\\evil/cgi-bin/x HTTP/1.1",
        b"GET http:/cgi-bin/x HTTP/1.1",
        b"GET http:///cgi-bin/x HTTP/1.1",
        b"GET http:// HTTP/1.1",
        b"GET http://h@evil/cgi-bin/x HTTP/1.1",
        b"GET http://h\\@evil/cgi-bin/x HTTP/1.1",
        b"GET http://h#@evil/cgi-bin/x HTTP/1.1",
        b"GET http://h:80@evil/cgi-bin/x HTTP/1.1",
        b"GET http://evil/cgi-bin/x HTTP/1.1",
        b"GET h:80/cgi-bin/x HTTP/1.1",
        b"GET javascript:/cgi-bin/x HTTP/1.1",
        b"G=\":<>(e),[T];?\" /cgi-bin/x HTTP/1.1",
        b"bad_method\x01 /cgi-bin/x HTTP/1.1",
        b"GE T /cgi-bin/x HTTP/1.1",
        b"\"GET\" /cgi-bin/x HTTP/1.1",
        b"G\xc9T /cgi-bin/x HTTP/1.1",
        b"GET: /cgi-bin/x HTTP/1.1",
        b"\xef\xbb\xbfGET /cgi-bin/x HTTP/1.1",
        b"\tGET /cgi-bin/x HTTP/1.1",
        b"\rGET /cgi-bin/x HTTP/1.1",
        b"\r\n GET /cgi-bin/x HTTP/1.1",
        b"\x00GET /cgi-bin/x HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET /cgi-bin/x HTTP/1.1",
    ];
    all_refused(lines.iter().map(|line| [*line, b"\r\nHost: h\r\n\r\n"].concat())).await;
}

#[tokio::test]
async fn what_can_never_become_a_request_is_refused_at_its_first_byte() {
    let beginnings: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x80\x2e\x01\x03\x01",
        b"\x00\x00\x00",
        b"\r\n\r\n\x16\x03\x01",
        b"\x05\x01\x00",
        b"{\"errcode\":0}",
        b"<policy-file-request/>\x00",
    ];
    all_refused(beginnings.iter().map(|bytes| bytes.to_vec())).await;
    let (_fake, gate) = pair().await;
    let response = refused(gate.addr, beginnings[0]).await;
    assert!(response.text().contains("TLS"), "{response:?}");
}

#[tokio::test]
async fn every_trick_with_chunks_is_refused() {
    let bodies: &[&[u8]] = &[
        b"0_2e\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"0x2_e\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"0x0\r\n\r\n",
        b"0X1\r\nZ\r\n0\r\n\r\n",
        b"-0x0\r\n\r\n",
        b"-0\r\n\r\n",
        b"+0\r\n\r\n",
        b"1\r\nZ\r\n-0x0\r\n\r\n",
        b"1_0\r\nZ",
        b"1,0\r\nZ",
        b"1.0\r\nZ\r\n0\r\n\r\n",
        b"1h\r\nZ\r\n0\r\n\r\n",
        b"1these-bytes-never-get-validated\r\nZ\r\n0\r\n\r\n",
        b"Z\r\nZZ\r\nZZZ\r\n\r\n",
        b"\t0\r\n\r\n",
        b"           0\r\n\r\n",
        b"0 \r\n\r\n",
        b"0\t\r\n\r\n",
        b"0\x0b\r\n\r\n",
        b"0\x00\r\n\r\n",
        b"0\xa0\r\n\r\n",
        b"\xef\xbc\x90\r\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"1\r\nZ\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"17\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"1\r\r;chunk-ext-name\r\nZ\r\n0\r\n\r\n",
        b"2\r\r;a\r\n02\r\n41\r\n0\r\n\r\nGET /bad_path/pwned HTTP/1.1\r\n\r\n",
        b"5\r\r;ABCD\r\n34\r\nE\r\n0\r\n\r\n",
        b"5\r;a\r\nhello\r\n0\r\n\r\n",
        b"5 ;a\r\nhello\r\n0\r\n\r\n",
        b"5;\nxx\r\n2\r\n0\r\n\r\n",
        b"5;a\n\r\nhello\r\n0\r\n\r\n",
        b"5;a\r\r\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b"5;\x80\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello\n\r\n0\r\n\r\n",
        b"5\r\nhello\r\n\r\n0\r\n\r\n",
        b"a\r\n0123456789\n0\r\n\r\n",
        b"0\n\r\n",
        b"0\r\r\n\r\n",
        b"0\r\n\rX",
        b"0\r\n\nGET / HTTP/1.1\r\n\r\n",
        b"0\r\n\r\rGET / HTTP/1.1\r\n\r\n",
        b"0\r\nContent-Length : 5\r\n\r\n",
        b"0\r\n X: y\r\n\r\n",
        b"0\r\nX: y\rZ: w\r\n\r\n",
        b"0\r\nX: y\x00\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"10000000000000000\r\nZ",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"100000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        b"00000000000000000\r\n\r\n",
    ];
    let head = b"POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    all_refused(bodies.iter().map(|body| [head, *body, SMUGGLED].concat())).await;
}

#[tokio::test]
async fn a_chunk_larger_than_any_memory_never_wraps_around() {
    let (fake, gate) = pair().await;
    for size in ["ffffffffffffffff", "fffffffffffffffb", "8000000000000005", "7fffffffffffffff", "100000005"]
    {
        let mut raw = Raw::to(gate.addr).await;
        raw.write("POST /cgi-bin/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        raw.write(format!("{size}\r\nhello\r\n0\r\n\r\n")).await;
        raw.write(SMUGGLED).await;
        raw.stream.shutdown().await.unwrap();
        let response = raw.answer(false).await;
        assert!((400..500).contains(&response.status), "{size}: {response:?}");
        assert_eq!(raw.rest().await, b"", "{size}");
    }
    assert_eq!(fake.began(), 0);
}

/// One odd request: its first line, its field lines, what follows the head, and the body that is meant.
type Odd = (&'static str, &'static [u8], &'static [u8], &'static [u8]);

#[tokio::test]
async fn what_is_odd_but_clear_becomes_one_request_with_one_length() {
    let odd: &[Odd] = &[
        ("POST", b"Content-Length: 005", b"hello", b"hello"),
        ("POST", b"Content-Length: 00000000000000000000000000000005", b"hello", b"hello"),
        // Ten, and not the eight that a C program would read.
        ("POST", b"Content-Length: 010", b"0123456789", b"0123456789"),
        ("POST", b"Content-Length: \t5\t ", b"hello", b"hello"),
        ("POST", b"cOnTeNt-LeNgTh:5", b"hello", b"hello"),
        ("POST", b"Transfer-Encoding:\tchunked", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("POST", b"Transfer-Encoding: chunked \t", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("POST", b"tRaNsFeR-eNcOdInG:ChUnKeD", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("POST", b"Transfer-Encoding: chunked", b"0000000000000005\r\nhello\r\n000\r\n\r\n", b"hello"),
        ("POST", b"Transfer-Encoding: chunked", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        ("POST", b"Transfer-Encoding: chunked", b"5;a=\"0\\\"\";b\r\nhello\r\n0;x\r\n\r\n", b"hello"),
        ("POST", b"Transfer-Encoding: chunked", b"5;;;=\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("POST", b"Transfer-Encoding: chunked", b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n"),
        ("POST", b"Transfer-Encoding: chunked", b"0\r\nX:POST / HTTP/1.1\r\n\r\n", b""),
        (
            "POST",
            b"Transfer-Encoding: chunked",
            b"5\r\nhello\r\n0\r\nContent-Length: 50\r\nTransfer-Encoding: gzip\r\nHost: evil\r\n\r\n",
            b"hello",
        ),
        // Headers that name the length as one of the connection's own.
        ("POST", b"Connection: Content-Length\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Connection: close, Host, Content-Length\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("POST", b"TE: chunked\r\nTrailer: Content-Length\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Expect: 100-continue\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Expect: 100-continue, x\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Expect: y 100-continue\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Expect:\r\nContent-Length: 5", b"hello", b"hello"),
        ("GET", b"Expect: 100-continue", b"", b""),
        ("POST", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nContent-Length: 5", b"hello", b"hello"),
        (
            "GET",
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
            b"",
            b"",
        ),
        // A body of a GET has no meaning, and a length all the same.
        ("GET", b"Content-Length: 5", b"hello", b"hello"),
        ("GET", b"Content-Length: 0", b"", b""),
        ("GET", b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        ("HEAD", b"Content-Length: 5", b"hello", b"hello"),
        ("DELETE", b"Content-Length: 5", b"hello", b"hello"),
        ("get", b"Content-Length: 5", b"hello", b"hello"),
        ("POST", b"T!#$%&'*+-.^_`|~e: v\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"X: \x80\xff\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"X-Content-Length: 9\r\nX-Transfer-Encoding: chunked\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"Content-Encoding: chunked\r\nContent-Length: 5", b"hello", b"hello"),
        ("POST", b"X: a, b\r\nX: c\r\nContent-Length: 5", b"hello", b"hello"),
    ];
    let (fake, gate) = pair().await;
    for (number, (method, fields, sent, body)) in odd.iter().enumerate() {
        let shown = format!("{method} {}", fields.escape_ascii());
        let line = format!("{method} /cgi-bin/x HTTP/1.1\r\nHost: h\r\n");
        let mut raw = Raw::to(gate.addr).await;
        let response = raw.ask([line.as_bytes(), fields, b"\r\n\r\n", sent].concat()).await;
        assert_eq!(response.status, 200, "{shown}: {response:?}");
        raw.stream.shutdown().await.unwrap();
        assert_eq!(raw.rest().await, b"", "{shown}");
        let seen = fake.seen();
        assert_eq!((fake.began(), seen.len()), (number + 1, number + 1), "{shown}");
        let seen = &seen[number];
        assert_eq!(seen.body, *body, "{shown}");
        let lines: Vec<_> = seen.lines().iter().map(|line| line.to_ascii_lowercase()).collect();
        let with = |name: &str| {
            lines.iter().filter(|line| line.starts_with(&format!("{name}:"))).collect::<Vec<_>>()
        };
        let announced = !fields.is_empty() && !body.is_empty();
        assert!(with("content-length").len() <= 1, "{shown}: {lines:?}");
        if announced {
            assert_eq!(with("content-length"), [&format!("content-length: {}", body.len())], "{shown}");
        }
        assert_eq!(with("host"), [&format!("host: {}", fake.addr)], "{shown}");
        for gone in
            ["transfer-encoding", "te", "trailer", "expect", "upgrade", "connection", "http2-settings"]
        {
            assert!(with(gone).is_empty(), "{shown}: {lines:?}");
        }
    }
}

#[tokio::test]
async fn after_a_refused_upgrade_the_connection_still_speaks_http_1() {
    let (fake, gate) = pair().await;
    let upgrade = "GET /cgi-bin/x HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut raw = Raw::to(gate.addr).await;
    assert_eq!(raw.ask(upgrade).await.status, 200);
    assert_eq!(raw.answer(false).await.status, 400);
    assert_eq!(raw.rest().await, b"");
    assert_eq!(fake.began(), 1);
}

#[tokio::test]
async fn no_byte_put_into_a_head_lets_its_body_out_as_a_request() {
    let (fake, gate) = pair().await;
    let inner = [b"0\r\n\r\n", SMUGGLED, b"y\r\n\r\n"].concat();
    let sized = format!("X: y\r\nContent-Length: {}\r\nAccept: */*", inner.len());
    let mut sent = Vec::new();
    let mut random = fastrand::Rng::with_seed(9112);
    for number in 0..1200 {
        let (fields, body) = match number % 2 {
            0 => (sized.clone(), inner.clone()),
            _ => {
                let size = format!("{:x}\r\n", inner.len());
                let chunks = [size.as_bytes(), &inner, b"\r\n0\r\n\r\n"].concat();
                ("X: y\r\nTransfer-Encoding: chunked\r\nAccept: */*".to_owned(), chunks)
            }
        };
        let mut fields = fields.into_bytes();
        for _ in 0..random.usize(1..=2) {
            // A digit could make another honest length.
            let byte = match random.u8(..) {
                digit if digit.is_ascii_digit() => b'\n',
                many if many % 3 == 0 => *random.choice(b"\r\n\t \x0b\x0c\0:,;+-_").unwrap_or(&0),
                byte => byte,
            };
            fields.insert(random.usize(..=fields.len()), byte);
        }
        let head = format!("POST /cgi-bin/{number} HTTP/1.1\r\nHost: h\r\n");
        let mut raw = Raw::to(gate.addr).await;
        raw.write([head.as_bytes(), &fields, b"\r\n\r\n", &body].concat()).await;
        // A caller that says goodbye before its answer is served no more.
        let _ = timeout(Duration::from_millis(500), raw.stream.peek(&mut [0])).await;
        raw.stream.shutdown().await.unwrap();
        raw.rest().await;
        sent.push(fields);
    }
    // A call may still be on its way when its caller has left, so they are told apart by their paths.
    let mut seen = BTreeSet::new();
    for call in fake.seen() {
        let path = call.line().strip_prefix("POST /cgi-bin/").and_then(|rest| rest.split('?').next());
        let number = path.and_then(|number| number.parse::<usize>().ok());
        let number = number.unwrap_or_else(|| panic!("smuggled: {}", call.head));
        let shown = sent[number].escape_ascii();
        assert!(seen.insert(number), "twice: {shown}");
        assert!(call.body.is_empty() || call.body == inner, "{shown}: {:?}", call.body);
    }
    assert!(seen.len() > 100, "many of them are harmless");
}
