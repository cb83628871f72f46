//! The one task that fetches a credential and writes its cell. Nothing else does either.
//!
//! It turns reports, answers, time and the store's news into events for the state machine and carries out the
//! actions: it decides nothing itself. A fetch is a task of its own that no reader owns, so no reader can cancel it;
//! a write into the store is one too, so a slow store holds up no credential. What becomes of the task when it
//! panics is in `supervisor.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info};

use super::cell::{Cell, Message};
use super::events;
use super::issuer::Issuer;
use super::lifecycle::{Action, Event, LogEvent, Machine, Now, WaiterId};
use super::policy::{Limit, Policy};
use super::status::StoreCounts;
use super::types::{CredentialId, FetchAnswer, FetchMode, Renewal};
use crate::store::{Grant, Lease, PublishError, Published, Store, StoreEvent, StoredState};

/// Reports that are taken together before the cell's suspects are published.
const BATCH: usize = 256;
/// A write that failed is tried again after this long, whatever there is to store meanwhile.
const WRITE_AGAIN: Duration = Duration::from_secs(30);
/// A fetch in forced mode is sent once it is in the store that it was; on a slow one after this long in any case.
const BOOKED_FIRST: Duration = Duration::from_secs(1);
/// At shutdown a fetch under way is worth this long: its credential has ended the one before it.
const LAST_FETCH: Duration = Duration::from_secs(3);
/// At shutdown a write under way is worth this long.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Whose credential a task fetches.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Whose credential it is, and of which kind.
    pub id: CredentialId,
    /// The account's appid.
    pub appid: String,
    /// How it lives and is issued.
    pub policy: &'static Policy,
    /// The limit on forced refreshes: the policy's, or a part of it.
    pub limit: Limit,
    /// When it is renewed among credentials that came together: 0, the first, to 1, the last.
    pub turn: f64,
    /// Where what it asks of its store is counted.
    pub store_counts: Arc<StoreCounts>,
}

/// Tells the wall clock's time; tests put their own in.
pub(crate) type WallClock = fn() -> SystemTime;

/// What a refresher works with, whatever becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) spec: TaskSpec,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) store: Arc<dyn Store>,
    pub(super) wall: WallClock,
    pub(super) cell: Arc<Cell>,
}

/// How a fetch ended.
#[derive(Debug)]
enum FlightEnd {
    /// With when it had begun, by the clock that all replicas share, and the lease under which it was sent.
    Answered(FetchAnswer, SystemTime, Box<dyn Grant>),
    HeldByPeer,
}

/// The generation that was written, and what came of it.
type Saved = (u64, Result<Published, PublishError>);

/// One life of the task, from its start or restart to its end.
#[derive(Debug)]
pub(super) struct Refresher {
    around: Surroundings,
    machine: Machine,
    /// How often the task has been started anew, for the status.
    restarts: u32,
    waiters: HashMap<WaiterId, oneshot::Sender<Renewal>>,
    next_waiter: WaiterId,
    /// Asks for the lease, before the fetch.
    leasing: Option<JoinHandle<Lease>>,
    /// The lease, until the fetch is sent.
    granted: Option<Box<dyn Grant>>,
    flight: Option<JoinHandle<FlightEnd>>,
    /// Gives a lease up. The next one is asked for behind it, or it would be given up in its place.
    releasing: Option<JoinHandle<()>>,
    saving: Option<JoinHandle<Saved>>,
    /// Dropped when the store holds all that was known when it was made.
    booked: Option<oneshot::Sender<()>>,
    /// The generation in the store, as far as is known.
    stored: u64,
    /// The store is behind the machine.
    unsaved: bool,
    /// The last write failed; the next one is not before this, unless there is a new credential.
    write_again: Option<Instant>,
    /// The generation of the write that failed last.
    failed: u64,
}

impl Refresher {
    pub(super) fn new(around: Surroundings, restarts: u32) -> Self {
        Self {
            machine: Machine::new(around.spec.id.clone(), around.spec.policy, around.spec.limit)
                .in_turn(around.spec.turn),
            around,
            restarts,
            waiters: HashMap::new(),
            next_waiter: 0,
            leasing: None,
            granted: None,
            flight: None,
            releasing: None,
            saving: None,
            booked: None,
            stored: 0,
            unsaved: false,
            write_again: None,
            failed: 0,
        }
    }

    /// Works until it is told to stop. `latest` is the newest state that is known besides the store, and is kept up
    /// to date.
    pub(super) async fn run(
        &mut self,
        reports: &mut mpsc::Receiver<Message>,
        stopped: &mut oneshot::Receiver<()>,
        latest: &mut Option<StoredState>,
    ) {
        let newest = self.load(latest.clone()).await;
        self.step([Event::Started { stored: newest.map(Box::new) }], latest);
        let mut batch = Vec::with_capacity(BATCH);
        let store = Arc::clone(&self.around.store);
        let mut news = store.watch();
        loop {
            let deadline = self.machine.deadline();
            let write_again = self.write_again.filter(|_| self.saving.is_none());
            tokio::select! {
                // A resolved or a dropped sender both mean: stop.
                _ = &mut *stopped => break,
                // A fault in the store is no reason to be without a credential.
                lease = finished(&mut self.leasing) => self.lease_ended(lease.unwrap_or_else(Lease::alone), latest),
                ended = finished(&mut self.flight) => self.flight_ended(ended, latest),
                saved = finished(&mut self.saving) => {
                    if let Some(event) = self.saved(saved) {
                        self.step([event], latest);
                    }
                    self.save(latest);
                }
                event = &mut news => {
                    news = store.watch();
                    self.heard(event, latest);
                }
                n = reports.recv_many(&mut batch, BATCH), if !reports.is_closed() || !reports.is_empty() => {
                    if n > 0 {
                        let mut events = vec![Event::KnownGood { generation: self.around.cell.known_good() }];
                        events.extend(batch.drain(..).map(|message| self.event(message)));
                        self.step(events, latest);
                    }
                }
                () = sleep_until(write_again.unwrap_or_else(Instant::now)), if write_again.is_some() => {
                    self.save(latest);
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.step([Event::TimerDue], latest);
                }
            }
        }
        self.finish(latest).await;
    }

    /// The newest of what the store holds and of what is known besides: what was inherited, or what a task that panicked
    /// knew.
    async fn load(&mut self, latest: Option<StoredState>) -> Option<StoredState> {
        let stored = self.around.store.load().await;
        self.around.spec.store_counts.loads.fetch_add(1, Ordering::Relaxed);
        self.stored = stored.as_ref().map_or(0, |state| state.generation);
        let newest = match (stored, latest) {
            (Some(stored), Some(latest)) if latest.generation > stored.generation => Some(latest),
            // What another AppSecret wrote says its number alone: the token that was held goes on being served.
            (Some(stored), Some(latest)) if stored.credential.is_none() && latest.credential.is_some() => {
                Some(StoredState { generation: stored.generation, ..latest })
            }
            (None, latest) => latest,
            (stored, _) => stored,
        };
        self.unsaved = newest.as_ref().is_some_and(|newest| newest.generation > self.stored);
        newest
    }

    fn lease_ended(&mut self, lease: Lease, latest: &mut Option<StoredState>) {
        match lease {
            Lease::HeldByPeer => self.step([Event::HeldByPeer { jitter: jitter() }], latest),
            Lease::Granted(grant) => {
                self.granted = Some(grant);
                self.step([Event::Leased], latest);
                if let Some(unused) = self.granted.take() {
                    self.releasing = Some(tokio::spawn(unused.release()));
                }
            }
        }
    }

    /// `None`: the fetch panicked.
    fn flight_ended(&mut self, ended: Option<FlightEnd>, latest: &mut Option<StoredState>) {
        let over = self.machine.generation();
        let (event, grant) = match ended {
            Some(FlightEnd::Answered(answer, began, grant)) => (fetched(answer, began), Some(grant)),
            Some(FlightEnd::HeldByPeer) => (Event::HeldByPeer { jitter: jitter() }, None),
            None => {
                let what = "the fetch ended without an answer (a fault in wxgate)".to_owned();
                (fetched(FetchAnswer::Passing { what }, (self.around.wall)()), None)
            }
        };
        self.step([event], latest);
        // With a new credential the lease ends when that is stored: a peer that was granted it before would fetch again.
        // What asks for the lease anew has the same.
        if let Some(grant) = grant
            && self.machine.generation() == over
            && self.leasing.is_none()
        {
            self.releasing = Some(tokio::spawn(grant.release()));
        }
    }

    fn heard(&mut self, event: StoreEvent, latest: &mut Option<StoredState>) {
        // What it says is newer than what was last tried.
        self.write_again = self.write_again.map(|_| Instant::now());
        match event {
            StoreEvent::Published(stored) => {
                self.stored = stored.generation;
                self.step([Event::PeerPublished { stored }], latest);
            }
            StoreEvent::Behind => {
                (self.stored, self.unsaved) = (0, true);
                self.save(latest);
            }
        }
    }

    /// Replicas whose own clocks differ agree about stored times only by the clock that they share.
    fn now(&self) -> Now {
        let wall = self.around.store.time().unwrap_or_else(self.around.wall);
        Now { mono: Instant::now(), wall }
    }

    fn event(&mut self, message: Message) -> Event {
        match message {
            Message::Refused { generation, path, known, answer } => {
                Event::Refused { generation, path, known, waiter: answer.map(|answer| self.waiter(answer)) }
            }
            Message::RefusedAgain { path, generation } => Event::RefusedAgain { path, generation },
            Message::RefusedThoughGood { path, began } => Event::RefusedThoughGood { path, began },
            Message::Succeeded { path } => Event::Succeeded { path },
            Message::Wanted { answer } => Event::Wanted { waiter: answer.map(|answer| self.waiter(answer)) },
            Message::Admin { generation, answer } => {
                Event::AdminRefresh { generation, waiter: self.waiter(answer) }
            }
        }
    }

    fn waiter(&mut self, answer: oneshot::Sender<Renewal>) -> WaiterId {
        self.next_waiter += 1;
        self.waiters.insert(self.next_waiter, answer);
        self.next_waiter
    }

    fn step(&mut self, events: impl IntoIterator<Item = Event>, latest: &mut Option<StoredState>) {
        let now = self.now();
        let mut actions = Vec::new();
        for event in events {
            actions.extend(self.machine.handle(event, now));
        }
        let cell = Arc::clone(&self.around.cell);
        // Before any waiter is answered: its replay's outcome may depend on them.
        if let Some(suspects) = self.machine.take_suspects() {
            cell.publish_suspects(suspects);
        }
        let mut status = self.machine.status();
        status.task_restarts = self.restarts;
        cell.publish_status(status);
        // The log message of an event comes before its first consequence.
        let (logged, done): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Log(_)));
        for action in logged.into_iter().chain(done) {
            self.carry_out(action);
        }
        self.save(latest);
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Lease => {
                let (store, over) = (Arc::clone(&self.around.store), self.machine.generation());
                let mut releasing = self.releasing.take();
                self.leasing = Some(tokio::spawn(async move {
                    if releasing.is_some() {
                        finished(&mut releasing).await;
                    }
                    store.lease(over).await
                }));
            }
            Action::Fetch(mode) => self.send(mode),
            Action::Publish(content) => self.around.cell.publish(content),
            Action::Store => self.unsaved = true,
            Action::Answer(id, renewal) => {
                if let Some(waiter) = self.waiters.remove(&id) {
                    // A reader that has gone away needs no answer.
                    let _ = waiter.send(renewal);
                }
            }
            Action::Log(event) => {
                if matches!(event, LogEvent::SecondFetcher) {
                    let at = (self.around.wall)().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                    self.around.cell.second_fetcher.store(at.as_secs(), Ordering::Relaxed);
                }
                let TaskSpec { id, appid, policy, limit, .. } = &self.around.spec;
                events::log(id, appid, policy, *limit, &event);
            }
        }
    }

    /// Sends the fetch that was asked for. A process that is killed before the answer has spent the fetch all the same: one
    /// in forced mode, of which there are 20 a day, waits until it is stored as spent. The other calls have quotas far
    /// above what a restart could forget.
    fn send(&mut self, mode: FetchMode) {
        let Some(grant) = self.granted.take() else { return };
        let Surroundings { issuer, store, wall, .. } = self.around.clone();
        let over = self.machine.generation();
        let (booked, written) = oneshot::channel();
        self.booked = (mode == FetchMode::Forced).then_some(booked);
        self.unsaved = true;
        self.flight = Some(tokio::spawn(async move {
            let _: Result<Result<(), _>, _> = timeout(BOOKED_FIRST, written).await;
            let mut grant = grant;
            if !grant.holds() {
                match store.lease(over).await {
                    Lease::Granted(again) => grant = again,
                    Lease::HeldByPeer => return FlightEnd::HeldByPeer,
                }
            }
            let began = store.time().unwrap_or_else(wall);
            FlightEnd::Answered(issuer.fetch(mode).await, began, grant)
        }));
    }

    /// One write at a time; what changes meanwhile goes into the next one.
    fn save(&mut self, latest: &mut Option<StoredState>) {
        if !self.unsaved {
            return;
        }
        let now = self.now();
        let state = self.machine.state(now);
        *latest = Some(state.clone());
        // A new credential is worth a try at once.
        let known = state.generation <= self.stored.max(self.failed);
        if self.write_again.is_some_and(|at| now.mono < at && known) {
            // Nothing waits for a store that fails.
            self.booked = None;
            return;
        }
        if self.saving.is_some() {
            return;
        }
        self.unsaved = false;
        let (store, over, booked) = (Arc::clone(&self.around.store), self.stored, self.booked.take());
        self.saving = Some(tokio::spawn(async move {
            let generation = state.generation;
            let saved = store.publish(state, over).await;
            drop(booked);
            (generation, saved)
        }));
    }

    /// What a write that is over means for the machine.
    fn saved(&mut self, saved: Option<Saved>) -> Option<Event> {
        let account = &*self.around.spec.id.account;
        let ended_early = || (0, Err(PublishError("the write ended early (a fault in wxgate)".to_owned())));
        let (generation, published) = saved.unwrap_or_else(ended_early);
        self.around.cell.store_fails.store(published.is_err(), Ordering::Relaxed);
        let counts = &self.around.spec.store_counts;
        let counter = if published.is_ok() { &counts.published } else { &counts.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        match published {
            Ok(published) => {
                if self.write_again.take().is_some() {
                    info!(account, "the token can be stored again");
                }
                match published {
                    Published::Stored => {
                        self.stored = generation;
                        None
                    }
                    Published::Superseded(stored) => {
                        self.stored = stored.generation;
                        Some(Event::PeerPublished { stored })
                    }
                }
            }
            Err(why) => {
                self.unsaved = true;
                self.failed = generation;
                if self.write_again.replace(Instant::now() + WRITE_AGAIN).is_none() {
                    error!(
                        account,
                        "the token cannot be stored: {why}; serving goes on, but a restart will fetch a new token. \
                         It is tried again every {} s",
                        WRITE_AGAIN.as_secs()
                    );
                }
                None
            }
        }
    }

    async fn finish(&mut self, latest: &mut Option<StoredState>) {
        let mut kept = None;
        // Without a fetch under way there is nothing to wait for, and `finished` would wait for ever.
        if self.flight.is_some()
            && let Ok(Some(FlightEnd::Answered(answer, began, grant))) =
                timeout(LAST_FETCH, finished(&mut self.flight)).await
        {
            kept = Some(grant);
            if matches!(answer, FetchAnswer::Issued { .. }) {
                // A forced fetch that should follow is for the next process to book and to send.
                self.machine.want_nothing_more();
                for action in self.machine.handle(fetched(answer, began), self.now()) {
                    self.carry_out(action);
                }
            }
        }
        // The last chance: not the time to wait for the store.
        self.write_again = self.write_again.map(|_| Instant::now());
        self.unsaved = true;
        self.save(latest);
        while let Ok(saved) = timeout(LAST_WRITE, finished(&mut self.saving)).await {
            self.saved(saved);
            self.save(latest);
            if self.saving.is_none() {
                break;
            }
        }
        if let Some(grant) = kept {
            let _: Result<(), _> = timeout(LAST_WRITE, grant.release()).await;
        }
    }
}

impl Drop for Refresher {
    /// Nothing of a life goes on beyond it: after a panic another one starts.
    fn drop(&mut self) {
        self.leasing.take().inspect(JoinHandle::abort);
        self.flight.take().inspect(JoinHandle::abort);
    }
}

fn jitter() -> f64 {
    0.8 + 0.4 * fastrand::f64()
}

fn fetched(answer: FetchAnswer, began: SystemTime) -> Event {
    Event::Fetched { answer, began, jitter: jitter() }
}

/// Waits for a task that may not be there (then for ever) and takes it out; `None` when it panicked.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Option<T> {
    match task {
        Some(handle) => {
            let ended = handle.await;
            *task = None;
            ended.ok()
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
