//! Pacing: when the next segment may leave.
//!
//! A bucket in time: sending `n` bytes at a rate moves the time of the next departure on by
//! `n / rate`, from no earlier than [`CREDIT`] ago. So a pause earns a burst of one millisecond and
//! no more, and a path whose round trip is no longer than that never waits: its acknowledgements
//! are clock enough. Where it was the wake-up that came late, as on a busy machine, more is made up
//! for: the rate that a controller asks for is the rate that leaves.

use crate::Instant;
use crate::rate::scale;
use std::time::Duration;

/// Longest pause that is made up for.
const CREDIT: Duration = Duration::from_millis(1);
/// Longest lateness of a wake-up that is made up for.
const LATE: Duration = Duration::from_millis(5);
/// A super-frame is worth about this much time.
const FRAME_TIME: Duration = Duration::from_millis(1);
/// Wake-ups are at least so far apart, to have work for each.
const TICK: Duration = Duration::from_micros(250);
/// Most payload of one super-frame.
const MOST: u64 = 65_536;

/// When the next segment may leave.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    next: Instant,
    /// Something waits for that.
    waiting: bool,
    /// Most bytes per second that the application wants; 0: any.
    max_rate: u64,
}

crate::packed!(Pacer {
    next,
    waiting,
    max_rate
});

impl Pacer {
    pub(crate) fn new(max_rate: Option<u64>) -> Pacer {
        let mut pacer = Pacer::default();
        pacer.set_max_rate(max_rate);
        pacer
    }

    pub(crate) fn set_max_rate(&mut self, rate: Option<u64>) {
        // What was sent at another rate leaves no debt.
        self.next = Instant(0);
        self.max_rate = rate.map_or(0, |rate| rate.max(1));
    }

    pub(crate) fn max_rate(&self) -> Option<u64> {
        (self.max_rate > 0).then_some(self.max_rate)
    }

    /// `rate`, if that is less than the application's own maximum.
    pub(crate) fn bounded(&self, rate: Option<u64>) -> Option<u64> {
        match (rate, self.max_rate()) {
            (Some(rate), Some(max)) => Some(rate.min(max)),
            (rate, max) => rate.or(max),
        }
    }

    /// When to try again, for a segment that could leave but for this; `None`: now.
    pub(crate) fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.waiting |= now < self.next;
        (now < self.next).then(|| self.next.max(now + TICK))
    }

    /// `bytes` left.
    pub(crate) fn sent(&mut self, now: Instant, bytes: u64, rate: u64) {
        let time = scale(bytes, 1_000_000_000, rate);
        let credit = if self.waiting { LATE } else { CREDIT };
        self.next = self.next.max(now - credit) + Duration::from_nanos(time);
        // Once it has caught up, what follows waits anew or is a pause.
        self.waiting &= self.next <= now;
    }
}

/// Bytes worth one super-frame at a rate: about a millisecond, at least two segments.
pub(crate) fn quantum(rate: u64, mss: u64) -> u64 {
    let frame = scale(rate, FRAME_TIME.as_micros() as u64, 1_000_000).min(MOST);
    (frame / mss * mss).max(2 * mss)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(1_000_000_000);
    const RATE: u64 = 1_000_000;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn segments_leave_evenly() {
        let mut pacer = Pacer::default();
        pacer.sent(START, 1000, RATE);
        // One more on credit, then one a millisecond.
        assert_eq!(pacer.wait(START), None);
        pacer.sent(START, 1000, RATE);
        for n in 1..5 {
            let due = START + ms(n);
            assert_eq!(
                pacer.wait(due - Duration::from_nanos(1)).map(|w| w >= due),
                Some(true)
            );
            assert_eq!(pacer.wait(due), None);
            pacer.sent(due, 1000, RATE);
        }
    }

    #[test]
    fn a_late_wake_up_is_made_up_for() {
        let mut pacer = Pacer::default();
        pacer.sent(START, 2000, RATE);
        assert!(pacer.wait(START).is_some());
        // Due after one millisecond, awake after four: three segments are owed beside its own.
        let late = START + ms(4);
        let owed = (0..9).take_while(|_| {
            let may = pacer.wait(late).is_none();
            pacer.sent(late, 1000, RATE);
            may
        });
        assert_eq!(owed.count(), 4);
    }

    #[test]
    fn the_lateness_that_is_made_up_for_has_a_bound() {
        let mut pacer = Pacer::default();
        pacer.sent(START, 2000, RATE);
        assert!(pacer.wait(START).is_some());
        let late = START + ms(1000);
        pacer.sent(late, 1000, RATE);
        assert_eq!(pacer.next, late - ms(4));
    }

    #[test]
    fn a_long_pause_earns_no_more_than_a_millisecond() {
        let mut pacer = Pacer::default();
        pacer.sent(START, 1000, RATE);
        let later = START + ms(1000);
        pacer.sent(later, 3000, RATE);
        assert_eq!(pacer.wait(later), Some(later + ms(2)));
    }

    #[test]
    fn a_super_frame_is_a_millisecond_and_at_least_two_segments() {
        assert_eq!(quantum(125_000, 1448), 2896);
        assert_eq!(quantum(12_500_000, 1448), 8 * 1448);
        assert_eq!(quantum(u64::MAX, 1448), 45 * 1448);
    }
}
