//! Giving data to subflows.

use super::{Connection, Mode};
use crate::config::SubflowId;
use crate::event::FallbackReason;
use crate::handshake::Role;
use crate::mapping::TxMapping;
use crate::schedule::Purpose;
use crate::send::{Fin, Fit, Run};
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use anabranch_wire::checksum;
use std::time::Duration;

/// Largest payload of a mapping: its length has 16 bits, one may be the DATA_FIN.
const MAX_RUN: u64 = u16::MAX as u64 - 1;
/// A run is worth about this much time of its subflow, so that a slow one gets small ones.
const RUN_TIME: Duration = Duration::from_millis(1);

impl Connection {
    /// Give data to subflows as far as windows allow.
    pub(super) fn assign(&mut self, now: Instant) {
        if self.mode == Mode::Opening {
            self.speak_early(now);
            self.speak_first(now);
        }
        self.scheduling.asked(now);
        self.tx.spread = self.paths.active().nth(1).is_some();
        if self.mode == Mode::Multipath {
            while self.assign_again(now) {}
            while self.assign_copy(now) || self.assign_new(now) {}
            self.unblock(now);
        } else {
            while self.assign_new(now) {}
        }
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
            self.update_plain_fin();
        }
    }

    /// No data is left to take the DATA_FIN along: an ACK on each subflow does, for nobody would
    /// hear that one was lost.
    fn speak_last(&mut self) {
        let due = self.tx.fin() == Fin::Wanted && self.tx.fin_due();
        if due && self.mode == Mode::Multipath {
            self.paths.restart();
            let active = self.paths.list.iter_mut().filter(|s| s.is_active());
            active.for_each(|s| s.tcb.request_bare_ack());
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
        let Some(id) = self.pick(now, &candidates, len, Purpose::Again) else {
            return false;
        };
        if let Some(len) = self.send_again(now, end, id, Purpose::Again) {
            self.counters.reinjections += 1;
            self.counters.bytes_reinjected += len;
        }
        true
    }

    /// One run that is under way, once more, where the scheduler wants it so.
    fn assign_copy(&mut self, now: Instant) -> bool {
        if self.paths.list.len() < 2 || !self.scheduling.copies() || !self.tx.outstanding() {
            return false;
        }
        let candidates = self.candidates_for_copies();
        let Some(copy) = self.pick_copy(now, &candidates) else {
            return false;
        };
        if let Some(len) = self.send_again(now, copy.run, copy.to, Purpose::Copy) {
            self.counters.copies += 1;
            self.counters.bytes_copied += len;
        }
        true
    }

    /// Give a run to one more subflow: its bytes.
    pub(super) fn send_again(
        &mut self,
        now: Instant,
        end: u64,
        to: SubflowId,
        purpose: Purpose,
    ) -> Option<u64> {
        let run = self.tx.reassign(end, to)?;
        self.scheduling.sent(now, to, &run, purpose);
        self.map(to, &run);
        Some(run.len())
    }

    /// One run of new bytes.
    fn assign_new(&mut self, now: Instant) -> bool {
        let queued = self.tx.unassigned();
        if queued == 0 || self.tx.window() == 0 {
            return false;
        }
        let candidates = self.candidates(None, queued);
        let Some(id) = self.pick(now, &candidates, queued, Purpose::New) else {
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
        let first = self.handshake.must_prove_with_data() && self.tx.next() == self.first_data();
        let with_fin = self.mode == Mode::Multipath && !first;
        let run = self.tx.assign(now, len, (id, fit.mss), with_fin);
        self.scheduling.sent(now, id, &run, Purpose::New);
        self.map(id, &run);
        true
    }

    /// What bounds a run of new bytes on a subflow.
    pub(super) fn fit_of(&self, s: &Subflow) -> Fit {
        let mss = u64::from(s.tcb.mss()).max(1);
        let first = self.handshake.must_prove() && self.tx.next() == self.first_data();
        // The implicit mapping of MP_CAPABLE: one wire segment.
        let max = if first {
            mss
        } else {
            longest_run(s, mss, self.config.gso_max)
        };
        Fit {
            room: s.tcb.room(),
            window: self.tx.window_of(s.id),
            mss,
            max,
            least: least_run(s),
            nagle: self.config.tcp.nagle,
            cork: self.corked(),
        }
    }

    /// Give a run to a subflow.
    pub(crate) fn map(&mut self, id: SubflowId, run: &Run) {
        let Some(i) = self.paths.index(id) else {
            return;
        };
        let rel = self.paths.list[i].tcb.snd_end();
        let mapping = self.mapping(i, run, rel);
        let plain = matches!(self.mode, Mode::Plain { .. });
        let subflow = &mut self.paths.list[i];
        subflow.tx.push(mapping);
        subflow.tcb.append(run.len(), !plain);
    }

    /// The mapping of a run at a subflow position.
    pub(crate) fn mapping(&mut self, i: usize, run: &Run, rel: u64) -> TxMapping {
        let (data, sum) = if self.handshake.checksum && self.mode == Mode::Multipath {
            let (data, sum) = self.tx.payload_sum(run);
            (data, Some(sum))
        } else {
            (self.tx.payload(run), None)
        };
        let mut mapping = TxMapping {
            rel,
            position: run.start,
            len: run.len() as u16,
            fin: run.fin,
            checksum: None,
            data,
        };
        let (space, ssn) = (self.handshake.local.space(), self.paths.list[i].ssn(rel));
        mapping.checksum =
            sum.map(|sum| checksum::dss(space.dsn(mapping.position), ssn, mapping.wire_len(), sum));
        mapping
    }

    /// Where a window holds data back, the data level's or a subflow's own, idle subflows probe:
    /// a lost window update is recovered, or a lost DATA_ACK. Where the congestion window does, it
    /// may grow.
    fn note_blocked(&mut self) {
        let fresh = self.tx.unassigned();
        let asks = self.timers.asks();
        let waiting = fresh > 0 || self.tx.reinjection().is_some() || asks;
        let limited = fresh > self.tx.window() || asks;
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
pub(super) fn least_run(s: &Subflow) -> u64 {
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
