//! Tells every part of a worker that the end has begun.

use tokio::sync::watch;

/// The side that ends things; dropping it counts as the end.
#[derive(Debug)]
pub struct DrainSender(watch::Sender<bool>);

/// The side that waits for it; every connection has a clone.
#[derive(Debug, Clone)]
pub struct Drain(watch::Receiver<bool>);

/// A drain that has not begun.
pub fn drain() -> (DrainSender, Drain) {
    let (sender, receiver) = watch::channel(false);
    (DrainSender(sender), Drain(receiver))
}

impl DrainSender {
    /// Accept no more, finish what is in flight.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Drain {
    /// Waits until the drain has begun.
    pub async fn begun(&mut self) {
        // An error means that the sender is gone, and with it the program.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}
