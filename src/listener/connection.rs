//! One caller's connection from its first byte to its last.
//!
//! hyper does HTTP, the guard decides what hyper sees, the proxy answers. HTTP/1 unless the first bytes are
//! HTTP/2's preface.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::drain::Drain;
use super::guard::{Busy, Guard, refusal_asked_for};
use crate::proxy::Proxy;
use crate::proxy::answer::AnswerBody;
use crate::upstream::BodyError;

/// HTTP/2 guards: what one caller may have open, and what its headers may be.
const STREAMS: u32 = 128;

/// Serves a caller until it leaves, misbehaves, or the drain ends the connection.
pub(super) async fn serve<S>(io: S, peer: IpAddr, proxy: Rc<Proxy>, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let busy = Busy::default();
    let guard = Guard::new(io, busy.clone(), proxy.limits());
    let service = service_fn(|request| answer(&proxy, request, peer, busy.clone()));
    let mut connection = http1::Builder::new()
        .preserve_header_case(true)
        // For the fields that wxgate writes itself; the upstream's keep their spelling.
        .title_case_headers(true)
        // The upstream's Date passes; wxgate adds no field.
        .auto_date_header(false)
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
        serve_http2(guard, peer, proxy, drain).await;
    } else {
        guard.close().await;
    }
}

async fn serve_http2<S>(guard: Guard<S>, peer: IpAddr, proxy: Rc<Proxy>, mut drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let idle = proxy.limits().idle_timeout;
    let max_header = u32::try_from(proxy.limits().max_header_bytes).unwrap_or(u32::MAX);
    let service = service_fn(|request| {
        let proxy = Rc::clone(&proxy);
        // The guard keeps no time limits here.
        async move { answer(&proxy, request, peer, Busy::default()).await }
    });
    let mut connection = pin!(
        http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(max_header)
            .keep_alive_interval(idle)
            .keep_alive_timeout(idle)
            .serve_connection(TokioIo::new(guard), service)
    );
    tokio::select! {
        biased;
        _ = connection.as_mut() => {}
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Runs what belongs to a connection on the connection's own thread.
#[derive(Clone, Copy)]
struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn answer(
    proxy: &Proxy,
    request: Request<Incoming>,
    peer: IpAddr,
    busy: Busy,
) -> Result<Response<Served>, Infallible> {
    busy.set(true);
    let answer = match refusal_asked_for(&request) {
        Some(refusal) => proxy.refuse(&refusal, peer),
        None => proxy.serve(request, peer).await,
    };
    Ok(answer.map(|body| Served { body, busy }))
}

/// An answer's body that tells the guard when it is over.
struct Served {
    body: AnswerBody,
    busy: Busy,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.busy.set(false);
    }
}

impl Body for Served {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
