//! Segments out.

use super::{Connection, Mode};
use crate::config::SubflowId;
use crate::event::{Event, FallbackReason, GoneReason};
use crate::handshake::Role;
use crate::mapping::TxMapping;
use crate::schedule::{Candidate, View};
use crate::send::{Fin, Fit, Run};
use crate::subflow::{Phase, Subflow};
use anabranch_tcp::queue::Slices;
use anabranch_tcp::{Emit, Grant, Instant};
use anabranch_wire::checksum::{self, Sum};
use anabranch_wire::mptcp::{
    CapableData, Dsn, Dss, DssMapping, Join, MptcpOption, MptcpOptions, Prio, padded_len,
};
use anabranch_wire::tcp::{Flags, Options};
use smallvec::SmallVec;
use std::time::Duration;

/// Option space of a TCP header, bytes.
const OPTION_SPACE: usize = 40;
/// Largest payload of a mapping: its length has 16 bits, one may be the DATA_FIN.
const MAX_RUN: u64 = u16::MAX as u64 - 1;
/// A run is worth about this much time of its subflow, so that a slow one gets small ones.
const RUN_TIME: Duration = Duration::from_millis(1);

/// A segment to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// On which subflow.
    pub subflow: SubflowId,
    /// Its header.
    pub emit: Emit,
    /// Its MPTCP options.
    pub mptcp: MptcpOptions,
    /// Its payload: the slices of `emit.rel`.
    pub payload: Slices,
}

impl Connection {
    /// The next segment to send, or `None` when there is nothing to do until the next event.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Outgoing> {
        if self.dirty {
            self.dirty = false;
            self.assign(now);
        }
        let mut asked = 0;
        while asked < self.paths.list.len() {
            let i = self.paths.cursor % self.paths.list.len();
            let grant = self.grant(i);
            if self.must_wait(now, i) {
                self.paths.cursor = i + 1;
                asked += 1;
                continue;
            }
            if let Some(emit) = self.paths.list[i].tcb.poll(now, grant) {
                let outgoing = self.dress(i, emit);
                self.pump_signals(now);
                self.arm_data_timer(now, false);
                return Some(outgoing);
            }
            if self.paths.list[i].tcb.is_closed() {
                self.remove(i);
                self.update(now);
                continue;
            }
            self.paths.cursor = i + 1;
            asked += 1;
        }
        None
    }

    /// Whether a subflow is a join that may not leave yet.
    fn must_wait(&self, now: Instant, i: usize) -> bool {
        let s = &self.paths.list[i];
        let joins = matches!(s.phase, Phase::JoinActive { .. }) && !s.tcb.is_closed();
        joins && self.join_not_before().is_some_and(|at| now < at)
    }

    /// A closed subflow has sent its last segment.
    fn remove(&mut self, i: usize) {
        let subflow = self.paths.list.remove(i);
        let live = self.paths.live();
        if self.mode == Mode::Multipath {
            for mapping in subflow.tx.iter() {
                self.tx.doubt(mapping.run(), Some(subflow.id), &live);
            }
        }
        let reason = subflow.gone.unwrap_or(GoneReason::Closed);
        self.closing.last_gone(reason);
        self.events
            .push(Event::SubflowGone(Box::new(subflow.info()), reason));
    }

    /// What a subflow's Tcb may use.
    pub(super) fn grant(&self, i: usize) -> Grant {
        let subflow = &self.paths.list[i];
        let (data_options, ack_options) = match self.mode {
            Mode::Plain { .. } => self.plain_options(i),
            Mode::Opening | Mode::Multipath => (self.data_options(), self.ack_options(subflow)),
        };
        let gso_max = self.config.gso_max;
        Grant {
            rcv_room: self.rx.room(),
            data_options,
            ack_options,
            gso_max,
        }
    }

    /// Bytes of a DSS with mapping, padded; MP_CAPABLE with data takes no more.
    fn data_options(&self) -> u8 {
        if self.long_ack { 28 } else { 24 }
    }

    /// Bytes of the options that the next pure ACK of a subflow will carry.
    fn ack_options(&self, subflow: &Subflow) -> u8 {
        let dss = if self.long_ack { 12 } else { 8 };
        let base = match subflow.phase {
            Phase::JoinConfirm { .. } => 24,
            _ if self.tx.fin_due() => self.data_options(),
            _ if self.handshake.must_prove() && subflow.tcb.snd_nxt() == 0 => 20,
            _ => dss,
        };
        let signal = self.signals.next_len(subflow.id);
        let own =
            4 * u8::from(subflow.pending.prio) + 12 * u8::from(subflow.pending.fail.is_some());
        let all = base + own + signal;
        // What does not fit beside timestamps displaces them, see `signal_only_ack`.
        if all > 28 { 28 } else { all }
    }

    /// Give data to subflows as far as windows allow.
    fn assign(&mut self, now: Instant) {
        if self.mode == Mode::Opening {
            self.speak_first(now);
        }
        if self.mode == Mode::Multipath {
            while self.assign_again(now) {}
        }
        while self.assign_new(now) {}
        self.speak_last();
        self.note_blocked();
    }

    /// We have data for a peer whose third ACK brought no keys: it will bring none before it has
    /// data itself, which may be never.
    fn speak_first(&mut self, now: Instant) {
        let waiting = self.tx.unassigned() > 0 || self.tx.fin() == Fin::Wanted;
        let open = self
            .paths
            .list
            .first()
            .is_some_and(|s| s.tcb.is_synchronized());
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
            // Idle with a window of one segment is as good as it gets after a timeout.
            let idle = s.tcb.in_flight() + s.tcb.unsent() == 0;
            room >= queued.min(2 * u64::from(s.tcb.mss())) || (idle && room > 0)
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
        let busy = s.tcb.in_flight() + s.tcb.unsent() > 0;
        Fit {
            room: s.tcb.room(),
            mss,
            max,
            busy,
            nagle: self.config.tcp.nagle,
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
    /// a lost window update is recovered.
    fn note_blocked(&mut self) {
        let fresh = self.tx.unassigned();
        let waiting = fresh > 0 || self.tx.reinjection().is_some();
        let limited = fresh > self.tx.window();
        if waiting || self.blocked {
            for subflow in self.paths.list.iter_mut().filter(|s| s.is_active()) {
                let closed = limited || subflow.tcb.room() == 0;
                subflow.tcb.set_blocked(waiting && closed);
            }
        }
        self.blocked = waiting;
    }

    /// Add options and payload to what a Tcb wants to send.
    fn dress(&mut self, i: usize, mut emit: Emit) -> Outgoing {
        let subflow = self.paths.list[i].id;
        let mut payload = Slices::new();
        let mptcp = if emit.flags.has(Flags::RST) {
            self.reset_options(i)
        } else if emit.flags.has(Flags::SYN) {
            self.syn_options(i, emit.flags.has(Flags::ACK))
        } else {
            self.rx.advertised();
            if !emit.rel.is_empty() {
                payload = self.paths.list[i].tx.slices(emit.rel.clone());
            }
            match self.mode {
                Mode::Plain { .. } => self.plain_segment(i, &emit),
                _ if !emit.rel.is_empty() => self.data_segment(i, &emit),
                _ => self.ack_segment(i, &mut emit),
            }
        };
        Outgoing {
            subflow,
            emit,
            mptcp,
            payload,
        }
    }

    fn syn_options(&mut self, i: usize, ack: bool) -> MptcpOptions {
        let mut out = MptcpOptions::new();
        let subflow = &self.paths.list[i];
        match subflow.phase {
            Phase::Initial if matches!(self.mode, Mode::Plain { .. }) => {}
            Phase::Initial if ack => {
                out.push(MptcpOption::Capable(self.handshake.syn_ack()));
            }
            Phase::Initial => {
                // Something on the path may drop SYNs with the option.
                if self.handshake.syns < self.config.capable_syns {
                    self.handshake.syns += 1;
                    out.push(MptcpOption::Capable(self.handshake.syn()));
                }
            }
            _ => out.extend(self.join_syn_options(i).map(MptcpOption::Join)),
        }
        out
    }

    /// Options of a segment with payload: its mapping.
    fn data_segment(&mut self, i: usize, emit: &Emit) -> MptcpOptions {
        let mut out = MptcpOptions::new();
        let data_ack = self.data_ack();
        let Some(mapping) = self.paths.list[i].tx.find(emit.rel.start) else {
            return out;
        };
        if self.handshake.must_prove() && mapping.position == 0 {
            let data = CapableData {
                len: mapping.wire_len(),
                checksum: mapping.checksum,
            };
            out.extend(self.handshake.ack(Some(data)).map(MptcpOption::Capable));
            return out;
        }
        let dss = DssMapping {
            dsn: Dsn::Long(self.handshake.local.space().dsn(mapping.position)),
            ssn: (mapping.rel as u32).wrapping_add(1),
            len: mapping.wire_len(),
            checksum: mapping.checksum,
        };
        let data_fin = mapping.fin;
        out.push(MptcpOption::Dss(Dss {
            data_ack,
            mapping: Some(dss),
            data_fin,
        }));
        out
    }

    /// Options of a segment without payload.
    fn ack_segment(&mut self, i: usize, emit: &mut Emit) -> MptcpOptions {
        let mut out = MptcpOptions::new();
        let subflow = &self.paths.list[i];
        let id = subflow.id;
        match subflow.phase {
            Phase::JoinConfirm { nonces, .. } => {
                if let Some(secret) = self.handshake.our_secret(nonces) {
                    out.push(MptcpOption::Join(Join::Ack {
                        hmac: secret.full(),
                    }));
                }
                return out;
            }
            _ if self.handshake.must_prove() && subflow.tcb.snd_nxt() == 0 => {
                // Each DATA_FIN without data follows the keys, which may have been lost.
                let fin = self.tx.fin_due();
                if !(fin && std::mem::take(&mut self.handshake.proof_sent)) {
                    self.handshake.proof_sent = true;
                    out.extend(self.handshake.ack(None).map(MptcpOption::Capable));
                    if fin {
                        self.request_bare_ack(id);
                    }
                    return out;
                }
            }
            _ => {}
        }
        out.push(MptcpOption::Dss(self.ack_dss()));
        let used = emit.options.padded_len();
        let mut free = OPTION_SPACE.saturating_sub(used + padded_len(&out));
        self.subflow_signals(i, &mut free, &mut out);
        if let Some(signal) = self.signals.take(id, free, &mut self.counters) {
            out.push(signal);
        } else if let Some(signal) = self.signals.take(id, OPTION_SPACE, &mut self.counters) {
            return displacing(signal, emit);
        }
        out
    }

    /// DATA_ACK, and the DATA_FIN if it is to leave.
    fn ack_dss(&mut self) -> Dss {
        let mut dss = Dss {
            data_ack: self.data_ack(),
            mapping: None,
            data_fin: false,
        };
        if self.tx.fin_due() {
            let dsn = self.handshake.local.space().dsn(self.tx.end());
            let check = self.handshake.checksum;
            let checksum = check.then(|| checksum::dss(dsn, 0, 1, Sum::default()));
            dss.mapping = Some(DssMapping {
                dsn: Dsn::Long(dsn),
                ssn: 0,
                len: 1,
                checksum,
            });
            dss.data_fin = true;
            self.tx.set_fin(Fin::Sent);
        }
        dss
    }

    /// The DATA_ACK of any segment: short until the peer was seen to use 64 bits.
    pub(crate) fn data_ack(&self) -> Option<Dsn> {
        let remote = self.handshake.remote?;
        Some(Dsn::new(
            remote.space().dsn(self.rx.data_ack()),
            self.long_ack,
        ))
    }

    /// MP_PRIO and MP_FAIL of this subflow, as they fit.
    fn subflow_signals(&mut self, i: usize, free: &mut usize, out: &mut MptcpOptions) {
        let subflow = &mut self.paths.list[i];
        if subflow.pending.prio && *free >= 4 {
            subflow.pending.prio = false;
            *free -= 4;
            self.counters.prio_out += 1;
            let backup = subflow.backup.ours;
            out.push(MptcpOption::Prio(Prio {
                backup,
                address_id: None,
            }));
        }
        if let Some(dsn) = subflow.pending.fail
            && *free >= 12
        {
            subflow.pending.fail = None;
            *free -= 12;
            self.counters.fail_out += 1;
            out.push(MptcpOption::Fail(dsn));
        }
    }

    /// Options of an RST: what ends, and why.
    fn reset_options(&mut self, i: usize) -> MptcpOptions {
        let mut out = MptcpOptions::new();
        let pending = std::mem::take(&mut self.paths.list[i].pending);
        if matches!(self.mode, Mode::Plain { .. }) {
            return out;
        }
        if let Some(key) = pending.fastclose {
            self.counters.fastclose_out += 1;
            out.push(MptcpOption::FastClose(key));
        }
        if let Some(dsn) = pending.fail {
            self.counters.fail_out += 1;
            out.push(MptcpOption::Fail(dsn));
        }
        if let Some(rst) = pending.rst {
            self.counters.tcprst_out += 1;
            out.push(MptcpOption::TcpRst(rst));
        }
        out
    }
}

/// A signal too long to stand beside DATA_ACK and timestamps has an ACK to itself (RFC 8684
/// §3.4.1: ADD_ADDR with an IPv6 address and a port).
fn displacing(signal: MptcpOption, emit: &mut Emit) -> MptcpOptions {
    if let Options::Segment(options) = &mut emit.options {
        options.sack.clear();
        if signal.padded_len() + 12 > OPTION_SPACE {
            options.timestamps = None;
        }
    }
    MptcpOptions::from_iter([signal])
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
