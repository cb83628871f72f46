//! A Redis or Valkey that several wxgate share: one fetch for each generation by all of them together.
//!
//! Each account has two keys in one hash slot: its state, encrypted (`seal.rs`), which is replaced only as it is known
//! here, and a lock that its holder renews. Correctness does not rest on the lock: which of two tokens is used is
//! decided by when their fetches began, in the lifecycle. Nothing here decides about tokens.
//!
//! What is in the store and not ours is left alone. The one exception: a state that another AppSecret wrote gives way
//! to a token that was fetched with ours after that had been seen.

mod dial;
mod link;
mod lock;
mod look;
mod probe;
mod scripts;
mod seal;
mod settings;
mod tls;
mod url;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use redis::RedisError;
use rustls::RootCertStore;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{error, info};

pub use self::link::Link;
pub use self::look::{Look, look};
pub use self::probe::{Finding, probe};
pub use self::settings::RedisSettings;
pub use self::url::StoreUrl;

use self::dial::refusal;
use self::link::{Operation, Outcome, Shared};
use self::lock::Lock;
use self::scripts::{Publication, Said, is_wrong_type};
use self::seal::{Opened, Seal};
use super::{Lease, Pending, PublishError, Published, Store, StoreEvent, StoreKey, StoredState};
use crate::secret::Secret;

/// Whether certificates and key are usable together.
///
/// # Errors
/// What is unusable, in words.
pub fn usable_tls(settings: &RedisSettings) -> Result<(), String> {
    tls::client(settings, RootCertStore::empty()).map(drop).map_err(|e| e.0)
}

/// The store is asked for news that got lost this often.
const POLL: Duration = Duration::from_millis(1400);
/// A command that was given up so long after its time was not slow: this process was paused.
const PAUSED: Duration = Duration::from_millis(500);
/// A start waits so long for the first connection.
const FIRST_CONNECTION: Duration = Duration::from_secs(2);
/// A state that nobody renews is gone after this long: no token and no count matters any more.
const LIFE: Duration = Duration::from_secs(7 * 86_400);
/// A generation that another AppSecret wrote is believed up to here: one a second for thirty years.
const BELIEVED: u64 = 1_000_000_000;

/// The key of an account's state; what is in braces is its hash slot.
fn name(settings: &RedisSettings, store_key: &StoreKey) -> String {
    let host = store_key.upstream.split_once("://").map_or(&*store_key.upstream, |(_, host)| host);
    let StoreKey { appid, kind, issued_by, .. } = store_key;
    format!("{}{{{appid}}}:{kind}:{issued_by}@{host}", settings.key_prefix)
}

fn name_of_lock(state: &str) -> String {
    format!("{state}:lock")
}

/// One account's part of the store.
#[derive(Debug)]
pub struct RedisStore {
    link: Arc<Link>,
    seal: Seal,
    account: String,
    key: String,
    lock: Lock,
    news: Arc<Notify>,
    known: Mutex<Known>,
}

/// What stands in the store, as far as is known here.
#[derive(Debug)]
struct Known {
    /// What the lifecycle has been told of.
    told: Content,
    /// What it has to be told of.
    untold: Option<Content>,
    /// The token is not in the store.
    unsaved: bool,
}

#[derive(Debug)]
struct Content {
    value: Vec<u8>,
    is: Is,
}

impl Content {
    /// Of another type than a text, whatever it says.
    fn of_another_type() -> Self {
        Self { value: b"(another type)".to_vec(), is: Is::Foreign }
    }
}

#[derive(Debug)]
enum Is {
    Nothing,
    Ours(Box<StoredState>),
    /// Of another AppSecret, seen first at this time, with this generation.
    OtherSecret(SystemTime, u64),
    Foreign,
}

impl Is {
    fn is_foreign(&self) -> bool {
        matches!(self, Self::OtherSecret(..) | Self::Foreign)
    }
}

impl RedisStore {
    /// One account's part of the store at the other end of `link`; `None` where the system has no randomness.
    pub fn new(link: &Arc<Link>, account: &str, store_key: StoreKey, secret: &Secret) -> Option<Self> {
        let key = name(link.settings(), &store_key);
        let news = link.shared.listen(&key);
        let lock = Lock::new(link, name_of_lock(&key))?;
        let seal = Seal::new(secret, store_key, key.clone())?;
        let known =
            Known { told: Content { value: Vec::new(), is: Is::Nothing }, untold: None, unsaved: false };
        let account = account.to_owned();
        Some(Self { link: Arc::clone(link), seal, account, key, lock, news, known: Mutex::new(known) })
    }

    fn shared(&self) -> &Shared {
        &self.link.shared
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, value: Vec<u8>) -> Content {
        let is = match value.as_slice() {
            [] => Is::Nothing,
            value => match self.seal.open(value) {
                Opened::Ours(state) => Is::Ours(state),
                Opened::OtherSecret(generation) => {
                    // Fetches are dated in whole milliseconds, and one may follow within the same.
                    let seen = self.shared().time() - Duration::from_millis(1);
                    Is::OtherSecret(seen, generation)
                }
                Opened::Foreign => Is::Foreign,
            },
        };
        Content { value, is }
    }

    /// What is there now. Another type than a text is foreign, too.
    async fn get(&self) -> Result<Content, Option<RedisError>> {
        let answer: Result<Option<Vec<u8>>, _> = self.shared().ask(redis::cmd("GET").arg(&self.key)).await;
        let outcome = if answer.is_ok() { Outcome::Ok } else { Outcome::Failed };
        self.shared().count(Operation::Load, outcome);
        match answer {
            Ok(value) => Ok(self.read(value.unwrap_or_default())),
            Err(Some(e)) if is_wrong_type(&e) => Ok(Content::of_another_type()),
            Err(e) => Err(e),
        }
    }

    /// This is what stands in the store, and the lifecycle is about to be told.
    fn tell(&self, content: Content) -> Option<StoreEvent> {
        let mut known = self.known();
        let (was, is) = (known.told.is.is_foreign(), content.is.is_foreign());
        if was != is {
            self.shared().foreign(is);
        }
        let account = &*self.account;
        let same = known.told.value == content.value;
        match &content.is {
            Is::OtherSecret(..) if !same => error!(
                account,
                "the store holds a state under `{}` that was written with another AppSecret, or is damaged. It is left as \
                 it is, and this replica fetches for itself; with the right AppSecret the next token fetched replaces it",
                self.key
            ),
            Is::Foreign if !same => error!(
                account,
                "the store holds under `{}` what this wxgate did not write. It is left as it is, and this replica \
                 fetches for itself; remove it, or set another `key_prefix`",
                self.key
            ),
            Is::Nothing | Is::Ours(_) if was => info!(account, "the store holds nothing foreign any more"),
            _ => {}
        }
        let event = match &content.is {
            Is::Nothing => Some(StoreEvent::Behind),
            Is::Ours(state) => Some(StoreEvent::Published(state.clone())),
            // Its number is taken.
            Is::OtherSecret(_, generation) if !same && *generation < BELIEVED => {
                let generation = *generation;
                Some(StoreEvent::Published(Box::new(StoredState { generation, ..StoredState::default() })))
            }
            Is::OtherSecret(..) | Is::Foreign => None,
        };
        if !(same && is) {
            known.told = content;
        }
        known.untold = None;
        event
    }

    /// For the lifecycle, when it next asks.
    fn tell_later(&self, content: Content) {
        self.known().untold = Some(content);
        self.news.notify_one();
    }

    async fn next_event(
        &self,
        connections: &mut watch::Receiver<Option<redis::aio::MultiplexedConnection>>,
    ) -> StoreEvent {
        loop {
            let poll = POLL.mul_f64(0.8 + 0.4 * fastrand::f64());
            let mut fresh = false;
            tokio::select! {
                () = self.news.notified() => {}
                () = sleep(poll) => {}
                changed = connections.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    fresh = true;
                }
            }
            let untold = self.known().untold.take();
            let content = match untold {
                Some(content) => content,
                None if !self.shared().is_connected() => continue,
                None => match self.get().await {
                    Ok(content) => content,
                    Err(_) => continue,
                },
            };
            let tell = {
                let known = self.known();
                fresh || known.told.value != content.value || known.unsaved
            };
            if tell && let Some(event) = self.tell(content) {
                return event;
            }
        }
    }

    fn away(&self, why: &str) -> PublishError {
        PublishError(format!("the store {} {why}", self.link.settings().shown()))
    }

    /// `Err(None)`: the store has lost what it held, and is worth another try.
    async fn publish_once(&self, state: &StoredState, over: u64) -> Result<Published, Option<PublishError>> {
        let away = |why: &str| Some(self.away(why));
        let (known, is_new) = {
            let known = self.known();
            let is_new = match &known.told.is {
                Is::Ours(told) if told.is_as_good_as(state) => return Ok(Published::Stored),
                Is::Ours(told) if told.generation != over => return Ok(Published::Superseded(told.clone())),
                Is::Ours(told) => told.generation < state.generation,
                // That a fetch is about to be sent is stored, too, and ends no lease.
                Is::Nothing => state.generation > 0,
                Is::OtherSecret(seen, _)
                    if state.credential.as_ref().is_some_and(|credential| credential.began_at >= *seen) =>
                {
                    true
                }
                Is::OtherSecret(..) | Is::Foreign => return Err(away("holds what is not of this AppSecret")),
            };
            (known.told.value.clone(), is_new)
        };
        if !self.shared().is_connected() {
            return Err(away("is away"));
        }
        let Some(new) = self.seal.close(state) else { return Err(away("got nothing: no randomness")) };
        let publication = scripts::publish(&Publication {
            state: &self.key,
            lock: self.lock.key(),
            known: &known,
            new: &new,
            life_ms: LIFE.as_secs() * 1000,
            owner: self.lock.owner(),
            release: is_new,
        });
        match self.shared().ask(&publication).await {
            Ok(Said::Changed(value)) => {
                let content = self.read(value);
                let result = match &content.is {
                    Is::Ours(state) => Ok(Published::Superseded(state.clone())),
                    Is::Nothing => Err(None),
                    Is::OtherSecret(..) | Is::Foreign => Err(away("holds what is not of this AppSecret")),
                };
                self.tell(content);
                result
            }
            Ok(_) => {
                let told = Content { value: new, is: Is::Ours(Box::new(state.clone())) };
                if self.known().told.is.is_foreign() {
                    info!(account = &*self.account, "the token in the store is of this AppSecret now");
                }
                self.tell(told);
                self.announce().await;
                Ok(Published::Stored)
            }
            Err(Some(e)) if is_wrong_type(&e) => {
                self.tell(Content::of_another_type());
                Err(away("holds what wxgate did not write"))
            }
            Err(Some(e)) => Err(away(&format!("says: {}", refusal(&e)))),
            Err(None) => Err(away("is away")),
        }
    }

    /// Tells the others. They would find out by themselves in the end.
    async fn announce(&self) {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.shared().channel()).arg(&self.key);
        let told: Result<i64, _> = self.shared().ask(&publish).await;
        self.shared().count(Operation::Notify, if told.is_ok() { Outcome::Ok } else { Outcome::Failed });
    }

    async fn lease_over(&self, over: u64) -> Lease {
        for _ in 0..4 {
            let (known, foreign) = {
                let known = self.known();
                let content = known.untold.as_ref().unwrap_or(&known.told);
                (content.value.clone(), content.is.is_foreign())
            };
            if foreign || !self.shared().is_connected() {
                return Lease::alone();
            }
            let acquire = scripts::acquire(&self.key, self.lock.key(), &known, self.lock.owner());
            let (asked, said) = self.shared().ask_at(&acquire).await;
            match said {
                Ok(Said::Done) => {
                    self.shared().count(Operation::Lease, Outcome::Ok);
                    return Lease::Granted(self.lock.granted(asked));
                }
                Ok(Said::Held) => {
                    self.shared().count(Operation::Lease, Outcome::Held);
                    return Lease::HeldByPeer;
                }
                Ok(Said::Changed(value)) => {
                    let content = self.read(value);
                    let newer = matches!(&content.is, Is::Ours(state) if state.generation > over && state.credential.is_some());
                    self.tell_later(content);
                    if newer {
                        self.shared().count(Operation::Lease, Outcome::Superseded);
                        return Lease::HeldByPeer;
                    }
                }
                Ok(Said::Foreign) => {
                    self.shared().count(Operation::Lease, Outcome::Foreign);
                    self.lock.say_foreign(&self.account);
                    return Lease::alone();
                }
                // Not the store was slow but this process: it was paused meanwhile, and others were not.
                Err(Some(e)) if e.is_timeout() && asked.elapsed() > self.link.settings().timeout + PAUSED => {
                }
                Err(e) => {
                    self.shared().count(Operation::Lease, Outcome::Failed);
                    if e.as_ref().is_some_and(is_wrong_type) {
                        self.lock.say_foreign(&self.account);
                    }
                    return Lease::alone();
                }
            }
        }
        Lease::alone()
    }
}

impl Store for RedisStore {
    fn load(&self) -> Pending<'_, Option<StoredState>> {
        Box::pin(async {
            // A start is not held up by a store that is away.
            let _ = timeout(FIRST_CONNECTION, self.shared().first_attempt()).await;
            let content = self.get().await.ok()?;
            match self.tell(content) {
                Some(StoreEvent::Published(state)) => Some(*state),
                _ => None,
            }
        })
    }

    fn publish(&self, state: StoredState, over: u64) -> Pending<'_, Result<Published, PublishError>> {
        Box::pin(async move {
            let mut published = self.publish_once(&state, over).await;
            if matches!(published, Err(None)) {
                published = self.publish_once(&state, over).await;
            }
            let published = published.map_err(|why| why.unwrap_or_else(|| self.away("loses what it holds")));
            let outcome = match &published {
                Ok(Published::Stored) => Outcome::Ok,
                Ok(Published::Superseded(_)) => Outcome::Superseded,
                Err(_) => Outcome::Failed,
            };
            self.shared().count(Operation::Publish, outcome);
            self.known().unsaved = published.is_err();
            published
        })
    }

    fn lease(&self, over: u64) -> Pending<'_, Lease> {
        Box::pin(self.lease_over(over))
    }

    fn time(&self) -> Option<SystemTime> {
        Some(self.shared().time())
    }

    fn watch(&self) -> Pending<'_, StoreEvent> {
        let mut connections = self.shared().connections();
        Box::pin(async move { self.next_event(&mut connections).await })
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        if self.known().told.is.is_foreign() {
            self.shared().foreign(false);
        }
    }
}
