//! What the kernel knows of a TCP connection (`TCP_INFO`): the beginning of its `struct tcp_info`.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;

/// As long as what is read here, so that every kernel since 4.2 fills it, and none writes more.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Raw {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    window_scales: u8,
    flags: u8,
    timeouts_and_sizes: [u32; 4],
    unacked: u32,
    losses: [u32; 4],
    last_sent_and_received: [u32; 3],
    last_ack_recv: u32,
    windows_and_times: [u32; 11],
    pacing_rates: [u64; 2],
    bytes_acked: u64,
}

#[derive(Debug, Clone, Copy)]
struct TcpInfoOption;

nix::getsockopt_impl!(TcpInfoOption, libc::IPPROTO_TCP, libc::TCP_INFO, Raw, GetStruct<Raw>);

/// The state of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TcpInfo(Raw);

impl TcpInfo {
    /// Asks the kernel.
    pub(super) fn of(socket: impl AsFd) -> io::Result<Self> {
        Ok(Self(getsockopt(&socket, TcpInfoOption)?))
    }

    /// How many of the bytes that were written the peer's kernel has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        // The SYN counts as one.
        self.0.bytes_acked.saturating_sub(1)
    }

    /// Whether the peer's kernel has acknowledged nothing for so long although data was sent again, or could not be
    /// sent at all (the local address is gone). A peer that lives and only does not read acknowledges each probe.
    pub(super) fn is_dead(&self, limit: Duration) -> bool {
        let silent = Duration::from_millis(self.0.last_ack_recv.into());
        silent >= limit && (self.is_sending_again() || self.0.probes >= 3)
    }

    /// Whether data was sent again and is still not acknowledged.
    pub(super) fn is_sending_again(&self) -> bool {
        self.0.unacked > 0 && self.0.retransmits > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn acknowledged_bytes_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        assert_eq!(TcpInfo::of(&ours).unwrap().acknowledged(), 0);
        for total in [1000, 2000] {
            ours.write_all(&[0; 1000]).unwrap();
            theirs.read_exact(&mut [0; 1000]).unwrap();
            // An answer carries the acknowledgement along.
            theirs.write_all(b"!").unwrap();
            ours.read_exact(&mut [0]).unwrap();
            assert_eq!(TcpInfo::of(&ours).unwrap().acknowledged(), total);
        }
        assert!(!TcpInfo::of(&ours).unwrap().is_dead(Duration::ZERO));
    }
}
