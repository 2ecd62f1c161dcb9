//! Where the peer's window is used up by what a slow subflow still has: opportunistic
//! retransmission and penalising (Raiciu et al., "How hard can it be? Designing and implementing a
//! deployable Multipath TCP", NSDI 2012, §4.2).

use super::Connection;
use crate::config::SubflowId;
use crate::schedule::Purpose;
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use std::time::Duration;

impl Connection {
    /// The oldest run goes to a faster subflow as well, if the window has no room for new ones,
    /// and who holds it up sends less from now on.
    pub(super) fn unblock(&mut self, now: Instant) {
        if !self.is_held_up() || self.paths.list.len() < 2 {
            self.scheduling.window_blocked = false;
            return;
        }
        let Some((run, slow)) = self.holding_up() else {
            return;
        };
        self.counters.window_blocked += u64::from(!self.scheduling.window_blocked);
        self.scheduling.window_blocked = true;
        if !self.config.penalise {
            return;
        }
        let Some(head) = self.tx.run(run) else {
            return;
        };
        let srtt = self.srtt(slow);
        let candidates = self.candidates(Some(head), head.len());
        let faster = candidates
            .iter()
            .filter(|c| c.room > 0 && c.srtt.is_some_and(|own| own < srtt));
        let Some(fast) = faster.min_by_key(|c| c.srtt).map(|c| c.id) else {
            return;
        };
        if self.send_again(now, run, fast, Purpose::Again).is_some() {
            self.counters.opportunistic += 1;
            self.penalise(now, slow, srtt);
        }
    }

    /// The peer's window has no room for new bytes, or none on a subflow that could send.
    fn is_held_up(&self) -> bool {
        let least = self.least_window();
        let held = |s: &Subflow| s.tcb.room() > 0 && self.tx.window_of(s.id) < least;
        let full = || self.tx.window() < least || self.paths.active().any(held);
        self.tx.unassigned() > 0 && full()
    }

    /// Less than this is no window.
    fn least_window(&self) -> u64 {
        let active = self.paths.active().map(|s| u64::from(s.tcb.mss()));
        active.min().unwrap_or(1)
    }

    /// The oldest run, and the slowest of the subflows that have it.
    fn holding_up(&self) -> Option<(u64, SubflowId)> {
        let head = self.tx.head()?;
        let holders = self.paths.active().filter(|s| head.held_by(s.id));
        let slowest = holders.max_by_key(|s| s.tcb.srtt())?;
        Some((head.end, slowest.id))
    }

    fn srtt(&self, id: SubflowId) -> Duration {
        let srtt = self.tcb(id).and_then(|tcb| tcb.srtt());
        srtt.unwrap_or_default()
    }

    /// Halve a subflow's window, once a round trip at most.
    fn penalise(&mut self, now: Instant, id: SubflowId, srtt: Duration) {
        let Some(subflow) = self.paths.get_mut(id) else {
            return;
        };
        if now.since(subflow.watch.penalised) < srtt {
            return;
        }
        subflow.watch.penalised = now;
        let least = 2 * u64::from(subflow.tcb.mss());
        subflow.tcb.set_cwnd((subflow.tcb.cwnd() / 2).max(least));
        self.counters.penalties += 1;
    }
}
