//! Segments in.

use super::{Connection, Mode};
use crate::config::SubflowId;
use crate::event::{FallbackReason, GoneReason};
use crate::handshake::Role;
use crate::mapping::{Delivery, Trouble};
use crate::subflow::Phase;
use anabranch_tcp::{Instant, Receipt, Segment};
use anabranch_wire::mptcp::{Capable, Dss, Join, MptcpOption, ResetReason, TcpRst};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;

/// The options of one segment that concern data and handshake, the first of each kind.
#[derive(Clone, Copy, Default)]
pub(crate) struct Incoming<'a> {
    pub(crate) all: &'a [MptcpOption],
    pub(crate) capable: Option<&'a Capable>,
    pub(crate) join: Option<&'a Join>,
    pub(crate) dss: Option<&'a Dss>,
}

impl<'a> Incoming<'a> {
    fn new(all: &'a [MptcpOption]) -> Incoming<'a> {
        let mut incoming = Incoming {
            all,
            ..Incoming::default()
        };
        for option in all {
            match option {
                MptcpOption::Capable(c) => incoming.capable = incoming.capable.or(Some(c)),
                MptcpOption::Join(j) => incoming.join = incoming.join.or(Some(j)),
                MptcpOption::Dss(d) => incoming.dss = incoming.dss.or(Some(d)),
                _ => {}
            }
        }
        incoming
    }

    /// Whether a segment without payload is more than an acknowledgement of its subflow: it must
    /// not count as a duplicate ACK (RFC 8684 §3.4).
    fn signals(&self, data_una: impl Fn(&Dss) -> bool) -> bool {
        let beyond_dss = self.all.iter().any(|o| !matches!(o, MptcpOption::Dss(_)));
        beyond_dss || self.dss.is_some_and(|d| d.mapping.is_some() || data_una(d))
    }
}

/// What to do with a segment before its Tcb sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Pass,
    Drop,
}

impl Connection {
    /// A segment of a subflow arrived, with its MPTCP options and its payload (`segment.len`
    /// bytes).
    pub fn on_segment(
        &mut self,
        now: Instant,
        id: SubflowId,
        mut segment: Segment,
        options: &[MptcpOption],
        payload: Bytes,
    ) {
        let Some(i) = self.paths.index(id) else {
            return;
        };
        let incoming = Incoming::new(options);
        if segment.flags.has(Flags::SYN) && incoming.capable.is_none() {
            self.on_bare_syn(now, i, &segment);
        }
        if self.admit(now, i, &segment, &incoming) == Verdict::Drop {
            return self.update(now);
        }
        let multipath = self.mode == Mode::Multipath;
        if multipath && segment.len == 0 {
            segment.signal_only = incoming.signals(|dss| self.acknowledges_more(dss));
        }
        let grant = self.grant(i);
        let subflow = &mut self.paths.list[i];
        let was_synchronized = subflow.tcb.is_synchronized();
        let timeouts = subflow.tcb.rto_streak();
        let receipt = subflow.tcb.on_segment(now, &segment, grant);
        subflow.note(receipt.change);
        let recovered = subflow.revive(now, timeouts, segment.len == 0);
        subflow.note_answer(now, &segment);
        if receipt.peer_wnd.is_some() {
            self.paths.last_active = id;
        }
        if recovered {
            self.rescue();
        }
        if self.closes_fast(id) {
            self.await_reset(now, i, &segment, &incoming);
        } else if segment.flags.has(Flags::RST) {
            self.on_reset(now, i, &incoming);
        } else {
            if !was_synchronized && self.paths.list[i].tcb.is_synchronized() {
                self.on_synchronized(now, i, &incoming);
            }
            match self.mode {
                Mode::Plain { .. } => {
                    let mapping = incoming.dss.and_then(|d| d.mapping);
                    let infinite = mapping.is_some_and(|m| m.len == 0);
                    self.counters.infinite_in += u64::from(infinite);
                    self.on_late_fail(i, &incoming);
                    self.on_plain(now, i, &receipt, &payload);
                }
                Mode::Opening | Mode::Multipath => {
                    self.couple();
                    self.on_multipath(now, i, &segment, &receipt, &incoming, &payload);
                }
            }
        }
        self.update(now);
    }

    /// The SYN again, without MP_CAPABLE: our SYN+ACK with the option did not arrive, or the SYN
    /// was taken for lost because of it (RFC 8684 §3.1). The next SYN+ACK is without it too.
    fn on_bare_syn(&mut self, now: Instant, i: usize, segment: &Segment) {
        let subflow = &self.paths.list[i];
        let opening = subflow.phase == Phase::Initial && self.mode == Mode::Opening;
        let again = segment.flags == Flags::SYN && subflow.tcb.irs() == Some(segment.seq);
        if opening && again && self.handshake.role == Role::Acceptor {
            self.plain_from_start(now, FallbackReason::Syn);
        }
    }

    /// Look at handshake options before the Tcb acts.
    fn admit(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        incoming: &Incoming<'_>,
    ) -> Verdict {
        if segment.flags.has(Flags::RST) || segment.flags.has(Flags::SYN) {
            return Verdict::Pass;
        }
        match self.paths.list[i].phase {
            Phase::Initial if self.handshake.role == Role::Acceptor => {
                self.admit_capable(now, i, segment, incoming)
            }
            Phase::JoinPassive { nonces } => self.admit_join(i, nonces, segment, incoming),
            _ => Verdict::Pass,
        }
    }

    /// Acceptor: the keys come with the third ACK or with the first data; where the SYN had the
    /// peer's, any DSS will do (RFC 6824 §3.1).
    fn admit_capable(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        incoming: &Incoming<'_>,
    ) -> Verdict {
        if let Some(Capable::Ack {
            version,
            flags,
            sender_key,
            receiver_key,
            ..
        }) = incoming.capable
            && self.mode != Mode::Multipath
        {
            if !self.handshake.on_ack(*sender_key, *receiver_key) {
                self.counters.bad_options += 1;
            } else if !self.handshake.agreed(*version, flags) {
                self.plain_from_start(now, FallbackReason::ThirdAck);
            } else if self.mode == Mode::Opening {
                self.mode = Mode::Multipath;
            }
        }
        let heard_us = segment.ack == self.paths.list[i].tcb.iss() + 1;
        if self.mode == Mode::Opening
            && incoming.dss.is_some()
            && self.handshake.dss_is_proof()
            && heard_us
        {
            self.mode = Mode::Multipath;
        }
        // What speaks of data sequence numbers before the keys are known counts as lost: the first
        // data, which brings the keys, will be sent again.
        let early = self.mode == Mode::Opening && incoming.dss.is_some();
        if early { Verdict::Drop } else { Verdict::Pass }
    }

    /// The TCP handshake of a subflow is complete.
    fn on_synchronized(&mut self, now: Instant, i: usize, incoming: &Incoming<'_>) {
        match self.paths.list[i].phase {
            Phase::Initial => {
                if self.handshake.role == Role::Initiator {
                    match self.handshake.on_syn_ack(incoming.capable) {
                        Ok(()) => {
                            self.mode = Mode::Multipath;
                            self.syn_payload_answered();
                            if !self.handshake.version.keys_on_data() {
                                // RFC 6824 §3.1: the third ACK has the keys, and data has no room
                                // for them.
                                self.paths.list[i].tcb.request_bare_ack();
                            }
                        }
                        Err(reason) => self.plain_from_start(now, reason),
                    }
                }
                self.handshake.since = now;
                self.established();
            }
            Phase::JoinActive { nonces } => self.on_join_syn_ack(now, i, nonces, incoming),
            Phase::Joined => {
                // The fourth packet.
                self.paths.list[i].tcb.request_ack();
                self.on_joined(i);
            }
            _ => {}
        }
    }

    /// The peer reset a subflow, or the whole connection (RFC 8684 §3.5, §3.6).
    pub(crate) fn on_reset(&mut self, now: Instant, i: usize, incoming: &Incoming<'_>) {
        // The key proves it even where TCP asks back, because something before it is missing.
        self.on_fastclose(now, incoming);
        if !self.paths.list[i].tcb.is_closed() {
            return;
        }
        for option in incoming.all {
            match option {
                MptcpOption::TcpRst(rst) if self.handshake.version.explains_resets() => {
                    self.counters.tcprst_in += 1;
                    self.paths.list[i].gone = Some(GoneReason::PeerReset(*rst));
                }
                MptcpOption::Fail(dsn) => self.on_fail_reset(i, *dsn),
                _ => {}
            }
        }
    }

    /// A segment of a connection with mappings.
    fn on_multipath(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        receipt: &Receipt,
        incoming: &Incoming<'_>,
        payload: &Bytes,
    ) {
        let acceptable = receipt.peer_wnd.is_some();
        if acceptable && !segment.flags.has(Flags::SYN) {
            self.on_join_progress(i, incoming);
        }
        if acceptable && let Some(dss) = incoming.dss {
            self.handshake.confirmed |= dss.data_ack.is_some();
            self.on_data_ack(now, dss, receipt);
        }
        if let (Some(_), Some(window)) = (incoming.capable, receipt.peer_wnd) {
            // MP_CAPABLE says as much as a DATA_ACK of nothing.
            self.tx.allow(self.first_data(), u64::from(window));
        }
        self.subflow_acked(i, receipt.snd_una);
        if acceptable {
            self.listen(now, i, segment, receipt, incoming);
        }
        if self.must_fall_back(i, segment.len, receipt, incoming) {
            self.fall_back_from_start(now, i, FallbackReason::NoDataAck);
            return self.on_plain(now, i, receipt, payload);
        }
        let mut delivery = Delivery::new();
        if acceptable {
            self.learn_mappings(i, incoming, receipt, segment.len, &mut delivery);
        }
        for range in &receipt.new {
            let rel = receipt.rel_start + i64::from(range.start);
            let bytes = payload.slice(range.start as usize..range.end as usize);
            if let Ok(rel) = u64::try_from(rel) {
                self.paths.list[i].rx.feed(rel, bytes, &mut delivery);
            }
        }
        self.deliver(delivery, false);
        self.note_speech(now, i, segment);
        self.forgive(i);
        let rx = &mut self.paths.list[i].rx;
        rx.forget(receipt.rcv_nxt);
        rx.account(&self.config.budget);
        let synchronized = acceptable && !segment.flags.has(Flags::SYN);
        if synchronized {
            // Without payload there is nothing to map: it may be meant as no mapping at all.
            if segment.len > 0 {
                self.on_infinite_mapping(now, i, incoming, receipt);
            }
            self.on_data_fin(i, incoming);
            self.on_signals(now, i, incoming);
        }
        match self.paths.list[i].rx.take_trouble() {
            None => {
                self.check_first_data(now, i, receipt);
                self.check_later_data(now, i);
            }
            Some(trouble) => self.on_trouble(now, i, trouble),
        }
    }

    /// Acknowledged by TCP: the subflow delivered it.
    pub(crate) fn subflow_acked(&mut self, i: usize, snd_una: u64) {
        let subflow = &mut self.paths.list[i];
        while let Some(mapping) = subflow.tx.acknowledged(snd_una) {
            self.tx.delivered(mapping.run(), subflow.id);
        }
    }

    /// Payload with its place.
    pub(crate) fn deliver(&mut self, delivery: Delivery, forced: bool) {
        for (position, bytes) in delivery {
            self.rx.insert(position, bytes, forced);
        }
    }

    /// A subflow's data cannot be placed.
    fn on_trouble(&mut self, now: Instant, i: usize, trouble: Trouble) {
        match trouble {
            // Plain TCP does not ask.
            _ if matches!(self.mode, Mode::Plain { .. }) => {}
            Trouble::Checksum(position) => self.on_bad_checksum(now, i, position),
            Trouble::Unmapped if self.is_unproven(i) => {
                self.fall_back_from_start(now, i, FallbackReason::NoMapping);
            }
            Trouble::Unmapped if self.fall_back_full(now, i) => {}
            Trouble::Unmapped => self.paths.list[i].reset(ResetReason::Middlebox),
            Trouble::Overflow => self.paths.list[i].reset(ResetReason::MptcpError),
        }
    }
}

/// MP_TCPRST for a reason.
pub(crate) fn tcp_rst(reason: ResetReason, transient: bool) -> TcpRst {
    TcpRst {
        transient,
        reserved: 0,
        reason,
    }
}
