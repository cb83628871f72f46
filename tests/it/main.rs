//! Integration tests: real sockets, real TLS, one file per feature.

#![allow(clippy::unwrap_used, reason = "in a test a panic is how a failure is said")]

mod support;

mod admin;
mod alerts;
mod architecture;
mod benches;
mod callers;
mod central;
mod check;
mod clients;
mod command_line;
mod dead_token;
mod demo;
mod documents;
mod easywechat;
mod egress_only;
mod examples;
mod foreign_tokens;
mod many_accounts;
mod package;
mod reload;
mod replicas;
mod request;
mod secret_paths;
mod secrets;
mod signing;
mod tickets;
mod tls;
mod token;
mod upstream;
mod wechatpy;
mod wecom;
