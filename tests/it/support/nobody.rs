//! An address at which nobody listens, and nobody else can begin to: a port that was merely free a moment ago is
//! soon another test's.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Connections to the address are refused for as long as the socket is held.
pub(crate) fn nobody() -> (TcpSocket, SocketAddr) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap();
    (held, address)
}
