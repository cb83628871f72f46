//! Waiting for something to become true, without a fixed sleep: as long as needed, up to a deadline.

use std::time::{Duration, Instant};

/// Far more than any of it takes on an idle machine; tests share few cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `probe` has a value.
pub(crate) async fn until_some<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Looks again and again until `probe` is true.
pub(crate) async fn until(what: &str, mut probe: impl FnMut() -> bool) {
    until_some(what, || probe().then_some(())).await;
}

/// As [`until`] with a probe that has to wait for something itself.
pub(crate) async fn until_async(what: &str, mut probe: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !probe().await {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
