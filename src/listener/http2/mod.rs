//! One caller's connection over HTTP/2, on TLS or by prior knowledge.
//!
//! h2 does the framing. What it leaves open is done here: time limits and the head's limits for each stream, a bound
//! for what all of them hold together, and frames in a flood.

mod fragment;
mod frames;
mod streams;
mod wire;

use std::convert::Infallible;
use std::future::ready;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::either::Either;

use super::body::CallerBody;
use super::drain::Drain;
use super::transport::Transport;
use super::{Handler, Limits};
use crate::http1::head::{self, HeadError};
use frames::FRAGMENT_FIELD;
use streams::{Answer, StreamExecutor, Streams};
use wire::Wire;

/// What one caller may have open: as few as RFC 9113 recommends (section 6.5.2), because of [`SEND_BUFFER`].
const STREAMS: u32 = 100;

/// How much of an answer h2 takes, in bytes, before it has sent any of it. It takes a last piece in any case, and the
/// upstream's pieces have up to 64 KiB, behind which the next one waits: a caller that reads none of its answers holds 15
/// MiB with all of its streams (docs/hyper.md), and with 16 KiB here it would hold 17.
const SEND_BUFFER: usize = 1 << 10;

/// How much of one request's body, and of all of a connection, may be on its way to an upstream that reads none of it, in
/// bytes. Were they the same, one such upload would hold up every other body of its connection.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

/// Seen by [`frames`], as h2 shows it to nobody.
const FRAGMENT: HeadError = HeadError::Malformed(
    "the :path has a `#`: a fragment is for browsers alone; leave it out, or send %23 in the query",
);

/// How long a caller without open requests may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a caller that speaks HTTP/2; `read` is what was read of its connection before that was known.
pub(super) async fn serve<S, P, H>(io: S, read: Bytes, peer: P, handler: Rc<H>, drain: Drain)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let Limits { idle_timeout: idle, max_header_bytes: max_header, header_timeout, .. } = handler.limits();
    // Far above the limit h2 answers for itself, without a body (docs/hyper.md says why no later).
    let far_above = u32::try_from(max_header.saturating_mul(4)).unwrap_or(u32::MAX);
    let streams = Streams::new();
    let service = service_fn(|request: Request<Incoming>| {
        let stream = streams.begin();
        let asks_for_head = request.method() == Method::HEAD;
        let life = match check_head(&request, max_header) {
            Err(error) => Either::Left(ready(handler.reject(error.into(), peer))),
            // Boxed: h2 and the runtime move the task of a stream four times before they poll it.
            Ok(()) => Either::Right(Box::pin(handler.handle(request.map(CallerBody::of_http2), peer))),
        };
        life.map(move |mut answer| {
            let head_alone = end_with_head(&mut answer, asks_for_head);
            Ok::<_, Infallible>(answer.map(|body| Answer::new(body, stream, head_alone)))
        })
    });
    let mut connection = pin!(
        http2::Builder::new(StreamExecutor::new(&streams, idle))
            .auto_date_header(false)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(far_above)
            .keep_alive_interval(idle)
            .keep_alive_timeout(idle)
            .serve_connection(TokioIo::new(Wire::new(io, read, idle, header_timeout)), service)
    );
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = drain.begun() => {}
        () = streams.idle_for(idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        // A caller that does not answer must not hold up the end of the program.
        () = streams.idle_from_now_for(GOODBYE) => {}
    }
}

/// Checks what strict framing would have checked in the head of an HTTP/1 request. Most of it h2 has refused
/// already.
fn check_head(request: &Request<Incoming>, max_header: usize) -> Result<(), HeadError> {
    if head_size(request) > max_header {
        return Err(head::TOO_LARGE);
    }
    if request.headers().get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(head::SEVERAL_LENGTHS);
    }
    for name in request.headers().keys() {
        if name.as_str() == FRAGMENT_FIELD {
            return Err(FRAGMENT);
        }
        if head::look_alike(name.as_str()) {
            return Err(head::LOOK_ALIKE);
        }
    }
    Ok(())
}

/// Whether an answer ends with its head; its length is put right for that, as hyper does over HTTP/1 alone
/// (docs/hyper.md).
fn end_with_head<B: Body>(answer: &mut Response<B>, asks_for_head: bool) -> bool {
    let has_no_content = answer.status() == StatusCode::NO_CONTENT;
    if has_no_content {
        answer.headers_mut().remove(header::CONTENT_LENGTH);
    } else if asks_for_head
        && !answer.body().is_end_stream()
        && let Some(length) = answer.body().size_hint().exact()
    {
        answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    has_no_content || asks_for_head
}

/// Bytes of an HTTP/2 request head, as HTTP/1 would have counted them.
fn head_size(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    fields.sum::<usize>() + target
}

#[cfg(test)]
mod tests;
