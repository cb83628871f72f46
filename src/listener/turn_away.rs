//! Answers the callers beyond [`Limits::max_connections`], and ends their connections.

use std::future::{Future, ready};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio_rustls::Accept as Handshake;

use super::connections::Counted;
use super::drain::Drain;
use super::transport::Transport;
use super::{CallerBody, Handler, Limits, Rejection, connection, http2};

/// How long a caller may take to read the answer.
const POLITENESS: Duration = Duration::from_secs(1);

/// How long its TLS handshake may take before that.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// Answers without reading what the caller wants.
pub(super) async fn plain<S, P, H>(stream: S, peer: P, handler: Rc<H>, _counted: Counted)
where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let answer = connection::reject(stream, peer, handler, Rejection::TooManyConnections);
    let _ = tokio::time::timeout(POLITENESS, answer).await;
}

/// The same behind a TLS handshake, which says whether the caller understands HTTP/2 or HTTP/1.
pub(super) async fn over_tls<S, P, H>(
    handshake: Handshake<S>,
    peer: P,
    handler: Rc<H>,
    drain: Drain,
    _counted: Counted,
) where
    S: Transport,
    P: Copy + 'static,
    H: Handler<P>,
{
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, handshake).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let answer = async {
        match is_http2 {
            true => http2::serve(stream, Bytes::new(), peer, Rc::new(Busy(handler)), drain).await,
            false => connection::reject(stream, peer, handler, Rejection::TooManyConnections).await,
        }
    };
    let _ = tokio::time::timeout(POLITENESS, answer).await;
}

/// Answers every request with the same rejection.
struct Busy<H>(Rc<H>);

impl<P: Copy + 'static, H: Handler<P>> Handler<P> for Busy<H> {
    type Body = H::Body;

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn handle(
        &self,
        _: Request<CallerBody>,
        peer: P,
    ) -> impl Future<Output = Response<H::Body>> + use<P, H> + 'static {
        ready(self.0.reject(Rejection::TooManyConnections, peer))
    }

    fn reject(&self, rejection: Rejection, peer: P) -> Response<H::Body> {
        self.0.reject(rejection, peer)
    }
}
