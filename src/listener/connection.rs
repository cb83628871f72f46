//! One caller's connection from its first byte to its last.
//!
//! hyper does HTTP, the guard decides what hyper sees, the proxy answers. HTTP/1 unless the first bytes are
//! HTTP/2's preface.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::drain::Drain;
use super::guard::{Busy, Guard, refusal_asked_for};
use super::head;
use crate::deadline::Deadline;
use crate::proxy::Current;
use crate::proxy::answer::AnswerBody;
use crate::proxy::refusal::Refusal;
use crate::upstream::BodyError;

/// HTTP/2 guards: what one caller may have open, and what its headers may be.
const STREAMS: u32 = 128;

/// hyper's own limit for the buffer of a connection; a larger `max_header_bytes` needs a larger one.
const BUFFER: usize = 408 << 10;

/// How long an HTTP/2 caller without open requests may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a caller until it leaves, misbehaves, or the drain ends the connection.
pub(super) async fn serve<S>(io: S, peer: IpAddr, current: Rc<Current>, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let busy = Busy::default();
    let proxy = current.get();
    let guard = Guard::new(io, busy.clone(), proxy.limits());
    let service = service_fn(|request| {
        let busy = busy.clone();
        busy.set(true);
        // Each request by the configuration of its moment.
        let proxy = current.get();
        async move {
            let answer = match refusal_asked_for(&request) {
                Some(refusal) => proxy.refuse(&refusal, peer),
                None => proxy.serve(request, peer).await,
            };
            Ok::<_, Infallible>(answer.map(|body| Served { body, over: Over::Http1(busy) }))
        }
    });
    let mut connection = http1::Builder::new()
        .preserve_header_case(true)
        // For the fields that wxgate writes itself; the upstream's keep their spelling.
        .title_case_headers(true)
        // The upstream's Date passes; wxgate adds no field.
        .auto_date_header(false)
        .max_buf_size(BUFFER.max(proxy.limits().max_header_bytes + (8 << 10)))
        .serve_connection(TokioIo::new(guard), service);
    // Errors here are the caller's: it left, or what it sent broke off. The access log has its line.
    tokio::select! {
        biased;
        _ = Pin::new(&mut connection) => {}
        () = drain.begun() => {
            Pin::new(&mut connection).graceful_shutdown();
            let _ = Pin::new(&mut connection).await;
        }
    }
    let guard = connection.into_parts().io.into_inner();
    if guard.is_http2() {
        Box::pin(serve_http2(guard.into_http2(), peer, current, drain)).await;
    } else {
        guard.close().await;
    }
}

async fn serve_http2<S>(guard: Guard<S>, peer: IpAddr, current: Rc<Current>, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let proxy = current.get();
    let idle = proxy.limits().idle_timeout;
    let max_header = proxy.limits().max_header_bytes;
    // Far above the limit hyper answers for itself, without a body.
    let far_above = u32::try_from(max_header.saturating_mul(4)).unwrap_or(u32::MAX);
    let streams = Streams::new();
    let service = service_fn(|request: Request<Incoming>| {
        let proxy = current.get();
        let stream = streams.begin();
        async move {
            let answer = match objection(&request, max_header) {
                Some(refusal) => proxy.refuse(&refusal, peer),
                None => proxy.serve(request, peer).await,
            };
            Ok::<_, Infallible>(answer.map(|body| Served { body, over: Over::Http2(stream) }))
        }
    });
    let mut connection = pin!(
        http2::Builder::new(Local { streams: streams.clone(), limit: idle })
            .auto_date_header(false)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(far_above)
            .keep_alive_interval(idle)
            .keep_alive_timeout(idle)
            .serve_connection(TokioIo::new(guard), service)
    );
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = drain.begun() => {}
        // The guard keeps no time limits here.
        () = streams.quiet_for(idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        // A caller that does not answer must not hold up the end of the program.
        () = streams.silent_for(GOODBYE) => {}
    }
}

/// What the guard would have said about the head of an HTTP/2 request. Most of it h2 has refused already.
fn objection(request: &Request<Incoming>, max_header: usize) -> Option<Refusal> {
    if head_size(request) > max_header {
        return Some(Refusal::HeadTooLarge(head::TOO_LARGE.into()));
    }
    if request.headers().get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some(Refusal::BadRequest("there is more than one Content-Length".into()));
    }
    let disguised = request.headers().keys().any(|name| head::in_disguise(name.as_str()));
    disguised.then(|| Refusal::BadRequest(head::DISGUISED.into()))
}

/// Bytes of an HTTP/2 request head, as HTTP/1 would have counted them.
fn head_size(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    fields.sum::<usize>() + target
}

/// The requests that are open on one HTTP/2 connection.
#[derive(Clone)]
struct Streams(Rc<Open>);

struct Open {
    streams: Cell<usize>,
    /// When the last one ended.
    quiet_since: Cell<Instant>,
    /// The pace of the one whose task is about to be started.
    begun: Cell<Option<Rc<Pace>>>,
}

/// How the body of one answer gets on.
#[derive(Default)]
struct Pace {
    /// hyper holds a piece that it cannot send before the caller makes room.
    held: Cell<bool>,
    /// hyper has asked for a piece since the last look.
    asked: Cell<bool>,
}

/// One of them, until dropped.
struct Stream {
    open: Rc<Open>,
    pace: Rc<Pace>,
}

impl Streams {
    fn new() -> Self {
        Self(Rc::new(Open {
            streams: Cell::new(0),
            quiet_since: Cell::new(Instant::now()),
            begun: Cell::default(),
        }))
    }

    fn begin(&self) -> Stream {
        self.0.streams.set(self.0.streams.get() + 1);
        let pace = Rc::<Pace>::default();
        self.0.begun.set(Some(Rc::clone(&pace)));
        Stream { open: Rc::clone(&self.0), pace }
    }

    /// Waits until there has been no request for so long, counted from now.
    async fn silent_for(&self, limit: Duration) {
        self.0.quiet_since.set(Instant::now());
        self.quiet_for(limit).await;
    }

    /// Waits until there has been no request for so long.
    async fn quiet_for(&self, limit: Duration) {
        loop {
            let open = self.0.streams.get() > 0;
            let end = if open { Instant::now() } else { self.0.quiet_since.get() } + limit;
            if !open && Instant::now() >= end {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.streams.set(self.open.streams.get() - 1);
        self.open.quiet_since.set(Instant::now());
    }
}

/// Runs what belongs to a connection on the connection's own thread, and ends a stream whose caller makes no
/// room for its answer: the flow control of HTTP/2 never reaches the socket, where the guard would see it.
#[derive(Clone)]
struct Local {
    streams: Streams,
    limit: Duration,
}

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        // hyper starts the task of a stream right after it has called the service.
        let pace = self.streams.0.begun.take().unwrap_or_default();
        let limit = self.limit;
        tokio::task::spawn_local(async move {
            let mut future = pin!(future);
            let mut stalled = Deadline::default();
            std::future::poll_fn(|cx| {
                if future.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if pace.asked.take() {
                    stalled.clear();
                }
                match pace.held.get() {
                    true => stalled.poll(limit, cx),
                    false => Poll::Pending,
                }
            })
            .await;
        });
    }
}

/// An answer's body that tells when it is over.
struct Served {
    body: AnswerBody,
    over: Over,
}

/// Whom it tells.
enum Over {
    /// The guard.
    Http1(Busy),
    /// The count of open streams, by its mere drop, and the stream's task.
    Http2(Stream),
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Over::Http1(busy) = &self.over {
            busy.set(false);
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
            stream.pace.asked.set(true);
            stream.pace.held.set(matches!(frame, Poll::Ready(Some(Ok(_)))));
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
