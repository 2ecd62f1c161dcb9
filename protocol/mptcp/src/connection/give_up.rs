//! Subflows on which the peer may have spoken in vain: asked, given up, and given back. Carries out what
//! [`crate::steer`] says.

use super::Connection;
use crate::event::GoneReason;
use crate::steer::{Away, Bound, Steering, may_give_up, pause};
use crate::subflow::Subflow;
use anabranch_tcp::{Close, Instant};
use smallvec::SmallVec;
use std::time::Duration;

/// No subflow is probed more often: Linux answers a keepalive in half a second at most.
const SECOND: Duration = Duration::from_secs(1);
/// What is missing may be on its way for so long beyond half a round trip.
const REORDERED: Duration = Duration::from_millis(3);
/// An address that was withdrawn is not announced again before so long.
const AWAY: Duration = Duration::from_secs(1);

impl Connection {
    /// When it is to be looked at though nothing happened.
    pub(super) fn steer_deadline(&self) -> Option<Instant> {
        if !self.steers() {
            return None;
        }
        let probes = self.steering().probe && self.paths.active().nth(1).is_some();
        let silence = self.steer.rhythm.due().filter(|_| probes);
        let hole = self.hole_due().filter(|_| probes);
        let asked = self.paths.active().filter(|s| !s.stale);
        let asked = asked.filter_map(|s| self.answer_due(s)).min();
        let away = self.steer.away.map(|away| away.due);
        let all = [silence, hole, asked, self.steer.confirm, away];
        all.into_iter().flatten().min()
    }

    /// When bytes that are missing should have come, by whichever way.
    fn hole_due(&self) -> Option<Instant> {
        let (since, noted) = self.steer.hole?;
        let rtts = self.paths.active().filter_map(|s| s.tcb.min_rtt());
        let longest = rtts.max().unwrap_or_default();
        (!noted).then_some(since + longest / 2 + REORDERED)
    }

    /// When an answer should have come to the question whether a subflow is alive.
    fn answer_due(&self, s: &Subflow) -> Option<Instant> {
        let settings = &self.config.failover;
        let silence = s.bare_rtt()? * settings.round_trips.max(1) + settings.least;
        Some(s.watch.asked? + silence * s.patience(s.tcb.last_received()))
    }

    pub(super) fn steer_timers(&mut self, now: Instant) {
        if self.steer_deadline().is_none_or(|at| at > now) {
            return;
        }
        let thin = self.steer.volume.is_thin(now) && self.steering().probe;
        if self.steer.rhythm.due().is_some_and(|at| at <= now) {
            self.steer.rhythm.note();
            let spoke = self.paths.index(self.steer.spoke);
            if let Some(i) = spoke.filter(|_| thin) {
                self.ask(now, i);
            }
        }
        if self.hole_due().is_some_and(|at| at <= now) {
            self.look_for_missing(now, thin);
        }
        for i in 0..self.paths.list.len() {
            let s = &self.paths.list[i];
            let late = self.answer_due(s).is_some_and(|at| at <= now);
            if late && s.is_active() && !s.stale {
                self.counters.suspicions += 1;
                self.suspect(now, i);
            }
        }
        self.steer.confirm.take_if(|at| *at <= now);
    }

    /// Bytes are missing for longer than they could have been on their way: any subflow on which
    /// nothing came since may have them.
    fn look_for_missing(&mut self, now: Instant, thin: bool) {
        let Some((since, noted)) = &mut self.steer.hole else {
            return;
        };
        *noted = true;
        let since = *since;
        for i in 0..self.paths.list.len() {
            if thin && self.paths.list[i].tcb.last_received() < since {
                self.ask(now, i);
            }
        }
    }

    /// Keepalives: on the subflow that may be dead, and on the others, of which nothing may have been
    /// heard for a while either: who does not answer while another does is to blame.
    fn ask(&mut self, now: Instant, i: usize) {
        let this = &mut self.paths.list[i];
        if !this.is_active() || this.watch.asked.is_some() {
            return;
        }
        if this.stale {
            // It was asked otherwise.
            this.watch.asked = Some(this.watch.since);
        }
        let active = self.paths.list.iter_mut().filter(|s| s.is_active());
        let asked = active
            .filter(|s| !s.stale)
            .filter_map(|s| s.ask(now).then_some(()));
        self.counters.silence_probes += asked.count() as u64;
    }

    /// A subflow that was asked and did not answer, while another did, is given up where that does
    /// no harm.
    pub(super) fn give_up(&mut self, now: Instant, settings: &Steering) {
        if self.steer.away.is_some() || now < self.steer.not_before {
            return;
        }
        let list = &self.paths.list;
        let silent = |s: &Subflow| s.stale && s.is_active() && s.watch.asked.is_some();
        let Some(i) = list.iter().position(silent) else {
            return;
        };
        let (this, others) = (&list[i], || {
            let others = self.paths.active().filter(|s| s.id != list[i].id);
            others.filter(|s| !s.stale)
        });
        let confirmed = this.watch.since + settings.confirm;
        if now < confirmed {
            self.steer.confirm = Some(confirmed);
            return;
        }
        let asked = this.watch.asked.unwrap_or(now);
        if !others().any(|s| s.tcb.last_received() > asked) {
            return;
        }
        let bound = |s: &Subflow| Bound {
            id: s.ids.local,
            addr: s.path.local.ip(),
            announced: self.signals.announced(s.ids.local).is_some(),
        };
        let others: SmallVec<[Bound; 4]> = others().map(bound).collect();
        if may_give_up(settings.give_up, &bound(this), &others) {
            self.give_up_on(now, i);
        } else {
            self.paths.list[i].watch.asked = None;
        }
    }

    fn give_up_on(&mut self, now: Instant, i: usize) {
        let this = &self.paths.list[i];
        let (subflow, id, addr) = (this.id, this.ids.local, this.path.local.ip());
        self.note_told(now, subflow, "it does not answer, and another path does");
        let steer = &mut self.steer;
        steer.given_up = steer.given_up.saturating_add(1);
        steer.not_before = now + pause(steer.given_up);
        steer.away = Some(Away {
            subflow,
            id,
            addr,
            port: self.signals.announced(id).flatten(),
            since: now,
            from: now + AWAY,
            due: now + self.config.close_timeout,
        });
        self.counters.given_up += 1;
        // It is a connection with mappings.
        let _ = self.withdraw(now, &[id]);
    }

    /// An address that was withdrawn is announced again when something came by it, or after a while.
    pub(super) fn give_back(&mut self, now: Instant) {
        let Some(away) = &mut self.steer.away else {
            return;
        };
        let there = self.paths.list.iter().find(|s| s.id == away.subflow);
        let news = |s: &Subflow| s.tcb.last_received() > away.since;
        if there.is_some_and(news) {
            away.hear();
        }
        if now < away.due {
            return;
        }
        if self.signals.is_withdrawn(away.id) {
            // It may yet hear of that.
            away.from = now + AWAY;
            away.due = away.from;
            return;
        }
        let away = *away;
        self.steer.away = None;
        if self.announce_again(away.id, away.addr, away.port) {
            self.counters.given_back += 1;
        }
    }

    /// A subflow is gone for good: did anything come on it after it was given up? A reset is what
    /// answers our FIN once the path is back, where the peer closed its end while it was not.
    pub(super) fn note_gone(&mut self, subflow: &Subflow) {
        let reset = matches!(
            subflow.gone,
            Some(GoneReason::Tcp(Close::Reset) | GoneReason::PeerReset(_))
        );
        if let Some(away) = &mut self.steer.away
            && away.subflow == subflow.id
            && (reset || subflow.tcb.last_received() > away.since)
        {
            away.hear();
        }
    }
}

impl Subflow {
    /// A keepalive, unless there was one just now: whether it will leave.
    fn ask(&mut self, now: Instant) -> bool {
        let asks = self.watch.probed.0 == 0 || now.since(self.watch.probed) >= SECOND;
        if asks {
            self.watch.probed = now;
            self.watch.asked = Some(now);
            self.tcb.request_probe();
        }
        asks
    }
}
