//! One caller's connection from its first byte to its last.
//!
//! hyper does HTTP, the guard decides what hyper sees, the proxy answers. HTTP/1 unless the first bytes are
//! HTTP/2's preface ([`super::http2`]). A caller that keeps its connection and asks for nothing is left to the
//! guard alone after a while: hyper's buffers, 16 KiB, are for those who use them.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::either::Either;

use super::Counted;
use super::drain::Drain;
use super::guard::{Guard, Present, Rested, Transport, refusal_asked_for};
use super::http2::{self, Stream};
use crate::hush::Waking;
use crate::proxy::Current;
use crate::proxy::answer::AnswerBody;
use crate::upstream::BodyError;

/// How much of a request's body is read ahead, in bytes. hyper would take 400 KiB, which spoils the caches and
/// costs more than it saves; a larger `max_header_bytes` needs more.
const BUFFER: usize = 128 << 10;

/// Serves a caller until it leaves, misbehaves, or the drain ends the connection. The caller is counted until
/// then.
pub(super) async fn serve<S>(io: S, peer: IpAddr, current: Rc<Current>, drain: Drain, _counted: Counted)
where
    S: Transport + 'static,
{
    let present = Present::default();
    // Boxed, and lent to hyper: what is moved about should be small.
    let mut guard = Box::new(Guard::new(io, present.clone(), current.get().limits()));
    let mut begun = pin!(drain.begun());
    let mut waking = Waking::default();
    if guard.begin(begun.as_mut()).await == Rested::Over {
        return;
    }
    loop {
        let drained = {
            let service = service_fn(|request| {
                let present = present.clone();
                present.begin();
                // Each request by the configuration of its moment.
                let proxy = current.get();
                // Outside of the future, which need not hold the request.
                let life = match refusal_asked_for(&request) {
                    Some(refusal) => Either::Left(ready(proxy.refuse(&refusal, peer))),
                    None => Either::Right(proxy.serve(request, peer)),
                };
                let served =
                    |answer: Response<_>| answer.map(|body| Served { body, over: Over::Http1(present) });
                life.map(|answer| Ok::<_, Infallible>(served(answer)))
            });
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
        true => Box::pin(http2::serve(guard.into_http2(), peer, current, drain.clone())).await,
        false => guard.close().await,
    }
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
pub(super) struct Served {
    pub(super) body: AnswerBody,
    pub(super) over: Over,
}

/// Whom it tells.
pub(super) enum Over {
    /// The guard.
    Http1(Present),
    /// The count of open streams, by its mere drop, and the stream's task.
    Http2(Stream),
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Over::Http1(present) = &self.over {
            present.end();
        }
    }
}

impl Body for Served {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
