//! Connections: accepting, TLS, HTTP/1 and the reading of bodies; it hands whole requests to the world.
//!
//! It knows nothing of WeChat. HTTP/2 is not spoken: nobody has seen the WeChat API speak it.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Extensions, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::HandshakeKind;
use tokio_rustls::server::TlsStream;

use crate::answer::Wishes;
use crate::call::{Body, Call};
use crate::control;
use crate::failures::How;
use crate::request;
use crate::world::World;

/// A body longer than this is read and thrown away: WeChat takes nothing that long.
const LONGEST_KEPT: usize = 24 << 20;
/// How much of a body is read before an early answer.
const EARLY: usize = 64 << 10;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long requests in flight may take once the sandbox is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// The state that connections and handles share.
pub(crate) type Shared = Arc<Mutex<World>>;

/// A panic in one request must not make all others panic: the state is usable between any two of its changes.
pub(crate) fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every connection needs.
pub(crate) struct Site {
    pub(crate) world: Shared,
    /// None: plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    /// What makes hyper spell header names as WeChat does.
    pub(crate) spelling: Extensions,
}

/// Serves until `shutdown` ends, then lets requests in flight finish. Dropping the future ends everything.
pub(crate) async fn run(listener: TcpListener, site: Site, shutdown: impl Future<Output = ()>) {
    let site = Arc::new(site);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let peer = peer.ip().to_canonical();
                    let (site, stopping) = (site.clone(), stopping.clone());
                    connections.spawn(async move {
                        // Counted down on drop, however the connection ends.
                        let _open = Open::count(&site.world);
                        connection(stream, peer, &site, stopping).await;
                    });
                }
                Err(e) => {
                    // Too many open files, say: it passes, and must not end the sandbox.
                    tracing::warn!("sandbox: cannot accept a connection: {e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stop.send_replace(true);
    let _cut_off =
        tokio::time::timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn count(world: &'a Shared) -> Self {
        let connections = &mut lock(world).tally.stats.connections;
        connections.accepted += 1;
        connections.open += 1;
        Self(world)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(self.0).tally.stats.connections.open -= 1;
    }
}

/// A stream that can be ended with a TCP reset.
trait Resettable: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Resettable for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Resettable for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn connection(stream: TcpStream, peer: IpAddr, site: &Site, stopping: watch::Receiver<bool>) {
    // Small answers must not wait for the peer's acknowledgement.
    let _ignored = stream.set_nodelay(true);
    let Some(tls) = &site.tls else {
        return http(stream, peer, site, stopping).await;
    };
    let shaken = tokio::time::timeout(HANDSHAKE_TIME, tls.accept(stream)).await;
    let kind = match &shaken {
        Ok(Ok(stream)) => stream.get_ref().1.handshake_kind(),
        _ => None,
    };
    {
        let connections = &mut lock(&site.world).tally.stats.connections;
        match (&shaken, kind) {
            (Ok(Ok(_)), Some(HandshakeKind::Resumed)) => connections.tls_resumed += 1,
            (Ok(Ok(_)), _) => connections.tls_full += 1,
            _ => connections.tls_failed += 1,
        }
    }
    if let Ok(Ok(stream)) = shaken {
        http(stream, peer, site, stopping).await;
    }
}

async fn http<S: Resettable>(stream: S, peer: IpAddr, site: &Site, mut stopping: watch::Receiver<bool>) {
    let served = AtomicU64::new(0);
    let service = service_fn(|incoming| {
        let nth = served.fetch_add(1, Ordering::Relaxed) + 1;
        respond(incoming, peer, site, nth)
    });
    let mut connection =
        http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        // The guard that this returns must not live across the next await.
        () = async { drop(stopping.wait_for(|stop| *stop).await) } => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    if ended.is_err_and(|e| e.is_user()) {
        // An ordered reset: with no time to linger, the kernel sends RST instead of FIN when it is closed.
        let stream = connection.into_parts().io.into_inner();
        let _ignored = stream.tcp().set_zero_linger();
    }
}

/// An ordered reset. As the service's error it makes hyper drop the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("connection reset as ordered")]
struct Reset;

async fn respond(
    incoming: Request<Incoming>,
    peer: IpAddr,
    Site { world, spelling, .. }: &Site,
    nth: u64,
) -> Result<Response<Full<Bytes>>, Reset> {
    let (parts, body) = incoming.into_parts();
    let wishes = Wishes::of(&parts);
    let early = request::early(&mut lock(world), parts.uri.path());
    // A body that breaks off has no sender any more who could be answered.
    let body = read(body, if early.is_some() { EARLY } else { usize::MAX }).await.map_err(|_| Reset)?;
    let call = Call::new(parts, body, peer);
    let answer = if control::is_control(call.path()) {
        let mut world = lock(world);
        world.count_on_connection(nth);
        control::answer(&mut world, &call)
    } else {
        let ordered = {
            let mut world = lock(world);
            world.count_on_connection(nth);
            request::begin(&mut world, &call, early)
        };
        match ordered {
            Some(How::Hang(time)) => tokio::time::sleep(time).await,
            Some(How::Reset) => return Err(Reset),
            _ => {}
        }
        request::answer(&mut lock(world), call, ordered)
    };
    Ok(answer.into_response(wishes, spelling))
}

/// Reads a body to its end, so that a caller who writes it all before reading gets its answer; or until at least so
/// many bytes have come, which makes hyper close the connection behind the answer.
async fn read(mut body: Incoming, enough: usize) -> Result<Body, hyper::Error> {
    let mut kept = BytesMut::new();
    let mut too_large = false;
    while kept.len() < enough
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame?.into_data() else { continue };
        too_large |= kept.len() + data.len() > LONGEST_KEPT;
        if too_large {
            kept = BytesMut::new();
        } else {
            kept.extend_from_slice(&data);
        }
    }
    Ok(if too_large { Body::TooLarge } else { Body::Whole(kept.freeze()) })
}
