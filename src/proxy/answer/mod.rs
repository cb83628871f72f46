//! What the caller gets: the upstream's answer, or one of wxgate's own ([`own`]).

pub mod headers;
pub mod own;

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};

use super::tally::Tally;
use crate::credential::Credential;
use crate::mask::masked;
use crate::secret::Secret;
use crate::upstream::{BodyError, ResponseBody};

/// Says why the caller sees a token error although wxgate retries.
pub const RETRY: HeaderName = HeaderName::from_static("x-wxgate-retry");

/// What callers get to see where the token would be, and what they get when they ask for one.
pub const PLACEHOLDER: &str =
    "wxgate-placeholder-this-opens-nothing-the-proxy-puts-the-real-access-token-into-every-call";

/// What stands in the place of an AppSecret.
pub const MASK: &str = "***";

/// What a call was made with, and no answer to it may show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hidden<'a> {
    /// The account's token.
    pub token: Option<&'a Credential>,
    /// Its AppSecret, where the call had it.
    pub secret: Option<&'a Secret>,
}

impl Hidden<'_> {
    /// How long the shortest of them is; no shorter text can hold one.
    fn shortest(self) -> usize {
        let token = self.token.map_or(usize::MAX, |token| token.value.expose().len());
        self.secret.map_or(token, |secret| token.min(secret.expose().len()))
    }

    /// The text without them, in whatever encoding it repeats them; `None` where it does not.
    pub fn masked(self, text: &[u8]) -> Option<Vec<u8>> {
        let token = self
            .token
            .and_then(|token| masked(text, token.value.expose().as_bytes(), PLACEHOLDER.as_bytes()));
        let Some(secret) = self.secret else { return token };
        masked(token.as_deref().unwrap_or(text), secret.expose().as_bytes(), MASK.as_bytes()).or(token)
    }
}

/// An answer's body: bytes that are here, then what still comes.
pub struct AnswerBody {
    ready: Option<Bytes>,
    /// Boxed, since most answers are small and are here in full, and every answer is handed on several times.
    rest: Option<Box<ResponseBody>>,
    tally: Option<Tally>,
}

impl AnswerBody {
    /// A body that is here in full.
    pub fn whole(bytes: Bytes) -> Self {
        Self { ready: Some(bytes).filter(|b| !b.is_empty()), rest: None, tally: None }
    }

    /// A body that flows from the upstream, behind the part that has been looked at.
    pub fn stream(beginning: Bytes, rest: ResponseBody) -> Self {
        Self { ready: Some(beginning).filter(|b| !b.is_empty()), rest: Some(Box::new(rest)), tally: None }
    }

    /// Lets the statistics of the request end with its body.
    pub(super) fn with_tally(mut self, tally: Tally) -> Self {
        self.tally = Some(tally);
        self
    }

    /// The part that is here, for tests of the answers.
    #[cfg(test)]
    pub fn here(&self) -> Option<&Bytes> {
        self.ready.as_ref()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match (this.ready.take(), &mut this.rest) {
            (Some(bytes), _) => Some(Ok(Frame::data(bytes))),
            (None, Some(rest)) => loop {
                match std::task::ready!(Pin::new(&mut **rest).poll_frame(cx)) {
                    // Trailers end here: nobody has looked into them, and callers do not expect any.
                    Some(Ok(frame)) if frame.is_trailers() => {}
                    frame => break frame,
                }
            },
            (None, None) => None,
        };
        if frame.is_none() {
            this.rest = None;
        }
        if let Some(stats) = &mut this.tally {
            match &frame {
                Some(Ok(frame)) => stats.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(error)) => stats.cause = Some(error.to_string().into()),
                None => {}
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let ready = self.ready.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let Some(rest) = &self.rest else { return SizeHint::with_exact(ready) };
        match rest.size_hint().exact() {
            Some(length) => SizeHint::with_exact(ready + length),
            None => SizeHint::new(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let more = self.rest.as_ref().is_some_and(|rest| !rest.is_end_stream());
        if more && let Some(stats) = &mut self.tally {
            stats.cause.get_or_insert("the caller went away before the end of its answer".into());
        }
    }
}
