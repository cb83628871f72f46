//! The follower of chunked bodies against a reader that looks at whole lines, and against hyper's decoder:
//! whatever passes ends at the same byte, and hyper gets the same data out of it.
#![no_main]

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use libfuzzer_sys::fuzz_target;
use tokio::io::AsyncWriteExt;
use wxgate::http1::chunks::{Chunks, Malformed};

/// The data and the length of a whole body by RFC 9112 section 7.1; `None` for anything else. It knows no
/// limits on the length of lines.
fn by_lines(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line_at = |at: usize| {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        Some((&rest[..end], at + end + 2))
    };
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let (line, next) = line_at(at)?;
        let size = line.split(|b| *b == b';').next()?;
        if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        at = next;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let (line, next) = line_at(at)?;
        at = next;
        if line.is_empty() {
            return Some((data, at));
        }
    }
}

/// What hyper's server decodes, or `None` when it refuses the body.
fn by_hyper(body: &[u8]) -> Option<Vec<u8>> {
    thread_local!(static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    let seen = Rc::new(RefCell::new(None));
    let note = Rc::clone(&seen);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let note = Rc::clone(&note);
        async move {
            *note.borrow_mut() =
                request.into_body().collect().await.ok().map(|body| body.to_bytes().to_vec());
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (mut caller, server) = tokio::io::duplex(256 * 1024);
            let head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            caller.write_all(head).await.expect("it fits");
            caller.write_all(body).await.expect("it fits");
            caller.shutdown().await.expect("open");
            let connection = hyper::server::conn::http1::Builder::new()
                .keep_alive(false)
                // The caller has said all it has to say, and still wants to be read.
                .half_close(true)
                .serve_connection(hyper_util::rt::TokioIo::new(server), service);
            let _ = connection.await;
        });
    });
    seen.take()
}

fn follow(bytes: &[u8], step: usize) -> Result<(usize, bool), Malformed> {
    let mut chunks = Chunks::default();
    let mut used = 0;
    for piece in bytes.chunks(step) {
        used += chunks.follow(piece)?;
        if chunks.done() {
            break;
        }
    }
    Ok((used, chunks.done()))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = follow(bytes, usize::MAX);
    let cut = follow(bytes, usize::from(step).max(1));
    match (&whole, &cut) {
        (Ok((used, true)), cut) => {
            assert_eq!(cut, &Ok((*used, true)), "the end depends on the cut");
            let (data, end) = by_lines(bytes).expect("what passed is a chunked body");
            assert_eq!(*used, end);
            let decoded = by_hyper(&bytes[..end]).expect("hyper takes what passed");
            assert_eq!(decoded, data);
        }
        (whole, cut) => assert_eq!(whole, cut, "the verdict depends on the cut"),
    }
});
