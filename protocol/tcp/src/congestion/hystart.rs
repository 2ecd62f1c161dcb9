//! HyStart++ (RFC 9406): leave slow start when the round-trip time rises, before losses do it; and
//! then drain the queue that was the reason for that.

use super::drain::Drain;
use super::{Ack, RateSample};
use std::time::Duration;

const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const N_RTT_SAMPLE: u32 = 8;
const CSS_GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u32 = 5;

#[derive(Debug)]
pub(super) struct HyStart {
    round_end: u64,
    last_min: Duration,
    current_min: Duration,
    /// The least of all.
    base: Duration,
    /// The least of the last few samples, and how many these are.
    block_min: Duration,
    samples: u32,
    /// In conservative slow start: the round-trip time that led to it.
    css_baseline: Option<Duration>,
    css_rounds: u32,
    /// There, it rose once more.
    risen: bool,
    drain: Drain,
}

crate::packed!(HyStart {
    round_end,
    last_min,
    current_min,
    base,
    block_min,
    samples,
    css_baseline,
    css_rounds,
    risen,
    drain
});

impl Default for HyStart {
    fn default() -> HyStart {
        HyStart {
            round_end: 0,
            last_min: Duration::MAX,
            current_min: Duration::MAX,
            base: Duration::MAX,
            block_min: Duration::MAX,
            samples: 0,
            css_baseline: None,
            css_rounds: 0,
            risen: false,
            drain: Drain::default(),
        }
    }
}

impl HyStart {
    /// An acknowledgement in slow start: by how much to grow, and whether slow start is over.
    /// Only the first slow start, which knows no threshold, is watched (RFC 9406 §4.3).
    pub(super) fn on_ack(&mut self, ack: &Ack, ssthresh: u64) -> (u64, bool) {
        let counted = ack.acked.min(ack.limit);
        if ssthresh != u64::MAX {
            return (counted, false);
        }
        if ack.snd_una >= self.round_end {
            self.next_round(ack.snd_nxt);
        }
        if let Some(rtt) = ack.rtt {
            self.base = self.base.min(rtt);
            self.current_min = self.current_min.min(rtt);
            self.block_min = self.block_min.min(rtt);
            self.samples += 1;
        }
        if self.samples == N_RTT_SAMPLE {
            self.judge(self.block_min);
            self.next_block();
        }
        if self.css_baseline.is_none() {
            return (counted, false);
        }
        let over = self.risen || self.css_rounds >= CSS_ROUNDS;
        if over {
            self.drain.start(ack);
        }
        (counted / CSS_GROWTH_DIVISOR, over)
    }

    pub(super) fn on_sample(&mut self, sample: &RateSample) {
        self.drain.on_sample(sample);
    }

    /// Another window to have now, bytes: in the rounds after slow start, see [`super::drain`].
    pub(super) fn drained(&mut self, ack: &Ack, cwnd: u64) -> Option<u64> {
        self.drain.on_ack(ack, self.base, cwnd)
    }

    /// A loss or a mark came: the window, bytes, that it found, if that is not the one of now.
    pub(super) fn interrupted(&mut self) -> Option<u64> {
        self.drain.interrupted()
    }

    /// The window stays: the application does not use it, or its owner wants another.
    pub(super) fn keep_window(&mut self) {
        self.drain.stop();
    }

    fn next_round(&mut self, snd_nxt: u64) {
        self.round_end = snd_nxt;
        self.last_min = self.current_min;
        self.current_min = Duration::MAX;
        self.next_block();
        self.css_rounds += u32::from(self.css_baseline.is_some());
    }

    fn next_block(&mut self) {
        self.block_min = Duration::MAX;
        self.samples = 0;
    }

    /// `least` of a few samples in a row. RFC 9406 takes the least of the whole round; but a window
    /// that doubles fills a queue of one bandwidth-delay product within a round that began with the
    /// queue empty, and the next one ends in losses. So do five rounds of a window that is above
    /// the path's already and still grows by a quarter: a second rise, of half the threshold, is
    /// proof enough that the first was a queue of our own making.
    fn judge(&mut self, least: Duration) {
        match self.css_baseline {
            Some(baseline) if least < baseline => self.css_baseline = None,
            Some(baseline) => self.risen |= least >= baseline + threshold(baseline) / 2,
            None if self.last_min != Duration::MAX
                && least >= self.last_min + threshold(self.last_min) =>
            {
                self.css_baseline = Some(least);
                self.css_rounds = 0;
            }
            None => {}
        }
    }
}

/// How much longer a round trip has to be than `rtt` (RFC 9406 §4.2).
fn threshold(rtt: Duration) -> Duration {
    (rtt / 8).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH)
}

#[cfg(test)]
mod tests {
    use super::super::tests::ack;
    use super::*;

    /// One round of ten acknowledgements with a round-trip time in milliseconds.
    fn round(hystart: &mut HyStart, number: u64, rtt: u64) -> (u64, bool) {
        let mut result = (0, false);
        for i in 0..10 {
            let rtt = Some(Duration::from_millis(rtt));
            let (snd_una, snd_nxt) = (number * 10 + i, (number + 1) * 10);
            let ack = Ack {
                rtt,
                snd_una,
                snd_nxt,
                ..ack(0, 1000)
            };
            result = hystart.on_ack(&ack, u64::MAX);
        }
        result
    }

    #[test]
    fn a_steady_round_trip_time_is_slow_start() {
        let mut hystart = HyStart::default();
        for number in 0..10 {
            assert_eq!(round(&mut hystart, number, 50), (1000, false));
        }
    }

    #[test]
    fn one_acknowledgement_counts_for_no_more_than_the_limit() {
        let mut hystart = HyStart::default();
        let ack = Ack {
            limit: 8000,
            ..ack(0, 64_000)
        };
        assert_eq!(hystart.on_ack(&ack, u64::MAX), (8000, false));
        assert_eq!(hystart.on_ack(&ack, 1_000_000), (8000, false));
    }

    #[test]
    fn a_rising_round_trip_time_slows_growth_then_ends_slow_start() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        assert_eq!(round(&mut hystart, 1, 60), (250, false));
        for number in 2..6 {
            assert_eq!(round(&mut hystart, number, 60), (250, false));
        }
        assert_eq!(round(&mut hystart, 6, 60), (250, true));
    }

    #[test]
    fn a_rise_within_a_round_slows_growth_at_once() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        // Eight samples as before, then eight that a filling queue delays.
        let (snd_una, snd_nxt) = (10, 20);
        let mut grown = Vec::new();
        for rtt in [[50; 8], [60; 8]].concat() {
            let rtt = Some(Duration::from_millis(rtt));
            let ack = Ack {
                rtt,
                snd_una,
                snd_nxt,
                ..ack(0, 1000)
            };
            grown.push(hystart.on_ack(&ack, u64::MAX).0);
        }
        assert_eq!(grown, [vec![1000; 15], vec![250]].concat());
    }

    #[test]
    fn a_second_rise_ends_slow_start_at_once() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 48);
        assert_eq!(round(&mut hystart, 1, 54), (250, false));
        assert_eq!(round(&mut hystart, 2, 57), (250, false));
        assert_eq!(round(&mut hystart, 3, 58), (250, true));
    }

    #[test]
    fn a_passing_rise_resumes_slow_start() {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 50);
        round(&mut hystart, 1, 60);
        assert_eq!(round(&mut hystart, 2, 50), (1000, false));
    }
}
