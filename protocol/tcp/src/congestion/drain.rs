//! The queue that slow start leaves behind, drained.
//!
//! A round-trip time tells of the window of a round ago. By the time that it rises, the window is more
//! than twice what the path holds, and in congestion avoidance that queue would stay until the first
//! loss, in the way of everyone. So, in three rounds:
//!
//! 1. The window stays as it is, and rates tell what the path carries, whether the rise of the
//!    round-trip time was of our making or not.
//! 2. The window is what the path holds at that rate in the shortest round-trip time, and some headroom.
//! 3. With that, the round-trip time is to be shorter. Where it is not, others keep the queue full, and
//!    leaving it to them would be unfair to this connection: back to the window of before.

use super::{Ack, RateSample};
use std::time::Duration;

/// What a window keeps of what the path holds without a queue: as much as a loss will leave the path
/// full (CUBIC's is 0.7 of it).
const HEADROOM: f64 = 1.0 / 0.7;
/// The most that is under way for a window of one.
const NOISE: f64 = 1.1;

#[derive(Default, Debug)]
pub(super) struct Drain {
    measuring: Option<Measuring>,
    checking: Option<Checking>,
}

crate::packed!(Drain {
    measuring,
    checking
});

#[derive(Clone, Copy, Default, Debug)]
struct Measuring {
    round_end: u64,
    /// The most that was delivered, bytes per second.
    rate: u64,
}

crate::packed!(Measuring { round_end, rate });

#[derive(Clone, Copy, Default, Debug)]
struct Checking {
    round_end: u64,
    /// What was sent before the drain is acknowledged.
    second: bool,
    /// The least round-trip time of the second round.
    least: Duration,
    rate: u64,
    /// Windows, bytes.
    before: u64,
    drained: u64,
}

crate::packed!(Checking {
    round_end,
    second,
    least,
    rate,
    before,
    drained
});

impl Drain {
    /// Slow start is over.
    pub(super) fn start(&mut self, ack: &Ack) {
        let round_end = ack.snd_nxt;
        self.measuring = Some(Measuring { round_end, rate: 0 });
    }

    pub(super) fn on_sample(&mut self, sample: &RateSample) {
        if sample.app_limited {
            self.stop();
        }
        if let Some(measuring) = &mut self.measuring {
            measuring.rate = measuring.rate.max(sample.delivery_rate);
        }
    }

    /// Another window to have now, bytes; `base` is the shortest round-trip time.
    pub(super) fn on_ack(&mut self, ack: &Ack, base: Duration, cwnd: u64) -> Option<u64> {
        if self.measuring.is_some_and(|it| ack.snd_una >= it.round_end) {
            return self.drain(ack, base, cwnd);
        }
        let checking = self.checking.as_mut()?;
        if checking.second {
            checking.least = checking.least.min(ack.rtt.unwrap_or(Duration::MAX));
        }
        if ack.snd_una < checking.round_end {
            return None;
        }
        if !checking.second {
            (checking.second, checking.round_end) = (true, ack.snd_nxt);
            return None;
        }
        self.checking.take().and_then(Checking::verdict)
    }

    fn drain(&mut self, ack: &Ack, base: Duration, before: u64) -> Option<u64> {
        let rate = self.measuring.take()?.rate;
        let held = (HEADROOM * rate as f64 * base.as_secs_f64()) as u64;
        // Half of the window did not fill the path a round before.
        let drained = held.clamp(before / 2, before);
        if rate == 0 || drained == before {
            return None;
        }
        self.checking = Some(Checking {
            round_end: ack.snd_nxt,
            second: false,
            least: Duration::MAX,
            rate,
            before,
            drained,
        });
        Some(drained)
    }

    /// A loss or a mark came: the window, bytes, that it found.
    pub(super) fn interrupted(&mut self) -> Option<u64> {
        self.measuring = None;
        self.checking.take().map(|it| it.before)
    }

    /// The window stays: the application does not use it, or its owner wants another.
    pub(super) fn stop(&mut self) {
        *self = Drain::default();
    }
}

impl Checking {
    /// The window of before, if more is under way, by rate and round-trip time, than what is left would
    /// make. Who is alone finds that to be what was drained; who is not, that others take its place.
    fn verdict(self) -> Option<u64> {
        let under_way = self.rate as f64 * self.least.as_secs_f64();
        let theirs = under_way > NOISE * self.drained as f64;
        (self.least != Duration::MAX && theirs).then_some(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ack, init};
    use super::super::{Algorithm, Controller};
    use super::*;

    const BASE: Duration = Duration::from_millis(48);

    fn at(snd_una: u64, snd_nxt: u64, rtt: u64) -> Ack {
        Ack {
            snd_una,
            snd_nxt,
            rtt: Some(Duration::from_millis(rtt)),
            ..ack(0, 1000)
        }
    }

    fn rate(delivery_rate: u64) -> RateSample {
        RateSample {
            delivery_rate,
            ..RateSample::default()
        }
    }

    /// After slow start with a window of 40,000 bytes; a path that carries 500,000 bytes/s.
    fn measured() -> Drain {
        let mut drain = Drain::default();
        drain.start(&at(30, 40, 80));
        for delivery_rate in [400_000, 500_000, 450_000] {
            drain.on_sample(&rate(delivery_rate));
        }
        drain
    }

    fn drained() -> Drain {
        let mut drain = measured();
        assert_eq!(drain.on_ack(&at(39, 79, 80), BASE, 40_000), None, "not yet");
        // 500,000 bytes/s × 48 ms / 0.7
        let window = drain.on_ack(&at(40, 80, 80), BASE, 40_000);
        assert_eq!(window, Some(34_285));
        drain
    }

    /// The window after the first round, whose round-trip times do not count, and after the second,
    /// of a round-trip time in milliseconds.
    fn checked(drain: &mut Drain, rtt: u64) -> Option<u64> {
        assert_eq!(drain.on_ack(&at(60, 80, 80), BASE, 34_285), None);
        assert_eq!(drain.on_ack(&at(80, 120, 80), BASE, 34_285), None);
        let during = drain.on_ack(&at(100, 130, rtt), BASE, 34_285);
        during.or_else(|| drain.on_ack(&at(120, 160, rtt + 5), BASE, 34_285))
    }

    #[test]
    fn a_round_after_slow_start_only_the_path_is_filled() {
        let mut drain = drained();
        assert_eq!(checked(&mut drain, 69), None, "the queue is gone");
        assert_eq!(checked(&mut drain, 80), None, "once");
    }

    #[test]
    fn where_others_keep_the_queue_the_window_comes_back() {
        // 500,000 bytes/s × 78 ms is 39,000 bytes: as good as before.
        assert_eq!(checked(&mut drained(), 78), Some(40_000));
    }

    #[test]
    fn half_of_the_window_stays_at_least() {
        let window = |delivery_rate| {
            let mut drain = Drain::default();
            drain.start(&at(30, 40, 80));
            drain.on_sample(&rate(delivery_rate));
            drain.on_ack(&at(40, 80, 80), BASE, 40_000)
        };
        assert_eq!(window(100_000), Some(20_000));
        assert_eq!(window(1_000_000), None, "the delay was not of our making");
        assert_eq!(window(0), None, "nothing is known");
    }

    #[test]
    fn a_loss_counts_from_the_window_that_it_found() {
        let mut drain = measured();
        assert_eq!(drain.interrupted(), None);
        assert_eq!(drain.on_ack(&at(40, 80, 80), BASE, 28_000), None);
        let mut drain = drained();
        assert_eq!(drain.interrupted(), Some(40_000));
        assert_eq!(checked(&mut drain, 80), None);
    }

    #[test]
    fn rates_of_the_application_say_nothing() {
        let mut drain = measured();
        drain.on_sample(&RateSample {
            app_limited: true,
            ..rate(100_000)
        });
        assert_eq!(drain.on_ack(&at(40, 80, 80), BASE, 40_000), None);
    }

    /// A round in which a whole window is acknowledged, at 2,000,000 bytes/s.
    fn round(controller: &mut dyn Controller, snd_una: &mut u64, rtt: u64) {
        let step = controller.cwnd() / 10;
        for _ in 0..10 {
            *snd_una += step;
            let ack = Ack {
                acked: step,
                ..at(*snd_una, *snd_una + 10 * step, rtt)
            };
            controller.on_sample(&ack, &rate(2_000_000));
            controller.on_ack(&ack);
        }
    }

    /// A drain is under way when the application pauses: what it has to say afterwards is of a path
    /// as it was before.
    #[test]
    fn a_window_does_not_come_back_after_a_pause() {
        for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
            let window = |pause: bool| {
                let mut controller = algorithm.start(init(10_000));
                let mut snd_una = 0;
                (0..2).for_each(|_| round(&mut *controller, &mut snd_una, 48));
                while controller.ssthresh() == u64::MAX {
                    round(&mut *controller, &mut snd_una, 80);
                }
                let before = controller.cwnd();
                round(&mut *controller, &mut snd_una, 80);
                assert!(controller.cwnd() < before, "{algorithm}: drained");
                if pause {
                    controller.on_idle(10_000);
                }
                (0..3).for_each(|_| round(&mut *controller, &mut snd_una, 80));
                (controller.cwnd(), before)
            };
            let (after, before) = window(false);
            assert!(after >= before, "{algorithm}: others have the queue");
            let (after, before) = window(true);
            assert!(after < before * 9 / 10, "{algorithm}: {after} {before}");
        }
    }
}
