//! Makes a TCP connection to one of several addresses, tried in turn (RFC 8305).
//!
//! An address that refuses is followed by the next at once, one that stays silent after [`NEXT_AFTER`]; the first
//! connection that is made is taken. Knows no names and no time limit.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::socket::is_exhausted;

/// How long one address is waited for before the next is tried beside it.
const NEXT_AFTER: Duration = Duration::from_millis(250);

/// Probes tell an idle or waiting connection that died from one that is silent: the first after so long,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// the next ones after so long,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// and after so many without an answer the connection is dead.
const KEEPALIVE_PROBES: u32 = 3;

/// A TCP connection.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) stream: TcpStream,
    /// The addresses that were tried before and have not led to one.
    pub(super) failed: Vec<IpAddr>,
}

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("egress_ip {egress} reaches none of its addresses, which are of the other family")]
    OtherFamily { egress: IpAddr },
    #[error("egress_ip {egress} cannot be used: {error}")]
    Egress { egress: IpAddr, error: io::Error },
    #[error("this process or machine has no more files, ports or memory for connections: {0}")]
    Exhausted(io::Error),
    #[error("{address}: {error}")]
    Refused { address: SocketAddr, error: io::Error },
}

/// Connects from `egress`, or from where the system chooses. Dropping the future ends all attempts.
pub(super) async fn dial(
    addresses: &[IpAddr],
    port: u16,
    egress: Option<IpAddr>,
) -> Result<Dialed, DialError> {
    let reachable = |address: &IpAddr| egress.is_none_or(|egress| egress.is_ipv4() == address.is_ipv4());
    let mut next = alternating(addresses.iter().copied().filter(reachable).collect()).into_iter();
    let mut attempts = JoinSet::new();
    let mut failed = Vec::new();
    let mut first_error = None;
    loop {
        if let Some(address) = next.next() {
            failed.push(address);
            attempts.spawn(async move { (address, connect(SocketAddr::new(address, port), egress).await) });
        }
        let more = next.len() > 0;
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((address, Ok(stream)))) => {
                    failed.retain(|tried| *tried != address);
                    return Ok(Dialed { stream, failed });
                }
                // What the machine lacks, no other address has.
                Some(Ok((_, Err(error @ (DialError::Exhausted(_) | DialError::Egress { .. }))))) => return Err(error),
                Some(Ok((_, Err(error)))) => drop(first_error.get_or_insert(error)),
                // An attempt that panicked.
                Some(Err(_)) => {}
                None => return Err(first_error.unwrap_or_else(|| none_left(egress))),
            },
            () = sleep(NEXT_AFTER), if more => {}
        }
    }
}

fn none_left(egress: Option<IpAddr>) -> DialError {
    match egress {
        Some(egress) => DialError::OtherFamily { egress },
        None => DialError::Exhausted(io::Error::other("no address was tried")),
    }
}

/// One family after the other, beginning with that of the first address: if one family leads nowhere, every second
/// attempt does not.
fn alternating(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let v4_first = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == v4_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        all.extend(first.next());
        all.extend(second.next());
    }
    all
}

async fn connect(address: SocketAddr, egress: Option<IpAddr>) -> Result<TcpStream, DialError> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.map_err(|error| match is_exhausted(&error) {
        true => DialError::Exhausted(error),
        // The kernel does without this family.
        false => DialError::Refused { address, error },
    })?;
    let refused = |error| refused(address, error);
    socket.set_nodelay(true).and_then(|()| keep_alive(&socket)).map_err(refused)?;
    if let Some(egress) = egress {
        socket.bind(SocketAddr::new(egress, 0)).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => DialError::Exhausted(error),
            _ => DialError::Egress { egress, error },
        })?;
    }
    socket.connect(address).await.map_err(refused)
}

fn refused(address: SocketAddr, error: io::Error) -> DialError {
    match error.kind() {
        // No local port is free. Over IPv6 it is said as well where no interface has an address (`disable_ipv6`, as in
        // a container), which says nothing about IPv4.
        io::ErrorKind::AddrNotAvailable if address.is_ipv4() => DialError::Exhausted(error),
        _ => DialError::Refused { address, error },
    }
}

fn keep_alive(socket: &TcpSocket) -> io::Result<()> {
    socket.set_keepalive(true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    Ok(sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    /// Listeners on two loopback addresses with one port.
    async fn two() -> (TcpListener, TcpListener, u16) {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = first.local_addr().unwrap().port();
            if let Ok(second) = TcpListener::bind(("127.0.0.2", port)).await {
                return (first, second, port);
            }
        }
    }

    /// Takes no more connections, and refuses none either: its queue is full.
    fn silent(address: &str) -> (TcpListener, Vec<std::net::TcpStream>, u16) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let held = std::iter::from_fn(|| connect().ok()).collect();
        (listener, held, address.port())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_beginning_with_the_first() {
        for (given, right) in [
            ("a b c", "a b c"),
            ("1 2 3", "1 2 3"),
            ("a b 1 2", "a 1 b 2"),
            ("1 a b c", "1 a b c"),
            ("a b c 1", "a 1 b c"),
            ("", ""),
        ] {
            let of = |name: &str| match name.parse::<u8>() {
                Ok(last) => IpAddr::from([192, 0, 2, last]),
                Err(_) => ip(&format!("2001:db8::{name}")),
            };
            let all = |names: &str| names.split_whitespace().map(of).collect::<Vec<_>>();
            assert_eq!(alternating(all(given)), all(right), "{given}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_costs_no_time() {
        let (first, second, port) = two().await;
        drop(first);
        let begun = Instant::now();
        let dialed = dial(&[ip("127.0.0.1"), ip("127.0.0.2")], port, None).await.unwrap();
        assert!(begun.elapsed() < NEXT_AFTER, "{:?}", begun.elapsed());
        assert_eq!(dialed.stream.peer_addr().unwrap(), second.local_addr().unwrap());
        assert_eq!(dialed.failed, [ip("127.0.0.1")]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_stays_silent_costs_less_than_300_ms() {
        let (_listener, _held, port) = silent("127.0.0.1");
        let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let begun = Instant::now();
        let dialed = dial(&[ip("127.0.0.1"), ip("127.0.0.2")], port, None).await.unwrap();
        let took = begun.elapsed();
        assert!(took >= NEXT_AFTER && took < Duration::from_millis(300), "{took:?}");
        assert_eq!(dialed.stream.peer_addr().unwrap(), second.local_addr().unwrap());
        assert_eq!(dialed.failed, [ip("127.0.0.1")]);
    }

    #[test]
    fn a_machine_without_ipv6_addresses_has_ports_for_ipv4_all_the_same() {
        let error = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let over = |address: &str| refused(address.parse().unwrap(), error());
        assert!(matches!(over("[2001:db8::1]:443"), DialError::Refused { .. }));
        assert!(matches!(over("192.0.2.1:443"), DialError::Exhausted(_)));
    }

    /// However this machine does without IPv6: "network unreachable", or "cannot assign requested address".
    #[tokio::test(start_paused = true)]
    async fn an_ipv6_address_out_of_reach_ends_no_attempt_over_ipv4() {
        let (_listener, _held, port) = silent("127.0.0.1");
        let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let addresses = [ip("127.0.0.1"), ip("2001:db8::1"), ip("127.0.0.2")];
        let dialed = dial(&addresses, port, None).await.unwrap();
        assert_eq!(dialed.stream.peer_addr().unwrap(), second.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_first_error_is_told_when_none_answers() {
        let (first, second, port) = two().await;
        drop((first, second));
        let error = dial(&[ip("127.0.0.1"), ip("127.0.0.2")], port, None).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("127.0.0.1:{port}: ")) && error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn an_egress_address_reaches_its_own_family_alone() {
        let (_first, second, port) = two().await;
        let egress = Some(ip("127.0.0.3"));
        let dialed = dial(&[ip("::1"), ip("127.0.0.2")], port, egress).await.unwrap();
        assert_eq!(dialed.stream.peer_addr().unwrap(), second.local_addr().unwrap());
        assert_eq!(dialed.stream.local_addr().unwrap().ip(), ip("127.0.0.3"));
        assert!(dialed.failed.is_empty());
        let error = dial(&[ip("::1")], port, egress).await.unwrap_err();
        assert!(matches!(error, DialError::OtherFamily { .. }), "{error}");
        let error = dial(&[ip("127.0.0.2")], port, Some(ip("192.0.2.1"))).await.unwrap_err();
        assert!(matches!(error, DialError::Egress { .. }), "{error}");
    }
}
