//! One account's part of a shared store: its state and its lock, and the news of both.
//!
//! Which of two tokens is used is decided in the lifecycle; nothing here decides about tokens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use redis::RedisError;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::info;

use super::dial::refusal;
use super::known::{Content, Is, Known};
use super::link::Link;
use super::lock::Lock;
use super::scripts::{self, Publication, Said, is_wrong_type};
use super::seal::Seal;
use super::settings::lock_key;
use super::shared::{Operation, Outcome, Shared};
use crate::secret::Secret;
use crate::store::{Lease, Pending, PublishError, Published, Store, StoreEvent, StoreKey, StoredState};

/// The store is asked for news that got lost this often.
const POLL: Duration = Duration::from_millis(1400);
/// A command that was given up so long after its time was not slow: this process was paused.
const PAUSED: Duration = Duration::from_millis(500);
/// A state that nobody renews is gone after this long: no token and no count matters any more.
const LIFE: Duration = Duration::from_secs(7 * 86_400);

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

impl RedisStore {
    /// One account's part of the store at the other end of `link`; `None` where the system has no randomness.
    pub fn new(link: &Arc<Link>, account: &str, store_key: StoreKey, secret: &Secret) -> Option<Self> {
        let key = link.settings().state_key(&store_key);
        let news = link.shared.listen(&key);
        let lock = Lock::new(link, lock_key(&key))?;
        let seal = Seal::new(secret, store_key, key.clone())?;
        let account = account.to_owned();
        Some(Self { link: Arc::clone(link), seal, account, key, lock, news, known: Mutex::default() })
    }

    fn shared(&self) -> &Shared {
        &self.link.shared
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, value: Vec<u8>) -> Content {
        Content::of(value, &self.seal, self.shared().time())
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
        if known.is_foreign() != content.is.is_foreign() {
            self.shared().foreign(content.is.is_foreign());
        }
        known.tell(content, &self.account, &self.key)
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
                if self.known().is_foreign() {
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
            self.shared().first_attempt().await;
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
            self.shared().count(Operation::Publish, Outcome::of(&published));
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
        if self.known().is_foreign() {
            self.shared().foreign(false);
        }
    }
}
