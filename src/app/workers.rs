//! All workers together: starts them, notices when one ends by itself, lets them finish what they serve.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::listening::Sockets;
use super::worker::{Report, Settings, Worker};
use crate::listener::drain::{DrainSender, drain};
use crate::listener::{Connections, SharedTls};
use crate::proxy::Recorder;

/// How long a worker may take to drop what it serves.
const CUT: Duration = Duration::from_secs(1);

/// The running workers.
pub(super) struct Workers {
    count: usize,
    drain: DrainSender,
    cut: CancellationToken,
    reports: mpsc::UnboundedReceiver<Report>,
}

impl Workers {
    /// Starts `count` of them; returns when all accept callers.
    ///
    /// # Errors
    /// When one of them cannot begin.
    pub(super) async fn start(
        count: usize,
        mut sockets: Sockets,
        tls: Option<&SharedTls>,
        settings: &watch::Sender<Settings>,
        connections: &Connections,
        recorder: impl Fn(usize) -> Recorder,
    ) -> Result<Self, StartError> {
        let (drain_sender, drain) = drain();
        let cut = CancellationToken::new();
        let (report, reports) = mpsc::unbounded_channel();
        for index in 0..count {
            let worker = Worker {
                sockets: sockets.of_one(tls),
                settings: settings.subscribe(),
                connections: connections.clone(),
                recorder: recorder(index),
                drain: drain.clone(),
                cut: cut.clone(),
                reports: report.clone(),
            };
            worker.start(index)?;
        }
        let mut workers = Self { count, drain: drain_sender, cut, reports };
        for _ in 0..count {
            match workers.reports.recv().await {
                Some(Report::Ready) => {}
                report => return Err(StartError(words(report))),
            }
        }
        Ok(workers)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Waits until one ends that nobody has told to; then half a proxy would look alive.
    pub(super) async fn one_ends(&mut self) -> StartError {
        let report = self.reports.recv().await;
        StartError(format!("{}; start wxgate again", words(report)))
    }

    /// Has them accept no more and waits until they have ended, which is when their requests are over; so long at most.
    pub(super) async fn end(mut self, grace: Duration) {
        self.drain.begin();
        if tokio::time::timeout(grace, self.ended()).await.is_err() {
            tracing::warn!(
                grace = %humantime::format_duration(grace),
                "some requests did not finish within shutdown_grace and are cut off"
            );
            self.cut.cancel();
            let _ = tokio::time::timeout(CUT, self.ended()).await;
        }
    }

    /// Waits until none is left, however each of them ends.
    async fn ended(&mut self) {
        while self.count > 0 {
            let _ = self.reports.recv().await;
            self.count -= 1;
        }
    }
}

/// What a worker said that nobody asked.
fn words(report: Option<Report>) -> String {
    match report {
        Some(Report::Failed(words)) => words,
        Some(Report::Ready | Report::Ended) | None => {
            "a worker has ended by itself, which is a fault in wxgate".to_owned()
        }
    }
}
