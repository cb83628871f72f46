//! Sockets for callers: binding, accepting, strict framing, limits, drain. What a request means is a [`Handler`]'s.

mod accept;
mod answer;
mod bind;
mod body;
mod close;
mod connection;
mod connections;
pub mod drain;
mod framing;
mod handler;
mod http2;
mod idle;
mod limits;
mod state;
mod transport;
mod turn_away;
mod wake;

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

pub(crate) use accept::accept;
pub use bind::{Bound, bind};
pub use body::CallerBody;
pub use connections::Connections;
pub use handler::{Handler, Limits, Rejection};

/// The TLS configuration of a listener; new connections take the current one.
pub type SharedTls = Arc<ArcSwap<ServerConfig>>;
