//! Looks up the name of an API host: one lookup at a time, however many connections wait for it, in a thread of its
//! own that ends with it.
//!
//! An answer is used for [`FRESH`]; after that it still serves, while it is renewed beside the calls. Only one that
//! is very old is waited for. A lookup that fails leaves the last good answer in use. Knows no ports and connects to
//! nothing.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long an answer is used without being renewed.
const FRESH: Duration = Duration::from_secs(30);

/// An answer older than this, because no connection was made for so long, is not used before its renewal was waited
/// for: a connection is used for five minutes, and shall not begin them with an address that was left long ago.
const OLD: Duration = Duration::from_secs(60);

/// How long the renewal of an old answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A lookup is not tried again for this long after one that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

type Lookup = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// The addresses of one host.
#[derive(Clone)]
pub(super) struct Resolver(Arc<Shared>);

struct Shared {
    host: String,
    lookup: Lookup,
    state: watch::Sender<State>,
}

/// Why a host has no address; the text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the name `{host}` cannot be looked up: {why}")]
pub(super) struct LookupError {
    host: String,
    why: String,
}

#[derive(Default)]
struct State {
    answer: Option<Answer>,
    /// When the last lookup began, if it failed, and why.
    failed: Option<(Instant, LookupError)>,
    /// When the lookup began that is under way.
    running: Option<Instant>,
}

struct Answer {
    /// In the order in which to try them.
    addresses: Arc<[IpAddr]>,
    asked_at: Instant,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({:?})", self.0.host)
    }
}

impl Resolver {
    /// Looks up nothing yet. `host` is a name or an address.
    pub(super) fn new(host: &str) -> Self {
        Self::with(host, |host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    /// The same with lookups of its own.
    pub(super) fn with(
        host: &str,
        lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let (host, lookup, state) = (host.to_owned(), Box::new(lookup), watch::Sender::default());
        Self(Arc::new(Shared { host, lookup, state }))
    }

    /// The addresses of the host, at least one, the most promising first.
    ///
    /// # Errors
    /// When the name has no address, or could not be looked up and never was before.
    pub(super) async fn addresses(&self) -> Result<Arc<[IpAddr]>, LookupError> {
        if let Ok(address) = self.0.host.parse::<IpAddr>() {
            return Ok([address].into());
        }
        self.begin_if_due();
        let (age, running) = {
            let state = self.0.state.borrow();
            (state.answer.as_ref().map(|answer| answer.asked_at.elapsed()), state.running)
        };
        let mut state = self.0.state.subscribe();
        // An error would be a sender that is gone, and this is one of its owners.
        let ended = state.wait_for(|state| state.running.is_none());
        match (age, running) {
            (None, _) => drop(ended.await),
            (Some(age), Some(since)) if age >= OLD => drop(timeout_at(since + PATIENCE, ended).await),
            _ => {}
        }
        let state = self.0.state.borrow();
        match (&state.answer, &state.failed) {
            (Some(answer), _) => Ok(Arc::clone(&answer.addresses)),
            (None, Some((_, error))) => Err(error.clone()),
            (None, None) => Err(self.0.error("the lookup was broken off")),
        }
    }

    /// This address did not answer: until the next lookup the others are tried first.
    pub(super) fn demote(&self, address: IpAddr) {
        self.0.state.send_if_modified(|state| {
            let Some(answer) = &mut state.answer else { return false };
            let (others, it): (Vec<_>, Vec<_>) =
                answer.addresses.iter().partition(|known| **known != address);
            answer.addresses = others.into_iter().chain(it).collect();
            // Nobody waits for that.
            false
        });
    }

    fn begin_if_due(&self) {
        let now = Instant::now();
        let begun = self.0.state.send_if_modified(|state| {
            let due = state.is_due(now);
            if due {
                state.running = Some(now);
            }
            due
        });
        if !begun {
            return;
        }
        let shared = Arc::clone(&self.0);
        let spawned = thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let found = (shared.lookup)(&shared.host);
            shared.end(now, found);
        });
        if let Err(error) = spawned {
            self.0.end(now, Err(error));
        }
    }
}

impl State {
    fn is_due(&self, now: Instant) -> bool {
        let failed_lately = self.failed.as_ref().is_some_and(|(at, _)| now - *at < AFTER_FAILURE);
        let fresh = self.answer.as_ref().is_some_and(|answer| now - answer.asked_at < FRESH);
        !(self.running.is_some() || failed_lately || fresh)
    }
}

impl Shared {
    fn error(&self, why: impl ToString) -> LookupError {
        LookupError { host: self.host.clone(), why: why.to_string() }
    }

    /// A lookup that began at `asked_at` has ended.
    fn end(&self, asked_at: Instant, found: io::Result<Vec<IpAddr>>) {
        let found = match found {
            Ok(addresses) if addresses.is_empty() => Err(self.error("it has no address")),
            Ok(addresses) => Ok(addresses.into()),
            Err(error) => Err(self.error(error)),
        };
        self.state.send_modify(|state| {
            state.running = None;
            match found {
                Ok(addresses) => {
                    if state.failed.take().is_some() && state.answer.is_some() {
                        tracing::info!(host = self.host, "the name of the upstream is found again");
                    }
                    state.answer = Some(Answer { addresses, asked_at });
                }
                Err(error) => {
                    if state.failed.is_none() && state.answer.is_some() {
                        tracing::warn!(%error, "going on with the addresses of the last lookup of the upstream");
                    }
                    state.failed = Some((asked_at, error));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
