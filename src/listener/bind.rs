//! Opens the addresses that callers connect to.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the system may keep waiting for an accept.
const BACKLOG: u32 = 4096;
/// Ports that are tried for port 0, where another program takes each in between.
const PORTS_TRIED: u32 = 16;

/// What an address takes callers of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    V4,
    /// With `[::]` IPv4, too, as far as the system is set so.
    V6,
    OnlyV6,
}

/// One address with a socket for each worker; the system spreads connections over them.
#[derive(Debug)]
pub struct Bound {
    /// The real address, also where port 0 was asked for.
    pub address: SocketAddr,
    sockets: Vec<StdListener>,
}

/// Opens an address for `workers` workers. `[::]` takes callers of IPv4, too, unless one of the `others` that are listened
/// on has an IPv4 address with the same port.
///
/// # Errors
/// When the address cannot be had; the error names it.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    mut others: impl Iterator<Item = SocketAddr>,
) -> io::Result<Bound> {
    let is_v4 = |other: SocketAddr| other.port() == address.port() && other.ip().to_canonical().is_ipv4();
    let kind = match address {
        SocketAddr::V6(v6) if v6.ip().is_unspecified() && v6.port() != 0 && others.any(is_v4) => Kind::OnlyV6,
        SocketAddr::V6(_) => Kind::V6,
        SocketAddr::V4(_) => Kind::V4,
    };
    // Which port the system gives for port 0 is known when the probe has it; another program may be given the
    // same one before the workers' sockets are open.
    let mut tries = if address.port() == 0 { PORTS_TRIED } else { 1 };
    loop {
        tries -= 1;
        match open(address, kind, workers) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && tries > 0 => {}
            opened => {
                return opened
                    .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")));
            }
        }
    }
}

fn open(address: SocketAddr, kind: Kind, workers: usize) -> io::Result<Bound> {
    // With SO_REUSEPORT alone a second wxgate would quietly share the port of the first: so a plain socket
    // has to get it once.
    let probe = socket(address, kind, false)?;
    let address = probe.local_addr()?;
    drop(probe);
    let sockets = (0..workers).map(|_| socket(address, kind, true)?.into_std()).collect::<io::Result<_>>()?;
    Ok(Bound { address, sockets })
}

fn socket(address: SocketAddr, kind: Kind, shared: bool) -> io::Result<TcpListener> {
    let socket = match kind {
        Kind::V4 => TcpSocket::new_v4(),
        Kind::V6 | Kind::OnlyV6 => TcpSocket::new_v6(),
    }?;
    if kind == Kind::OnlyV6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
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
    async fn all_addresses_of_both_kinds_can_have_one_port() {
        let all = |text: &str| text.parse::<SocketAddr>().unwrap();
        // Where this machine has no IPv6 there is nothing to try.
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            return;
        }
        // Another program may take the port in between.
        for _ in 0..PORTS_TRIED {
            let v4 = bind(all("0.0.0.0:0"), 2, std::iter::empty()).unwrap();
            let v6 = SocketAddr::new(all("[::]:0").ip(), v4.address.port());
            if bind(v6, 2, [v4.address, v6].into_iter()).is_ok() {
                assert!(bind(v6, 2, std::iter::empty()).is_err(), "it takes IPv4, too");
                return;
            }
        }
        panic!("[::] cannot be had beside 0.0.0.0");
    }

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let mut bound = bind("127.0.0.1:0".parse().unwrap(), 1, std::iter::empty()).unwrap();
        let listener = TcpListener::from_std(bound.take().unwrap()).unwrap();
        let _caller = TcpStream::connect(bound.address).await.unwrap();
        assert!(listener.accept().await.unwrap().0.nodelay().unwrap());
    }
}
