//! What congestion says of the path: bounds of bandwidth and volume, for now (`bw_lo`,
//! `inflight_lo`) and until it is probed again (`inflight_hi`) (draft-ietf-ccwg-bbr §5.5.10).

use super::{Bbr, INFINITY, State, percent};
use crate::Instant;
use crate::congestion::{Lost, RateSample};

/// Percent lost in a round that are too much (LossThresh).
const LOSS_THRESH: u64 = 2;
/// Percent left of a bound after a round with losses (Beta).
const BETA: u64 = 70;

/// What was delivered during this round, and whether anything was lost.
#[derive(Debug, Default)]
pub(super) struct Latest {
    bw: u64,
    pub(super) inflight: u64,
    loss_round_delivered: u64,
    /// The present acknowledgement ends a round that may have lost something.
    pub(super) loss_round_start: bool,
    loss_in_round: bool,
    /// Losses apart from each other in this round, and where the last one ended.
    pub(super) gaps: u32,
    last_end: u64,
}

crate::packed!(Latest {
    bw,
    inflight,
    loss_round_delivered,
    loss_round_start,
    loss_in_round,
    gaps,
    last_end
});

/// Bounds for now.
#[derive(Debug)]
pub(super) struct Lower {
    pub(super) bw: u64,
    pub(super) inflight: u64,
}

crate::packed!(Lower { bw, inflight });

impl Default for Lower {
    fn default() -> Lower {
        Lower {
            bw: INFINITY,
            inflight: INFINITY,
        }
    }
}

/// What to go back to when a loss proves to have been none (§5.5.11).
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// What was left because of it.
    pub(super) state: Option<State>,
    bw_lo: u64,
    inflight_lo: u64,
    inflight_hi: u64,
}

crate::packed!(Undo {
    state,
    bw_lo,
    inflight_lo,
    inflight_hi
});

impl Bbr {
    pub(super) fn update_latest_signals(&mut self, sample: &RateSample) {
        let latest = &mut self.latest;
        latest.bw = latest.bw.max(sample.delivery_rate);
        latest.inflight = latest.inflight.max(sample.delivered);
        let due = latest.loss_round_delivered;
        latest.loss_round_start = sample.prior_delivered.is_some_and(|prior| prior >= due);
        if latest.loss_round_start {
            latest.loss_round_delivered = self.delivered;
        }
    }

    pub(super) fn update_congestion_signals(&mut self, sample: &RateSample) {
        self.update_round(sample);
        // What the application limits says only that there is at least so much.
        if sample.delivery_rate >= self.max_bw.get() || !sample.app_limited {
            self.max_bw.update(sample.delivery_rate);
        }
        if !self.latest.loss_round_start {
            return;
        }
        if self.latest.loss_in_round && !self.state.accelerates() {
            self.lower_bounds();
        }
        self.latest.loss_in_round = false;
    }

    fn lower_bounds(&mut self) {
        if self.lower.bw == INFINITY {
            self.lower.bw = self.max_bw.get();
        }
        if self.lower.inflight == INFINITY {
            self.lower.inflight = self.cwnd;
        }
        self.lower.bw = self.latest.bw.max(percent(self.lower.bw, BETA));
        self.lower.inflight = self.latest.inflight.max(percent(self.lower.inflight, BETA));
    }

    pub(super) fn advance_latest_signals(&mut self, sample: &RateSample) {
        if self.latest.loss_round_start {
            self.latest.bw = sample.delivery_rate;
            self.latest.inflight = sample.delivered;
            self.latest.gaps = 0;
        }
    }

    pub(super) fn reset_congestion_signals(&mut self) {
        self.latest.loss_in_round = false;
        self.latest.bw = 0;
        self.latest.inflight = 0;
    }

    pub(super) fn reset_lower_bounds(&mut self) {
        self.lower = Lower::default();
    }

    pub(super) fn note_loss(&mut self) {
        if !self.latest.loss_in_round {
            self.latest.loss_round_delivered = self.delivered;
            self.save_for_undo();
        }
        self.latest.loss_in_round = true;
    }

    pub(super) fn handle_lost(&mut self, lost: &Lost) {
        self.note_loss();
        if lost.start != self.latest.last_end {
            self.latest.gaps += 1;
        }
        self.latest.last_end = lost.end;
        if !self.cycle.is_probe_sample || !too_high(lost.lost, lost.tx_in_flight) {
            return;
        }
        let volume = inflight_at_loss(lost);
        let now = self.cycle.now();
        self.inflight_too_high(now, volume, lost.app_limited);
    }

    /// While probing, `volume` in flight lost too much.
    pub(super) fn inflight_too_high(&mut self, now: Instant, volume: u64, app_limited: bool) {
        self.cycle.prev_too_high = true;
        self.cycle.is_probe_sample = false;
        if !app_limited {
            let floor = percent(self.target_inflight(), BETA);
            self.inflight_hi = volume.max(floor);
        }
        if self.state == State::Up {
            self.undo.state = Some(State::Up);
            self.start_down(now);
        }
    }

    fn save_for_undo(&mut self) {
        self.undo = Undo {
            state: None,
            bw_lo: self.lower.bw,
            inflight_lo: self.lower.inflight,
            inflight_hi: self.inflight_hi,
        };
    }

    /// The loss was none.
    pub(super) fn undo_loss(&mut self) {
        self.latest.loss_in_round = false;
        self.full.reset();
        self.lower.bw = self.lower.bw.max(self.undo.bw_lo);
        self.lower.inflight = self.lower.inflight.max(self.undo.inflight_lo);
        self.inflight_hi = self.inflight_hi.max(self.undo.inflight_hi);
        let left = self.undo.state.take().filter(|left| *left != self.state);
        match left {
            Some(State::Startup) => {
                self.full.reached = false;
                if self.state != State::ProbeRtt {
                    self.state = State::Startup;
                }
            }
            Some(State::Up) if self.state != State::ProbeRtt => self.start_refill(),
            _ => {}
        }
    }
}

/// Whether a round lost too much.
pub(super) fn too_high(lost: u64, in_flight: u64) -> bool {
    lost > percent(in_flight, LOSS_THRESH)
}

/// How much was in flight when losses became too many: perhaps in the middle of what was sent at
/// one time.
fn inflight_at_loss(lost: &Lost) -> u64 {
    let size = lost.end - lost.start;
    let before = lost.tx_in_flight.saturating_sub(size);
    let lost_before = lost.lost.saturating_sub(size);
    let allowed = percent(before, LOSS_THRESH).saturating_sub(lost_before);
    before + allowed * 100 / (100 - LOSS_THRESH)
}
