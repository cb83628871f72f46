//! Ports for programs that have to be told one: Redis, and a wxgate whose listener a file names.
//!
//! They are below those that the kernel gives to outgoing connections and to port 0, so that no other test of this
//! process, and no connection, takes one between the choice and the start, or while its program is restarted.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A port of 127.0.0.1 that nobody uses and that is given out once.
pub(crate) fn port() -> u16 {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Other test processes begin elsewhere.
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..COUNT)));
    loop {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
