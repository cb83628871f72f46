//! Opens the addresses that callers connect to.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the system may keep waiting for an accept.
const BACKLOG: u32 = 4096;
/// Ports that are tried for port 0, where another program takes each in between.
const PORTS_TRIED: u32 = 16;

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
    // Which port the system gives for port 0 is known when the probe has it; another program may be given the
    // same one before the workers' sockets are open.
    let mut tries = if address.port() == 0 { PORTS_TRIED } else { 1 };
    loop {
        tries -= 1;
        match open(address, workers) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            opened => {
                return opened
                    .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")));
            }
        }
    }
}

fn open(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    // With SO_REUSEPORT alone a second wxgate would quietly share the port of the first: so a plain socket
    // has to get it once.
    let probe = socket(address, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    let sockets = (0..workers).map(|_| socket(address, true)?.into_std()).collect::<io::Result<_>>()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let mut bound = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let listener = TcpListener::from_std(bound.take().unwrap()).unwrap();
        let _caller = TcpStream::connect(bound.address).await.unwrap();
        assert!(listener.accept().await.unwrap().0.nodelay().unwrap());
    }
}
