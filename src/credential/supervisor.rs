//! Starts the task of one credential, and starts it anew when it panics: at once the first time, later with pauses.
//!
//! A panic is a fault in wxgate; without this the account would lose its token at the end of its life and nobody
//! would know why. The cell goes on being read meanwhile. What the task does is in `refresher.rs`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::error;

use super::cell::{Cell, Message, Reader};
use super::issuer::Issuer;
use super::lifecycle::Machine;
use super::refresher::{Refresher, Surroundings, TaskSpec, WallClock};
use crate::store::{Store, StoredState};

/// Reports that may wait for the task; each takes it microseconds.
const QUEUE: usize = 4096;
/// A task that has worked for so long without a panic is sound again.
const SOUND: Duration = Duration::from_secs(600);
/// The longest pause before a restart.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The running task. Dropping it stops the task too, without waiting for it.
#[derive(Debug)]
pub struct Task {
    stop: oneshot::Sender<()>,
    joined: JoinHandle<Option<StoredState>>,
}

impl Task {
    /// Ends the task: a fetch and a write under way get a few seconds, then the state is stored, and returned for a
    /// task that takes over. Readers go on reading the last credential; a renewal asked for from now on fails.
    pub async fn shutdown(self) -> Option<StoredState> {
        let _ = self.stop.send(());
        self.joined.await.unwrap_or_else(|e| {
            error!("a token task did not end well: {e}");
            None
        })
    }
}

/// Starts the task of one credential on the current tokio runtime. `inherited` is the last state of the task that
/// it replaces; the store's counts if that is newer.
pub fn spawn(
    spec: TaskSpec,
    issuer: Arc<dyn Issuer>,
    store: Arc<dyn Store>,
    inherited: Option<StoredState>,
) -> (Reader, Task) {
    spawn_with(spec, issuer, store, inherited, SystemTime::now)
}

pub(crate) fn spawn_with(
    spec: TaskSpec,
    issuer: Arc<dyn Issuer>,
    store: Arc<dyn Store>,
    inherited: Option<StoredState>,
    wall: WallClock,
) -> (Reader, Task) {
    let status = Machine::new(spec.id.clone(), spec.policy, spec.limit).status();
    let cell = Arc::new(Cell::new(status));
    let (sender, reports) = mpsc::channel(QUEUE);
    let (stop, stopped) = oneshot::channel();
    let policy = spec.policy;
    let around = Surroundings { spec, issuer, store, wall, cell: Arc::clone(&cell) };
    let joined = tokio::spawn(supervise(around, reports, stopped, inherited));
    (Reader { cell, task: sender, policy }, Task { stop, joined })
}

async fn supervise(
    around: Surroundings,
    mut reports: mpsc::Receiver<Message>,
    mut stopped: oneshot::Receiver<()>,
    mut latest: Option<StoredState>,
) -> Option<StoredState> {
    let (mut restarts, mut in_a_row) = (0_u32, 0_u32);
    loop {
        let started = Instant::now();
        let mut refresher = Refresher::new(around.clone(), restarts);
        // Nothing of the refresher is used after a panic; the queue and the latest state are whole at any moment.
        let life = AssertUnwindSafe(refresher.run(&mut reports, &mut stopped, &mut latest));
        if life.catch_unwind().await.is_ok() {
            return latest;
        }
        drop(refresher);
        restarts = restarts.saturating_add(1);
        in_a_row = if started.elapsed() >= SOUND { 1 } else { in_a_row.saturating_add(1) };
        let pause = pause(in_a_row);
        error!(
            account = &*around.spec.id.account,
            restarts,
            "the token task has panicked, which is a fault in wxgate: please report it; it starts anew in {} s",
            pause.as_secs()
        );
        // It may have panicked while it ended.
        if stopped.is_terminated() || timeout(pause, &mut stopped).await.is_ok() {
            return latest;
        }
    }
}

/// 0, 1, 2, 4 … 60 s before the first, second, third … restart in a row.
fn pause(in_a_row: u32) -> Duration {
    match in_a_row {
        0 | 1 => Duration::ZERO,
        n => Duration::from_secs(2_u64.saturating_pow(n - 2)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_further_and_further_apart() {
        let secs: Vec<_> = (1..=10).map(|n| pause(n).as_secs()).collect();
        assert_eq!(secs, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
