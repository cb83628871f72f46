//! Several wxgate of one account: with nothing between them, and with a shared store.

mod alone;
mod shared;
