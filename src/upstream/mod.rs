//! Connections to the API host: trust, egress address, pool, time limits.

pub mod tls;
