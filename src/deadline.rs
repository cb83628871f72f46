//! A time limit that is moved far more often than it runs out.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep};

/// Runs out when it has been polled, without a [`Deadline::clear`], over a whole limit. The timer itself is
/// touched only when it fires, or when a shorter limit than before is asked for.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
}

impl Deadline {
    /// Something happened: the limit begins anew with the next poll.
    pub(crate) fn clear(&mut self) {
        self.since = None;
    }

    /// For how long nothing has happened, as far as [`Deadline::poll`] has seen.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Ready once nothing has happened for `limit`.
    pub(crate) fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.since.get_or_insert_with(Instant::now) + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        // Outside of tokio's budget: a reader that used all of it up must not keep the limit from ending that.
        while pin!(unconstrained(timer.as_mut())).poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    #[tokio::test(start_paused = true)]
    async fn runs_out_after_a_whole_limit_without_an_event() {
        let mut deadline = Deadline::default();
        let start = Instant::now();
        let limit = Duration::from_secs(10);
        // Polled once, cleared at 6 s, polled again: the limit counts from there.
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(limit, cx))).await.is_pending());
        tokio::time::advance(Duration::from_secs(6)).await;
        deadline.clear();
        poll_fn(|cx| deadline.poll(limit, cx)).await;
        assert_eq!(start.elapsed().as_secs(), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shorter_limit_takes_effect() {
        let mut deadline = Deadline::default();
        let start = Instant::now();
        assert!(poll_fn(|cx| Poll::Ready(deadline.poll(Duration::from_secs(60), cx))).await.is_pending());
        deadline.clear();
        poll_fn(|cx| deadline.poll(Duration::from_secs(2), cx)).await;
        assert_eq!(start.elapsed().as_secs(), 2);
    }

    #[tokio::test]
    async fn runs_out_in_a_task_that_has_used_up_its_budget() {
        let mut deadline = Deadline::default();
        let start = Instant::now();
        poll_fn(|cx| {
            while has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            deadline.poll(Duration::from_millis(50), cx)
        })
        .await;
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
