//! Gathers a request body so that it can be sent a second time, within two limits.
//!
//! A body up to `replay_per_request` is read in full before the upstream is contacted: it can be replayed,
//! gets a `Content-Length` if it had none, and a broken one never becomes half a request. A longer one is
//! passed on as it comes and can be sent once. The outcome is a type, so that nothing can replay what is
//! gone. Nothing here talks to the upstream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};

use super::refusal::Refusal;
use crate::config::Limits;
use crate::deadline::Deadline;
use crate::upstream::RequestBody;

/// Chunks below this are gathered into larger ones: a caller that sends single bytes must not make wxgate
/// hold a handle for each.
const SMALL_CHUNK: usize = 8 * 1024;

/// What became of a request body.
#[derive(Debug)]
pub enum Buffered {
    /// Here in full; can be sent again.
    Whole(Held),
    /// Too large for that: its beginning, and the rest as it comes. Can be sent once.
    Streamed {
        /// What was read before the limit was known to be passed.
        beginning: Held,
        /// What still comes; `None` once it has been taken for the one sending.
        rest: Option<Incoming>,
        /// Bytes of both.
        length: u64,
        /// The longest pause that the caller may make.
        pause: Duration,
    },
}

impl Buffered {
    /// No body at all.
    pub fn empty(budget: &Arc<Budget>) -> Self {
        Self::Whole(Held::new(budget))
    }

    /// Bytes of the whole body.
    pub fn length(&self) -> u64 {
        match self {
            Self::Whole(held) => held.length as u64,
            Self::Streamed { length, .. } => *length,
        }
    }

    /// The bytes that are here, in one piece: all of them, or none of a stream.
    pub fn concat(&self) -> Vec<u8> {
        match self {
            Self::Whole(held) => held.chunks.concat(),
            Self::Streamed { .. } => Vec::new(),
        }
    }

    /// The body for a sending; a stream's is gone after the first.
    pub fn body(&mut self) -> Option<RequestBody> {
        match self {
            Self::Whole(held) => Some(RequestBody::whole(held.chunks())),
            Self::Streamed { beginning, rest, length, pause } => {
                let rest = rest.take()?;
                Some(RequestBody::stream(beginning.chunks(), rest, *length, *pause))
            }
        }
    }
}

/// Bytes in memory, counted against `replay_total` until dropped.
#[derive(Debug)]
pub struct Held {
    chunks: Vec<Bytes>,
    length: usize,
    budget: Arc<Budget>,
}

impl Held {
    fn new(budget: &Arc<Budget>) -> Self {
        Self { chunks: Vec::new(), length: 0, budget: Arc::clone(budget) }
    }

    fn chunks(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.chunks.iter().cloned()
    }

    /// Takes a chunk in if the budget allows; the last one as it is, since no more can follow it.
    fn push(&mut self, chunk: &Bytes, last: bool, tail: &mut BytesMut) -> bool {
        if !self.budget.reserve(chunk.len()) {
            return false;
        }
        self.length += chunk.len();
        if chunk.len() >= SMALL_CHUNK || last {
            self.flush(tail);
            self.chunks.push(chunk.clone());
        } else {
            tail.extend_from_slice(chunk);
            if tail.len() >= SMALL_CHUNK {
                self.flush(tail);
            }
        }
        true
    }

    fn flush(&mut self, tail: &mut BytesMut) {
        if !tail.is_empty() {
            self.chunks.push(tail.split().freeze());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.length > 0 {
            self.budget.used.fetch_sub(self.length, Ordering::Relaxed);
        }
    }
}

/// The bytes that all held bodies may take at one moment.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    total: usize,
}

impl Budget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), total })
    }

    fn reserve(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.total;
        if !fits {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

/// Reads a request body as far as the limits allow it to be kept.
///
/// # Errors
/// [`Refusal::TooLarge`] over `max_body`, and over `replay_per_request` without a length;
/// [`Refusal::BadRequest`] when the body is broken, [`Refusal::CallerTimeout`] when it stalls,
/// [`Refusal::Busy`] when a body without a length does not fit into `replay_total`.
pub async fn buffer(mut body: Incoming, limits: &Limits, budget: &Arc<Budget>) -> Result<Buffered, Refusal> {
    let mut held = Held::new(budget);
    if body.is_end_stream() {
        return Ok(Buffered::Whole(held));
    }
    let pause = limits.idle_timeout;
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > limits.max_body) {
        return Err(over_max_body());
    }
    if let Some(length) = length
        && length > limits.replay_per_request as u64
    {
        return Ok(Buffered::Streamed { beginning: held, rest: Some(body), length, pause });
    }
    let mut tail = BytesMut::new();
    let mut stall = Deadline::default();
    while let Some(frame) = next(&mut body, &mut stall, pause).await {
        // Trailers end here, like the chunks.
        let Ok(chunk) = frame?.into_data() else { continue };
        let after = held.length + chunk.len();
        if length.is_none() && after > limits.replay_per_request {
            return Err(if after as u64 > limits.max_body { over_max_body() } else { without_length() });
        }
        let last = body.is_end_stream();
        if !held.push(&chunk, last, &mut tail) {
            let Some(length) = length else {
                return Err(Refusal::Busy("too many request bodies are held at this moment; try again"));
            };
            held.flush(&mut tail);
            // The chunk that did not fit is passed on with what was read, and not counted: it is one read.
            held.chunks.push(chunk);
            return Ok(Buffered::Streamed { beginning: held, rest: Some(body), length, pause });
        }
        if last {
            break;
        }
    }
    held.flush(&mut tail);
    Ok(Buffered::Whole(held))
}

/// The next part of a body. The listener cuts stalled HTTP/1 callers off; an HTTP/2 caller can leave
/// one stream alone while the connection lives.
async fn next(
    body: &mut Incoming,
    stall: &mut Deadline,
    pause: Duration,
) -> Option<Result<Frame<Bytes>, Refusal>> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            stall.clear();
            return Poll::Ready(frame.map(|frame| frame.map_err(|e| broken(&e))));
        }
        stall.poll(pause, cx).map(|()| Some(Err(Refusal::CallerTimeout(STALLED))))
    })
    .await
}

const STALLED: &str = "the request body stalled; send it without long pauses";

fn over_max_body() -> Refusal {
    Refusal::TooLarge("the request body is larger than limits.max_body allows".into())
}

fn without_length() -> Refusal {
    Refusal::TooLarge(
        "a request body this large needs a Content-Length: the WeChat API refuses chunked bodies, and this one is \
         over limits.replay_per_request"
            .into(),
    )
}

/// What a broken request body is answered with; also used where it breaks while it is passed on.
pub fn broken(error: &hyper::Error) -> Refusal {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::TimedOut
        {
            return Refusal::CallerTimeout(STALLED);
        }
        source = cause.source();
    }
    Refusal::BadRequest("the request body is broken: it ended early, or a chunk of it is malformed".into())
}
