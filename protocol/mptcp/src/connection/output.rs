//! Segments out.

use super::{Connection, Mode};
use crate::config::{Path, SubflowId};
use crate::event::{Event, GoneReason};
use crate::send::Fin;
use crate::subflow::{Phase, Subflow};
use anabranch_tcp::queue::Slices;
use anabranch_tcp::{Emit, Grant, Instant, Kind, State, Tcb};
use anabranch_wire::checksum::{self, Sum};
use anabranch_wire::mptcp::{
    CapableData, Dsn, Dss, DssMapping, Join, MptcpOption, MptcpOptions, padded_len,
};
use anabranch_wire::tcp::{Flags, Options};

/// Option space of a TCP header, bytes.
const OPTION_SPACE: usize = 40;
/// What timestamps take of it.
const TIMESTAMPS: usize = 12;

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
            self.note_room();
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
            let due = self.mode == Mode::Multipath && self.keys_are_due();
            if let Some(emit) = self.paths.list[i].tcb.poll(now, grant) {
                let outgoing = self.dress(i, emit);
                if due {
                    self.handshake.keys_left = true;
                    self.handshake.since = now;
                }
                let subflow = &mut self.paths.list[i];
                subflow.pending.row.sent(now, subflow.tcb.rto(), &outgoing);
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

    /// Whether a subflow is a join that may not leave yet, or waits for the reset that answers
    /// MP_FASTCLOSE.
    fn must_wait(&self, now: Instant, i: usize) -> bool {
        let s = &self.paths.list[i];
        if self.closes_fast(s.id) && !s.tcb.is_closed() {
            return !self.fastclose_asked(s.id);
        }
        let joins = matches!(s.phase, Phase::JoinActive { .. }) && !s.tcb.is_closed();
        joins && (self.keys_are_due() || self.join_not_before().is_some_and(|at| now < at))
    }

    /// Whether nothing has left yet that has our key and the peer's.
    fn keys_are_due(&self) -> bool {
        let joins = |s: &Subflow| matches!(s.phase, Phase::JoinActive { .. });
        self.handshake.must_prove()
            && !self.handshake.keys_left
            && self.paths.list.first().is_some_and(|s| !joins(s))
    }

    /// Parts with a subflow in TIME-WAIT beside which others go on, once all it had to say has left: its
    /// owner keeps what that state is for (RFC 9293 §3.6.1). [`Event::SubflowGone`] follows.
    pub fn take_past(&mut self, now: Instant) -> Option<(Path, Tcb)> {
        let is_past = |s: &Subflow| s.tcb.state() == State::TimeWait;
        let i = self.paths.list.iter().position(is_past)?;
        self.paths.active().next()?;
        let subflow = self.remove(i);
        self.update(now);
        Some((subflow.path, subflow.tcb))
    }

    /// A closed subflow has sent its last segment.
    fn remove(&mut self, i: usize) -> Subflow {
        let subflow = self.paths.list.remove(i);
        self.signals.forget_carrier(subflow.id);
        self.note_gone(&subflow);
        let over = self.closes_fast(subflow.id);
        self.timers.fastclose.take_if(|_| over);
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
        subflow
    }

    /// What a subflow's Tcb may use.
    pub(crate) fn grant(&self, i: usize) -> Grant {
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

    /// Bytes of a DSS with mapping and perhaps checksum, padded; or of MP_CAPABLE with data.
    fn data_options(&self) -> u8 {
        let long_dsn = !self.config.short_dsn || self.handshake.must_prove();
        20 + 4 * u8::from(self.long_ack) + 4 * u8::from(long_dsn)
    }

    /// Our data sequence number of a position. A short one would be taken for another if what is
    /// under way came near to half of what 32 bits can tell (RFC 8684 §3.3.1).
    fn dsn(&self, position: u64) -> Dsn {
        let short = self.config.short_dsn && self.tx.next().abs_diff(position) < 1 << 30;
        Dsn::new(self.handshake.local.space().dsn(position), !short)
    }

    /// Bytes of the options that the next pure ACK of a subflow will carry.
    fn ack_options(&self, subflow: &Subflow) -> u8 {
        if self.closes_fast(subflow.id) {
            return 12;
        }
        if let Some(len) = self.signals.address_len(subflow.id) {
            return len.min(28);
        }
        let dss = if self.long_ack { 12 } else { 8 };
        let base = match subflow.phase {
            Phase::JoinConfirm { .. } => 24,
            _ if self.fin_goes(subflow) => self.data_options(),
            _ if self.handshake.must_prove() && self.only_syn_sent(subflow) => {
                let with_dss = self.handshake.dss_is_proof();
                20 + if with_dss { dss } else { 0 }
            }
            _ => dss,
        };
        let signal = self.signals.next_len(subflow.id);
        let own = 4 * u8::from(subflow.pending.prio.is_some())
            + 12 * u8::from(subflow.pending.fail.is_some());
        // What does not fit stands alone, see `displace`.
        let space = if subflow.tcb.timestamps() { 28 } else { 40 };
        (base + own + signal).min(space)
    }

    /// Add options and payload to what a Tcb wants to send.
    fn dress(&mut self, i: usize, mut emit: Emit) -> Outgoing {
        let subflow = self.paths.list[i].id;
        let mut payload = Slices::new();
        let mptcp = if emit.flags.has(Flags::RST) {
            self.reset_options(i)
        } else if emit.flags.has(Flags::SYN) {
            if !emit.rel.is_empty() {
                payload = self.paths.list[i].tx.slices(emit.rel.clone());
            }
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
                let most = self.config.capable_syns;
                self.handshake.bare_syn = self.handshake.syns >= most;
                if !self.handshake.bare_syn {
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
        if self.handshake.must_prove_with_data() && mapping.position == self.first_data() {
            let data = CapableData {
                len: mapping.wire_len(),
                checksum: mapping.checksum,
            };
            out.extend(self.handshake.ack(Some(data)).map(MptcpOption::Capable));
            return out;
        }
        let dss = DssMapping {
            dsn: self.dsn(mapping.position),
            ssn: self.paths.list[i].ssn(mapping.rel),
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
        if self.closes_fast(id) {
            out.push(self.take_fastclose());
            return out;
        }
        match subflow.phase {
            Phase::JoinConfirm { nonces, .. } => {
                if let Some(secret) = self.handshake.our_secret(nonces) {
                    out.push(MptcpOption::Join(Join::Ack {
                        hmac: secret.full(),
                    }));
                }
                return out;
            }
            _ if self.handshake.must_prove() && self.only_syn_sent(subflow) => {
                // Each DATA_FIN without data follows the keys, which may have been lost.
                let fin = self.tx.fin_due();
                if !(fin && std::mem::take(&mut self.handshake.proof_sent)) {
                    self.handshake.proof_sent = true;
                    out.extend(self.handshake.ack(None).map(MptcpOption::Capable));
                    if fin {
                        self.request_bare_ack(id);
                    }
                    self.acknowledge_keys(emit, &mut out);
                    return out;
                }
            }
            _ => {}
        }
        if self.mode == Mode::Opening {
            // Without the peer's key there is no DATA_ACK, which would prove that we have it.
            return out;
        }
        let carries = self.signals.carried_by(id) && emit.kind != Kind::Probe;
        if carries && self.signals.address_next() {
            let stamps = TIMESTAMPS * usize::from(self.paths.list[i].tcb.timestamps());
            for space in [OPTION_SPACE - stamps, OPTION_SPACE] {
                if out.is_empty() {
                    self.take_signals(space, true, &mut out);
                }
            }
            // DATA_ACK and DATA_FIN follow, where they are due.
            if self.tx.fin_due() || !self.rx.is_acknowledged() {
                self.request_bare_ack(id);
            }
            displace(&out, emit);
            return out;
        }
        let fin = self.fin_goes(&self.paths.list[i]);
        out.push(MptcpOption::Dss(self.ack_dss(fin)));
        if emit.kind == Kind::Probe {
            // The peer's TCP answers it, and looks at it no further.
            return out;
        }
        let used = emit.options.padded_len();
        let mut free = OPTION_SPACE.saturating_sub(used + padded_len(&out));
        self.subflow_signals(i, &mut free, &mut out);
        if carries {
            let before = out.len();
            self.take_signals(free, false, &mut out);
            if out.len() == before {
                self.request_bare_ack(id);
            }
        }
        let failing = self.paths.list[i].pending.fail.is_some();
        if self.tx.fin_due() && !fin && !failing {
            self.request_bare_ack(id);
        }
        out
    }

    fn take_signals(&mut self, free: usize, addresses: bool, out: &mut MptcpOptions) {
        let (config, counters) = (&self.config, &mut self.counters);
        self.signals.take(free, addresses, config, counters, out);
    }

    /// Whether the next pure ACK of a subflow has the DATA_FIN. Not beside signals: there is no
    /// room for both.
    fn fin_goes(&self, subflow: &Subflow) -> bool {
        let signals = self.signals.prio_due(subflow)
            || subflow.pending.fail.is_some()
            || self.signals.carried_by(subflow.id);
        self.tx.fin_due() && !signals
    }

    /// In version 0 a DATA_ACK goes with the keys where there is room, as peers do it; in version
    /// 1 the keys say as much.
    fn acknowledge_keys(&mut self, emit: &Emit, out: &mut MptcpOptions) {
        let dss = if self.long_ack { 12 } else { 8 };
        let room = OPTION_SPACE.saturating_sub(emit.options.padded_len() + padded_len(out));
        if self.handshake.dss_is_proof() && room >= dss {
            let dss = self.ack_dss(false);
            out.push(MptcpOption::Dss(dss));
        }
    }

    /// DATA_ACK, and the DATA_FIN if it is to leave.
    fn ack_dss(&mut self, fin: bool) -> Dss {
        let mut dss = Dss {
            data_ack: self.data_ack(),
            mapping: None,
            data_fin: false,
        };
        if fin {
            let dsn = self.handshake.local.space().dsn(self.tx.end());
            let check = self.handshake.checksum;
            let checksum = check.then(|| checksum::dss(dsn, 0, 1, Sum::default()));
            dss.mapping = Some(DssMapping {
                dsn: self.dsn(self.tx.end()),
                ssn: 0,
                len: 1,
                checksum,
            });
            dss.data_fin = true;
            self.tx.set_fin(Fin::Sent);
        }
        dss
    }

    /// The DATA_ACK of any segment, as wide as the peer's last DSN.
    pub(crate) fn data_ack(&mut self) -> Option<Dsn> {
        let remote = self.handshake.remote?;
        self.rx.acknowledge();
        Some(Dsn::new(
            remote.space().dsn(self.rx.data_ack()),
            self.long_ack,
        ))
    }

    /// MP_PRIO and MP_FAIL of this subflow, as they fit.
    fn subflow_signals(&mut self, i: usize, free: &mut usize, out: &mut MptcpOptions) {
        if *free >= 4
            && let Some(prio) = self.take_prio(i)
        {
            *free -= 4;
            out.push(MptcpOption::Prio(prio));
        }
        if *free >= 12
            && let Some(dsn) = self.take_fail(i)
        {
            *free -= 12;
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
        if pending.fastclose {
            self.counters.fastclose_out += 1;
            out.push(MptcpOption::FastClose(self.handshake.keys.remote()));
        }
        if let Some(dsn) = pending.fail {
            self.counters.fail_out += 1;
            out.push(MptcpOption::Fail(dsn));
        }
        if let Some(rst) = pending
            .rst
            .filter(|_| self.handshake.version.explains_resets())
        {
            self.counters.tcprst_out += 1;
            out.push(MptcpOption::TcpRst(rst));
        }
        out
    }
}

/// Addresses have an ACK to themselves; one too long to stand beside timestamps has them left out
/// (RFC 8684 §3.4.1: ADD_ADDR with an IPv6 address and a port).
fn displace(signals: &[MptcpOption], emit: &mut Emit) {
    if padded_len(signals) + emit.options.padded_len() > OPTION_SPACE
        && let Options::Segment(options) = &mut emit.options
    {
        options.sack.clear();
        options.acc_ecn = None;
        if padded_len(signals) + TIMESTAMPS > OPTION_SPACE {
            options.timestamps = None;
        }
    }
}
