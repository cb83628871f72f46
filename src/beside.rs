//! Runs what may block (files on a network file system, above all) on a thread of its own, for a limited time.
//!
//! A thread that hangs in the system cannot be ended. It is left behind, and its result is dropped if one ever comes.

use std::time::Duration;

use tokio::sync::oneshot;

/// How long reading a configuration may take: files are small, and a file system that needs longer hangs.
pub(crate) const READING: Duration = Duration::from_secs(5);

/// Why there is no result.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BesideError {
    /// It is not done yet.
    #[error("it takes longer than {}", humantime::format_duration(*.0))]
    TooSlow(Duration),
    /// The system gave no thread, or it ended in a panic.
    #[error("its thread has failed")]
    Failed,
}

/// The result of `run`, which goes on by itself when this is dropped or the time is over.
///
/// # Errors
/// When it takes longer than `limit`, or its thread fails.
pub(crate) async fn beside<T: Send + 'static>(
    limit: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BesideError> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("beside".to_owned());
    // Nobody waits any more when the time is over.
    thread.spawn(move || drop(done.send(run()))).map_err(|_| BesideError::Failed)?;
    match tokio::time::timeout(limit, result).await {
        Ok(result) => result.map_err(|_| BesideError::Failed),
        Err(_) => Err(BesideError::TooSlow(limit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_in_time_is_returned_and_a_late_one_is_not_waited_for() {
        assert_eq!(beside(READING, || 7).await, Ok(7));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(20);
        let late = beside(limit, move || held.recv().is_ok()).await;
        assert_eq!(late, Err(BesideError::TooSlow(limit)));
        assert_eq!(late.unwrap_err().to_string(), "it takes longer than 20ms");
        drop(release);
    }
}
