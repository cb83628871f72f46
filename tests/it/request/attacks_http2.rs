//! Attacks that hide an HTTP/1 request in an HTTP/2 one (h2.CL, h2.TE, line ends in fields), and callers who
//! use HTTP/2 to tie things up.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::fake::{Fake, Reply};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use crate::support::gate::{Gate, Settings};
use crate::support::until::until;

/// A header field of HTTP/2, pseudo ones included.
type Field = (&'static [u8], &'static [u8]);

const SMUGGLED: &[u8] = b"GET /cgi-bin/smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

async fn pair(limits: &str) -> (Fake, Gate) {
    let fake = Fake::answering(|seen| match seen.line().contains("/cgi-bin/big") {
        true => Reply::Zeros(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n\r\n".to_vec(), 1 << 30),
        false => Reply::json("{}"),
    })
    .await;
    let settings = Settings {
        limits: limits.to_owned(),
        upstream: "warm_connections = 0".to_owned(),
        ..Settings::default()
    };
    let gate = Gate::with(&fake.url(), settings).await;
    (fake, gate)
}

/// The four pseudo-fields of a POST, with those replaced that `fields` has, and then `fields`.
fn head(fields: &[Field]) -> Vec<u8> {
    let usual: [Field; 4] =
        [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", b"/cgi-bin/x")];
    let mut all: Vec<Field> = usual.to_vec();
    for field in &mut all {
        if let Some(other) = fields.iter().find(|other| other.0 == field.0) {
            *field = *other;
        }
    }
    all.extend(fields.iter().filter(|field| usual.iter().all(|usual| usual.0 != field.0)));
    all.retain(|(_, value)| *value != b"(none)");
    block(&all)
}

fn get(path: &'static [u8]) -> Vec<u8> {
    head(&[(b":method", b"GET"), (b":path", path)])
}

/// What becomes of a POST with this header block and body.
async fn post(gate: &Gate, block: &[u8], body: &[u8]) -> Option<Frame> {
    let mut frames = Frames::to(gate.addr, &[]).await;
    let request = [frame(HEADERS, END_HEADERS, 1, block), frame(DATA, END_STREAM, 1, body)].concat();
    frames.write(request).await;
    frames.outcome().await
}

#[tokio::test]
async fn no_field_of_http_2_can_frame_a_request_of_http_1() {
    let attacks: &[&[Field]] = &[
        // h2.TE
        &[(b"transfer-encoding", b"chunked")],
        &[(b"transfer-encoding", b"identity")],
        &[(b"Transfer-Encoding", b"chunked")],
        &[(b"transfer_encoding", b"chunked")],
        &[(b"transfer-encoding ", b"chunked")],
        &[(b"transfer-encoding\t", b"chunked")],
        &[(b"connection", b"transfer-encoding")],
        &[(b"connection", b"close")],
        &[(b"proxy-connection", b"keep-alive")],
        &[(b"keep-alive", b"1")],
        &[(b"upgrade", b"h2c")],
        &[(b"te", b"chunked")],
        // h2.CL
        &[(b"content-length", b"0")],
        &[(b"content-length", b"1")],
        &[(b"content-length", b"100")],
        &[(b"content-length", b"+43")],
        &[(b"content-length", b"43,43")],
        &[(b"content-length", b"43 ")],
        &[(b"content-length", b"0x2b")],
        &[(b"content-length", b"")],
        &[(b"content-length", b"18446744073709551659")],
        &[(b"content-length", b"43"), (b"content-length", b"43")],
        &[(b"content-length", b"43"), (b"content-length", b"0")],
        &[(b"content-length", b"0"), (b"content-length", b"43")],
        &[(b"content_length", b"0")],
        // line ends and their like, in names and values
        &[(b"x", b"a\r\nTransfer-Encoding: chunked")],
        &[(b"x", b"a\r\n\r\nGET /cgi-bin/smuggled HTTP/1.1")],
        &[(b"x", b"a\nTransfer-Encoding: chunked")],
        &[(b"x", b"a\rTransfer-Encoding: chunked")],
        &[(b"x", b"a\x00b")],
        &[(b"x\r\ntransfer-encoding", b"chunked")],
        &[(b"x: a\r\ntransfer-encoding", b"chunked")],
        &[(b"x:y", b"a")],
        &[(b"x y", b"a")],
        &[(b"x\x00", b"a")],
        &[(b"X", b"a")],
        &[(b"", b"a")],
        &[(b"host: h\r\nx", b"a")],
        // pseudo-fields
        &[(b":method", b"POST /cgi-bin/smuggled HTTP/1.1\r\nHost: h\r\nX:")],
        &[(b":method", b"PO ST")],
        &[(b":method", b"")],
        &[(b":method", b"CONNECT")],
        &[(b":method", b"TRACE")],
        &[(b":method", b"(none)")],
        &[(b":path", b"/cgi-bin/x HTTP/1.1\r\nHost: h\r\n\r\nGET /cgi-bin/smuggled")],
        &[(b":path", b"/cgi-bin/x HTTP/1.1")],
        &[(b":path", b"/cgi-bin/x\tHTTP/1.1")],
        &[(b":path", b"/cgi-bin/x\n")],
        &[(b":path", b"/cgi-bin/x\x00")],
        &[(b":path", b"/cgi-bin/../x")],
        &[(b":path", b"/cgi-bin/%2e%2e/x")],
        &[(b":path", b"//evil/cgi-bin/x")],
        &[(b":path", b"http://evil/cgi-bin/x")],
        &[(b":path", b"cgi-bin/x")],
        &[(b":path", b"?a")],
        &[(b":path", b"*")],
        &[(b":path", b"@evil/cgi-bin/x")],
        &[(b":path", b"")],
        &[(b":path", b"(none)")],
        &[(b":path", b"/cgi-bin/x?a=\"b\"")],
        &[(b":scheme", b"http://evil/cgi-bin/x?")],
        &[(b":scheme", b"http\r\n")],
        &[(b":scheme", b"gopher")],
        &[(b":authority", b"u:p@h")],
        &[(b":authority", b"h\r\nX: y")],
        &[(b":authority", b"h/cgi-bin/smuggled?")],
        &[(b":authority", b"h h")],
        &[(b":authority", b"(none)")],
        &[(b":authority", b"h"), (b"host", b"evil")],
        &[(b"host", b"h"), (b"host", b"h")],
        &[(b":status", b"200")],
        &[(b":protocol", b"websocket"), (b":method", b"CONNECT")],
        &[(b":other", b"a")],
    ];
    let (fake, gate) = pair("").await;
    for fields in attacks {
        let shown: Vec<_> =
            fields.iter().map(|(n, v)| format!("{}: {}", n.escape_ascii(), v.escape_ascii())).collect();
        let outcome = post(&gate, &head(fields), SMUGGLED).await;
        if let Some(frame) = &outcome {
            assert!(frame.kind != HEADERS || frame.status() != 200, "{shown:?}: {frame:?}");
        }
        assert_eq!(fake.began(), 0, "{shown:?}: {outcome:?}");
    }
    // Pseudo-fields twice, or behind others.
    let path: Field = (b":path", b"/cgi-bin/x");
    for block in [
        [head(&[]), block(&[path])].concat(),
        block(&[(b":method", b"POST"), (b":scheme", b"http"), (b"x", b"y"), (b":authority", b"h"), path]),
    ] {
        let outcome = post(&gate, &block, SMUGGLED).await;
        assert!(
            outcome.as_ref().is_none_or(|frame| frame.kind != HEADERS || frame.status() != 200),
            "{outcome:?}"
        );
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn what_is_odd_but_clear_in_http_2_becomes_one_request_with_one_length() {
    let odd: &[&[Field]] = &[
        &[],
        &[(b"content-length", b"43")],
        &[(b"content-length", b"043")],
        &[(b"te", b"trailers")],
        &[(b"expect", b"100-continue")],
        &[(b"host", b"h")],
        &[(b"trailer", b"content-length")],
        &[(b":scheme", b"https")],
        &[(b"cookie", b"a=b"), (b"cookie", b"c=d")],
    ];
    let (fake, gate) = pair("").await;
    for (number, fields) in odd.iter().enumerate() {
        let outcome = post(&gate, &head(fields), SMUGGLED).await.expect("an answer");
        assert_eq!((outcome.kind, outcome.status()), (HEADERS, 200), "{fields:?}: {outcome:?}");
        let seen = fake.seen();
        assert_eq!((fake.began(), seen.len()), (number + 1, number + 1), "{fields:?}");
        let seen = &seen[number];
        assert_eq!(seen.body, SMUGGLED, "{fields:?}");
        assert!(seen.line().starts_with("POST /cgi-bin/x?access_token="), "{}", seen.head);
        assert!(!seen.line().contains('#'), "{}", seen.head);
        let lines = seen.lines().join("\n").to_ascii_lowercase();
        assert_eq!(lines.matches("content-length: 43").count(), 1, "{lines}");
        assert_eq!(lines.matches("content-length").count(), 1, "{lines}");
        assert!(!lines.contains("transfer-encoding") && !lines.contains("expect"), "{lines}");
    }
}

/// h2 drops a fragment without a word, where HTTP/1 gets a 400.
#[tokio::test]
async fn a_path_with_a_fragment_is_400_and_the_connection_goes_on() {
    let (fake, gate) = pair("").await;
    let mut frames = Frames::to(gate.addr, &[]).await;
    let huffman = [head(&[(b":path", b"(none)")]), b"\x04\x84\x60\x7f\xf5\x1f".to_vec()].concat();
    let indexed = [head(&[(b":path", b"(none)")]), b"\x44\x04/a#b".to_vec()].concat();
    let again = [head(&[(b":path", b"(none)")]), b"\xbe".to_vec()].concat();
    let (mut stream, mut served) = (1, 0);
    for (block, right) in [
        (head(&[(b":path", b"/cgi-bin/x#fragment")]), 400),
        (head(&[(b":path", b"/cgi-bin/x?a=b#fragment")]), 400),
        (head(&[(b":path", b"/cgi-bin/x#")]), 400),
        (head(&[(b":path", b"#")]), 400),
        (huffman, 400),
        (indexed, 400),
        (again, 400),
        (head(&[(b":path", b"/cgi-bin/x?a=%23"), (b"referer", b"/a#b")]), 200),
        (head(&[(b"wxgate-fragment", b"")]), 400),
        (head(&[]), 200),
    ] {
        // Whole, and with the block in three frames that come one by one.
        for cut in [false, true] {
            let body = frame(DATA, END_STREAM, stream, b"");
            match cut {
                false => frames.write([frame(HEADERS, END_HEADERS, stream, &block), body].concat()).await,
                true => {
                    frames.write(frame(HEADERS, 0, stream, &block[..5])).await;
                    tokio::task::yield_now().await;
                    frames.write(frame(CONTINUATION, 0, stream, &block[5..9])).await;
                    frames
                        .write([frame(CONTINUATION, END_HEADERS, stream, &block[9..]), body].concat())
                        .await;
                }
            }
            let outcome = loop {
                let outcome = frames.outcome().await.expect("an answer");
                if (outcome.kind, outcome.stream) != (DATA, stream) && outcome.stream == stream {
                    break outcome;
                }
            };
            let shown = block.escape_ascii().to_string();
            assert_eq!((outcome.kind, outcome.status()), (HEADERS, right), "{cut} {shown}: {outcome:?}");
            served += usize::from(right == 200);
            stream += 2;
        }
    }
    assert_eq!(fake.seen().len(), served);
    assert!(fake.seen().iter().all(|seen| !seen.head.contains("fragment")), "{:?}", fake.seen());
}

/// A caller who sends nothing but frames that ask for nothing, whatever their kind, is read slowly: it takes no worker.
#[tokio::test]
async fn a_flood_of_frames_that_ask_for_nothing_takes_no_worker() {
    let (_fake, gate) = pair("").await;
    let get = [
        frame(HEADERS, END_HEADERS, 1, &head(&[])),
        // The body stays open, and with it the stream.
        frame(DATA, 0, 1, &[b'a'; 100]),
    ]
    .concat();
    for (what, bytes) in [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(2, 0, 3, &[0, 0, 0, 0, 9])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("WINDOW_UPDATE of a stream", frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        ("of no known kind", frame(0x42, 0, 0, &[])),
    ] {
        let mut flood = Frames::to(gate.addr, &[]).await;
        flood.write(&get).await;
        let (mut reading, mut writing) = flood.stream.into_split();
        let many = bytes.repeat(1000);
        let flooding = async {
            while writing.write(&many).await.is_ok() {}
            std::future::pending::<()>().await;
        };
        let mut answers = [0; 4096];
        let mut read = 0;
        let reading = async {
            while let Ok(length @ 1..) = reading.read(&mut answers).await {
                read += length;
            }
            std::future::pending::<()>().await;
        };
        let second = async { tokio::join!(flooding, reading) };
        assert!(timeout(Duration::from_secs(1), second).await.is_err());
        assert!(read < 17 * 3000, "{what}: {read} bytes of answers");
        assert_eq!(gate.get("/cgi-bin/x").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn a_caller_who_opens_and_resets_streams_in_a_flood_is_cut_off() {
    let (fake, gate) = pair("").await;
    let mut frames = Frames::to(gate.addr, &[]).await;
    let request = get(b"/cgi-bin/x");
    let mut flood = Vec::new();
    for number in 0..5000_u32 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &request));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    frames.write(flood).await;
    let end = loop {
        match frames.outcome().await {
            Some(frame) if frame.kind == GOAWAY => break Some(frame),
            Some(_) => {}
            None => break None,
        }
    };
    if let Some(frame) = end {
        assert_eq!(frame.payload[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    }
    assert!(fake.began() < 500, "{} calls", fake.began());
    assert_eq!(gate.get("/cgi-bin/x").await.status, 200);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_in_time_is_cut_off() {
    let block = get(b"/cgi-bin/x");
    let begun = frame(HEADERS, END_STREAM, 3, &block[..5]);
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 3, &block);
    // More frames of a head; more bytes of one; and nothing behind the beginning of a frame.
    let pieces = block[5..].iter().map(|byte| frame(CONTINUATION, 0, 3, &[*byte])).collect();
    let bytes = whole[10..].iter().map(|byte| vec![*byte]).collect();
    let trickles: [(&[u8], Vec<Vec<u8>>); 3] =
        [(&begun, pieces), (&whole[..10], bytes), (&whole[..5], Vec::new())];
    for (beginning, more) in trickles {
        let (fake, gate) = pair("header_timeout = \"1s\"\nidle_timeout = \"30s\"").await;
        let mut frames = Frames::to(gate.addr, &[]).await;
        frames.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(b"/cgi-bin/first"))).await;
        assert_eq!(frames.outcome().await.map(|answer| answer.status()), Some(200));
        let began = Instant::now();
        frames.write(beginning).await;
        let mut trickle = tokio::time::interval(Duration::from_millis(100));
        let mut more = more.into_iter();
        loop {
            tokio::select! {
                outcome = frames.outcome() => match outcome {
                    Some(frame) if frame.kind == DATA => {}
                    _ => break,
                },
                _ = trickle.tick() => frames.write(more.next().unwrap_or_default()).await,
            }
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&took), "{took:?}");
        assert_eq!(fake.began(), 1);
    }
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_off() {
    let (fake, gate) = pair("max_header_bytes = \"4KiB\"").await;
    let mut frames = Frames::to(gate.addr, &[]).await;
    let mut flood = frame(HEADERS, END_STREAM, 1, &get(b"/cgi-bin/x"));
    let more = frame(CONTINUATION, 0, 1, &block(&[(b"x", &[b'a'; 100])]));
    for _ in 0..20_000 {
        flood.extend_from_slice(&more);
    }
    frames.write(flood).await;
    while let Some(outcome) = frames.outcome().await {
        assert_ne!((outcome.kind, outcome.status()), (HEADERS, 200));
    }
    assert_eq!(fake.began(), 0);
}

#[tokio::test]
async fn a_head_far_above_the_limit_is_refused_and_other_streams_go_on() {
    let (fake, gate) = pair("max_header_bytes = \"2KiB\"").await;
    let mut frames = Frames::to(gate.addr, &[]).await;
    let big = [get(b"/cgi-bin/x"), block(&[(b"x", &[b'a'; 12_000])])].concat();
    frames.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, &big)).await;
    let outcome = frames.outcome().await.expect("an answer");
    assert_eq!((outcome.kind, outcome.stream), (HEADERS, 1), "{outcome:?}");
    assert_ne!(outcome.status(), 200);
    assert_eq!(fake.began(), 0);
    frames.write(frame(HEADERS, END_HEADERS | END_STREAM, 3, &get(b"/cgi-bin/x"))).await;
    loop {
        let outcome = frames.outcome().await.expect("an answer");
        if (outcome.kind, outcome.stream) == (HEADERS, 3) {
            assert_eq!(outcome.status(), 200);
            return;
        }
    }
}

#[tokio::test]
async fn a_stream_whose_window_never_opens_is_reset_after_idle_timeout_and_its_call_ends() {
    let (fake, gate) = pair("idle_timeout = \"1s\"").await;
    // SETTINGS_INITIAL_WINDOW_SIZE 0, and a small one that is used up and never opened again.
    for window in [0, 1000] {
        let mut frames = Frames::to(gate.addr, &[(4, window)]).await;
        let start = Instant::now();
        frames.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(b"/cgi-bin/big"))).await;
        assert_eq!(frames.outcome().await.map(|f| (f.kind, f.status())), Some((HEADERS, 200)));
        let open = fake.open();
        let outcome = loop {
            let outcome = frames.outcome().await.expect("the stream ends before the connection");
            if outcome.kind == RST_STREAM {
                break outcome;
            }
            assert_eq!(outcome.kind, DATA, "{outcome:?}");
        };
        assert_eq!(outcome.stream, 1);
        assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
        until("the upstream's connection is closed", || fake.open() < open).await;
    }
}

#[tokio::test]
async fn a_stream_that_takes_its_answer_slowly_is_not_reset() {
    let (_fake, gate) = pair("idle_timeout = \"2s\"").await;
    let mut frames = Frames::to(gate.addr, &[(4, 1)]).await;
    frames.write(frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(b"/cgi-bin/big"))).await;
    assert_eq!(frames.outcome().await.map(|f| (f.kind, f.status())), Some((HEADERS, 200)));
    let start = Instant::now();
    let mut received = 0;
    // Each time room for one more large piece, for longer than the limit.
    while start.elapsed() < Duration::from_secs(5) {
        let outcome = frames.outcome().await.expect("the connection goes on");
        assert_eq!(outcome.kind, DATA, "{outcome:?}");
        received += outcome.payload.len();
        let more = 20_000_u32.to_be_bytes();
        frames.write([frame(WINDOW_UPDATE, 0, 1, &more), frame(WINDOW_UPDATE, 0, 0, &more)].concat()).await;
    }
    assert!(received > 20_000, "{received}");
}
