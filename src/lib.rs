//! wxgate: a reverse proxy that puts the WeChat `access_token` into calls and hides dead tokens from callers.
//!
//! The parts, in the order in which a request meets them: [`listener`] (sockets, strict framing, limits),
//! [`proxy`] (the life of a request), [`credential`] (one cell and one task per account), [`upstream`] (the way to
//! the API host). [`config`] turns files and environment into checked values, [`app`] wires everything. The
//! WeChat look-alike is a crate of its own, [`wxgate_sandbox`]. ARCHITECTURE.md tells more.
//!
//! This crate is a program; its library exists for the program's own tests and keeps no promise of stability.

pub mod admin;
pub mod alert;
pub mod app;
mod beside;
pub mod calls;
pub mod check;
pub mod cli;
pub mod config;
pub mod credential;
mod deadline;
pub mod demo;
pub mod errcodes;
#[doc(hidden)]
pub mod header_case;
mod health;
#[doc(hidden)]
pub mod http1;
mod init;
pub mod json;
pub mod listener;
pub mod logging;
#[doc(hidden)]
pub mod mask;
pub mod metrics;
pub mod process;
pub mod proxy;
mod regular_file;
pub mod secret;
mod signals;
mod socket;
pub mod stats;
pub mod store;
#[cfg(test)]
mod tests;
mod text;
pub mod tls;
pub mod upstream;
