//! Who speaks regularly.

use anabranch_tcp::{Instant, packed};
use std::time::Duration;

/// What comes within so long of something is part of it.
const TOGETHER: Duration = Duration::from_millis(1);
/// So many times it must have spoken.
const ENOUGH: u8 = 8;
/// Who speaks more rarely than that is not waited for.
const RAREST: Duration = Duration::from_millis(400);
/// A silence is no silence before it is so much longer than usual.
const PATIENCE: Duration = Duration::from_millis(10);

/// When messages come, and when one should have.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Rhythm {
    last: Option<Instant>,
    /// Time between two, and how it varies, smoothed as round trips are (RFC 6298).
    mean: Duration,
    variation: Duration,
    seen: u8,
    /// The silence since the last was noted.
    noted: bool,
}

packed!(Rhythm {
    last,
    mean,
    variation,
    seen,
    noted
});

impl Rhythm {
    /// Something came.
    pub(crate) fn arrived(&mut self, now: Instant) {
        let Some(last) = self.last else {
            self.last = Some(now);
            return;
        };
        let gap = now.since(last);
        if gap < TOGETHER {
            return;
        }
        self.noted = false;
        self.last = Some(now);
        if gap > RAREST {
            // A pause, after which it may be another rhythm.
            self.seen = 0;
            return;
        }
        if self.seen == 0 {
            (self.mean, self.variation) = (gap, gap / 2);
        } else {
            self.variation = self.variation * 3 / 4 + gap.abs_diff(self.mean) / 4;
            self.mean = self.mean * 7 / 8 + gap / 8;
        }
        self.seen = self.seen.saturating_add(1).min(ENOUGH);
    }

    /// When silence becomes unusual; `None`: it was noted, or nothing is usual.
    pub(crate) fn due(&self) -> Option<Instant> {
        let regular = self.seen >= ENOUGH && self.variation <= self.mean / 2;
        if !regular || self.noted {
            return None;
        }
        let usual = (2 * self.mean).max(self.mean + 4 * self.variation);
        Some(self.last? + usual.max(self.mean + PATIENCE))
    }

    /// The silence was noted, and will not be again.
    pub(crate) fn note(&mut self) {
        self.noted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn after(times: impl IntoIterator<Item = u64>) -> Rhythm {
        let mut rhythm = Rhythm::default();
        times.into_iter().for_each(|ms| rhythm.arrived(at(ms)));
        rhythm
    }

    #[test]
    fn silence_is_unusual_after_two_of_the_usual_times() {
        let rhythm = after((0..20).map(|n| n * 10));
        assert_eq!(rhythm.due().map(|at| at.0 / 1_000_000), Some(210));
        let rhythm = after((0..20).map(|n| n * 100));
        let due = rhythm.due().expect("regular").0 / 1_000_000;
        assert!((2095..=2110).contains(&due), "{due}");
    }

    #[test]
    fn it_is_noted_once() {
        let mut rhythm = after((0..20).map(|n| n * 10));
        rhythm.note();
        assert_eq!(rhythm.due(), None);
        rhythm.arrived(at(200));
        assert!(rhythm.due().is_some());
    }

    #[test]
    fn who_speaks_seldom_or_by_chance_has_none() {
        assert_eq!(after((0..20).map(|n| n * 500)).due(), None, "seldom");
        assert_eq!(
            after([0, 10, 300, 310, 320, 700, 705, 1000, 1300, 1310, 1400]).due(),
            None
        );
        assert_eq!(after((0..5).map(|n| n * 10)).due(), None, "not yet");
        assert_eq!(after(std::iter::once(0)).due(), None);
    }
}
