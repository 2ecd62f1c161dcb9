//! Segments out.

use super::{Connection, Mode};
use crate::config::SubflowId;
use crate::event::{Event, GoneReason};
use crate::send::Fin;
use crate::subflow::{Phase, Subflow};
use anabranch_tcp::queue::Slices;
use anabranch_tcp::{Emit, Grant, Instant};
use anabranch_wire::checksum::{self, Sum};
use anabranch_wire::mptcp::{
    CapableData, Dsn, Dss, DssMapping, Join, MptcpOption, MptcpOptions, Prio, padded_len,
};
use anabranch_wire::tcp::{Flags, Options};

/// Option space of a TCP header, bytes.
const OPTION_SPACE: usize = 40;

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
        if self.mode == Mode::Opening {
            // Without the peer's key there is no DATA_ACK, which would prove that we have it.
            return out;
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
