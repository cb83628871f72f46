//! Counts of requests, kept where they arise and summed when somebody looks.
//!
//! Each worker owns its cells and is the only one to write them; a look reads all of them. So counting takes no lock
//! and shares no cache line between workers. Labels come from the configuration and from fixed lists, never from a
//! caller: the memory is bounded by accounts × callers. What is no count of requests (a token's end, open
//! connections) is asked for at the look itself, in [`text`].

mod cell;
mod families;
pub mod look;
pub mod process;
pub mod text;
pub mod totals;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cell::{Cell, Histogram};

use crate::errcodes;

/// The label of requests that belong to no account, or come from nobody known.
pub const NONE: &str = "-";

/// The caller's name of calls that the admin listener makes.
pub const ADMIN: &str = "admin";

/// Index of [`NONE`] among the callers of a layout.
pub const NO_CALLER: usize = 0;

/// Index of [`ADMIN`] among the callers of a layout.
pub const ADMIN_CALLER: usize = 1;

/// Index of the first configured caller; the others follow in their order.
pub const FIRST_CALLER: usize = 2;

/// HTTP statuses that are counted under their own number; all others are `other`. 0: the caller left before an
/// answer. Those that IANA lists and a few of other proxies: what an upstream sends must not make the list longer.
pub const STATUSES: [u16; 62] = [
    0, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401,
    402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425,
    426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511, 499, 520, 521, 522,
];

/// The values of `x-wxgate-error`.
pub const CODES: [&str; 14] = [
    "bad-request",
    "not-found",
    "method",
    "denied",
    "too-large",
    "head-too-large",
    "caller-timeout",
    "upstream-unreachable",
    "upstream-timeout",
    "no-token",
    "token-refused",
    "busy",
    "limited",
    "signing",
];

/// What came of a call whose token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Sent again, and the token was taken.
    Ok,
    /// Sent again, and refused again.
    Refused,
    /// Sent again, and no answer came.
    Broken,
    /// Not sent again: `x-wxgate-retry: body-too-large`.
    BodyTooLarge,
    /// Not sent again: `x-wxgate-retry: refresh-failed`.
    RefreshFailed,
    /// Not sent again: `x-wxgate-retry: refresh-limited`.
    RefreshLimited,
    /// Not sent again: `x-wxgate-retry: same-token`.
    SameToken,
}

impl Retry {
    /// All of them, in the order of their cells.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Refused,
        Self::Broken,
        Self::BodyTooLarge,
        Self::RefreshFailed,
        Self::RefreshLimited,
        Self::SameToken,
    ];

    /// What a value of `x-wxgate-retry` says.
    pub fn of_mark(mark: &str) -> Option<Self> {
        Self::ALL.into_iter().skip(Self::BodyTooLarge as usize).find(|retry| retry.as_str() == mark)
    }

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::BodyTooLarge => "body-too-large",
            Self::RefreshFailed => "refresh-failed",
            Self::RefreshLimited => "refresh-limited",
            Self::SameToken => "same-token",
        }
    }
}

/// One value for each worker, made when that worker first needs it.
#[derive(Debug)]
struct PerWorker<T>(Box<[OnceLock<Box<T>>]>);

impl<T: Default> PerWorker<T> {
    fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// The worker's own; `None` for a worker that does not exist.
    fn of(&self, worker: usize) -> Option<&T> {
        self.0.get(worker).map(|slot| &**slot.get_or_init(Box::default))
    }

    fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|slot| slot.get()).map(|slot| &**slot)
    }
}

/// One worker's counts of an account.
#[derive(Debug, Default)]
struct AccountCells {
    durations: Histogram,
    upstream: Histogram,
    errcodes: [Cell; errcodes::LABELS.len() + 1],
    retries: [Cell; Retry::ALL.len()],
    /// Calls that are at the upstream at this moment.
    active: Cell,
}

/// One worker's counts of an account and a caller: by status, the last for all others.
#[derive(Debug)]
struct PairCells {
    statuses: [Cell; STATUSES.len() + 1],
    failed: Cell,
}

impl Default for PairCells {
    fn default() -> Self {
        Self { statuses: std::array::from_fn(|_| Cell::default()), failed: Cell::default() }
    }
}

/// An account's counts with one caller, from all workers.
#[derive(Debug)]
struct Pair {
    caller: Arc<str>,
    cells: PerWorker<PairCells>,
}

/// What a finished request leaves in the counts.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// Index of the caller: [`NO_CALLER`], [`ADMIN_CALLER`], or [`FIRST_CALLER`] and its place in the configuration.
    pub caller: usize,
    /// HTTP status of the answer; 0 when the caller left before it.
    pub status: u16,
    /// Whether the answer was an error: an HTTP one, or an errcode other than 0.
    pub failed: bool,
    /// From its head to the last byte of its answer.
    pub took: Duration,
}

/// An account's counts, from all workers. Requests hold it with their account, so that those in flight at a reload
/// still count, and an account that is gone is forgotten with its last request.
#[derive(Debug)]
pub struct AccountCounts {
    name: Arc<str>,
    cells: Arc<PerWorker<AccountCells>>,
    callers: Vec<Arc<Pair>>,
}

impl AccountCounts {
    /// Counts a request whose answer is over. `worker` must be the calling thread's own.
    pub fn finished(&self, worker: usize, request: &Finished) {
        if let Some(cells) = self.cells.of(worker) {
            cells.durations.observe(request.took);
        }
        let pair = self.callers.get(request.caller).and_then(|pair| pair.cells.of(worker));
        if let Some(cells) = pair {
            cells.statuses[status_index(request.status)].add(1);
            cells.failed.add(u64::from(request.failed));
        }
    }

    /// A call goes to the upstream; [`Self::left`] has to follow.
    pub fn entered(&self, worker: usize) {
        if let Some(cells) = self.cells.of(worker) {
            cells.active.add(1);
        }
    }

    /// A call that went to the upstream is over.
    pub fn left(&self, worker: usize) {
        if let Some(cells) = self.cells.of(worker) {
            cells.active.add(u64::MAX);
        }
    }

    /// Counts one exchange with the upstream: the time to the head of its answer, and its errcode, if any.
    pub fn exchanged(&self, worker: usize, took: Duration, errcode: Option<i64>) {
        let Some(cells) = self.cells.of(worker) else { return };
        cells.upstream.observe(took);
        if let Some(errcode) = errcode.filter(|errcode| *errcode != 0) {
            cells.errcodes[errcodes::label_index(errcode)].add(1);
        }
    }

    /// Counts what came of a refused token.
    pub fn retried(&self, worker: usize, outcome: Retry) {
        if let Some(cells) = self.cells.of(worker) {
            cells.retries[outcome as usize].add(1);
        }
    }
}

/// Most calls are answered with 200; the search is for the others.
fn status_index(status: u16) -> usize {
    if status == 200 {
        return 1;
    }
    STATUSES.iter().position(|known| *known == status).unwrap_or(STATUSES.len())
}

/// The counts of all accounts. One for the process; it outlives configurations.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    /// Replaced at a reload; only that and a look lock it.
    accounts: Mutex<Vec<Arc<AccountCounts>>>,
    own_answers: PerWorker<[Cell; CODES.len()]>,
}

impl Metrics {
    /// For so many threads that count, numbered from 0.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { workers, accounts: Mutex::default(), own_answers: PerWorker::new(workers) })
    }

    /// The counts for a configuration: of each account in its order, then of requests without an account. What has
    /// been counted for an account or caller that stays goes on; what is of others is forgotten.
    pub fn configure<'n>(
        &self,
        accounts: impl IntoIterator<Item = &'n str>,
        callers: impl IntoIterator<Item = &'n str>,
    ) -> Vec<Arc<AccountCounts>> {
        let callers: Vec<&str> = [NONE, ADMIN].into_iter().chain(callers).collect();
        let mut known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let old: HashMap<&str, &AccountCounts> = known.iter().map(|old| (&*old.name, &**old)).collect();
        let counts = |name: &str| {
            let old = old.get(name);
            // A caller with one of our names shares its series: two of one name would be invalid.
            let mut pairs: HashMap<&str, Arc<Pair>> = HashMap::new();
            if let Some(old) = old {
                pairs.extend(old.callers.iter().map(|pair| (&*pair.caller, Arc::clone(pair))));
            }
            let mut pair = |caller| {
                let new = || Pair { caller: Arc::from(caller), cells: PerWorker::new(self.workers) };
                Arc::clone(pairs.entry(caller).or_insert_with(|| Arc::new(new())))
            };
            Arc::new(AccountCounts {
                name: name.into(),
                cells: old
                    .map_or_else(|| Arc::new(PerWorker::new(self.workers)), |old| Arc::clone(&old.cells)),
                callers: callers.iter().map(|caller| pair(*caller)).collect(),
            })
        };
        let all: Vec<_> = accounts.into_iter().chain([NONE]).map(counts).collect();
        known.clone_from(&all);
        all
    }

    /// Counts an answer of wxgate's own by its CODE. `worker` must be the calling thread's own.
    pub fn own_answer(&self, worker: usize, code: &str) {
        if let Some(cells) = self.own_answers.of(worker)
            && let Some(at) = CODES.iter().position(|known| *known == code)
        {
            cells[at].add(1);
        }
    }
}

#[cfg(test)]
mod tests;
