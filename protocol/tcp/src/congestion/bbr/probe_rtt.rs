//! The length of the path: its least round-trip time, and ProbeRTT, which empties the queue so
//! that it can be seen (draft-ietf-ccwg-bbr §5.3.4).

use super::{Bbr, State};
use crate::Instant;
use crate::congestion::{Ack, RateSample};
use std::time::Duration;

/// How long a least round-trip time is believed (MinRTTFilterLen).
const FILTER_LEN: Duration = Duration::from_secs(10);
/// How long to go without a new least one before looking for it (ProbeRTTInterval).
const INTERVAL: Duration = Duration::from_secs(5);
/// How long to look (ProbeRTTDuration).
const DURATION: Duration = Duration::from_millis(200);

/// The least round-trip time.
#[derive(Debug)]
pub(super) struct MinRtt {
    rtt: Option<(Duration, Instant)>,
    /// The least since the last probe, and when it was seen.
    probed: Option<(Duration, Instant)>,
    /// It is due to be looked for.
    expired: bool,
    /// While looking with little in flight: until when.
    done_at: Option<Instant>,
    round_done: bool,
}

crate::packed!(MinRtt {
    rtt,
    probed,
    expired,
    done_at,
    round_done
});

impl MinRtt {
    pub(super) fn new(srtt: Option<Duration>) -> MinRtt {
        MinRtt {
            rtt: srtt.map(|rtt| (rtt, Instant(0))),
            probed: None,
            expired: false,
            done_at: None,
            round_done: false,
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.map(|(rtt, _)| rtt)
    }

    fn update(&mut self, now: Instant, sample: Option<Duration>) {
        let older =
            |seen: Option<(Duration, Instant)>, age| seen.is_some_and(|(_, at)| now > at + age);
        self.expired = older(self.probed, INTERVAL);
        if let Some(rtt) = sample
            && (self.expired || self.probed.is_none_or(|(least, _)| rtt < least))
        {
            self.probed = Some((rtt, now));
        }
        let less = match (self.probed, self.rtt) {
            (Some((new, _)), Some((old, _))) => new < old,
            (new, None) => new.is_some(),
            (None, _) => false,
        };
        if less || (older(self.rtt, FILTER_LEN) && self.probed.is_some()) {
            self.rtt = self.probed;
        }
    }
}

impl Bbr {
    pub(super) fn update_min_rtt(&mut self, ack: &Ack) {
        self.min.update(ack.now, ack.rtt);
    }

    pub(super) fn probe_rtt_cwnd(&self) -> u64 {
        let gain = State::ProbeRtt.cwnd_gain();
        self.bdp_multiple(self.bw, gain).max(self.min_pipe())
    }

    pub(super) fn check_probe_rtt(&mut self, ack: &Ack, sample: &RateSample) {
        if self.state != State::ProbeRtt && self.min.expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.min.done_at = None;
            self.cycle.stopping();
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.probe_rtt(ack);
        }
        if sample.delivered > 0 {
            self.idle_restart = false;
        }
    }

    fn probe_rtt(&mut self, ack: &Ack) {
        if self.min.done_at.is_none() {
            if ack.pipe <= self.probe_rtt_cwnd() {
                self.min.done_at = Some(ack.now + DURATION);
                self.min.round_done = false;
                self.start_round();
            }
            return;
        }
        self.min.round_done |= self.rounds.start;
        if self.min.round_done {
            self.check_probe_rtt_done(ack.now);
        }
    }

    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.min.done_at.is_none_or(|at| now <= at) {
            return;
        }
        if let Some((_, at)) = &mut self.min.probed {
            *at = now;
        }
        self.restore_cwnd();
        self.reset_lower_bounds();
        if self.full.reached {
            self.start_down(now);
            // Little is in flight: there is nothing to drain.
            self.start_cruise();
        } else {
            self.state = State::Startup;
        }
    }
}
