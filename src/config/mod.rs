//! From a TOML file or the environment to checked values.
//!
//! This file holds what the program uses; `file.rs` reads what the user wrote. The parts of the program get
//! these values and never see TOML. Nothing here opens sockets or talks to anybody.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::secret::Secret;

/// A whole checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Plain HTTP listeners for callers; port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Folder of the token files, one per appid.
    pub state_dir: PathBuf,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Whether each request leaves a line in the log.
    pub access_log: bool,
    /// Threads that serve requests; never 0, the CPUs are already counted.
    pub workers: usize,
    /// How long requests in flight may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// The API host and the way there.
    pub upstream: Upstream,
    /// What one caller may use up.
    pub limits: Limits,
    /// At least one; names and appids are unique, and so are hosts and prefixes.
    pub accounts: Vec<Account>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when stderr is a terminal, JSON otherwise.
    Auto,
    /// Always text.
    Text,
    /// Always one JSON object per line.
    Json,
}

/// The WeChat API host and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `https`, or `http` for loopback alone.
    pub tls: bool,
    /// Host name or address without port, as in the URL, without brackets.
    pub host: String,
    /// Port, 443 or 80 when the URL names none.
    pub port: u16,
    /// The local address that every outbound connection leaves from; `None`: the system chooses.
    pub egress_ip: Option<IpAddr>,
    /// PEM file of further trust roots.
    pub ca: Option<PathBuf>,
    /// Time for DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the last byte of the request to the head of the response.
    pub response_timeout: Duration,
    /// Idle connections kept ready.
    pub warm_connections: usize,
}

/// What one caller, and all of them together, may use up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Caller connections at one moment.
    pub max_connections: usize,
    /// Time for a caller to send a whole head.
    pub header_timeout: Duration,
    /// Time that a keep-alive connection may stay silent.
    pub idle_timeout: Duration,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Bytes of a request body.
    pub max_body: u64,
    /// Bytes of one request body that are kept for a second sending.
    pub replay_per_request: usize,
    /// Bytes of all bodies kept for that at one moment.
    pub replay_total: usize,
}

/// One WeChat appid with its secret, its token, its rules.
#[derive(Debug, Clone)]
pub struct Account {
    /// `[a-z0-9-]+`, unique.
    pub name: String,
    /// `[A-Za-z0-9_-]+`, unique.
    pub appid: String,
    /// The AppSecret.
    pub secret: Secret,
    /// Which of WeChat's two calls issues the token.
    pub token_api: TokenApi,
    /// Lower-case host names (no port) that belong to this account.
    pub hosts: Vec<String>,
    /// `""`, or `/shop`: starts with `/`, does not end with it.
    pub prefix: String,
    /// What may be called: each starts with `/`.
    pub paths: Vec<String>,
    /// The errcodes that mean a dead token.
    pub refresh_on: Vec<i64>,
}

/// Which of WeChat's two calls issues the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenApi {
    /// `GET /cgi-bin/token`: each call ends the previous token after five minutes.
    Token,
    /// `POST /cgi-bin/stable_token`: hands out the same token until its last five minutes.
    StableToken,
}
