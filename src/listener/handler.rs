//! What a listener asks of the part that answers its requests.
//!
//! The listener knows sockets, framing and limits; a [`Handler`] knows what a request means. The proxy is one, and
//! another listener can have another. Nothing of a handler's insides is known here.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use super::CallerBody;
use crate::http1::head::HeadError;

/// Answers the requests of callers that are known to the listener as `P`: an IP address on TCP.
pub trait Handler<P>: 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>> + Unpin> + Unpin + 'static;

    /// What callers may use up, at this moment.
    fn limits(&self) -> Limits;

    /// Answers a request. The future is dropped when the caller goes away.
    fn handle(
        &self,
        request: Request<CallerBody>,
        peer: P,
    ) -> impl Future<Output = Response<Self::Body>> + use<Self, P> + 'static;

    /// Answers a caller that the listener turns away.
    fn reject(&self, rejection: Rejection, peer: P) -> Response<Self::Body>;
}

/// What the callers of a listener may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections, of all workers together.
    pub max_connections: usize,
    /// The longest that a head, or a TLS handshake, may take.
    pub header_timeout: Duration,
    /// The longest pause: between two requests, in a body, in reading an answer.
    pub idle_timeout: Duration,
    /// The largest head, in bytes.
    pub max_header_bytes: usize,
    /// What the log says when there are `max_connections`.
    pub when_full: &'static str,
}

/// Why a listener turns a caller away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// The head is not plainly one HTTP request, or is too large.
    Head(HeadError),
    /// The head did not come within `limits.header_timeout`.
    HeadTimeout,
    /// As many callers are connected as [`Limits::max_connections`] allows.
    TooManyConnections,
}

impl Rejection {
    /// What is wrong and how to mend it, for a caller of a listener whose limits the configuration has.
    pub fn text(self) -> &'static str {
        match self {
            Self::Head(HeadError::Malformed(text) | HeadError::TooLarge(text)) => text,
            Self::HeadTimeout => "the request head did not come within limits.header_timeout",
            Self::TooManyConnections => "too many connections; try again, or raise limits.max_connections",
        }
    }
}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}
