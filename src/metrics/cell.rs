//! Counters with one writer: plain loads and stores, no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// Adds to it, wrapping around. With two writers at once an addition could be lost.
    pub(super) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the buckets, in microseconds: those of the contract.
const BOUNDS_MICROS: [u64; 12] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    30_000_000,
];

/// The same in seconds.
pub const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// A histogram of times with one writer.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// The last one is for what is longer than all bounds.
    buckets: [Cell; BOUNDS.len() + 1],
    sum_micros: Cell,
}

impl Histogram {
    pub(super) fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }

    pub(super) fn add_to(&self, times: &mut Times) {
        for (sum, cell) in times.buckets.iter_mut().zip(&self.buckets) {
            *sum += cell.get();
        }
        times.sum_micros += self.sum_micros.get();
    }
}

/// Times as they were counted: how many fell into each bucket, and their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// For each of [`BOUNDS`] how many were not longer (and longer than the bound before); the last one: longer
    /// than all.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Sum of all, in microseconds.
    pub sum_micros: u64,
}

impl Times {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What has been counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let bucket = |at: usize| self.buckets[at].saturating_sub(earlier.buckets[at]);
        Self {
            buckets: std::array::from_fn(bucket),
            sum_micros: self.sum_micros.saturating_sub(earlier.sum_micros),
        }
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (sum, n) in self.buckets.iter_mut().zip(other.buckets) {
            *sum += n;
        }
        self.sum_micros += other.sum_micros;
    }

    /// The time, in seconds, that the share `q` (0 to 1) of them did not exceed, as well as the buckets tell:
    /// spread evenly within one, and never longer than the longest bound. `None` where nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = q * count as f64;
        let mut before = 0.0;
        let mut lower = 0.0;
        for (bound, n) in BOUNDS.iter().zip(self.buckets) {
            let n = n as f64;
            if n > 0.0 && before + n >= rank {
                return Some(lower + (bound - lower) * ((rank - before) / n).clamp(0.0, 1.0));
            }
            before += n;
            lower = *bound;
        }
        Some(lower)
    }
}
