//! Delivery rate: what each acknowledgement says of how fast the network delivers
//! (draft-ietf-ccwg-bbr §4.1, draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Every run remembers how much had been delivered when it was sent. When it is delivered itself,
//! what was delivered meanwhile, over the longer of the time it took to send it and the time it
//! took to have it acknowledged, is a sample.

use crate::Instant;
use crate::congestion::RateSample;
use crate::recovery::scoreboard::Run;
use std::time::Duration;

/// What a run remembers of the moment it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Stamp {
    /// Bytes delivered by then, and when that was last news.
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    /// When the run that was delivered last by then had been sent.
    pub(crate) first_sent: Instant,
    /// Bytes lost by then.
    pub(crate) lost: u64,
    /// Bytes in the network just after, this run included.
    pub(crate) in_flight: u64,
    /// The application had left the network with room.
    pub(crate) app_limited: bool,
}

/// A connection's accounts.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    /// What is sent before so much is delivered leaves a gap that the application made; 0: none.
    app_limited: u64,
    /// The last sample's rate, bytes per second, and whether the application limited it.
    last: (u64, bool),
}

crate::packed!(Sampler {
    delivered,
    delivered_at,
    first_sent,
    app_limited,
    last
});

impl Sampler {
    /// Something is sent, with `pipe` bytes in the network before it.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: u64, pipe: u64, lost: u64) -> Stamp {
        if pipe == 0 {
            self.first_sent = now;
            self.delivered_at = now;
        }
        Stamp {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            lost,
            in_flight: pipe + bytes,
            app_limited: self.app_limited != 0,
        }
    }

    /// All there was to send is sent, and the windows would take more.
    pub(crate) fn mark_app_limited(&mut self, pipe: u64) {
        self.app_limited = (self.delivered + pipe).max(1);
    }

    pub(crate) fn is_app_limited(&self) -> bool {
        self.app_limited != 0
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// When that last grew, or sending began anew.
    pub(crate) fn delivered_at(&self) -> Instant {
        self.delivered_at
    }

    /// The latest rate, bytes per second (0: none yet), and whether the application limited it.
    pub(crate) fn last(&self) -> (u64, bool) {
        self.last
    }

    /// An acknowledgement showed `bytes` to be delivered, of which `newest` was sent last.
    pub(crate) fn on_delivered(
        &mut self,
        now: Instant,
        bytes: u64,
        newest: Option<Run>,
        min_rtt: Duration,
    ) -> RateSample {
        if bytes > 0 {
            self.delivered += bytes;
            self.delivered_at = now;
        }
        if self.app_limited != 0 && self.delivered > self.app_limited {
            self.app_limited = 0;
        }
        let total = RateSample {
            total_delivered: self.delivered,
            newly_acked: bytes,
            ..RateSample::default()
        };
        let Some(run) = newest else {
            return total;
        };
        let stamp = run.stamp;
        self.first_sent = run.sent_at;
        let send_elapsed = run.sent_at.since(stamp.first_sent);
        let ack_elapsed = now.since(stamp.delivered_at);
        let interval = send_elapsed.max(ack_elapsed);
        let delivered = self.delivered - stamp.delivered;
        // Nothing is delivered in less than a round trip: what seems so is ambiguous.
        let reliable = interval >= min_rtt && !interval.is_zero();
        let rate = if reliable {
            per_second(delivered, interval)
        } else {
            0
        };
        if rate > 0 {
            self.last = (rate, stamp.app_limited);
        }
        RateSample {
            delivery_rate: rate,
            interval,
            delivered,
            prior_delivered: Some(stamp.delivered),
            app_limited: stamp.app_limited,
            tx_in_flight: stamp.in_flight,
            prior_lost: stamp.lost,
            ..total
        }
    }
}

/// Bytes per second.
pub(crate) fn per_second(bytes: u64, time: Duration) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    scale(bytes, 1_000_000_000, nanos)
}

/// `value * by / over`, or as much as fits. Wide arithmetic is slow and hardly ever needed.
pub(crate) fn scale(value: u64, by: u64, over: u64) -> u64 {
    let over = over.max(1);
    match value.checked_mul(by) {
        Some(product) => product / over,
        None => {
            let wide = u128::from(value) * u128::from(by) / u128::from(over);
            u64::try_from(wide).unwrap_or(u64::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn run(start: u64, sent_at: u64, stamp: Stamp) -> Run {
        Run {
            start,
            end: start + 1000,
            sent_at: Instant(sent_at),
            again: false,
            stamp,
        }
    }

    /// `n` segments sent every `gap`, acknowledged `rtt` later every `ack_gap`: the last sample.
    fn last_of(n: u64, gap: u64, rtt: u64, ack_gap: u64) -> RateSample {
        let mut sampler = Sampler::default();
        let start = 1000 * MS;
        let stamps: Vec<_> = (0..n)
            .map(|i| sampler.on_sent(Instant(start + i * gap), 1000, i * 1000, 0))
            .collect();
        let mut last = RateSample::default();
        for (i, stamp) in (0..n).zip(stamps) {
            let run = run(i * 1000, start + i * gap, stamp);
            let now = Instant(start + rtt + i * ack_gap);
            last = sampler.on_delivered(now, 1000, Some(run), Duration::from_nanos(rtt));
        }
        last
    }

    #[test]
    fn the_rate_is_what_arrived_over_the_time_it_took() {
        // Ten segments of 1000 bytes sent at once; the last acknowledgement comes 10 + 9 ms later.
        let sample = last_of(10, 0, 10 * MS, MS);
        assert_eq!(sample.delivered, 10_000);
        assert_eq!(sample.interval, Duration::from_millis(19));
        assert_eq!(sample.delivery_rate, 526_315);
        assert_eq!(sample.tx_in_flight, 10_000);
    }

    #[test]
    fn acknowledgements_that_come_compressed_do_not_raise_the_rate_above_that_of_sending() {
        let sample = last_of(20, MS, 10 * MS, 0);
        assert!(sample.delivery_rate <= 1_060_000, "{sample:?}");
    }

    #[test]
    fn a_sample_shorter_than_a_round_trip_is_none() {
        let mut sampler = Sampler::default();
        let stamp = sampler.on_sent(Instant(5 * MS), 1000, 0, 0);
        let sample = sampler.on_delivered(
            Instant(6 * MS),
            1000,
            Some(run(0, 5 * MS, stamp)),
            Duration::from_millis(2),
        );
        assert_eq!((sample.delivery_rate, sample.delivered), (0, 1000));
    }

    #[test]
    fn what_is_sent_after_the_application_paused_is_marked_until_it_is_delivered() {
        let mut sampler = Sampler::default();
        sampler.on_sent(Instant(MS), 1000, 0, 0);
        sampler.mark_app_limited(1000);
        let marked = sampler.on_sent(Instant(2 * MS), 1000, 1000, 0);
        assert!(marked.app_limited);
        sampler.on_delivered(Instant(11 * MS), 1000, None, Duration::ZERO);
        assert!(sampler.is_app_limited(), "all before the gap is delivered");
        let run = run(1000, 2 * MS, marked);
        let sample = sampler.on_delivered(Instant(12 * MS), 1000, Some(run), Duration::ZERO);
        assert!(sample.app_limited && !sampler.is_app_limited());
    }
}
