//! Accepts callers on one socket, and starts a task for each.
//!
//! The socket may be of any kind ([`Accept`]): TCP, or a unix socket.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::{Accept as Handshake, TlsAcceptor};
use tokio_util::task::TaskTracker;

use super::connections::Counted;
use super::drain::Drain;
use super::transport::Transport;
use super::{Connections, Handler, SharedTls, connection, turn_away};
use crate::socket::{Socket, is_exhausted};

/// How long accepting pauses when the system has no file descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// A socket that callers connect to.
pub(crate) trait Accept: 'static {
    /// A caller's connection.
    type Stream: Transport;
    /// What is known of a caller.
    type Peer: Copy + std::fmt::Debug + 'static;

    /// The next caller.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>>;
}

impl Accept for TcpListener {
    type Stream = Socket;
    type Peer = IpAddr;

    async fn accept(&self) -> io::Result<(Socket, IpAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((Socket::accepted(stream), peer.ip()))
    }
}

/// A caller on a unix socket: whoever may open its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnixPeer;

impl Accept for UnixListener {
    type Stream = UnixStream;
    type Peer = UnixPeer;

    async fn accept(&self) -> io::Result<(UnixStream, UnixPeer)> {
        Ok((Self::accept(self).await?.0, UnixPeer))
    }
}

/// Accepts callers on one socket until the drain begins; each is served in a task of its own, on this thread.
/// With `tls` they have to speak TLS.
pub(crate) async fn accept<A, H>(
    listener: A,
    tls: Option<SharedTls>,
    handler: Rc<H>,
    connections: Connections,
    tasks: TaskTracker,
    drain: Drain,
) where
    A: Accept,
    H: Handler<A::Peer>,
{
    let mut begun = pin!(drain.begun());
    loop {
        let accepted = tokio::select! {
            biased;
            () = begun.as_mut() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // One caller's bad luck is no reason to stop; without descriptors the next accept would fail
                // at once, again and again.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tracing::warn!(%error, "cannot accept a connection; is the limit of open files too low?");
                    if is_exhausted(&error) {
                        connections.let_go();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let limits = handler.limits();
        let counted = connections.take(limits.max_connections);
        let (handler, drain) = (Rc::clone(&handler), drain.clone());
        let handshake = |tls: &SharedTls, stream| TlsAcceptor::from(tls.load_full()).accept(stream);
        // A task is as large as its future, so each kind of caller has its own.
        match (counted, &tls) {
            (Some(counted), None) => {
                start(&tasks, connection::serve(stream, peer, handler, drain, counted));
            }
            (Some(counted), Some(tls)) => {
                start(&tasks, serve_tls(handshake(tls, stream), peer, handler, drain, counted));
            }
            (None, tls) => match (connections.turn_away(&limits, tls.is_some()), tls) {
                (None, _) => {}
                (Some(counted), None) => start(&tasks, turn_away::plain(stream, peer, handler, counted)),
                (Some(counted), Some(tls)) => {
                    start(&tasks, turn_away::over_tls(handshake(tls, stream), peer, handler, drain, counted));
                }
            },
        }
    }
}

/// Serves one caller on this thread; the worker waits for its end.
fn start(tasks: &TaskTracker, serving: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(tasks.track_future(serving));
}

/// Serves a caller that has to speak TLS.
async fn serve_tls<S, P, H>(handshake: Handshake<S>, peer: P, handler: Rc<H>, drain: Drain, counted: Counted)
where
    S: Transport,
    P: Copy + std::fmt::Debug + 'static,
    H: Handler<P>,
{
    let limit = handler.limits().header_timeout;
    // Both are boxed: they are large, and no caller is in both.
    let serving = match Box::pin(tokio::time::timeout(limit, handshake)).await {
        Ok(Ok(stream)) => Box::pin(connection::serve(stream, peer, handler, drain, counted)),
        Ok(Err(error)) => return tracing::debug!(?peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(?peer, "a TLS handshake took longer than limits.header_timeout"),
    };
    serving.await;
}

#[cfg(test)]
mod tests {
    use super::super::drain::drain;
    use super::super::{Limits, Rejection};
    use super::*;
    use crate::listener::CallerBody;
    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use std::fmt::Debug;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::{LocalSet, spawn_local};

    /// Answers with what it knows of its caller, and may have two callers at most.
    struct Who;

    impl<P: Debug + 'static> Handler<P> for Who {
        type Body = Full<Bytes>;

        fn limits(&self) -> Limits {
            let limit = Duration::from_secs(10);
            Limits {
                max_connections: 2,
                header_timeout: limit,
                idle_timeout: limit,
                max_header_bytes: 1 << 10,
                when_full: "there are two",
            }
        }

        fn handle(
            &self,
            request: Request<CallerBody>,
            peer: P,
        ) -> impl Future<Output = Response<Full<Bytes>>> + use<P> {
            async move { Response::new(format!("{} {peer:?}", request.uri()).into()) }
        }

        fn reject(&self, rejection: Rejection, _: P) -> Response<Full<Bytes>> {
            Response::new(rejection.text().into())
        }
    }

    async fn ask(mut caller: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
        caller.write_all(request).await.unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        answer.split("\r\n\r\n").nth(1).unwrap().to_owned()
    }

    async fn is_served<S>(listener: impl Accept, connect: impl AsyncFn() -> S, peer: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (_sender, drain) = drain();
        let connections = Connections::default();
        let accepting = accept(listener, None, Rc::new(Who), connections.clone(), TaskTracker::new(), drain);
        spawn_local(accepting);
        let get = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        assert_eq!(ask(connect().await, get).await, format!("/a {peer}"));
        assert_eq!(
            ask(connect().await, b"\x07").await,
            "the request begins with a character that no method has; send HTTP/1.1"
        );
        let _counted = (connections.take(9), connections.take(9));
        assert_eq!(ask(connect().await, b"").await, Rejection::TooManyConnections.text());
    }

    #[tokio::test]
    async fn any_handler_is_served_on_tcp_and_on_a_unix_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        LocalSet::new()
            .run_until(async {
                let unix = UnixListener::bind(&path).unwrap();
                let connect = async || UnixStream::connect(&path).await.unwrap();
                is_served(unix, connect, "UnixPeer").await;
                let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = tcp.local_addr().unwrap();
                let connect = async || TcpStream::connect(address).await.unwrap();
                is_served(tcp, connect, "127.0.0.1").await;
            })
            .await;
    }
}
