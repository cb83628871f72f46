//! Integration tests: real sockets, real TLS, one file per feature.

mod support;

mod config_cli;
mod sandbox;
mod token;
