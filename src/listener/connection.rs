//! One caller's connection from its first byte to its last.
//!
//! hyper does HTTP, the guard decides what hyper sees, the handler answers. HTTP/1 unless the first bytes are
//! HTTP/2's preface ([`super::http2`]). A caller that keeps its connection and asks for nothing is left to the
//! guard alone after a while: hyper's buffers, 16 KiB, are for those who use them.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::either::Either;

use super::drain::Drain;
use super::guard::{Guard, Present, Rested, Transport};
use super::http2::{self, Stream};
use super::{Counted, Handler, Rejection};
use crate::hush::Waking;

/// How much of a request's body is read ahead, in bytes. hyper would take 400 KiB, which spoils the caches and
/// costs more than it saves; a larger `max_header_bytes` needs more.
const BUFFER: usize = 128 << 10;

/// Serves a caller until it leaves, misbehaves, or the drain ends the connection. The caller is counted until
/// then.
pub(super) async fn serve<S, P, H>(io: S, peer: P, handler: Rc<H>, drain: Drain, _counted: Counted)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let present = Present::default();
    // Boxed, and lent to hyper: what is moved about should be small.
    let mut guard = Box::new(Guard::new(io, present.clone(), handler.limits()));
    let mut begun = pin!(drain.begun());
    let mut waking = Waking::default();
    if guard.begin(begun.as_mut()).await == Rested::Over {
        return;
    }
    loop {
        let drained = {
            let service = service_fn(|request| answer(request, peer, &*handler, &present));
            // Boxed, because a resting caller's task should be as small as what it holds.
            let mut connection = {
                let builder = http1(guard.max_head(), guard.keeps_spelling(), S::SEES_LEAVING);
                Box::new(builder.serve_connection(TokioIo::new(&mut *guard), service))
            };
            // Errors here are the caller's: it left, or what it sent broke off. The access log has its line.
            tokio::select! {
                biased;
                _ = poll_fn(|cx| waking.poll(Pin::new(&mut *connection), cx)) => false,
                () = begun.as_mut() => {
                    Pin::new(&mut *connection).graceful_shutdown();
                    let _ = poll_fn(|cx| waking.poll(Pin::new(&mut *connection), cx)).await;
                    true
                }
            }
        };
        if drained || !guard.is_resting() || guard.rest(begun.as_mut()).await == Rested::Over {
            break;
        }
    }
    match guard.is_http2() {
        true => Box::pin(http2::serve(guard.into_http2(), peer, handler, drain.clone())).await,
        false => guard.close().await,
    }
}

/// Answers a caller with a rejection, without reading what it wants, and ends its connection.
pub(super) async fn reject<S, P, H>(io: S, peer: P, handler: Rc<H>, rejection: Rejection)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let present = Present::default();
    let mut guard = Box::new(Guard::new(io, present.clone(), handler.limits()));
    guard.reject(rejection);
    let service = service_fn(|request| answer(request, peer, &*handler, &present));
    let builder = http1(guard.max_head(), false, S::SEES_LEAVING);
    let _ = builder.serve_connection(TokioIo::new(&mut *guard), service).await;
    guard.close().await;
}

/// Has the handler answer a request, or the rejection that it stands for.
fn answer<P, H: Handler<P>>(
    request: Request<Incoming>,
    peer: P,
    handler: &H,
    present: &Present,
) -> impl Future<Output = Result<Response<Served<H::Body>>, Infallible>> + use<P, H> {
    let present = present.clone();
    present.begin();
    // Outside of the future, which need not hold the request.
    let life = match present.rejection() {
        Some(rejection) => Either::Left(ready(handler.reject(rejection, peer))),
        None => Either::Right(handler.handle(request, peer)),
    };
    life.map(|answer| Ok(answer.map(|body| Served { body, over: Over::Http1(present) })))
}

/// How hyper is to serve a caller: whose heads may have so many bytes, whose names it is to remember as they are
/// spelt, whose leaving the guard sees.
fn http1(max_head: usize, keeps_spelling: bool, guard_sees_leaving: bool) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(keeps_spelling)
        // For the fields that wxgate writes itself; the upstream's keep their spelling.
        .title_case_headers(true)
        // The upstream's Date passes; wxgate adds no field.
        .auto_date_header(false)
        // So that it reads nothing while a request is served.
        .half_close(guard_sees_leaving)
        .max_buf_size(BUFFER.max(max_head + (8 << 10)));
    builder
}

/// An answer's body that tells when it is over.
pub(super) struct Served<B> {
    pub(super) body: B,
    pub(super) over: Over,
}

/// Whom it tells.
pub(super) enum Over {
    /// The guard.
    Http1(Present),
    /// The count of open streams, by its mere drop, and the stream's task.
    Http2(Stream),
}

impl<B> Drop for Served<B> {
    fn drop(&mut self) {
        if let Over::Http1(present) = &self.over {
            present.end();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Served<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Over::Http2(stream) = &self.over {
            stream.asked(matches!(frame, Poll::Ready(Some(Ok(_)))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
