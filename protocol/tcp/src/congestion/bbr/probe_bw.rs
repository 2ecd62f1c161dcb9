//! ProbeBW: the steady cycle of going a little slower, cruising, filling the pipe, and trying
//! whether there is more (draft-ietf-ccwg-bbr §5.3.3).

use super::bounds::too_high;
use super::{Bbr, INFINITY, State, percent};
use crate::Instant;
use crate::congestion::{Ack, RateSample};
use std::time::Duration;

/// Percent of `inflight_hi` left to others while cruising (Headroom).
const HEADROOM: u64 = 15;
/// Rounds after which to probe, where Reno would not have probed before.
const MOST_ROUNDS: u64 = 63;
/// Least time between probes; up to a second more, by chance.
const WAIT: Duration = Duration::from_secs(2);

/// What the acknowledgements that come now tell of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing particular.
    Steady,
    /// What was sent before the pipe was filled.
    Refilling,
    /// What was sent before the probe.
    Starting,
    /// The probe.
    Feedback,
    /// The probe, which is over.
    Stopping,
}

crate::packed!(
    enum Phase {
        Steady,
        Refilling,
        Starting,
        Feedback,
        Stopping,
    }
);

/// The cycle.
#[derive(Debug)]
pub(super) struct Cycle {
    phase: Phase,
    /// When the present cycle began, and how long after that to probe.
    stamp: Instant,
    wait: Duration,
    pub(super) rounds_since_probe: u64,
    /// What is sent now probes: its losses tell how much in flight is too much.
    pub(super) is_probe_sample: bool,
    /// The last probe lost too much.
    pub(super) prev_too_high: bool,
    /// The last probe ended before it could.
    prev_precautionary: bool,
    up: Up,
    now: Instant,
    seed: u64,
}

crate::packed!(Cycle {
    phase,
    stamp,
    wait,
    rounds_since_probe,
    is_probe_sample,
    prev_too_high,
    prev_precautionary,
    up,
    now,
    seed
});

/// The growth of `inflight_hi` during a probe.
#[derive(Debug)]
struct Up {
    rounds: u32,
    acked: u64,
    acked_per_segment: u64,
}

crate::packed!(Up {
    rounds,
    acked,
    acked_per_segment
});

impl Cycle {
    pub(super) fn new(seed: u64) -> Cycle {
        Cycle {
            phase: Phase::Steady,
            stamp: Instant(0),
            wait: Duration::ZERO,
            rounds_since_probe: 0,
            is_probe_sample: false,
            prev_too_high: false,
            prev_precautionary: false,
            up: Up {
                rounds: 0,
                acked: 0,
                acked_per_segment: INFINITY,
            },
            now: Instant(0),
            seed,
        }
    }

    /// When the last acknowledgement came.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn stopping(&mut self) {
        self.phase = Phase::Stopping;
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// By chance, so that flows do not probe together.
    fn pick_wait(&mut self) {
        self.rounds_since_probe = self.random() % 2;
        self.wait = WAIT + Duration::from_micros(self.random() % 1_000_000);
    }
}

impl Bbr {
    pub(super) fn update_cycle(&mut self, ack: &Ack, sample: &RateSample) {
        self.cycle.now = ack.now;
        if !self.full.reached || self.adapt_upper_bounds(ack, sample) {
            return;
        }
        match self.state {
            State::Down if self.is_time_to_probe(ack.now) => self.start_refill(),
            State::Down if self.is_time_to_cruise(ack) => self.state = State::Cruise,
            State::Cruise if self.is_time_to_probe(ack.now) => self.start_refill(),
            State::Refill if self.rounds.start => self.start_up(sample),
            State::Up => self.check_probe_done(ack, sample),
            _ => {}
        }
    }

    pub(super) fn start_down(&mut self, now: Instant) {
        self.reset_congestion_signals();
        self.cycle.up.acked_per_segment = INFINITY;
        self.cycle.pick_wait();
        self.cycle.stamp = now;
        self.cycle.phase = Phase::Stopping;
        self.start_round();
        self.state = State::Down;
    }

    pub(super) fn start_cruise(&mut self) {
        self.state = State::Cruise;
    }

    pub(super) fn start_refill(&mut self) {
        self.reset_lower_bounds();
        self.cycle.up.rounds = 0;
        self.cycle.up.acked = 0;
        self.cycle.prev_precautionary = false;
        self.cycle.phase = Phase::Refilling;
        self.start_round();
        self.state = State::Refill;
    }

    fn start_up(&mut self, sample: &RateSample) {
        self.cycle.is_probe_sample = true;
        self.cycle.phase = Phase::Starting;
        self.start_round();
        self.full.reset();
        self.full.bw = sample.delivery_rate;
        self.state = State::Up;
        self.raise_slope();
    }

    /// A wall clock for long paths; on short ones, as often as Reno would lose something.
    fn is_time_to_probe(&self, now: Instant) -> bool {
        let reno_rounds = (self.target_inflight() / self.mss).min(MOST_ROUNDS);
        now > self.cycle.stamp + self.cycle.wait || self.cycle.rounds_since_probe >= reno_rounds
    }

    fn is_time_to_cruise(&self, ack: &Ack) -> bool {
        ack.pipe <= self.inflight_with_headroom() && ack.pipe <= self.full_pipe()
    }

    fn check_probe_done(&mut self, ack: &Ack, sample: &RateSample) {
        if self.is_time_to_go_down(ack, sample) {
            self.cycle.prev_too_high = false;
            self.start_down(ack.now);
        }
    }

    fn is_time_to_go_down(&mut self, ack: &Ack, sample: &RateSample) -> bool {
        if self.cycle.prev_too_high && ack.pipe >= self.inflight_hi {
            // What lost too much the last time is not kept up for a whole round.
            self.cycle.prev_precautionary = true;
            return true;
        }
        if ack.cwnd_limited && self.cwnd >= self.inflight_hi {
            // The bound limits the rate, not the path.
            self.full.reset();
            self.full.bw = sample.delivery_rate;
            return false;
        }
        self.full.now
    }

    /// Leaves something for others.
    pub(super) fn inflight_with_headroom(&self) -> u64 {
        if self.inflight_hi == INFINITY {
            return INFINITY;
        }
        let headroom = percent(self.inflight_hi, HEADROOM).max(self.mss);
        self.inflight_hi
            .saturating_sub(headroom)
            .max(self.min_pipe())
    }

    /// By one segment in the first round, twice as many in each that follows.
    fn raise_slope(&mut self) {
        let up = &mut self.cycle.up;
        let growth = 1u64 << up.rounds;
        up.rounds = (up.rounds + 1).min(30);
        up.acked_per_segment = (self.cwnd / growth).max(self.mss);
    }

    fn raise_upper_bound(&mut self, ack: &Ack, sample: &RateSample) {
        if !ack.cwnd_limited || self.cwnd < self.inflight_hi {
            return;
        }
        let up = &mut self.cycle.up;
        up.acked += sample.newly_acked;
        let segments = up.acked / up.acked_per_segment;
        up.acked -= segments * up.acked_per_segment;
        self.inflight_hi += segments * self.mss;
        if self.rounds.start {
            self.raise_slope();
        }
    }

    /// Follows what acknowledgements tell of, and raises `inflight_hi` where little is lost. Gives
    /// back whether this decided what to do next.
    fn adapt_upper_bounds(&mut self, ack: &Ack, sample: &RateSample) -> bool {
        if self.cycle.phase == Phase::Starting && self.rounds.start {
            self.cycle.phase = Phase::Feedback;
        }
        if self.cycle.phase == Phase::Stopping && self.rounds.start {
            self.cycle.is_probe_sample = false;
            self.cycle.phase = Phase::Steady;
            if self.state.is_probe_bw() && !sample.app_limited {
                self.max_bw.advance();
            }
            let again = self.cycle.prev_precautionary && !self.cycle.prev_too_high;
            if self.state.is_probe_bw() && again {
                self.start_refill();
                return true;
            }
        }
        let bad = if ack.sack {
            too_high(sample.lost, sample.tx_in_flight)
        } else {
            sample.lost > 0
        };
        if !bad && self.inflight_hi != INFINITY {
            self.inflight_hi = self.inflight_hi.max(sample.tx_in_flight);
            if self.state == State::Up {
                self.raise_upper_bound(ack, sample);
            }
        }
        false
    }
}
