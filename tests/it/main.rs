//! Integration tests: real sockets, real TLS, one file per feature.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is said")]

mod support;

mod check;
mod config_cli;
mod request;
mod sandbox;
mod token;
