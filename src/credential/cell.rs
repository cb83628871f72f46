//! The cell that every request reads: the account's current credential, or why there is none.
//!
//! [`Reader`] is what the data plane holds. Reading the cell is one atomic load: no lock, no clock, no call to
//! anybody; the task clears the cell at the instant the credential ends. A reader never fetches: it reports the
//! generation that was refused and waits for a newer one. Nothing here decides anything about credentials.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::evidence::Stamp;
use super::known_paths::KnownPaths;
use super::policy::Policy;
use super::status::{CredentialStatus, FetchLog};
use super::types::{Absent, CellContent, Credential, Previous, Renewal, Suspects};
use crate::text::beginning;

/// So many credentials are remembered after their ends: someone may show them to wxgate, or to a caller.
const REMEMBERED: usize = 16;

/// What a reader tells the task.
#[derive(Debug)]
pub(crate) enum Message {
    /// The upstream refused this generation on this path.
    Refused { generation: u64, path: Box<str>, known: bool, answer: Option<oneshot::Sender<Renewal>> },
    /// The last sending, with this generation, was refused too.
    RefusedAgain { path: Box<str>, generation: u64 },
    /// All sendings of a call were refused, although other calls show that the credential is good.
    RefusedThoughGood { path: Box<str>, began: Instant },
    /// A request of this path was not refused.
    Succeeded { path: Box<str> },
    /// Somebody wants a credential that is asked for on demand.
    Wanted { answer: Option<oneshot::Sender<Renewal>> },
    /// Somebody asked for a refresh by hand, if this generation is still the current one.
    Admin { generation: Option<u64>, answer: oneshot::Sender<Renewal> },
}

/// What the task writes and readers read.
#[derive(Debug)]
pub(crate) struct Cell {
    current: ArcSwap<Result<Arc<Credential>, Absent>>,
    previous: ArcSwapOption<Previous>,
    /// The last ones, newest first, whether they have ended or not.
    remembered: ArcSwap<Vec<Arc<Credential>>>,
    pub(crate) status: ArcSwap<CredentialStatus>,
    /// Written by the task, read by who shows it; no request locks it.
    fetches: Mutex<FetchLog>,
    /// Whether the last publication to its store failed.
    pub(crate) store_fails: AtomicBool,
    /// Seconds since 1970 at the last sign that something else fetches; 0: none.
    pub(crate) second_fetcher: AtomicU64,
    /// Bumped after each write of the cell, for those who wait for another credential.
    written: watch::Sender<u64>,
    /// The newest generation with which a request was not refused. Readers write it.
    known_good: AtomicU64,
    any_suspect: AtomicBool,
    suspects: ArcSwap<Suspects>,
    known_paths: KnownPaths,
}

impl Cell {
    pub(crate) fn new(status: CredentialStatus) -> Self {
        Self {
            current: ArcSwap::from_pointee(Err(Absent::Waiting)),
            previous: ArcSwapOption::empty(),
            remembered: ArcSwap::default(),
            status: ArcSwap::from_pointee(status),
            fetches: Mutex::default(),
            store_fails: AtomicBool::new(false),
            second_fetcher: AtomicU64::new(0),
            written: watch::Sender::new(0),
            known_good: AtomicU64::new(0),
            any_suspect: AtomicBool::new(false),
            suspects: ArcSwap::from_pointee(Suspects::new()),
            known_paths: KnownPaths::default(),
        }
    }

    pub(crate) fn publish(&self, content: CellContent) {
        // After a start this is the only word of it.
        if let Some(before) = &content.before
            && !self.remembered.load().iter().any(|known| known.value == before.value)
        {
            self.remember(before);
        }
        if let Ok(current) = &content.current {
            self.remember(current);
        }
        self.previous.store(content.previous.map(Arc::new));
        self.current.store(Arc::new(content.current));
        self.written.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn remember(&self, current: &Arc<Credential>) {
        let known = self.remembered.load();
        if known.first().is_some_and(|newest| newest.generation == current.generation) {
            return;
        }
        let before = known.iter().take(REMEMBERED - 1);
        let all = std::iter::once(current).chain(before).cloned().collect();
        self.remembered.store(Arc::new(all));
    }

    /// Publishes the state, and notes the fetch that ended with it.
    pub(crate) fn publish_status(&self, status: CredentialStatus) {
        if status.last_refresh != self.status.load().last_refresh {
            self.fetches.lock().unwrap_or_else(PoisonError::into_inner).note(&status);
        }
        self.status.store(Arc::new(status));
    }

    pub(crate) fn known_good(&self) -> u64 {
        self.known_good.load(Ordering::Relaxed)
    }

    pub(crate) fn publish_suspects(&self, suspects: Suspects) {
        let any = !suspects.is_empty();
        self.suspects.store(Arc::new(suspects));
        self.any_suspect.store(any, Ordering::Relaxed);
    }
}

/// The data plane's side of one credential. Cheap to clone, free to move between threads and runtimes.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) cell: Arc<Cell>,
    pub(crate) task: mpsc::Sender<Message>,
    pub(crate) policy: &'static Policy,
}

impl Reader {
    /// The current credential, or why there is none: one atomic load.
    ///
    /// # Errors
    /// [`Absent`] when there is no valid one at this moment.
    pub fn current(&self) -> Result<Arc<Credential>, Absent> {
        Result::clone(&self.cell.current.load())
    }

    /// The current credential; where there is none yet, waits for one up to `limit`. A refusal answers at once:
    /// it is not over in a few seconds.
    ///
    /// # Errors
    /// [`Absent`] as it stands when the wait is over.
    pub async fn first(&self, limit: Duration) -> Result<Arc<Credential>, Absent> {
        let wait = async {
            let mut written = self.cell.written.subscribe();
            loop {
                written.borrow_and_update();
                match self.current() {
                    Err(Absent::Waiting | Absent::Passing { .. }) => {}
                    settled => return settled,
                }
                if written.changed().await.is_err() {
                    return self.current();
                }
            }
        };
        match self.current() {
            Ok(credential) => Ok(credential),
            Err(_) => timeout(limit, wait).await.unwrap_or_else(|_| self.current()),
        }
    }

    /// A credential of a kind that is asked for on demand: the current one if it was asked for recently, else what comes
    /// of asking, waited for up to `limit`. One that was asked for not much longer ago is handed out while it is asked
    /// again, and any that is still valid where asking fails.
    ///
    /// # Errors
    /// [`Absent`] as it stands when the wait is over.
    pub async fn wanted(&self, limit: Duration) -> Result<Arc<Credential>, Absent> {
        if let (Ok(current), Some(every)) = (self.current(), self.policy.on_demand) {
            let now = Instant::now();
            if current.asked_within(every, now) {
                return Ok(current);
            }
            if current.asked_within(2 * every, now) {
                // A full queue means that the task knows.
                let _ = self.task.try_send(Message::Wanted { answer: None });
                return Ok(current);
            }
        }
        let (answer, answered) = oneshot::channel();
        match self.ask(Message::Wanted { answer: Some(answer) }, answered, limit).await {
            Renewal::Newer(credential) => Ok(credential),
            Renewal::Failed | Renewal::Limited | Renewal::Same => self.current(),
        }
    }

    /// Asks for a credential newer than `refused`, which the upstream refused on `path` (without query), and
    /// waits up to `limit`. With a newer one in the cell already, nobody is contacted.
    ///
    /// Dropping this future never cancels the fetch: the report has been handed over and others may wait.
    pub async fn renew(&self, refused: &Credential, path: &str, limit: Duration) -> Renewal {
        if let Some(newer) = self.newer_than(refused.generation) {
            return Renewal::Newer(newer);
        }
        let (answer, answered) = oneshot::channel();
        let settled = self.ask(self.refusal(refused, path, Some(answer)), answered, limit).await;
        match settled {
            Renewal::Failed => self.newer_than(refused.generation).map_or(Renewal::Failed, Renewal::Newer),
            settled => settled,
        }
    }

    /// Reports a refused credential without waiting, for a body too large to be sent again.
    pub fn start_renewal(&self, refused: &Credential, path: &str) {
        if self.newer_than(refused.generation).is_none() {
            // A full queue means that thousands of reports are waiting already: one more says nothing new.
            let _ = self.task.try_send(self.refusal(refused, path, None));
        }
    }

    /// A refresh now, whatever the credential's age; it spends what a forced refresh spends. With a `generation`
    /// only if that is still the current one, else the current credential at once: so several who ask together for
    /// a newer one than they know cause one fetch.
    pub async fn refresh_now(&self, generation: Option<u64>, limit: Duration) -> Renewal {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Admin { generation, answer }, answered, limit).await
    }

    /// A call of this path that was sent at `sent` was not refused: what is refused with the same credential besides
    /// is not its fault. For every such call.
    pub fn accepted(&self, credential: &Credential, path: &str, sent: std::time::Instant) {
        let sent = Stamp::of(sent);
        credential.evidence.accepted(sent);
        let path = path_key(path);
        self.cell.known_paths.accepted(path, sent);
        if self.cell.known_good() < credential.generation {
            self.cell.known_good.fetch_max(credential.generation, Ordering::Relaxed);
        }
        if self.watches(path) {
            let _ = self.task.try_send(Message::Succeeded { path: path.into() });
        }
    }

    /// A call of this path that was sent at `sent` was refused. Nothing is fetched for it yet.
    pub fn refused(&self, credential: &Credential, path: &str, sent: std::time::Instant) {
        let now = Stamp::now();
        let paths = &self.cell.known_paths;
        // Callers make up paths: what those show that were never accepted is little, unless all are such.
        if paths.is_empty() || paths.contains(path_key(path), now) {
            credential.evidence.refused(Stamp::of(sent), now);
        }
    }

    /// The last sending of a call was refused too, with the credential of this generation.
    pub fn refused_again(&self, path: &str, generation: u64) {
        let _ = self.task.try_send(Message::RefusedAgain { path: path_key(path).into(), generation });
    }

    /// The credential before the current one, while it goes on working as far as is known.
    pub fn previous(&self) -> Option<Previous> {
        let previous = self.cell.previous.load_full()?;
        let works = Instant::now() < previous.until && !previous.credential.evidence.is_refused();
        works.then(|| Previous::clone(&previous))
    }

    /// The last credentials of this process, newest first, whether they have ended or not.
    pub fn remembered(&self) -> Arc<Vec<Arc<Credential>>> {
        self.cell.remembered.load_full()
    }

    /// Whether this path starts no fetch at the moment.
    pub fn blocked(&self, path: &str) -> bool {
        self.cell.any_suspect.load(Ordering::Relaxed)
            && self
                .cell
                .suspects
                .load()
                .get(path_key(path))
                .is_some_and(|until| until.is_some_and(|until| Instant::now() < until))
    }

    /// Changes whenever the cell is written.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.cell.written.subscribe()
    }

    /// How its credential lives.
    pub fn policy(&self) -> &'static Policy {
        self.policy
    }

    /// Each sending of a call was refused, although other calls show that the credential is good. `began` is when the
    /// first one was sent.
    pub fn refused_though_good(&self, path: &str, began: Instant) {
        let _ = self.task.try_send(Message::RefusedThoughGood { path: path_key(path).into(), began });
    }

    /// Whether the task wants to hear of a success of this path. One relaxed load while no path is suspect.
    pub(crate) fn watches(&self, path: &str) -> bool {
        self.cell.any_suspect.load(Ordering::Relaxed)
            && self.cell.suspects.load().contains_key(path_key(path))
    }

    /// The fetches that its task has sent.
    pub fn fetches(&self) -> FetchLog {
        self.cell.fetches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When there was a sign that something else fetches this credential, for the last time.
    pub fn second_fetcher(&self) -> Option<SystemTime> {
        let at = self.cell.second_fetcher.load(Ordering::Relaxed);
        (at > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(at))
    }

    /// Whether the last publication to its store failed.
    pub fn store_fails(&self) -> bool {
        self.cell.store_fails.load(Ordering::Relaxed)
    }

    /// What a page for people may show: no credential, no secret.
    pub fn status(&self) -> Arc<CredentialStatus> {
        self.cell.status.load_full()
    }

    fn newer_than(&self, generation: u64) -> Option<Arc<Credential>> {
        self.current().ok().filter(|credential| credential.since > generation)
    }

    fn refusal(&self, refused: &Credential, path: &str, answer: Option<oneshot::Sender<Renewal>>) -> Message {
        let path = path_key(path);
        let known = self.cell.known_paths.contains(path, Stamp::now());
        Message::Refused { generation: refused.generation, path: path.into(), known, answer }
    }

    async fn ask(&self, message: Message, answered: oneshot::Receiver<Renewal>, limit: Duration) -> Renewal {
        let asking = async {
            // A task that has stopped (shutdown) fetches nothing any more.
            self.task.send(message).await.ok()?;
            answered.await.ok()
        };
        timeout(limit, asking).await.ok().flatten().unwrap_or(Renewal::Failed)
    }
}

/// The part of a path that records go by. Callers choose paths, so one record's size is bounded; two paths
/// that agree in this many bytes count as one.
fn path_key(path: &str) -> &str {
    const LONGEST: usize = 512;
    beginning(path, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_paths_are_cut_between_characters() {
        let long = format!("/{}", "票".repeat(400));
        assert!(path_key(&long).len() <= 512 && long.starts_with(path_key(&long)));
        assert_eq!(path_key("/cgi-bin/user/get"), "/cgi-bin/user/get");
    }
}
