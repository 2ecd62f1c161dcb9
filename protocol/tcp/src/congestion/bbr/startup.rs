//! Startup, which doubles the rate until there is no more to be had, and Drain, which empties the
//! queue that this built (draft-ietf-ccwg-bbr §5.3.1, §5.3.2).

use super::bounds::too_high;
use super::{Bbr, State, percent};
use crate::congestion::{Ack, RateSample};

/// Rounds without growth that mean a full pipe.
const FULL_ROUNDS: u32 = 3;
/// Percent of the rate of before that count as growth.
const GROWTH: u64 = 125;
/// Losses apart from each other in a round that end Startup.
const FULL_LOSSES: u32 = 6;
/// Rounds after which Drain is over whatever is in flight.
const DRAIN_ROUNDS: u64 = 3;

/// Whether more sending brings more delivery.
#[derive(Debug, Default)]
pub(super) struct FullBw {
    pub(super) bw: u64,
    count: u32,
    /// Since the last reset it brings no more.
    pub(super) now: bool,
    /// It ever was so.
    pub(super) reached: bool,
    drain_start: u64,
}

crate::packed!(FullBw {
    bw,
    count,
    now,
    reached,
    drain_start
});

impl FullBw {
    pub(super) fn reset(&mut self) {
        (self.bw, self.count, self.now) = (0, 0, false);
    }
}

impl Bbr {
    /// Any sample may show growth; rounds without are counted where they begin. (The draft looks
    /// at the first sample of a round alone, and is told by three unlucky ones that the pipe is
    /// full; its authors' own code looks at all.)
    pub(super) fn check_full_bw(&mut self, sample: &RateSample) {
        let full = &mut self.full;
        if full.now || sample.app_limited || sample.delivery_rate == 0 {
            return;
        }
        if sample.delivery_rate >= percent(full.bw, GROWTH) {
            full.reset();
            full.bw = sample.delivery_rate;
            return;
        }
        if !self.rounds.start {
            return;
        }
        full.count += 1;
        full.now = full.count >= FULL_ROUNDS;
        full.reached |= full.now;
    }

    pub(super) fn check_startup_done(&mut self, ack: &Ack, sample: &RateSample) {
        if self.state != State::Startup {
            return;
        }
        if self.startup_loses(ack, sample) {
            self.undo.state = Some(State::Startup);
            self.leave_startup_for_congestion();
        }
        if self.full.reached {
            self.state = State::Drain;
            self.full.drain_start = self.rounds.count;
        }
    }

    /// A whole round of recovery lost too much, in many places. Without selective
    /// acknowledgements one loss is all that can be seen.
    fn startup_loses(&self, ack: &Ack, sample: &RateSample) -> bool {
        if !self.recovering {
            return false;
        }
        if !ack.sack {
            return sample.newly_lost > 0;
        }
        self.latest.loss_round_start
            && self.latest.gaps >= FULL_LOSSES
            && too_high(sample.lost, sample.tx_in_flight)
    }

    /// The pipe is full, by losses or marks; so much went through it.
    pub(super) fn leave_startup_for_congestion(&mut self) {
        self.full.now = true;
        self.full.reached = true;
        self.inflight_hi = self.bdp().max(self.latest.inflight);
    }

    pub(super) fn check_drain_done(&mut self, ack: &Ack) {
        let over = self.rounds.count > self.full.drain_start + DRAIN_ROUNDS;
        if self.state == State::Drain && (ack.pipe <= self.full_pipe() || over) {
            self.start_down(ack.now);
        }
    }
}
