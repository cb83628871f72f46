//! One caller's connection from its first byte to its last.
//!
//! hyper does HTTP, [`StrictFraming`] decides what hyper sees, the handler answers. HTTP/1 unless the first bytes are
//! HTTP/2's preface ([`super::http2`]). A caller that keeps its connection and asks for nothing is parked after a
//! while ([`super::idle`]). docs/hyper.md has what this relies on in hyper.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use super::answer::Answer;
use super::body::CallerBody;
use super::close::close;
use super::connections::Counted;
use super::drain::Drain;
use super::framing::{Lent, StrictFraming};
use super::http2;
use super::idle::{Idle, Woken};
use super::limits::{Limit, TimeLimits};
use super::state::{Phase, RequestState};
use super::transport::Transport;
use super::wake::ConnectionWaker;
use super::{Handler, Rejection};

/// How much of a request's body is read ahead, in bytes. hyper would take 400 KiB, which spoils the caches and
/// costs more than it saves; a larger `max_header_bytes` needs more.
const BUFFER: usize = 128 << 10;

/// Why hyper is let go.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The caller has left, misbehaved or been too slow, or the drain has begun.
    Over,
    /// The caller asks for nothing for now.
    Parked,
    /// HTTP/2 begins.
    Http2,
}

/// Serves a caller until it leaves, misbehaves, or the drain ends the connection. The caller is counted until
/// then.
pub(super) async fn serve<S, P, H>(io: S, peer: P, handler: Rc<H>, drain: Drain, counted: Counted)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let state = RequestState::default();
    let limits = handler.limits();
    // Boxed: what is moved about should be small.
    let mut framing = Box::new(RefCell::new(StrictFraming::new(io, state.clone(), limits)));
    let mut limits = TimeLimits::new(limits);
    let mut begun = pin!(drain.begun());
    if Idle::new(framing.get_mut(), &mut limits).first(begun.as_mut()).await == Woken::Over {
        return;
    }
    let end = loop {
        let end = serve_http1(&framing, &mut limits, &state, peer, &*handler, begun.as_mut()).await;
        if end != End::Parked {
            break end;
        }
        let over = pin!(async {
            tokio::select! {
                () = begun.as_mut() => {}
                () = counted.is_let_go() => {}
            }
        });
        if Idle::new(framing.get_mut(), &mut limits).next(&state, over).await == Woken::Over {
            break end;
        }
    };
    let framing = framing.into_inner();
    let clean = framing.is_clean();
    let (mut io, read) = framing.into_parts();
    if state.is_truncated() {
        return io.expect_reset();
    }
    match end {
        End::Http2 => Box::pin(http2::serve(io, read, peer, handler, drain.clone())).await,
        End::Over | End::Parked => close(io, clean).await,
    }
}

/// Lets hyper serve requests until it has nothing to do.
async fn serve_http1<S, P, H>(
    framing: &RefCell<StrictFraming<S>>,
    limits: &mut TimeLimits,
    state: &RequestState,
    peer: P,
    handler: &H,
    mut drained: Pin<&mut impl Future<Output = ()>>,
) -> End
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let max_head = framing.borrow().max_head();
    let service = service_fn(|request| answer(request, peer, handler, state));
    // Boxed, because a parked caller's task should be as small as what it holds.
    let mut connection = Box::new(http1(max_head).serve_connection(TokioIo::new(Lent(framing)), service));
    let (mut drain_has_begun, mut draining) = (false, false);
    let mut waker = ConnectionWaker::default();
    poll_fn(|cx| {
        let cx = &mut Context::from_waker(waker.of(cx.waker()));
        loop {
            let mut connection = Pin::new(&mut *connection);
            // Errors here are the caller's: it left, or what it sent broke off. The access log has its line.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Over);
            }
            if state.phase() == Phase::Http2 {
                return Poll::Ready(End::Http2);
            }
            drain_has_begun = drain_has_begun || drained.as_mut().poll(cx).is_ready();
            // hyper would drop a head that is on its way, whose sender has a right to an answer.
            if drain_has_begun && !draining && state.phase() != Phase::Head {
                draining = true;
                connection.graceful_shutdown();
                continue;
            }
            if state.is_in_service() && framing.borrow_mut().has_left(cx) {
                return Poll::Ready(End::Over);
            }
            match limits.poll(state, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Limit::Seen(limit)) => state.expire(limit),
                Poll::Ready(Limit::Park) => return Poll::Ready(End::Parked),
                Poll::Ready(Limit::End) => return Poll::Ready(End::Over),
            }
        }
    })
    .await
}

/// Answers a caller with a rejection, without reading what it wants, and ends its connection.
pub(super) async fn reject<S, P, H>(io: S, peer: P, handler: Rc<H>, rejection: Rejection)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let state = RequestState::default();
    let mut framing = Box::new(StrictFraming::new(io, state.clone(), handler.limits()));
    framing.reject(rejection);
    let max_head = framing.max_head();
    let service = service_fn(|request| answer(request, peer, &*handler, &state));
    let _ = http1(max_head).serve_connection(TokioIo::new(&mut *framing), service).await;
    close(framing.into_parts().0, false).await;
}

/// How hyper is to serve a caller whose heads may have so many bytes.
fn http1(max_head: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // As most names are spelled; `header_case.rs` has the others.
        .title_case_headers(true)
        // The upstream's Date passes; wxgate adds no field.
        .auto_date_header(false)
        // Otherwise hyper reads ahead while a request is served, into a new buffer each time, to see whether the caller
        // has left; `serve_http1` looks for that itself.
        .half_close(true)
        .max_buf_size(BUFFER.max(max_head + (8 << 10)));
    builder
}

/// Has the handler answer a request, or the rejection that it stands for.
fn answer<'h, P, H: Handler<P>>(
    mut request: Request<Incoming>,
    peer: P,
    handler: &'h H,
    state: &RequestState,
) -> Answering<'h, impl Future<Output = Response<H::Body>> + use<P, H>, P, H> {
    let state = state.clone();
    state.begin();
    if let Some(case) = state.take_case() {
        request.extensions_mut().insert(case);
    }
    // An answer to HEAD ends with its head.
    let old = request.version() == Version::HTTP_10 && request.method() != Method::HEAD;
    match state.take_rejection() {
        Some(rejection) => Answering { life: None, rejected: Some((rejection, peer)), handler, state, old },
        None => {
            let life = Some(handler.handle(request.map(CallerBody::of_http1), peer));
            Answering { life, rejected: None, handler, state, old }
        }
    }
}

pin_project! {
    /// The head of the answer to one request, which hyper waits for. A future of its own, since adapters around the
    /// handler's would each move that once more, and it is as large as all that a call can wait for.
    struct Answering<'h, F, P, H> {
        #[pin]
        life: Option<F>,
        // In the place of `life`.
        rejected: Option<(Rejection, P)>,
        handler: &'h H,
        state: RequestState,
        // The caller speaks HTTP/1.0, and the answer has a body.
        old: bool,
    }
}

impl<F, P, H> Future for Answering<'_, F, P, H>
where
    F: Future<Output = Response<H::Body>>,
    H: Handler<P>,
{
    type Output = Result<Response<Answer<H::Body>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = match (this.life.as_pin_mut(), this.rejected.take()) {
            (Some(life), _) => ready!(life.poll(cx)),
            (None, Some((rejection, peer))) => this.handler.reject(rejection, peer),
            (None, None) => unreachable!("hyper polls no future that is over"),
        };
        let state = this.state.clone();
        if let Some(case) = response.extensions_mut().remove() {
            state.spell_answer(case);
        }
        // hyper ends the connection behind an answer to a body that was not read, and says nothing of it.
        if state.owes_body() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let length = response.status() == StatusCode::NOT_MODIFIED
            && response.headers().get(CONTENT_LENGTH).is_some_and(|length| length != "0");
        if *this.old && !response.headers().contains_key(CONTENT_LENGTH) {
            state.note_end_by_close();
            // hyper would promise to keep a connection that it is about to end.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| Answer::new(body, state, length))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::connections::Connections;
    use crate::listener::limits::tests::LIMITS;
    use crate::listener::{Limits, drain};
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use std::cell::Cell;
    use tokio::io::AsyncWriteExt;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    /// Reads each body to its end and answers nothing.
    #[derive(Default)]
    struct Reader {
        read: Rc<Cell<usize>>,
        /// How often its futures were polled after that.
        polls: Rc<Cell<usize>>,
    }

    impl Handler<()> for Reader {
        type Body = Full<Bytes>;

        fn limits(&self) -> Limits {
            LIMITS
        }

        fn handle(
            &self,
            request: Request<CallerBody>,
            (): (),
        ) -> impl Future<Output = Response<Full<Bytes>>> + use<> + 'static {
            let (read, polls) = (Rc::clone(&self.read), Rc::clone(&self.polls));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                read.set(read.get() + body.len());
                poll_fn(|_| {
                    polls.set(polls.get() + 1);
                    Poll::Pending
                })
                .await
            }
        }

        fn reject(&self, _: Rejection, (): ()) -> Response<Full<Bytes>> {
            unreachable!("nothing is wrong with these requests")
        }
    }

    #[tokio::test]
    async fn a_request_whose_body_is_here_is_polled_once() {
        for pieces in [&["12345"][..], &["1", "2345"]] {
            let (mut caller, io) = tokio::io::duplex(1 << 16);
            let handler = Rc::new(Reader::default());
            let (read, polls) = (Rc::clone(&handler.read), Rc::clone(&handler.polls));
            let (_sender, drain) = drain::drain();
            let counted = Connections::default().take(1).unwrap();
            LocalSet::new()
                .run_until(async {
                    spawn_local(serve(io, (), handler, drain, counted));
                    for (nth, piece) in pieces.iter().enumerate() {
                        let head = if nth == 0 {
                            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"
                        } else {
                            ""
                        };
                        caller.write_all(format!("{head}{piece}").as_bytes()).await.unwrap();
                        for _ in 0..100 {
                            yield_now().await;
                        }
                    }
                })
                .await;
            assert_eq!((read.get(), polls.get()), (5, 1), "{pieces:?}");
        }
    }
}
