//! Another system that fetches tokens of its own, and so ends wxgate's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::wechat::WeChat;

/// A thief at work.
pub(crate) struct Thief {
    stop: Arc<AtomicBool>,
    task: JoinHandle<usize>,
}

impl Thief {
    /// Steals the token whenever the current one has opened a call, but no more often than forced refreshes last.
    pub(crate) fn of(wechat: &WeChat) -> Self {
        Self::after(wechat, 1)
    }

    /// The same when it has opened so many. Callers that call at the same moment need some, so that none of them meets two
    /// thefts in one call: such a thief wins.
    pub(crate) fn after(wechat: &WeChat, calls: u64) -> Self {
        const MOST: usize = 9;
        let (stop, handle) = (Arc::new(AtomicBool::new(false)), wechat.handle.clone());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut thefts = 0;
            while thefts < MOST && !stopped.load(Ordering::Relaxed) {
                if handle.stats().per_token.last().is_some_and(|token| token.calls >= calls) {
                    handle.steal_token();
                    thefts += 1;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            thefts
        });
        Self { stop, task }
    }

    /// Ends it; how often it has stolen.
    pub(crate) async fn thefts(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
