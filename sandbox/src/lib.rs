//! A look-alike of the WeChat API, for tests and for a caller's own CI: what `wxgate sandbox` runs.
//!
//! It issues tokens and ends them as WeChat does, counts quotas, checks addresses, knows the common
//! interfaces and answers with WeChat's own errors. It does not send a message to anybody and does not talk to
//! WeChat. It is a crate of its own so that it cannot share code with the proxy: a mistake that both made would
//! go unnoticed.
//!
//! ```text
//! serve      connections, TLS, HTTP/1, whole requests
//! request    the life of a request              control   /sandbox/*
//! api/       one function per interface
//! world      the state behind one lock
//! tokens     lives and deaths of tokens (pure)      fetch   quotas and modes of handing them out (pure)
//! secure     the API security mode: signatures and encryption
//! failures   what a test ordered to go wrong        stats   what is counted
//! call, upload, media, answer, spelling, errors, clock, options, tls
//! ```
//!
//! Imports go down this list. This crate keeps no promise of stability: the interface is the command and what it
//! serves.

mod answer;
mod api;
mod call;
mod clock;
mod control;
mod errors;
mod failures;
mod fetch;
mod media;
mod options;
mod request;
mod secure;
mod serve;
mod spelling;
mod stats;
mod tls;
mod tokens;
mod upload;
mod world;

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;

pub use failures::{Failure, How};
pub use fetch::Fetches;
pub use options::{DEFAULT_APPID, DEFAULT_CORPID, DEFAULT_SECRET, Options};
pub use secure::{ApiKeys, SealedAnswers};
pub use stats::{Connections, Stats, TokenStats};
pub use tokens::Lag;

/// The certificate authority of the built-in certificate, PEM; `certs/ca.pem` holds the same.
pub const CA: &str = include_str!("../certs/ca.pem");

/// Why the sandbox cannot start; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other, or a certificate cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The address cannot be listened on.
    #[error("cannot listen on `{0}`: {1}")]
    Listen(SocketAddr, #[source] io::Error),
}

impl Error {
    /// The exit code: 2 for wrong usage, 1 for what the machine refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Listen(..) => 1,
        }
    }
}

/// A sandbox that is bound and not yet serving.
pub struct Sandbox {
    listener: TcpListener,
    addr: SocketAddr,
    site: serve::Site,
}

impl Sandbox {
    /// Binds the address. Connections are queued by the kernel until [`Sandbox::run`].
    ///
    /// # Errors
    /// When the options contradict each other, or the address cannot be had.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        let accounts = options.accounts().map_err(Error::Usage)?;
        let files = options.cert.as_deref().zip(options.key.as_deref());
        let tls = match options.plain {
            true => None,
            false => Some(TlsAcceptor::from(tls::config(files).map_err(Error::Usage)?)),
        };
        let refused = |e| Error::Listen(options.listen, e);
        let listener = TcpListener::bind(options.listen).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let lives = (options.token_ttl, options.overlap);
        let whitelist = options.allow_ips.iter().map(IpAddr::to_canonical).collect();
        let mut world = world::World::new(accounts, lives, whitelist, options.api_quota);
        world.wecom = options.wecom;
        if options.api_security {
            world.secure = Some(secure::Secure::new().map_err(Error::Usage)?);
        }
        let world = Arc::new(Mutex::new(world));
        let spelling = spelling::wechats().await;
        Ok(Self { listener, addr, site: serve::Site { world, tls, spelling } })
    }

    /// The address with the real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `https://ADDR`, or `http://ADDR` for a plain one, without a slash at the end.
    pub fn url(&self) -> String {
        let scheme = if self.site.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// A handle with which a test in the same process steers it.
    pub fn handle(&self) -> Handle {
        Handle { world: self.site.world.clone() }
    }

    /// Serves until `shutdown` ends; requests in flight then have two seconds. Dropping it ends everything.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        serve::run(self.listener, self.site, shutdown).await;
    }
}

/// Steers a sandbox and looks into it, as `/sandbox/*` does over HTTP.
#[derive(Clone)]
pub struct Handle {
    world: serve::Shared,
}

impl Handle {
    /// Another system fetched tokens: the current ones of every account stop working at once.
    pub fn steal_token(&self) {
        serve::lock(&self.world).steal_tokens(None);
    }

    /// The tokens of every account are over from now on.
    pub fn expire_token(&self) {
        serve::lock(&self.world).expire_tokens(None);
    }

    /// Orders a failure.
    pub fn fail(&self, failure: Failure) {
        serve::lock(&self.world).failures.order(failure);
    }

    /// From now on, nodes that lag refuse tokens; a share of 0 ends it.
    pub fn lag(&self, lag: Lag) {
        serve::lock(&self.world).tokens.lag = lag;
    }

    /// The next `count` answers that are encrypted are like this.
    pub fn sealed_answers(&self, how: SealedAnswers, count: u32) {
        if let Some(secure) = &mut serve::lock(&self.world).secure {
            secure.order(how, count);
        }
    }

    /// Lets this much time pass at once, for tokens, quotas and tickets.
    pub fn advance(&self, by: Duration) {
        serve::lock(&self.world).clock.advance(by);
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        serve::lock(&self.world).stats()
    }

    /// Every token ever issued, whole: a test searches logs for them.
    pub fn tokens_issued(&self) -> Vec<String> {
        serve::lock(&self.world).tokens.all().iter().map(|token| token.value.clone()).collect()
    }
}

/// The command: binds, says where it listens, serves until SIGINT or SIGTERM. Returns the exit code.
pub async fn command(options: Options, stderr: &mut (dyn Write + Send)) -> u8 {
    let signals = signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match signals {
        Ok(signals) => signals,
        Err(e) => {
            say(stderr, format_args!("wxgate sandbox: cannot watch for signals: {e}"));
            return 1;
        }
    };
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    command_until(options, stderr, stopped).await
}

/// The command with another reason to stop than a signal. Returns the exit code.
pub async fn command_until(
    options: Options,
    stderr: &mut (dyn Write + Send),
    shutdown: impl Future<Output = ()>,
) -> u8 {
    match Sandbox::bind(options).await {
        Ok(sandbox) => {
            say(stderr, format_args!("listening on {} (sandbox)", sandbox.url()));
            sandbox.run(shutdown).await;
            0
        }
        Err(e) => {
            say(stderr, format_args!("wxgate sandbox: {e}"));
            e.exit_code()
        }
    }
}

fn say(stderr: &mut (dyn Write + Send), line: fmt::Arguments<'_>) {
    // Nothing can be done about a standard error that is closed; the sandbox serves all the same.
    let _ignored = writeln!(stderr, "{line}").and_then(|()| stderr.flush());
}
