//! NewReno: slow start and congestion avoidance of RFC 5681.

use super::hystart::HyStart;
use super::{Ack, Controller, Init};
use crate::Instant;

#[derive(Debug)]
pub(super) struct NewReno {
    cwnd: u64,
    ssthresh: u64,
    /// Bytes acknowledged towards the next increase (RFC 3465).
    counted: u64,
    hystart: HyStart,
    /// `cwnd` and `ssthresh` before the last reduction.
    before: Option<(u64, u64)>,
}

impl NewReno {
    pub(super) fn new(init: Init) -> NewReno {
        NewReno {
            cwnd: init.initial_window,
            ssthresh: u64::MAX,
            counted: 0,
            hystart: HyStart::default(),
            before: None,
        }
    }

    fn reduce(&mut self, flight: u64, mss: u32) {
        self.before = Some((self.cwnd, self.ssthresh));
        self.ssthresh = (flight.min(self.cwnd) / 2).max(2 * u64::from(mss));
        self.counted = 0;
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
            return;
        }
        if self.cwnd < self.ssthresh {
            let (increase, leave) = self.hystart.on_ack(ack, self.ssthresh);
            self.cwnd = (self.cwnd + increase).min(self.ssthresh);
            if leave {
                self.ssthresh = self.cwnd;
            }
            return;
        }
        self.counted += ack.acked;
        if self.counted >= self.cwnd {
            self.counted -= self.cwnd;
            self.cwnd += u64::from(ack.mss);
        }
    }

    fn on_loss(&mut self, _now: Instant, flight: u64, mss: u32) {
        self.reduce(flight, mss);
        self.cwnd = self.ssthresh;
    }

    fn on_rto(&mut self, _now: Instant, flight: u64, mss: u32, first: bool) {
        if first {
            self.reduce(flight, mss);
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
        if self.cwnd > restart {
            self.ssthresh = self.ssthresh.max(self.cwnd / 4 * 3);
            self.cwnd = restart;
        }
    }

    fn take_over(&mut self, ssthresh: u64) {
        self.ssthresh = ssthresh;
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.cwnd = cwnd;
    }

    fn name(&self) -> &'static str {
        "newreno"
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ack, init};
    use super::*;

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
    fn repeated_timeouts_reduce_ssthresh_once() {
        let mut reno = NewReno::new(init(40_000));
        reno.on_rto(Instant(0), 40_000, 1000, true);
        reno.on_rto(Instant(0), 1000, 1000, false);
        assert_eq!((reno.cwnd(), reno.ssthresh()), (1000, 20_000));
    }
}
