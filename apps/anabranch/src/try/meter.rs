//! How much has arrived, and the longest time in which nothing did.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts the bytes of one transfer where they arrive; read from other threads.
#[derive(Debug, Default)]
pub(crate) struct Meter(Mutex<Reading>);

/// What a [`Meter`] shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Bytes arrived.
    pub(crate) bytes: u64,
    /// When the last of them did.
    pub(crate) last: Option<Instant>,
    /// The longest time between two arrivals, in succession.
    pub(crate) longest_stall: Duration,
}

impl Meter {
    /// `bytes` arrived just now.
    pub(crate) fn arrived(&self, now: Instant, bytes: usize) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reading.bytes += bytes as u64;
        if let Some(last) = reading.last.replace(now) {
            reading.longest_stall = reading.longest_stall.max(now - last);
        }
    }

    /// What it shows now.
    pub(crate) fn read(&self) -> Reading {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts() {
        let (meter, start) = (Meter::default(), Instant::now());
        for ms in [0, 10, 310, 330] {
            meter.arrived(start + Duration::from_millis(ms), 5);
        }
        let reading = meter.read();
        assert_eq!(
            (reading.bytes, reading.longest_stall),
            (20, Duration::from_millis(300))
        );
    }
}
