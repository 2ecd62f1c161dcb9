//! Giving data to subflows.

use super::{Connection, Mode};
use crate::config::SubflowId;
use crate::event::FallbackReason;
use crate::handshake::Role;
use crate::mapping::TxMapping;
use crate::schedule::{Candidate, View};
use crate::send::{Fin, Fit, Run};
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use anabranch_wire::checksum;
use smallvec::SmallVec;
use std::time::Duration;

/// Largest payload of a mapping: its length has 16 bits, one may be the DATA_FIN.
const MAX_RUN: u64 = u16::MAX as u64 - 1;
/// A run is worth about this much time of its subflow, so that a slow one gets small ones.
const RUN_TIME: Duration = Duration::from_millis(1);

impl Connection {
    /// Give data to subflows as far as windows allow.
    pub(super) fn assign(&mut self, now: Instant) {
        if self.mode == Mode::Opening {
            self.speak_first(now);
        }
        if self.mode == Mode::Multipath {
            while self.assign_again(now) {}
        }
        while self.assign_new(now) {}
        self.arm_cork(now);
        self.speak_last();
        self.note_blocked();
    }

    /// We have data for a peer whose third ACK brought no keys: it will bring none before it has
    /// data itself, which may be never. Data that waits for what is before it, and for the keys
    /// there, is no such case.
    fn speak_first(&mut self, now: Instant) {
        let waiting = self.tx.unassigned() > 0 || self.tx.fin() == Fin::Wanted;
        let open = self
            .paths
            .list
            .first()
            .is_some_and(|s| s.tcb.is_synchronized() && s.rx.first_waiting().is_none());
        if waiting && open && self.handshake.role == Role::Acceptor {
            self.fall_back_from_start(now, 0, FallbackReason::ThirdAck);
        }
    }

    /// No data is left to take the DATA_FIN along: an ACK does.
    fn speak_last(&mut self) {
        if self.mode == Mode::Multipath
            && self.tx.fin() == Fin::Wanted
            && self.tx.fin_due()
            && let Some(id) = self.paths.best()
        {
            self.request_bare_ack(id);
        }
    }

    /// One run that was sent before, on another subflow.
    fn assign_again(&mut self, now: Instant) -> bool {
        let Some(run) = self.tx.reinjection() else {
            return false;
        };
        let (end, len) = (run.end, run.len());
        let candidates = self.candidates(Some(run), len);
        if candidates.is_empty() {
            // Every subflow that delivers has it already, or none delivers at all.
            if self.paths.live().is_empty() {
                return false;
            }
            self.tx.spare(end);
            return true;
        }
        let Some(id) = self.pick(now, &candidates, len, true) else {
            return false;
        };
        let Some(run) = self.tx.reassign(end, id) else {
            return true;
        };
        self.counters.reinjections += 1;
        self.counters.bytes_reinjected += len;
        self.map(id, &run);
        true
    }

    /// One run of new bytes.
    fn assign_new(&mut self, now: Instant) -> bool {
        let queued = self.tx.unassigned();
        if queued == 0 || self.tx.window() == 0 {
            return false;
        }
        let candidates = self.candidates(None, queued);
        let Some(id) = self.pick(now, &candidates, queued, false) else {
            return false;
        };
        let Some(i) = self.paths.index(id) else {
            return false;
        };
        let fit = self.fit_of(&self.paths.list[i]);
        let Some(len) = self.tx.fit(&fit) else {
            return false;
        };
        // MP_CAPABLE with data has no room for DATA_FIN.
        let first = self.handshake.must_prove() && self.tx.next() == 0;
        let run = self
            .tx
            .assign(len, id, fit.mss, self.mode == Mode::Multipath && !first);
        self.map(id, &run);
        true
    }

    /// Subflows that may take a run now; `again` if it was sent before.
    fn candidates(&self, again: Option<&Run>, queued: u64) -> SmallVec<[Candidate; 8]> {
        let usable = |s: &&Subflow| self.usable(s);
        let regular = self
            .paths
            .list
            .iter()
            .filter(usable)
            .any(|s| !s.backup.any());
        let list = self.paths.list.iter().filter(usable);
        let list = list.filter(|s| !(regular && s.backup.any()));
        let list = list.filter(|s| again.is_none_or(|run| !run.held_by(s.id)));
        list.map(|s| self.candidate(s, again.is_some(), queued))
            .collect()
    }

    /// Whether a subflow may be given data: it is active and delivers, or it is the only one.
    fn usable(&self, s: &Subflow) -> bool {
        s.is_active() && (!s.stale || self.paths.active().count() == 1)
    }

    fn candidate(&self, s: &Subflow, again: bool, queued: u64) -> Candidate {
        let room = s.tcb.room();
        let enough = if again {
            room > 0 && room >= queued.min(least_run(s))
        } else {
            self.tx.fit(&self.fit_of(s)).is_some()
        };
        Candidate {
            id: s.id,
            srtt: s.tcb.srtt(),
            room: if enough { room } else { 0 },
            cwnd: s.tcb.cwnd(),
            in_flight: s.tcb.in_flight(),
            mss: s.tcb.mss(),
            backup: s.backup.any(),
        }
    }

    fn pick(
        &mut self,
        now: Instant,
        candidates: &[Candidate],
        queued: u64,
        reinjection: bool,
    ) -> Option<SubflowId> {
        let view = View {
            now,
            candidates,
            queued,
            window: self.tx.window(),
            reinjection,
        };
        let chosen = candidates.get(self.scheduler.pick(&view)?)?;
        (chosen.room > 0).then_some(chosen.id)
    }

    /// What bounds a run of new bytes on a subflow.
    fn fit_of(&self, s: &Subflow) -> Fit {
        let mss = u64::from(s.tcb.mss()).max(1);
        let first = self.handshake.must_prove() && self.tx.next() == 0;
        // The implicit mapping of MP_CAPABLE: one wire segment.
        let max = if first {
            mss
        } else {
            longest_run(s, mss, self.config.gso_max)
        };
        Fit {
            room: s.tcb.room(),
            mss,
            max,
            least: least_run(s),
            nagle: self.config.tcp.nagle,
            cork: self.corked(),
        }
    }

    /// Give a run to a subflow.
    fn map(&mut self, id: SubflowId, run: &Run) {
        let (data, sum) = if self.handshake.checksum && self.mode == Mode::Multipath {
            let (data, sum) = self.tx.payload_sum(run);
            (data, Some(sum))
        } else {
            (self.tx.payload(run), None)
        };
        let space = self.handshake.local.space();
        let plain = matches!(self.mode, Mode::Plain { .. });
        let Some(subflow) = self.paths.get_mut(id) else {
            return;
        };
        let mut mapping = TxMapping {
            rel: subflow.tcb.snd_end(),
            position: run.start,
            len: run.len() as u16,
            fin: run.fin,
            checksum: None,
            data,
        };
        mapping.checksum = sum.map(|sum| {
            let ssn = (mapping.rel as u32).wrapping_add(1);
            checksum::dss(space.dsn(mapping.position), ssn, mapping.wire_len(), sum)
        });
        subflow.tx.push(mapping);
        subflow.tcb.append(run.len(), !plain);
    }

    /// Where a window holds data back, the data level's or a subflow's own, idle subflows probe:
    /// a lost window update is recovered. Where the congestion window does, it may grow.
    fn note_blocked(&mut self) {
        let fresh = self.tx.unassigned();
        let waiting = fresh > 0 || self.tx.reinjection().is_some();
        let limited = fresh > self.tx.window();
        let open = self.tx.window() > 0;
        if waiting || self.blocked {
            for subflow in self.paths.list.iter_mut().filter(|s| s.is_active()) {
                let closed = limited || subflow.tcb.room() == 0;
                subflow.tcb.set_blocked(waiting && closed);
                if waiting && open {
                    subflow.tcb.note_held_back();
                }
            }
        }
        self.blocked = waiting;
    }
}

/// The shortest run worth making on a subflow where there is more: two segments, as far as waiting
/// for them leaves no more than a quarter of the window unused. A small window is needed as a
/// whole: a segment that is alone in the network may be acknowledged late (RFC 5681 §4.2).
fn least_run(s: &Subflow) -> u64 {
    let mss = u64::from(s.tcb.mss()).max(1);
    let out = s.tcb.in_flight() + s.tcb.unsent();
    let quarter = (out + s.tcb.room()) / 4;
    match out {
        0 => 0,
        _ => (quarter - quarter % mss).clamp(mss, 2 * mss),
    }
}

/// The longest run worth making on a subflow: whole segments, one super-frame where the device
/// takes them, about [`RUN_TIME`] of its rate.
fn longest_run(s: &Subflow, mss: u64, gso_max: u32) -> u64 {
    let frame = u64::from(gso_max);
    let most = if frame < 2 * mss {
        MAX_RUN
    } else {
        MAX_RUN.min(frame)
    };
    let most = most - most % mss;
    let Some(srtt) = s.tcb.srtt() else {
        return most;
    };
    let share = RUN_TIME.as_nanos() * u128::from(s.tcb.cwnd()) / srtt.as_nanos().max(1);
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    (share - share % mss).clamp(2 * mss, most)
}
