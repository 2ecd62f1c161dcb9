//! The data level: DATA_ACK, mappings, DATA_FIN, and what follows from any change.

use super::input::Incoming;
use super::{Connection, Mode, Paths};
use crate::config::SubflowId;
use crate::keys::Version;
use crate::mapping::{Check, Delivery, RxMapping};
use crate::send::Fin;
use crate::space;
use crate::subflow::Phase;
use crate::subflow::Subflow;
use anabranch_tcp::{Instant, Receipt};
use anabranch_wire::checksum::Sum;
use anabranch_wire::mptcp::{Capable, Dss, DssMapping, ResetReason};
use smallvec::SmallVec;

impl Connection {
    /// Whether a DSS acknowledges data that was not acknowledged before.
    pub(super) fn acknowledges_more(&self, dss: &Dss) -> bool {
        let space = self.handshake.local.space();
        let position = dss
            .data_ack
            .and_then(|ack| space.position(ack, self.tx.una()));
        position.is_some_and(|p| p > self.tx.una())
    }

    /// DATA_ACK, and the window that counts from it (RFC 8684 §3.3.2, §3.3.5).
    pub(super) fn on_data_ack(&mut self, now: Instant, dss: &Dss, receipt: &Receipt) {
        let (Some(ack), Some(window)) = (dss.data_ack, receipt.peer_wnd) else {
            return;
        };
        let space = self.handshake.local.space();
        let sent = self.tx.next() + u64::from(self.tx.fin() >= Fin::Sent);
        let position = match space.position(ack, self.tx.una()) {
            Some(position) if position <= sent => position,
            _ => {
                self.counters.bad_options += 1;
                return;
            }
        };
        let mut progress = self.tx.acknowledge(position) > 0;
        if self.tx.fin() == Fin::Sent && position > self.tx.end() {
            self.tx.set_fin(Fin::Acked);
            progress = true;
        }
        self.tx.allow(position, u64::from(window));
        if progress {
            self.restart_orphan_timer(now);
            self.arm_data_timer(now, true);
        }
    }

    /// Mappings on a segment with `len` bytes of payload: DSS, or the implicit one of MP_CAPABLE
    /// with data.
    pub(super) fn learn_mappings(
        &mut self,
        i: usize,
        incoming: &Incoming<'_>,
        receipt: &Receipt,
        len: u32,
        out: &mut Delivery,
    ) {
        let Some(remote) = self.handshake.remote else {
            return;
        };
        if let Some(Capable::Ack {
            data: Some(data), ..
        }) = incoming.capable
            && self.paths.list[i].phase == Phase::Initial
            && data.len > 0
        {
            self.handshake.confirmed = true;
            self.long_ack |= self.in_order(receipt, len);
            let mapping = DssMapping {
                dsn: anabranch_wire::mptcp::Dsn::Long(remote.derived.idsn.wrapping_add(1)),
                ssn: 1,
                len: data.len,
                checksum: data.checksum,
            };
            if !self.checksum_as_agreed(&mapping) {
                return self.paths.list[i].reset(ResetReason::MptcpError);
            }
            return self.learn(i, &mapping, false, receipt, out);
        }
        let Some(dss) = incoming.dss else {
            return;
        };
        let Some(mapping) = dss.mapping else {
            return;
        };
        let bytes = mapping.len - u16::from(dss.data_fin && mapping.len > 0);
        if bytes == 0 {
            return;
        }
        if !self.checksum_as_agreed(&mapping) {
            return self.paths.list[i].reset(ResetReason::MptcpError);
        }
        if self.in_order(receipt, len) {
            self.long_ack = mapping.dsn.is_long();
        }
        self.learn(i, &mapping, dss.data_fin, receipt, out);
    }

    /// Whether a mapping has a checksum if, and only if, they are in use (RFC 8684 §3.3.1). In
    /// version 0 one too many is ignored (RFC 6824 §3.3).
    fn checksum_as_agreed(&self, mapping: &DssMapping) -> bool {
        match mapping.checksum {
            None => !self.handshake.checksum,
            Some(_) => self.handshake.checksum || self.handshake.version == Version::V0,
        }
    }

    fn learn(
        &mut self,
        i: usize,
        mapping: &DssMapping,
        fin: bool,
        receipt: &Receipt,
        out: &mut Delivery,
    ) {
        let Some((rel, position)) = self.place(i, mapping, receipt.rcv_nxt) else {
            self.counters.bad_options += 1;
            return;
        };
        let len = u64::from(mapping.len) - u64::from(fin);
        let check = self.check(mapping, position);
        let mapping = RxMapping {
            rel,
            position,
            len,
            check,
        };
        let rx = &mut self.paths.list[i].rx;
        let floor = receipt
            .rcv_nxt
            .min(receipt.rel_start.try_into().unwrap_or(0));
        rx.register(mapping, floor, out);
        self.counters.mapping_conflicts += std::mem::take(&mut rx.conflicts);
    }

    /// Subflow and data position of a mapping's first byte.
    pub(crate) fn place(&self, i: usize, mapping: &DssMapping, rcv_nxt: u64) -> Option<(u64, u64)> {
        let space = self.handshake.remote?.space();
        let position = space.position(mapping.dsn, self.rx.next())?;
        let before = u64::from(self.paths.list[i].syn_data.received);
        let rel = space::subflow_position(mapping.ssn, rcv_nxt.saturating_sub(before))?;
        Some((before + rel, position))
    }

    /// What to verify of a mapping, where checksums are in use.
    fn check(&self, mapping: &DssMapping, position: u64) -> Option<Check> {
        let space = self.handshake.remote?.space();
        self.handshake.checksum.then(|| Check {
            dsn: space.dsn(position),
            ssn: mapping.ssn,
            len: mapping.len,
            checksum: mapping.checksum.unwrap_or_default(),
        })
    }

    /// DATA_FIN, with data or alone (RFC 8684 §3.3.3). It is acknowledged at once, also again.
    pub(super) fn on_data_fin(&mut self, i: usize, incoming: &Incoming<'_>) {
        let Some(dss) = incoming.dss.filter(|d| d.data_fin) else {
            return;
        };
        let (Some(mapping), Some(remote)) = (dss.mapping, self.handshake.remote) else {
            return;
        };
        let Some(start) = remote.space().position(mapping.dsn, self.rx.next()) else {
            return;
        };
        let Some(before) = mapping.len.checked_sub(1) else {
            return;
        };
        if before == 0
            && let Some(check) = self.check(&mapping, start)
            && !check.holds(Sum::default())
        {
            self.counters.checksum_failures += 1;
            return;
        }
        let known = self.rx.knows_fin();
        if !self.rx.set_fin(start.saturating_add(u64::from(before))) {
            self.counters.bad_options += 1;
        } else if !known || self.rx.fin_reached() {
            // One that cannot be acknowledged yet is not answered each time: the peer's answer
            // would be its own DATA_FIN again.
            self.paths.list[i].tcb.request_ack();
        }
    }

    /// What any change may have brought about.
    pub(crate) fn update(&mut self, now: Instant) {
        self.dirty = true;
        for i in 0..self.paths.list.len() {
            self.note_ending(i);
        }
        self.update_plain_fin();
        if self.rx.take_fresh() {
            self.events.readable();
        }
        if self.rx.fin_reached() {
            self.events.peer_fin();
        }
        self.note_room();
        self.update_closing(now);
        self.forget_keys();
        self.steer(now);
        self.pump_signals(now);
        self.arm_data_timer(now, false);
    }

    /// Whoever waits to write may, if there is room.
    pub(super) fn note_room(&mut self) {
        let sacked = self.paths.active().map(|s| s.tcb.sacked()).sum();
        let windows = (self.paths.send_windows(), sacked);
        let lowat = self.config.tcp.socket.not_sent_lowat;
        self.tx.set_bounds(windows, lowat);
        let starved = self.tx.wants_room;
        let active = self.paths.list.iter_mut().filter(|s| s.is_active());
        active.for_each(|s| s.tcb.set_starved(starved));
        if self.tx.wants_room && self.tx.is_writable() && !self.closing.is_closed() {
            self.tx.wants_room = false;
            self.events.writable();
        }
    }

    /// A subflow that ends leaves what it did not deliver to the others.
    fn note_ending(&mut self, i: usize) {
        let subflow = &mut self.paths.list[i];
        if subflow.abandoned || !subflow.is_ending() {
            return;
        }
        subflow.abandoned = true;
        self.signals.forget_carrier(subflow.id);
        if self.mode != Mode::Multipath {
            return;
        }
        let subflow = &self.paths.list[i];
        let live = self.paths.live();
        let gone = subflow.tcb.is_closed().then_some(subflow.id);
        for mapping in subflow.tx.iter() {
            self.tx.doubt(mapping.run(), gone, &live);
        }
    }
}

impl Paths {
    /// Subflows that deliver what they are given.
    pub(crate) fn live(&self) -> SmallVec<[SubflowId; 8]> {
        self.active().filter(|s| !s.stale).map(|s| s.id).collect()
    }

    /// What all subflows together have under way in the longest of their round trips: so much is
    /// acknowledged at data level only after what a slow one has.
    pub(crate) fn send_windows(&self) -> u64 {
        let longest = self.longest_rtt();
        let window = |s: &Subflow| {
            let srtt = s.tcb.srtt().unwrap_or(longest).as_nanos().max(1);
            let scaled = u128::from(s.tcb.cwnd()) * longest.as_nanos() / srtt;
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        self.active().map(window).fold(0, u64::saturating_add)
    }

    /// Subflows that carry data, but for one.
    pub(crate) fn active_besides(&self, i: usize) -> usize {
        let others = self.list.iter().enumerate().filter(|(k, _)| *k != i);
        others.filter(|(_, s)| s.is_active()).count()
    }

    /// Subflows that are not ending, but for one.
    pub(crate) fn alive_besides(&self, i: usize) -> usize {
        let others = self.list.iter().enumerate().filter(|(k, _)| *k != i);
        others.filter(|(_, s)| !s.is_ending()).count()
    }
}
