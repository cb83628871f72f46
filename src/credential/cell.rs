//! The cell that every request reads: the account's current token, or why there is none.
//!
//! [`Reader`] is what the data plane holds. Reading the cell is one atomic load: no lock, no clock, no call to
//! anybody; the task clears the cell at the instant the token ends. A reader never fetches: it reports the
//! generation that was refused and waits for a newer one. Nothing here decides anything about tokens.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::status::Status;
use super::types::{Absent, Credential, Renewal};

/// What a reader tells the task.
#[derive(Debug)]
pub(crate) enum Message {
    /// The upstream refused this generation on this path.
    Report { generation: u64, path: Box<str>, answer: Option<oneshot::Sender<Renewal>> },
    /// The second sending, with this generation, was refused too.
    RefusedAgain { path: Box<str>, generation: u64 },
    /// A request of this path was not refused.
    Succeeded { path: Box<str> },
    /// Somebody asked for a refresh by hand.
    Admin { answer: oneshot::Sender<Renewal> },
}

/// What the task writes and readers read.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) cell: ArcSwap<Result<Arc<Credential>, Absent>>,
    pub(crate) status: ArcSwap<Status>,
    /// Only `first` looks at it: bumped after each write of the cell.
    pub(crate) written: watch::Sender<u64>,
    /// The newest generation with which a request was not refused. Readers write it.
    proven: AtomicU64,
    any_suspect: AtomicBool,
    suspects: ArcSwap<HashSet<Arc<str>>>,
}

impl Shared {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            cell: ArcSwap::from_pointee(Err(Absent::Waiting)),
            status: ArcSwap::from_pointee(status),
            written: watch::Sender::new(0),
            proven: AtomicU64::new(0),
            any_suspect: AtomicBool::new(false),
            suspects: ArcSwap::from_pointee(HashSet::new()),
        }
    }

    pub(crate) fn publish(&self, slot: Result<Arc<Credential>, Absent>) {
        self.cell.store(Arc::new(slot));
        self.written.send_modify(|n| *n = n.wrapping_add(1));
    }

    pub(crate) fn proven(&self) -> u64 {
        self.proven.load(Ordering::Relaxed)
    }

    pub(crate) fn publish_suspects(&self, paths: HashSet<Arc<str>>) {
        let any = !paths.is_empty();
        self.suspects.store(Arc::new(paths));
        self.any_suspect.store(any, Ordering::Relaxed);
    }
}

/// The data plane's side of one account's token. Cheap to clone, free to move between threads and runtimes.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: mpsc::Sender<Message>,
}

impl Reader {
    /// The current token, or why there is none: one atomic load.
    ///
    /// # Errors
    /// [`Absent`] when there is no valid token at this moment.
    pub fn current(&self) -> Result<Arc<Credential>, Absent> {
        Result::clone(&self.shared.cell.load())
    }

    /// The current token; where there is none yet, waits for one up to `limit`. A refusal answers at once:
    /// it is not over in a few seconds.
    ///
    /// # Errors
    /// [`Absent`] as it stands when the wait is over.
    pub async fn first(&self, limit: Duration) -> Result<Arc<Credential>, Absent> {
        let wait = async {
            let mut written = self.shared.written.subscribe();
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
            Ok(token) => Ok(token),
            Err(_) => timeout(limit, wait).await.unwrap_or_else(|_| self.current()),
        }
    }

    /// Asks for a token newer than `refused`, which the upstream refused on `path` (without query), and
    /// waits up to `limit`. With a newer one in the cell already, nobody is contacted.
    ///
    /// Dropping this future never cancels the fetch: the report has been handed over and others may wait.
    pub async fn renew(&self, refused: &Credential, path: &str, limit: Duration) -> Renewal {
        if let Some(newer) = self.newer_than(refused.generation) {
            return Renewal::Newer(newer);
        }
        let (answer, answered) = oneshot::channel();
        let report = Message::Report {
            generation: refused.generation,
            path: path_key(path).into(),
            answer: Some(answer),
        };
        let settled = self.ask(report, answered, limit).await;
        match settled {
            Renewal::Failed => self.newer_than(refused.generation).map_or(Renewal::Failed, Renewal::Newer),
            settled => settled,
        }
    }

    /// Reports a refused token without waiting, for a body too large to be sent again.
    pub fn start_renewal(&self, refused: &Credential, path: &str) {
        if self.newer_than(refused.generation).is_none() {
            let report =
                Message::Report { generation: refused.generation, path: path_key(path).into(), answer: None };
            // A full queue means that thousands of reports are waiting already: one more says nothing new.
            let _ = self.task.try_send(report);
        }
    }

    /// A refresh now, whatever the token's age; it spends what a forced refresh spends.
    pub async fn refresh_now(&self, limit: Duration) -> Renewal {
        let (answer, answered) = oneshot::channel();
        self.ask(Message::Admin { answer }, answered, limit).await
    }

    /// What came of the second sending of a request: `refused` when its errcode is in `refresh_on`.
    /// `generation` is that of the token it was sent with.
    pub fn replay_outcome(&self, path: &str, generation: u64, refused: bool) {
        if refused {
            let message = Message::RefusedAgain { path: path_key(path).into(), generation };
            let _ = self.task.try_send(message);
        } else {
            self.proved(generation);
            self.succeeded(path);
        }
    }

    /// A request was not refused with the token of this generation: what is refused with it besides is not the
    /// token's fault. For every such request; one relaxed load unless the generation is news.
    pub fn proved(&self, generation: u64) {
        if self.shared.proven() < generation {
            self.shared.proven.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// Whether the task wants to hear of a success of this path ([`Reader::succeeded`]). One relaxed load
    /// while no path is suspect.
    pub fn suspects(&self, path: &str) -> bool {
        self.shared.any_suspect.load(Ordering::Relaxed)
            && self.shared.suspects.load().contains(path_key(path))
    }

    /// A request of a suspect path was not refused: its record is cleared.
    pub fn succeeded(&self, path: &str) {
        let _ = self.task.try_send(Message::Succeeded { path: path_key(path).into() });
    }

    /// What a page for people may show: no token, no secret.
    pub fn status(&self) -> Arc<Status> {
        self.shared.status.load_full()
    }

    fn newer_than(&self, generation: u64) -> Option<Arc<Credential>> {
        self.current().ok().filter(|token| token.generation > generation)
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
    let mut end = path.len().min(LONGEST);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
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
