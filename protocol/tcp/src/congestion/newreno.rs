//! NewReno: slow start and congestion avoidance of RFC 5681.

use super::hystart::HyStart;
use super::{Ack, Controller, Init, RateSample, Steer};
use crate::Instant;
use crate::rest::{Pack, Parcel};

/// What a loss leaves of the window, percent.
const BETA: u64 = 50;
/// What a mark leaves of it where marks count for less (RFC 8511 §3.1).
const BETA_ECN: u64 = 80;

#[derive(Debug)]
pub(super) struct NewReno {
    cwnd: u64,
    ssthresh: u64,
    /// Bytes acknowledged towards the next increase (RFC 3465), as the owner weighs them; below 0,
    /// towards a decrease.
    counted: f64,
    steer: Steer,
    hystart: HyStart,
    abe: bool,
    /// `cwnd` and `ssthresh` before the last reduction.
    before: Option<(u64, u64)>,
}

crate::packed!(NewReno {
    cwnd,
    ssthresh,
    counted,
    steer,
    hystart,
    abe,
    before
});

impl NewReno {
    pub(super) fn new(init: Init) -> NewReno {
        NewReno {
            cwnd: init.initial_window,
            ssthresh: u64::MAX,
            counted: 0.0,
            steer: Steer::default(),
            hystart: HyStart::default(),
            abe: init.abe,
            before: None,
        }
    }

    /// To this part of what was in use, percent.
    fn reduce(&mut self, flight: u64, mss: u32, percent: u64) {
        if let Some(found) = self.hystart.interrupted() {
            self.cwnd = found;
        }
        self.before = Some((self.cwnd, self.ssthresh));
        let keep = match percent {
            BETA => self.steer.keep,
            _ => percent as f64 / 100.0,
        };
        let left = flight.min(self.cwnd) as f64 * keep;
        self.ssthresh = (left as u64).max(2 * u64::from(mss));
        self.counted = 0.0;
    }
}

impl Controller for NewReno {
    fn cwnd(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        if !ack.limited {
            self.hystart.keep_window();
            return;
        }
        if let Some(window) = self.hystart.drained(ack, self.cwnd) {
            self.cwnd = window;
            self.ssthresh = window;
        }
        if self.cwnd < self.ssthresh {
            let (increase, leave) = self.hystart.on_ack(ack, self.ssthresh);
            self.cwnd = (self.cwnd + increase).min(self.ssthresh);
            if leave {
                self.ssthresh = self.cwnd;
            }
            return;
        }
        self.counted += ack.acked as f64 * self.steer.gain;
        let (window, mss) = (self.cwnd as f64, u64::from(ack.mss));
        if self.counted >= window {
            self.counted -= window;
            self.cwnd += mss;
        } else if self.counted <= -window {
            self.counted += window;
            self.cwnd = self.cwnd.saturating_sub(mss).max(2 * mss);
            self.ssthresh = self.ssthresh.min(self.cwnd);
        }
    }

    fn on_sample(&mut self, _ack: &Ack, sample: &RateSample) {
        self.hystart.on_sample(sample);
    }

    fn on_loss(&mut self, _now: Instant, flight: u64, mss: u32) {
        self.reduce(flight, mss, BETA);
        self.cwnd = self.ssthresh;
    }

    fn on_ecn(&mut self, _now: Instant, flight: u64, mss: u32) {
        let percent = if self.abe { BETA_ECN } else { BETA };
        self.reduce(flight, mss, percent);
        self.cwnd = self.ssthresh;
    }

    fn on_rto(&mut self, _now: Instant, flight: u64, mss: u32, first: bool) {
        if first {
            self.reduce(flight, mss, BETA);
        }
        self.cwnd = u64::from(mss);
    }

    fn undo(&mut self) {
        if let Some((cwnd, ssthresh)) = self.before.take() {
            self.cwnd = self.cwnd.max(cwnd);
            self.ssthresh = ssthresh;
        }
    }

    fn on_idle(&mut self, restart: u64) {
        self.hystart.keep_window();
        if self.cwnd > restart {
            self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
            self.cwnd = restart;
        }
    }

    fn take_over(&mut self, ssthresh: u64) {
        self.ssthresh = ssthresh;
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.hystart.keep_window();
        self.cwnd = cwnd;
        self.ssthresh = self.ssthresh.min(cwnd);
    }

    fn steer(&mut self, steer: Steer) {
        self.steer = steer;
        if steer.end_slow_start {
            self.ssthresh = self.ssthresh.min(self.cwnd);
        }
    }

    fn name(&self) -> &'static str {
        "newreno"
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
    fn a_mark_takes_less_than_a_loss_where_that_is_wanted() {
        let left = |abe| {
            let mut reno = NewReno::new(Init {
                abe,
                ..init(20_000)
            });
            reno.on_ecn(Instant(0), 20_000, 1000);
            reno.cwnd()
        };
        assert_eq!((left(false), left(true)), (10_000, 16_000));
    }

    #[test]
    fn doubles_then_adds_one_segment_for_each_window() {
        let mut reno = NewReno::new(init(10_000));
        reno.on_ack(&ack(1, 10_000));
        assert_eq!(reno.cwnd(), 20_000);
        reno.on_loss(Instant(0), 20_000, 1000);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (10_000, 10_000));
        for i in 0..10 {
            reno.on_ack(&ack(i, 1000));
        }
        assert_eq!(reno.cwnd(), 11_000);
        reno.undo();
        assert_eq!((reno.cwnd(), reno.ssthresh()), (20_000, u64::MAX));
    }

    #[test]
    fn an_owner_may_weigh_its_steps() {
        let mut reno = NewReno::new(init(10_000));
        reno.steer(Steer {
            gain: 0.5,
            keep: 0.75,
            end_slow_start: true,
            ..Steer::default()
        });
        let windows = |reno: &mut NewReno, n: u64| {
            for i in 0..n {
                reno.on_ack(&ack(i, reno.cwnd()));
            }
        };
        windows(&mut reno, 4);
        assert_eq!(reno.cwnd(), 12_000);
        reno.on_loss(Instant(0), 12_000, 1000);
        assert_eq!(reno.cwnd(), 9_000);
        reno.steer(Steer {
            gain: -1.0,
            ..Steer::default()
        });
        windows(&mut reno, 30);
        assert_eq!(reno.cwnd(), 2_000, "two segments are left");
    }

    #[test]
    fn repeated_timeouts_reduce_ssthresh_once() {
        let mut reno = NewReno::new(init(40_000));
        reno.on_rto(Instant(0), 40_000, 1000, true);
        reno.on_rto(Instant(0), 1000, 1000, false);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1000, 20_000));
    }
}
