//! Buffers a request body so that it can be sent a second time, within limits.
//!
//! A body up to `replay_per_request` is read in full before the upstream is contacted: it can be sent again,
//! gets a `Content-Length` if it had none, and a broken one never becomes half a request. A longer one is
//! passed on as it comes and can be sent once. The outcome is a type, so that nothing can send again what is
//! gone. What all bodies, and those of one caller, may hold is in [`super::budget`]. Nothing here talks to the upstream.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};

use super::budget::{Exhausted, Room, Share};
use super::refusal::Refusal;
use super::settings::Limits;
use crate::deadline::Deadline;
use crate::listener::CallerBody;
use crate::upstream::RequestBody;

/// Chunks below this are joined into larger ones: a caller that sends single bytes must not make wxgate
/// hold a handle for each.
const SMALL_CHUNK: usize = 8 * 1024;

/// The longest body of a call that wxgate answers itself, or puts the AppSecret into, in bytes: an SDK's has some hundred.
const LONGEST_TOKEN_CALL: usize = 64 << 10;
const LONGEST_SECRET_CALL: usize = 64 << 10;

/// The longest body of a call that is encrypted, in bytes.
const LONGEST_SEALED_CALL: usize = 1 << 20;

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
        rest: Option<CallerBody>,
        /// Bytes of both.
        length: u64,
        /// The longest pause that the caller may make.
        pause: Duration,
    },
}

impl Buffered {
    /// No body at all.
    pub fn empty(share: Share) -> Self {
        Self::Whole(Held::new(share))
    }

    /// A body that is here already.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when it does not fit into `replay_total`.
    pub fn whole(body: &Bytes, share: Share) -> Result<Self, Refusal> {
        let mut held = Held::new(share);
        if !body.is_empty() {
            held.push(body, true, &mut BytesMut::new())?;
        }
        Ok(Self::Whole(held))
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

    /// The bytes of a call that is looked into, in one piece.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when it did not fit into `replay_total`.
    pub fn in_full(&self) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Whole(_) => Ok(self.concat()),
            Self::Streamed { .. } => Err(Refusal::Busy(
                "too many request bodies are held at this moment to look into this one; try again",
            )),
        }
    }

    /// Another body in the place of one that is here.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when it does not fit into `replay_total`.
    pub fn replaced(mut self, body: Vec<u8>) -> Result<Self, Refusal> {
        if let Self::Whole(held) = &mut self {
            held.share.reserve(body.len())?;
            held.share.give_back(held.length);
            (held.length, held.chunks) = (body.len(), vec![body.into()]);
        }
        Ok(self)
    }

    /// Another body, held beside this one for the same caller.
    ///
    /// # Errors
    /// [`Refusal::Busy`] when it does not fit into `replay_total`.
    pub fn beside(&self, body: Vec<u8>) -> Result<Self, Refusal> {
        Self::whole(&body.into(), self.share().clone())
    }

    /// Room beside it for what else is held for the same call.
    pub fn room(&self) -> Room {
        Room::new(self.share().clone())
    }

    fn share(&self) -> &Share {
        match self {
            Self::Whole(held) | Self::Streamed { beginning: held, .. } => &held.share,
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

/// Bytes in memory, counted against `replay_total` and the caller's share until dropped.
#[derive(Debug)]
pub struct Held {
    chunks: Vec<Bytes>,
    length: usize,
    share: Share,
}

impl Held {
    fn new(share: Share) -> Self {
        Self { chunks: Vec::new(), length: 0, share }
    }

    fn chunks(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.chunks.iter().cloned()
    }

    /// Takes a chunk in if the budget allows; the last one as it is, since no more can follow it.
    fn push(&mut self, chunk: &Bytes, last: bool, tail: &mut BytesMut) -> Result<(), Exhausted> {
        self.share.reserve(chunk.len())?;
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
        Ok(())
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
            self.share.give_back(self.length);
        }
    }
}

/// How far a body is read.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The longest body, in bytes.
    pub max: u64,
    /// The text of the refusal of a longer one.
    pub too_large: &'static str,
    /// The longest body that is buffered, in bytes.
    pub buffered: usize,
    /// The longest pause of the caller.
    pub pause: Duration,
}

impl BodyLimits {
    /// Those of a call that is forwarded.
    pub fn of_call(limits: &Limits) -> Self {
        Self {
            max: limits.max_body,
            too_large: "the request body is larger than limits.max_body allows; send less, or raise it",
            buffered: limits.replay_per_request,
            pause: limits.idle_timeout,
        }
    }

    /// Those of a call that wxgate answers itself.
    pub fn of_token_call(limits: &Limits) -> Self {
        Self {
            max: LONGEST_TOKEN_CALL as u64,
            too_large: "the body of a call for a token is larger than 64 KiB; send appid and secret alone",
            buffered: LONGEST_TOKEN_CALL,
            pause: limits.idle_timeout,
        }
    }

    /// Those of a call that is encrypted.
    pub fn of_sealed_call(limits: &Limits) -> Self {
        if limits.max_body < LONGEST_SEALED_CALL as u64 {
            return Self { buffered: LONGEST_SEALED_CALL, ..Self::of_call(limits) };
        }
        Self {
            max: LONGEST_SEALED_CALL as u64,
            too_large: "the body of a call that `signing.paths` names is larger than 1 MiB, more than wxgate encrypts; send less, \
                        or sign it yourself",
            buffered: LONGEST_SEALED_CALL,
            pause: limits.idle_timeout,
        }
    }

    /// Those of a call that the AppSecret is put into.
    pub fn of_secret_call(limits: &Limits) -> Self {
        Self {
            max: LONGEST_SECRET_CALL as u64,
            too_large: "the body of a call that `secret_paths` names is larger than 64 KiB; send what the call needs alone",
            buffered: LONGEST_SECRET_CALL,
            pause: limits.idle_timeout,
        }
    }
}

/// Reads a request body as far as the limits allow it to be kept.
///
/// # Errors
/// [`Refusal::TooLarge`] for a longer one than the limits allow, and for one without a length that cannot be
/// buffered; [`Refusal::BadRequest`] when the body is broken, [`Refusal::CallerTimeout`] when it stalls,
/// [`Refusal::Busy`] when a body without a length does not fit into what may be held.
pub async fn buffer(mut body: CallerBody, limits: BodyLimits, share: Share) -> Result<Buffered, Refusal> {
    let mut held = Held::new(share);
    if body.is_end_stream() {
        return Ok(Buffered::Whole(held));
    }
    let pause = limits.pause;
    let too_large = || Refusal::TooLarge(limits.too_large.into());
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > limits.max) {
        return Err(too_large());
    }
    if let Some(length) = length
        && length > limits.buffered as u64
    {
        return Ok(Buffered::Streamed { beginning: held, rest: Some(body), length, pause });
    }
    let mut tail = BytesMut::new();
    let mut stall = Deadline::default();
    while let Some(frame) = next(&mut body, &mut stall, pause).await {
        // Trailers end here, like the chunks.
        let Ok(chunk) = frame?.into_data() else { continue };
        let after = held.length + chunk.len();
        if length.is_none() && after > limits.buffered {
            return Err(if after as u64 > limits.max { too_large() } else { without_length() });
        }
        let last = body.is_end_stream();
        if let Err(exhausted) = held.push(&chunk, last, &mut tail) {
            let Some(length) = length else { return Err(exhausted.into()) };
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
    body: &mut CallerBody,
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

fn without_length() -> Refusal {
    Refusal::TooLarge(
        "a request body this large needs a Content-Length: the WeChat API refuses chunked bodies, and this one is \
         over limits.replay_per_request, or over half of limits.replay_total"
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
