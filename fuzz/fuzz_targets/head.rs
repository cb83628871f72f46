//! The strict reader of request heads against httparse, `http::Uri`, a plain count of the framing fields,
//! and against what hyper's server makes of the same bytes.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::Empty;
use hyper::body::{Body, Bytes};
use hyper::{Request, Response};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;
use wxgate::http1::head::{End, Framing, Head, end_of_head, leading_empty_lines};
use wxgate::http1::lenient::read;

/// What hyper understood of one request.
#[derive(Debug)]
struct Understood {
    target: String,
    /// `None`: chunked.
    length: Option<u64>,
}

fn hypers_view(head: &[u8]) -> Option<Understood> {
    thread_local!(static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let seen = Rc::new(RefCell::new(None));
    let note = Rc::clone(&seen);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let target = request.uri().to_string();
        *note.borrow_mut() = Some(Understood { target, length: request.body().size_hint().exact() });
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (mut caller, server) = tokio::io::duplex(256 * 1024);
            caller.write_all(head).await.expect("it fits");
            caller.shutdown().await.expect("open");
            let connection = hyper::server::conn::http1::Builder::new()
                .max_headers(100)
                .serve_connection(hyper_util::rt::TokioIo::new(server), service);
            let _ = connection.await;
        });
    });
    seen.take()
}

fuzz_target!(|bytes: &[u8]| {
    let empty = leading_empty_lines(bytes);
    assert!(bytes[..empty].iter().all(|b| b"\r\n".contains(b)));
    let whole = end_of_head(bytes, empty);
    // Byte by byte, as it may come over the wire, it ends at the same place.
    let mut searched = empty;
    let bit_by_bit = (empty..=bytes.len()).find_map(|come| {
        let end = end_of_head(&bytes[..come], searched).map(|found| found.end);
        searched = come;
        end.transpose()
    });
    assert_eq!(bit_by_bit, whole.map(|found| found.end).transpose());
    let Ok(End { end: Some(end), bare_line_feed }) = whole else { return };
    if end <= empty {
        return;
    }
    let sent = &bytes[empty..end];
    let Ok((Head { framing: found, .. }, strict)) = read(sent, bare_line_feed) else { return };
    let head = strict.as_deref().unwrap_or(sent);
    // The strict form differs from what was sent in line ends and in spaces of the request line.
    let bare = |head: &[u8]| head.iter().copied().filter(|b| !b"\r\n ".contains(b)).collect::<Vec<_>>();
    assert_eq!(bare(head), bare(sent));

    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(head).expect("what passed is a request");
    assert_eq!(parsed, httparse::Status::Complete(head.len()));
    let target = request.path.expect("a target");
    target.parse::<http::Uri>().expect("what passed is a target");

    // The framing fields, counted by nothing but the line ends and the first colon.
    let text = String::from_utf8_lossy(head);
    let mut lengths = Vec::new();
    let mut codings = 0;
    for line in text.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings += 1,
            _ => {}
        }
    }
    match (&found, lengths.as_slice(), codings) {
        (Framing::Sized(0), [], 0) | (Framing::Chunked, [], 1) => {}
        (Framing::Sized(length), [said], 0) => assert_eq!(said.parse::<u64>().as_ref(), Ok(length)),
        other => panic!("not exactly one framing: {other:?}"),
    }

    let view = hypers_view(head).expect("hyper serves what passed");
    assert_eq!(
        view.length,
        match found {
            Framing::Sized(length) => Some(length),
            Framing::Chunked => None,
        }
    );
    if target.starts_with('/') {
        assert_eq!(view.target, target);
    }
});
