//! BBR version 3 (draft-ietf-ccwg-bbr): a model of the path, its bandwidth and its delay, rather
//! than losses, decides how fast to send and how much to have in flight.
//!
//! The names are the draft's, but for `bw_lo`, `inflight_lo` and `inflight_hi`, which it calls
//! `bw_shortterm`, `inflight_shortterm` and `inflight_longterm`. Rates are bytes per second,
//! volumes bytes, gains percent.

mod bounds;
mod filter;
mod probe_bw;
mod probe_rtt;
mod startup;

use super::{Ack, Controller, Init, Lost, RateSample};
use crate::Instant;
use crate::pacer::quantum;
use crate::rate::scale;
use crate::rest::{Pack, Parcel};
use bounds::{Latest, Lower, Undo};
use filter::{Aggregation, MaxBw};
use probe_bw::Cycle;
use probe_rtt::MinRtt;
use startup::FullBw;
use std::time::Duration;

/// No bound.
const INFINITY: u64 = u64::MAX;
/// Segments that keep a pipe going whatever its size (MinPipeCwnd).
const MIN_PIPE_SEGMENTS: u64 = 4;
/// Percent by which to stay below the bandwidth (PacingMarginPercent).
const PACING_MARGIN: u64 = 1;

/// What is being found out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum State {
    /// How fast the path is, doubling each round.
    #[default]
    Startup,
    /// Nothing: the queue that this built is emptied.
    Drain,
    /// Nothing: a little slower than the path, to leave it a margin.
    Down,
    /// Nothing: as fast as the path.
    Cruise,
    /// Nothing yet: the pipe is filled.
    Refill,
    /// Whether there is more bandwidth.
    Up,
    /// How long the path is.
    ProbeRtt,
}

crate::packed!(
    enum State {
        Startup,
        Drain,
        Down,
        Cruise,
        Refill,
        Up,
        ProbeRtt,
    }
);

impl State {
    fn is_probe_bw(self) -> bool {
        use State::*;
        matches!(self, Down | Cruise | Refill | Up)
    }

    /// Sending as much as the path might take.
    fn accelerates(self) -> bool {
        matches!(self, State::Startup | State::Refill | State::Up)
    }

    fn pacing_gain(self) -> u64 {
        match self {
            State::Startup => 277,
            State::Drain => 50,
            State::Down => 90,
            State::Cruise | State::Refill | State::ProbeRtt => 100,
            State::Up => 125,
        }
    }

    fn cwnd_gain(self) -> u64 {
        match self {
            State::Up => 225,
            State::ProbeRtt => 50,
            _ => 200,
        }
    }
}

/// Rounds, timed by packets (§5.5.1).
#[derive(Debug, Default)]
struct Rounds {
    count: u64,
    /// The present acknowledgement began one.
    start: bool,
    next_delivered: u64,
}

crate::packed!(Rounds {
    count,
    start,
    next_delivered
});

#[derive(Debug)]
pub(super) struct Bbr {
    state: State,
    mss: u64,
    initial_window: u64,
    /// Control parameters.
    cwnd: u64,
    /// The window before loss recovery or ProbeRTT.
    prior_cwnd: u64,
    pacing_rate: u64,
    /// Bytes ever delivered.
    delivered: u64,
    rounds: Rounds,
    /// The bandwidth that may be used now.
    bw: u64,
    max_bw: MaxBw,
    full: FullBw,
    latest: Latest,
    lower: Lower,
    /// Most in flight that loses little.
    inflight_hi: u64,
    cycle: Cycle,
    min: MinRtt,
    extra: Aggregation,
    undo: Undo,
    /// In loss recovery.
    recovering: bool,
    /// Sending began again after the application paused.
    idle_restart: bool,
}

crate::packed!(Bbr {
    state,
    mss,
    initial_window,
    cwnd,
    prior_cwnd,
    pacing_rate,
    delivered,
    rounds,
    bw,
    max_bw,
    full,
    latest,
    lower,
    inflight_hi,
    cycle,
    min,
    extra,
    undo,
    recovering,
    idle_restart
});

impl Bbr {
    pub(super) fn new(init: Init) -> Bbr {
        let rtt = init.srtt.unwrap_or(Duration::from_millis(1));
        let nominal = crate::rate::per_second(init.initial_window, rtt);
        Bbr {
            state: State::Startup,
            mss: u64::from(init.mss),
            initial_window: init.initial_window,
            cwnd: init.initial_window,
            prior_cwnd: 0,
            pacing_rate: percent(nominal, State::Startup.pacing_gain()),
            delivered: 0,
            rounds: Rounds::default(),
            bw: 0,
            max_bw: MaxBw::default(),
            full: FullBw::default(),
            latest: Latest::default(),
            lower: Lower::default(),
            inflight_hi: INFINITY,
            cycle: Cycle::new(init.seed),
            min: MinRtt::new(init.srtt),
            extra: Aggregation::default(),
            undo: Undo::default(),
            recovering: false,
            idle_restart: false,
        }
    }

    fn start_round(&mut self) {
        self.rounds.next_delivered = self.delivered;
    }

    fn update_round(&mut self, sample: &RateSample) {
        let next = self.rounds.next_delivered;
        self.rounds.start = sample.prior_delivered.is_some_and(|prior| prior >= next);
        if self.rounds.start {
            self.start_round();
            self.rounds.count += 1;
            self.cycle.rounds_since_probe += 1;
        }
    }

    /// A multiple of the bandwidth-delay product at `bw`; the initial window while it is unknown.
    fn bdp_multiple(&self, bw: u64, gain: u64) -> u64 {
        match self.min.rtt() {
            Some(rtt) => percent(bytes_in(bw, rtt), gain),
            None => self.initial_window,
        }
    }

    fn bdp(&self) -> u64 {
        self.bdp_multiple(self.bw, 100)
    }

    fn min_pipe(&self) -> u64 {
        MIN_PIPE_SEGMENTS * self.mss
    }

    /// Room for a super-frame each in the host that sends, on the wire, and in the host that
    /// receives (§5.5.8).
    fn quantized(&self, inflight: u64) -> u64 {
        let budget = 3 * quantum(self.pacing_rate, self.mss);
        let least = inflight.max(budget).max(self.min_pipe());
        match self.state {
            State::Up => least + 2 * self.mss,
            _ => least,
        }
    }

    /// In flight when the pipe is full at the greatest bandwidth and nothing queues.
    fn full_pipe(&self) -> u64 {
        self.quantized(self.bdp_multiple(self.max_bw.get(), 100))
    }

    /// What there should be in flight, unless congestion cut the window.
    fn target_inflight(&self) -> u64 {
        self.bdp().min(self.cwnd)
    }
}

/// Control parameters (§5.6).
impl Bbr {
    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = percent(percent(self.bw, gain), 100 - PACING_MARGIN);
        if rate > 0 && (self.full.reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    fn max_inflight(&self) -> u64 {
        let bdp = self.bdp_multiple(self.bw, self.state.cwnd_gain());
        self.quantized(bdp.saturating_add(self.extra.extra()))
    }

    fn set_cwnd(&mut self, acked: u64) {
        let most = self.max_inflight();
        if self.full.reached {
            self.cwnd = (self.cwnd + acked).min(most);
        } else if self.cwnd < most || self.delivered < self.initial_window {
            self.cwnd += acked;
        }
        self.cwnd = self.cwnd.max(self.min_pipe());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        let cap = match self.state {
            State::ProbeRtt | State::Cruise => self.inflight_with_headroom(),
            state if state.is_probe_bw() => self.inflight_hi,
            _ => INFINITY,
        };
        let cap = cap.min(self.lower.inflight).max(self.min_pipe());
        self.cwnd = self.cwnd.min(cap);
    }

    fn save_cwnd(&mut self) {
        self.prior_cwnd = if self.recovering || self.state == State::ProbeRtt {
            self.prior_cwnd.max(self.cwnd)
        } else {
            self.cwnd
        };
    }

    fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }
}

impl Controller for Bbr {
    fn cwnd(&self) -> u64 {
        self.cwnd
    }

    fn ssthresh(&self) -> u64 {
        INFINITY
    }

    fn on_ack(&mut self, _: &Ack) {}

    /// The steps of §5.2.3.
    fn on_sample(&mut self, ack: &Ack, sample: &RateSample) {
        self.mss = u64::from(ack.mss);
        self.delivered = sample.total_delivered;
        self.update_latest_signals(sample);
        self.update_congestion_signals(sample);
        let round = (self.rounds.count, self.full.reached);
        let acked = sample.newly_acked;
        self.extra.update(ack.now, acked, self.bw, self.cwnd, round);
        self.check_full_bw(sample);
        self.check_startup_done(ack, sample);
        self.check_drain_done(ack);
        self.update_cycle(ack, sample);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack, sample);
        self.advance_latest_signals(sample);
        self.bw = self.max_bw.get().min(self.lower.bw);
        self.set_pacing_rate(self.state.pacing_gain());
        self.set_cwnd(acked);
    }

    fn on_lost(&mut self, lost: &Lost) {
        self.delivered = lost.total_delivered;
        self.handle_lost(lost);
    }

    fn on_loss(&mut self, _now: Instant, _flight: u64, _mss: u32) {
        self.save_cwnd();
        self.note_loss();
        self.recovering = true;
    }

    /// A mark is congestion as a loss is (draft-ietf-ccwg-bbr §3.6 leaves how open).
    fn on_ecn(&mut self, now: Instant, flight: u64, _mss: u32) {
        self.note_loss();
        match self.state {
            State::Startup => self.leave_startup_for_congestion(),
            _ if self.cycle.is_probe_sample => self.inflight_too_high(now, flight, false),
            _ => {}
        }
    }

    fn on_rto(&mut self, _now: Instant, _flight: u64, mss: u32, _first: bool) {
        self.save_cwnd();
        self.note_loss();
        self.recovering = true;
        self.cwnd = u64::from(mss);
    }

    fn recovered(&mut self) {
        self.recovering = false;
        self.restore_cwnd();
    }

    fn undo(&mut self) {
        self.recovering = false;
        self.restore_cwnd();
        self.undo_loss();
    }

    /// The rate is known and segments are paced: nothing to forget (§5.4.2).
    fn on_idle(&mut self, _restart: u64) {}

    fn on_restart(&mut self, now: Instant) {
        self.idle_restart = true;
        self.extra.restart(now);
        if self.state.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn reduces_proportionally(&self) -> bool {
        false
    }

    fn is_probing_rtt(&self) -> bool {
        self.state == State::ProbeRtt
    }

    fn set_cwnd(&mut self, cwnd: u64) {
        self.cwnd = cwnd;
        self.prior_cwnd = cwnd;
    }

    fn name(&self) -> &'static str {
        "bbr"
    }

    fn rest(&mut self, parcel: &mut Parcel<'_>) {
        self.pack(parcel);
    }
}

fn percent(of: u64, gain: u64) -> u64 {
    scale(of, gain, 100)
}

/// Bytes that `rate` brings in `time`.
fn bytes_in(rate: u64, time: Duration) -> u64 {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(INFINITY);
    scale(rate, nanos, 1_000_000_000)
}

#[cfg(test)]
mod tests;
