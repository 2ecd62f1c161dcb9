//! HyStart++ (RFC 9406): leave slow start when the round-trip time rises, before losses do it; and
//! then drain the queue that was the reason for that.

use super::{Ack, RateSample};
use std::time::Duration;

const MIN_RTT_THRESH: Duration = Duration::from_millis(4);
const MAX_RTT_THRESH: Duration = Duration::from_millis(16);
const N_RTT_SAMPLE: u32 = 8;
const CSS_GROWTH_DIVISOR: u64 = 4;
const CSS_ROUNDS: u32 = 5;
/// What a drained window keeps of what the path holds without a queue: as much as a loss will leave
/// the path full (CUBIC's is 0.7 of it).
const HEADROOM: f64 = 1.0 / 0.7;

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
    drain: Option<Drain>,
}

/// Slow start is over since less than a round.
#[derive(Clone, Copy, Default, Debug)]
struct Drain {
    round_end: u64,
    /// The most that was delivered since, bytes per second.
    rate: u64,
}

crate::packed!(Drain { round_end, rate });

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
            drain: None,
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
            let round_end = ack.snd_nxt;
            self.drain = Some(Drain { round_end, rate: 0 });
        }
        (counted / CSS_GROWTH_DIVISOR, over)
    }

    pub(super) fn on_sample(&mut self, sample: &RateSample) {
        if sample.app_limited {
            return self.keep_window();
        }
        if let Some(drain) = &mut self.drain {
            drain.rate = drain.rate.max(sample.delivery_rate);
        }
    }

    /// The window to have now, bytes, a round after slow start: what the path holds without a queue,
    /// and some headroom.
    ///
    /// A round-trip time tells of the window of a round ago. By the time that it rises, the window
    /// is more than twice what it should be, and in congestion avoidance that queue would stay until the
    /// first loss, in the way of everyone. In the round that follows, the window is the same
    /// throughout, so that rates tell what the path carries, whether the rise was of our making or not.
    pub(super) fn drained(&mut self, ack: &Ack, cwnd: u64) -> Option<u64> {
        let drain = self.drain.filter(|it| ack.snd_una >= it.round_end)?;
        self.drain = None;
        if drain.rate == 0 {
            return None;
        }
        let held = HEADROOM * drain.rate as f64 * self.base.as_secs_f64();
        Some((held as u64).clamp(cwnd / 2, cwnd))
    }

    /// There is a better reason for another window: a loss, a mark, the owner's wish, or an
    /// application that did not use this one.
    pub(super) fn keep_window(&mut self) {
        self.drain = None;
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

    /// Slow start is over; the round that follows ends at 40, and the shortest one took 48 ms.
    fn left() -> HyStart {
        let mut hystart = HyStart::default();
        round(&mut hystart, 0, 48);
        round(&mut hystart, 1, 54);
        round(&mut hystart, 2, 57);
        assert!(round(&mut hystart, 3, 58).1);
        hystart
    }

    fn at(snd_una: u64) -> Ack {
        Ack {
            snd_una,
            ..ack(0, 1000)
        }
    }

    fn rate(delivery_rate: u64) -> RateSample {
        RateSample {
            delivery_rate,
            ..RateSample::default()
        }
    }

    #[test]
    fn a_round_after_slow_start_only_the_path_is_filled() {
        let mut hystart = left();
        for delivery_rate in [400_000, 500_000, 450_000] {
            hystart.on_sample(&rate(delivery_rate));
        }
        assert_eq!(hystart.drained(&at(39), 40_000), None, "not before");
        // 500,000 bytes/s × 48 ms / 0.7
        assert_eq!(hystart.drained(&at(40), 40_000), Some(34_285));
        assert_eq!(hystart.drained(&at(80), 40_000), None, "once");
    }

    #[test]
    fn what_is_drained_is_half_of_the_window_at_most() {
        let window = |delivery_rate| {
            let mut hystart = left();
            hystart.on_sample(&rate(delivery_rate));
            hystart.drained(&at(40), 40_000)
        };
        assert_eq!(
            window(100_000),
            Some(20_000),
            "a round before, it filled the path"
        );
        assert_eq!(
            window(1_000_000),
            Some(40_000),
            "the delay was not of our making"
        );
    }

    #[test]
    fn nothing_is_drained_after_a_loss_or_on_rates_of_the_application() {
        let mut hystart = left();
        hystart.on_sample(&rate(500_000));
        hystart.keep_window();
        assert_eq!(hystart.drained(&at(40), 40_000), None);
        let mut hystart = left();
        hystart.on_sample(&RateSample {
            app_limited: true,
            ..rate(100_000)
        });
        assert_eq!(hystart.drained(&at(40), 40_000), None);
    }
}
