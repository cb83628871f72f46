//! Shared by the integration tests.

#![allow(clippy::unwrap_used, reason = "in a test, also in its helpers, a panic is how a failure is said")]

pub(crate) mod browser;
pub(crate) mod child;
pub(crate) mod fake;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod http2;
pub(crate) mod https;
pub(crate) mod nobody;
pub(crate) mod outbound;
pub(crate) mod port;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod redis_line;
pub(crate) mod thief;
pub(crate) mod tls;
pub(crate) mod tools;
pub(crate) mod until;
pub(crate) mod wechat;
