//! The real binary: exit codes, what it says, how it starts and how it ends.

mod ends;
mod full_disk;
mod hardening;
mod kills;
mod log;
mod starts;
mod systemd;
mod upgrade;
mod usage;

use std::path::Path;

use crate::support::child::{Child, serve};
use crate::support::gate::Settings;

/// A running proxy of its own process, once it listens.
async fn started(dir: &Path, url: &str, settings: &Settings) -> (Child, std::net::SocketAddr) {
    let child = Child::start(&mut serve(dir, url, settings));
    let addr = child.addr().await;
    (child, addr)
}
