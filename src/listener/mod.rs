//! Sockets for callers: binding, accepting, limits, drain. Knows neither WeChat nor the way of a request.

mod connection;
pub mod drain;
mod guard;
mod http2;
pub mod tls;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::task::TaskTracker;

use crate::proxy::Current;
use crate::proxy::refusal::Refusal;
use crate::socket::Socket;
use drain::Drain;

/// Connections that the system may keep waiting for an accept.
const BACKLOG: u32 = 4096;

/// How long accepting pauses when the system has no file descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(200);

/// One address with a socket for each worker; the system spreads connections over them.
#[derive(Debug)]
pub struct Bound {
    /// The real address, also where port 0 was asked for.
    pub address: SocketAddr,
    sockets: Vec<StdListener>,
}

/// Opens an address for `workers` workers.
///
/// # Errors
/// When the address cannot be had; the error names it.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}"));
    // With SO_REUSEPORT alone a second wxgate would quietly share the port of the first: so a plain socket
    // has to get it once.
    let probe = socket(address, false).map_err(named)?;
    let address = probe.local_addr().map_err(named)?;
    drop(probe);
    let sockets = (0..workers)
        .map(|_| socket(address, true)?.into_std())
        .collect::<io::Result<Vec<_>>>()
        .map_err(named)?;
    Ok(Bound { address, sockets })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    // Answers are written whole: waiting for more to send would only cost time. Accepted sockets inherit it.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Bound {
    /// Takes the socket of one more worker.
    pub fn take(&mut self) -> Option<StdListener> {
        self.sockets.pop()
    }
}

/// All caller connections of the process at this moment.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    open: Arc<AtomicUsize>,
    /// How many have been turned away since that was last said.
    turned_away: Arc<AtomicUsize>,
}

/// Counts one connection until dropped.
struct Counted(Arc<AtomicUsize>);

impl Connections {
    fn count(&self) -> (Counted, usize) {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (Counted(Arc::clone(&self.open)), before + 1)
    }

    /// Says that callers are turned away: the first time, and then with every thousandth, for a flood of callers
    /// must not become a flood of lines.
    fn say_too_many(&self, limit: usize) {
        let before = self.turned_away.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(1000) {
            tracing::warn!(
                limit,
                turned_away = before + 1,
                "limits.max_connections is reached: callers get `busy`"
            );
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The TLS configuration of a listener; new connections take the current one.
pub type SharedTls = Arc<ArcSwap<ServerConfig>>;

/// Accepts callers on one socket until the drain begins; each is served in a task of its own, on this thread.
/// With `tls` they have to speak TLS.
pub async fn accept(
    listener: TcpListener,
    tls: Option<SharedTls>,
    current: Rc<Current>,
    connections: Connections,
    tasks: TaskTracker,
    drain: Drain,
) {
    let mut begun = pin!(drain.begun());
    loop {
        let accepted = tokio::select! {
            biased;
            () = begun.as_mut() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                // One caller's bad luck is no reason to stop; without descriptors the next accept would fail
                // at once, again and again.
                if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
                {
                    tracing::warn!(%error, "cannot accept a connection; is the limit of open files too low?");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let (counted, open) = connections.count();
        let limit = current.get().limits().max_connections;
        let too_many = open > limit;
        if too_many {
            connections.say_too_many(limit);
        }
        let (current, drain) = (Rc::clone(&current), drain.clone());
        // A task is as large as its future, so each kind of caller has its own.
        match &tls {
            // A handshake only to say "busy" would be more work than the call.
            Some(_) if too_many => {}
            Some(tls) => {
                let handshake = TlsAcceptor::from(tls.load_full()).accept(Socket::accepted(stream));
                start(&tasks, serve_tls(handshake, peer, current, drain, counted));
            }
            None if too_many => start(&tasks, turn_away(stream, counted)),
            None => start(&tasks, connection::serve(Socket::accepted(stream), peer, current, drain, counted)),
        }
    }
}

/// Serves one caller on this thread; the worker waits for its end.
fn start(tasks: &TaskTracker, serving: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(tasks.track_future(serving));
}

/// Serves a caller that has to speak TLS.
async fn serve_tls(
    handshake: Accept<Socket>,
    peer: IpAddr,
    current: Rc<Current>,
    drain: Drain,
    counted: Counted,
) {
    let limit = current.get().limits().header_timeout;
    // Both are boxed: they are large, and no caller is in both.
    let serving = match Box::pin(tokio::time::timeout(limit, handshake)).await {
        Ok(Ok(stream)) => Box::pin(connection::serve(stream, peer, current, drain, counted)),
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a TLS handshake took longer than limits.header_timeout"),
    };
    serving.await;
}

/// Says that there are too many connections, without reading what the caller wants.
async fn turn_away(mut stream: TcpStream, _counted: Counted) {
    let refusal = Refusal::Busy("too many connections; try again, or raise limits.max_connections");
    let shape = refusal.shape();
    let body = format!(r#"{{"errcode":{},"errmsg":"wxgate: {}"}}"#, shape.errcode, refusal.message());
    let answer = format!(
        "HTTP/1.1 {}\r\nContent-Type: application/json; encoding=utf-8\r\nX-Wxgate-Error: {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        shape.status,
        shape.code,
        body.len()
    );
    let polite = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut waste = [0; 4096];
        while tokio::io::AsyncReadExt::read(&mut stream, &mut waste).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), polite).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let mut bound = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let listener = TcpListener::from_std(bound.take().unwrap()).unwrap();
        let _caller = TcpStream::connect(bound.address).await.unwrap();
        assert!(listener.accept().await.unwrap().0.nodelay().unwrap());
    }
}
