//! One caller's connection over HTTP/2, on TLS or by prior knowledge.
//!
//! The guard sees the socket here but no streams: what it does for HTTP/1, the limits of time and of the head,
//! is done here for each stream.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use http::{Request, header};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::either::Either;

use super::connection::{Over, Served};
use super::drain::Drain;
use super::guard::{Guard, Transport};
use super::{Handler, Limits};
use crate::deadline::Deadline;
use crate::http1::head::{self, HeadError};

/// What one caller may have open.
const STREAMS: u32 = 128;

/// How long a caller without open requests may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves a caller from HTTP/2's preface on.
pub(super) async fn serve<S, P, H>(guard: Box<Guard<S>>, peer: P, handler: Rc<H>, drain: Drain)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let Limits { idle_timeout: idle, max_header_bytes: max_header, .. } = handler.limits();
    // Far above the limit hyper answers for itself, without a body.
    let far_above = u32::try_from(max_header.saturating_mul(4)).unwrap_or(u32::MAX);
    let streams = Streams::new();
    let service = service_fn(|request: Request<Incoming>| {
        let stream = streams.begin();
        let life = match objection(&request, max_header) {
            Some(error) => Either::Left(ready(handler.reject(error.into(), peer))),
            None => Either::Right(handler.handle(request, peer)),
        };
        life.map(|answer| Ok::<_, Infallible>(answer.map(|body| Served { body, over: Over::Http2(stream) })))
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
fn objection(request: &Request<Incoming>, max_header: usize) -> Option<HeadError> {
    if head_size(request) > max_header {
        return Some(head::TOO_LARGE);
    }
    if request.headers().get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Some(HeadError::Malformed("there is more than one Content-Length"));
    }
    request.headers().keys().any(|name| head::look_alike(name.as_str())).then_some(head::LOOK_ALIKE)
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
pub(super) struct Stream {
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

impl Stream {
    /// hyper has asked for a piece of the body, and may have got one.
    pub(super) fn asked(&self, got: bool) {
        self.pace.asked.set(true);
        self.pace.held.set(got);
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
