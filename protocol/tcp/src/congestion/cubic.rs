//! CUBIC (RFC 9438). Windows are kept in bytes, the curve in segments as the RFC has it.

use super::hystart::HyStart;
use super::{Ack, Controller, Init, RateSample};
use crate::Instant;
use crate::rest::{Pack, Parcel};
use std::time::Duration;

const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// What a mark leaves of the window where marks count for less than losses (RFC 8511 §3.1).
const BETA_ECN: f64 = 0.85;
/// Slope of the Reno-friendly estimate (RFC 9438 §4.3).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

#[derive(Debug)]
pub(super) struct Cubic {
    cwnd: f64,
    ssthresh: u64,
    /// Plateau of the curve: the window before the last reduction, or somewhat less, segments.
    w_max: f64,
    /// The window before the last reduction, segments.
    cwnd_prior: f64,
    curve: Option<Curve>,
    hystart: HyStart,
    abe: bool,
    before: Option<Before>,
}

crate::packed!(Cubic {
    cwnd,
    ssthresh,
    w_max,
    cwnd_prior,
    curve,
    hystart,
    abe,
    before
});

/// A congestion avoidance epoch.
#[derive(Clone, Copy, Default, Debug)]
struct Curve {
    start: Instant,
    /// Seconds until the curve is at `origin` again.
    k: f64,
    /// Plateau of the curve, segments.
    origin: f64,
    /// What Reno would have, segments.
    w_est: f64,
    /// Since when the window was not the limit: that time does not count (RFC 9438 §4.2).
    paused: Option<Instant>,
}

crate::packed!(Curve {
    start,
    k,
    origin,
    w_est,
    paused
});

#[derive(Clone, Copy, Default, Debug)]
struct Before {
    cwnd: f64,
    ssthresh: u64,
    w_max: f64,
    cwnd_prior: f64,
    curve: Option<Curve>,
}

crate::packed!(Before {
    cwnd,
    ssthresh,
    w_max,
    cwnd_prior,
    curve
});

impl Cubic {
    pub(super) fn new(init: Init) -> Cubic {
        Cubic {
            cwnd: init.initial_window as f64,
            ssthresh: u64::MAX,
            w_max: 0.0,
            cwnd_prior: 0.0,
            curve: None,
            hystart: HyStart::default(),
            abe: init.abe,
            before: None,
        }
    }

    /// RFC 9438 §4.6 and §4.7. The window, rather than what is outstanding, is reduced: it does
    /// not grow while it is not the limit. But where less than half of it was in use, nothing was
    /// known of the rest (RFC 7661 §4.4.1). In whole segments, the nearest number of them: windows
    /// below a dozen segments, which is what losses of some percent leave, would pay a tenth for
    /// always rounding down.
    fn reduce(&mut self, flight: u64, mss: u32, beta: f64) {
        if let Some(found) = self.hystart.interrupted() {
            self.cwnd = found as f64;
        }
        self.before = Some(Before {
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
            w_max: self.w_max,
            cwnd_prior: self.cwnd_prior,
            curve: self.curve,
        });
        let in_use = flight as f64;
        let cwnd = if 2.0 * in_use < self.cwnd {
            in_use
        } else {
            self.cwnd
        };
        let segments = cwnd / f64::from(mss);
        self.cwnd_prior = segments;
        self.w_max = if segments < self.w_max {
            segments * (1.0 + BETA) / 2.0
        } else {
            segments
        };
        self.ssthresh = ((segments * beta).round() as u64).max(2) * u64::from(mss);
        self.curve = None;
    }

    /// RFC 9438 §4.2 to §4.5.
    fn avoid(&mut self, ack: &Ack) {
        let mss = f64::from(ack.mss);
        let cwnd = self.cwnd / mss;
        let acked = ack.acked as f64 / mss;
        let (w_max, cwnd_prior) = (self.w_max, self.cwnd_prior);
        let curve = self
            .curve
            .get_or_insert_with(|| Curve::new(ack.now, cwnd, w_max));
        if let Some(since) = curve.paused.take() {
            curve.start = curve.start + ack.now.since(since);
        }
        // Back where it was, it grows as Reno does (RFC 9438 §4.3).
        let slope = if curve.w_est < cwnd_prior { ALPHA } else { 1.0 };
        curve.w_est += slope * acked / cwnd;
        let passed = ack.now.since(curve.start);
        let next = if curve.at(passed) < curve.w_est {
            cwnd.max(curve.w_est)
        } else {
            let target = curve.at(passed + ack.srtt).clamp(cwnd, 1.5 * cwnd);
            cwnd + (target - cwnd) / cwnd * acked
        };
        // Never faster than slow start, however much one acknowledgement covers.
        self.cwnd = (next * mss).min(self.cwnd + ack.acked as f64);
    }
}

impl Curve {
    fn new(start: Instant, cwnd: f64, w_max: f64) -> Curve {
        let origin = w_max.max(cwnd);
        let k = ((origin - cwnd) / C).cbrt();
        Curve {
            start,
            k,
            origin,
            w_est: cwnd,
            paused: None,
        }
    }

    fn at(&self, passed: Duration) -> f64 {
        C * (passed.as_secs_f64() - self.k).powi(3) + self.origin
    }
}

impl Controller for Cubic {
    fn cwnd(&self) -> u64 {
        self.cwnd as u64
    }

    fn ssthresh(&self) -> u64 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        if !ack.limited {
            self.hystart.keep_window();
            if let Some(curve) = &mut self.curve {
                curve.paused.get_or_insert(ack.now);
            }
            return;
        }
        if let Some(window) = self.hystart.drained(ack, self.cwnd()) {
            self.cwnd = window as f64;
            self.ssthresh = window;
            self.curve = None;
        }
        if self.cwnd() >= self.ssthresh {
            return self.avoid(ack);
        }
        let (increase, leave) = self.hystart.on_ack(ack, self.ssthresh);
        self.cwnd = (self.cwnd + increase as f64).min(self.ssthresh as f64);
        if leave {
            self.ssthresh = self.cwnd();
        }
    }

    fn on_sample(&mut self, _ack: &Ack, sample: &RateSample) {
        self.hystart.on_sample(sample);
    }

    fn on_loss(&mut self, _now: Instant, flight: u64, mss: u32) {
        self.reduce(flight, mss, BETA);
        self.cwnd = self.ssthresh as f64;
    }

    fn on_ecn(&mut self, _now: Instant, flight: u64, mss: u32) {
        let beta = if self.abe { BETA_ECN } else { BETA };
        self.reduce(flight, mss, beta);
        self.cwnd = self.ssthresh as f64;
    }

    fn on_rto(&mut self, _now: Instant, flight: u64, mss: u32, first: bool) {
        if first {
            self.reduce(flight, mss, BETA);
        }
        // RFC 9438 §4.8: the first epoch after a timeout starts at its plateau.
        self.w_max = 0.0;
        self.cwnd = f64::from(mss);
    }

    fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.cwnd = self.cwnd.max(before.cwnd);
            self.ssthresh = before.ssthresh;
            self.w_max = before.w_max;
            self.cwnd_prior = before.cwnd_prior;
            self.curve = before.curve;
        }
    }

    fn on_idle(&mut self, restart: u64) {
        self.hystart.keep_window();
        if self.cwnd() > restart {
            self.ssthresh = self.ssthresh.max(self.cwnd() / 4 * 3);
            self.cwnd = restart as f64;
            self.curve = None;
        }
    }

    fn take_over(&mut self, ssthresh: u64) {
        self.ssthresh = ssthresh;
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.hystart.keep_window();
        self.cwnd = cwnd as f64;
        self.curve = None;
        self.ssthresh = self.ssthresh.min(cwnd);
    }

    fn name(&self) -> &'static str {
        "cubic"
    }

    fn rest(&mut self, parcel: &mut Parcel<'_>) {
        self.pack(parcel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ack, init};
    use super::*;

    #[test]
    fn returns_to_the_plateau_after_k_seconds() {
        let mut cubic = Cubic::new(init(1_000_000));
        cubic.on_loss(Instant(0), 1_000_000, 1000);
        assert_eq!(cubic.cwnd(), 700_000);
        // K = cbrt(1000 × 0.3 / 0.4) ≈ 9.09 s; a window is acknowledged every 100 ms.
        let mut at_k = 0;
        for round in 0..180 {
            let now = Instant(round * 100_000_000);
            let srtt = Duration::from_millis(100);
            cubic.on_ack(&Ack {
                now,
                srtt,
                ..ack(0, cubic.cwnd())
            });
            if round == 90 {
                at_k = cubic.cwnd();
            }
        }
        assert!((990_000..=1_001_000).contains(&at_k), "{at_k}");
        assert!(
            cubic.cwnd() > 1_250_000,
            "convex beyond the plateau: {}",
            cubic.cwnd()
        );
    }

    #[test]
    fn a_second_loss_below_the_plateau_gives_way() {
        let mut cubic = Cubic::new(init(1_000_000));
        cubic.on_loss(Instant(0), 1_000_000, 1000);
        cubic.on_loss(Instant(1), 700_000, 1000);
        assert!(
            (cubic.w_max - 595.0).abs() < 0.1,
            "fast convergence: {}",
            cubic.w_max
        );
    }

    #[test]
    fn a_loss_while_little_of_the_window_was_used_reduces_what_was_used() {
        let mut cubic = Cubic::new(init(1_000_000));
        cubic.on_loss(Instant(0), 100_000, 1000);
        assert_eq!(cubic.cwnd(), 70_000);
        cubic.undo();
        assert_eq!(cubic.cwnd(), 1_000_000);
    }

    #[test]
    fn a_mark_takes_less_than_a_loss_where_that_is_wanted() {
        let left = |abe| {
            let mut cubic = Cubic::new(Init {
                abe,
                ..init(20_000)
            });
            cubic.on_ecn(Instant(0), 20_000, 1000);
            cubic.cwnd()
        };
        assert_eq!((left(false), left(true)), (14_000, 17_000));
    }

    #[test]
    fn what_is_left_after_a_loss_is_whole_segments() {
        let mut cubic = Cubic::new(init(17_000));
        cubic.on_loss(Instant(0), 17_000, 1000);
        // 0.7 × 17 = 11.9
        assert_eq!((cubic.cwnd(), cubic.ssthresh()), (12_000, 12_000));
        cubic.on_loss(Instant(0), 12_000, 1000);
        // 0.7 × 12 = 8.4
        assert_eq!((cubic.cwnd(), cubic.ssthresh()), (8000, 8000));
    }

    #[test]
    fn back_at_the_window_of_before_it_grows_like_reno() {
        let mut cubic = Cubic::new(init(10_000));
        cubic.on_loss(Instant(0), 10_000, 1000);
        // Fast convergence lowers the plateau, not where the slope changes.
        cubic.on_loss(Instant(0), 7_000, 1000);
        assert!((cubic.cwnd_prior - 7.0).abs() < 0.01 && cubic.w_max < 6.0);
        let grown = |cubic: &mut Cubic| {
            let before = cubic.cwnd();
            let window = Ack {
                srtt: Duration::from_nanos(1),
                ..ack(1, before)
            };
            cubic.on_ack(&window);
            cubic.cwnd() - before
        };
        let below = grown(&mut cubic);
        while cubic.cwnd() < 8_000 {
            grown(&mut cubic);
        }
        assert!(below < 600 && grown(&mut cubic) >= 990, "{below}");
    }

    #[test]
    fn small_windows_grow_like_reno() {
        let mut cubic = Cubic::new(init(10_000));
        cubic.on_loss(Instant(0), 10_000, 1000);
        for round in 0..20 {
            let now = Instant(round * 1_000_000);
            cubic.on_ack(&Ack {
                now,
                srtt: Duration::from_millis(1),
                ..ack(0, cubic.cwnd())
            });
        }
        assert!(
            cubic.cwnd() >= 17_000,
            "about one segment a round trip: {}",
            cubic.cwnd()
        );
    }
}
