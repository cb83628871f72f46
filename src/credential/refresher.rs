//! The one task that fetches an account's tokens and writes its cell. Nothing else does either.
//!
//! It turns reports, answers and time into events for the state machine and carries out the actions: it
//! decides nothing itself. A fetch is a task of its own that no reader owns, so no reader can cancel it; a
//! write of the file is on a blocking thread, so a slow disk holds up no token.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info};

use super::cell::{Message, Reader, Shared};
use super::events;
use super::issuer::Issue;
use super::lifecycle::{Action, Event, Machine, Now, WaiterId};
use super::types::{Answer, CredentialId, FetchMode, Renewal};
use crate::config::TokenApi;
use crate::store::file::Keep;

/// Reports that may wait for the task; each takes it microseconds.
const QUEUE: usize = 4096;
/// Reports that are taken together before the cell's suspects are published.
const BATCH: usize = 256;
/// A write that failed is tried again after this long, whatever there is to store meanwhile.
const WRITE_AGAIN: Duration = Duration::from_secs(30);
/// `force_refresh` is sent once it is in the file that it was; on a slow disk after this long in any case.
const BOOKED_FIRST: Duration = Duration::from_secs(1);
/// At shutdown a fetch under way is worth this long: its token has ended the old one.
const LAST_FETCH: Duration = Duration::from_secs(3);
/// At shutdown a write under way is worth this long.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// Whose tokens a task fetches.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Whose credential it is, and of which kind.
    pub id: CredentialId,
    /// Its appid.
    pub appid: String,
    /// Which call issues its token.
    pub token_api: TokenApi,
}

/// Tells the wall clock's time; tests put their own in.
pub(crate) type WallClock = fn() -> SystemTime;

/// The running task. Dropping it stops the task too, without waiting for it.
#[derive(Debug)]
pub struct Task {
    stop: oneshot::Sender<()>,
    joined: JoinHandle<()>,
}

impl Task {
    /// Ends the task: a fetch and a write under way get a few seconds, then the state is stored. Readers go
    /// on reading the last token; a renewal asked for from now on fails.
    pub async fn shutdown(self) {
        let _ = self.stop.send(());
        if let Err(e) = self.joined.await {
            error!("the token task did not end well: {e}");
        }
    }
}

/// Starts the task of one account on the current tokio runtime.
pub fn spawn(spec: TaskSpec, issuer: impl Issue, keep: Arc<dyn Keep>) -> (Reader, Task) {
    spawn_with(spec, issuer, keep, SystemTime::now)
}

pub(crate) fn spawn_with(
    spec: TaskSpec,
    issuer: impl Issue,
    keep: Arc<dyn Keep>,
    wall: WallClock,
) -> (Reader, Task) {
    let machine = Machine::new(spec.id.clone(), spec.token_api);
    let shared = Arc::new(Shared::new(machine.status(&spec.appid)));
    let (sender, reports) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel();
    let refresher = Refresher {
        machine,
        spec,
        issuer: Arc::new(issuer),
        keep,
        wall,
        shared: shared.clone(),
        waiters: HashMap::new(),
        next_waiter: 0,
        flight: None,
        saving: None,
        booked: None,
        unsaved: false,
        write_again: None,
    };
    let joined = tokio::spawn(refresher.run(reports, stopped));
    (Reader { shared, task: sender }, Task { stop, joined })
}

struct Refresher<I> {
    machine: Machine,
    spec: TaskSpec,
    issuer: Arc<I>,
    keep: Arc<dyn Keep>,
    wall: WallClock,
    shared: Arc<Shared>,
    waiters: HashMap<WaiterId, oneshot::Sender<Renewal>>,
    next_waiter: WaiterId,
    flight: Option<JoinHandle<Answer>>,
    saving: Option<JoinHandle<Result<(), String>>>,
    /// Dropped when the file holds all that was known when it was made.
    booked: Option<oneshot::Sender<()>>,
    /// The file is behind the machine.
    unsaved: bool,
    /// The last write failed; the next one is not before this.
    write_again: Option<Instant>,
}

impl<I: Issue> Refresher<I> {
    async fn run(mut self, mut reports: mpsc::Receiver<Message>, mut stopped: oneshot::Receiver<()>) {
        let keep = self.keep.clone();
        let stored = spawn_blocking(move || keep.load()).await.unwrap_or_else(|e| {
            error!(account = &*self.spec.id.account, "reading the token file failed: {e}");
            None
        });
        self.step([Event::Started { stored }]);
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let deadline = self.machine.deadline();
            let write_again = self.write_again.filter(|_| self.saving.is_none());
            tokio::select! {
                // A resolved or a dropped sender both mean: stop.
                _ = &mut stopped => break,
                answer = finished(&mut self.flight) => {
                    let answer = answer.unwrap_or_else(|| Answer::Passing {
                        what: "the fetch ended without an answer (a fault in wxgate)".to_owned(),
                    });
                    self.step([fetched(answer)]);
                }
                saved = finished(&mut self.saving) => self.saved(saved),
                n = reports.recv_many(&mut batch, BATCH), if !reports.is_closed() || !reports.is_empty() => {
                    if n > 0 {
                        let mut events = vec![Event::Proved { generation: self.shared.proven() }];
                        events.extend(batch.drain(..).map(|message| self.event(message)));
                        self.step(events);
                    }
                }
                () = sleep_until(write_again.unwrap_or_else(Instant::now)), if write_again.is_some() => self.save(),
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.step([Event::TimerDue]);
                }
            }
        }
        self.finish().await;
    }

    fn now(&self) -> Now {
        Now { mono: Instant::now(), wall: (self.wall)() }
    }

    fn event(&mut self, message: Message) -> Event {
        match message {
            Message::Report { generation, path, answer } => {
                Event::Reported { generation, path, waiter: answer.map(|answer| self.waiter(answer)) }
            }
            Message::RefusedAgain { path, generation } => Event::RefusedAgain { path, generation },
            Message::Succeeded { path } => Event::Succeeded { path },
            Message::Admin { answer } => Event::AdminRefresh { waiter: self.waiter(answer) },
        }
    }

    fn waiter(&mut self, answer: oneshot::Sender<Renewal>) -> WaiterId {
        self.next_waiter += 1;
        self.waiters.insert(self.next_waiter, answer);
        self.next_waiter
    }

    fn step(&mut self, events: impl IntoIterator<Item = Event>) {
        let now = self.now();
        let mut actions = Vec::new();
        for event in events {
            actions.extend(self.machine.handle(event, now));
        }
        // Before any waiter is answered: its replay's outcome may depend on them.
        if let Some(suspects) = self.machine.take_suspects() {
            self.shared.publish_suspects(suspects);
        }
        self.shared.status.store(Arc::new(self.machine.status(&self.spec.appid)));
        // What is said of an event stands in the log before its first consequence does.
        let (said, done): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::Log(_)));
        for action in said.into_iter().chain(done) {
            self.carry_out(action);
        }
        self.save();
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Fetch(mode) => {
                let issuer = self.issuer.clone();
                let (booked, written) = oneshot::channel();
                // A process killed between sending and writing would send more than 20 a day after a restart.
                // The other calls have quotas far above what a restart could forget.
                self.booked = (mode == FetchMode::StableForced).then_some(booked);
                self.flight = Some(tokio::spawn(async move {
                    let _: Result<Result<(), _>, _> = timeout(BOOKED_FIRST, written).await;
                    issuer.fetch(mode).await
                }));
            }
            Action::Publish(slot) => self.shared.publish(slot),
            Action::Store => self.unsaved = true,
            Action::Answer(id, renewal) => {
                if let Some(waiter) = self.waiters.remove(&id) {
                    // A reader that has gone away needs no answer.
                    let _ = waiter.send(renewal);
                }
            }
            Action::Log(event) => {
                let TaskSpec { id, appid, token_api } = &self.spec;
                events::log(id, appid, *token_api, self.machine.quota(), &event);
            }
        }
    }

    /// One write at a time; what changes meanwhile goes into the next one.
    fn save(&mut self) {
        let now = self.now();
        if self.write_again.is_some_and(|at| now.mono < at) {
            // Nothing waits for a disk that fails.
            self.booked = None;
            return;
        }
        if !self.unsaved || self.saving.is_some() {
            return;
        }
        self.unsaved = false;
        let (keep, record, booked) = (self.keep.clone(), self.machine.record(now), self.booked.take());
        self.saving = Some(spawn_blocking(move || {
            let saved = keep.save(&record);
            drop(booked);
            saved
        }));
    }

    fn saved(&mut self, saved: Option<Result<(), String>>) {
        let account = &*self.spec.id.account;
        match saved.unwrap_or_else(|| Err("the writing thread ended early".to_owned())) {
            Ok(()) => {
                if self.write_again.take().is_some() {
                    info!(account, "the token file can be written again");
                }
            }
            Err(why) => {
                self.unsaved = true;
                if self.write_again.replace(Instant::now() + WRITE_AGAIN).is_none() {
                    error!(
                        account,
                        "the token cannot be stored: {why}; serving goes on, but a restart will fetch a new token. \
                         Is the disk full or read-only? It is tried again every {} s",
                        WRITE_AGAIN.as_secs()
                    );
                }
            }
        }
        self.save();
    }

    async fn finish(mut self) {
        // Without a fetch under way there is nothing to wait for, and `finished` would wait for ever.
        if self.flight.is_some()
            && let Ok(Some(answer)) = timeout(LAST_FETCH, finished(&mut self.flight)).await
            && matches!(answer, Answer::Issued { .. })
        {
            // A `force_refresh` that should follow is for the next process to book and to send.
            self.machine.want_nothing_more();
            for action in self.machine.handle(fetched(answer), self.now()) {
                self.carry_out(action);
            }
        }
        // The last chance: not the time to wait for the disk.
        self.write_again = self.write_again.map(|_| Instant::now());
        self.unsaved = true;
        self.save();
        while let Ok(saved) = timeout(LAST_WRITE, finished(&mut self.saving)).await {
            self.saved(saved);
            if self.saving.is_none() {
                break;
            }
        }
    }
}

fn fetched(answer: Answer) -> Event {
    Event::Fetched { answer, jitter: 0.8 + 0.4 * fastrand::f64() }
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
