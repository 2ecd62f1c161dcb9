//! Going on as plain TCP (RFC 8684 §3.7): one subflow with an infinite mapping both ways.

use crate::connection::input::Incoming;
use crate::connection::{Connection, Mode};
use crate::event::{Event, FallbackReason};
use crate::mapping::{Delivery, RxMapping};
use crate::send::Fin;
use crate::subflow::{Infinite, Phase, Subflow};
use anabranch_tcp::{Emit, Instant, Receipt, State};
use anabranch_wire::mptcp::{Dsn, Dss, DssMapping, MptcpOption, MptcpOptions, ResetReason};
use bytes::Bytes;

/// So many segments in a row without any option mean that none will come: one without could be
/// the second half of one that was cut.
const SILENCE: u8 = 3;

impl Connection {
    /// Whether nothing has shown yet that MPTCP options pass on the only subflow there ever was.
    pub(crate) fn is_unproven(&self, i: usize) -> bool {
        let initial = self.paths.list[i].phase == Phase::Initial;
        initial && !self.paths.joined && !self.handshake.confirmed
    }

    /// Whether our first data was acknowledged by a segment without any MPTCP option.
    pub(crate) fn must_fall_back(
        &self,
        i: usize,
        len: u32,
        receipt: &Receipt,
        incoming: &Incoming<'_>,
    ) -> bool {
        let acked = receipt.peer_wnd.is_some() && receipt.snd_una > 0;
        acked && incoming.all.is_empty() && self.in_order(receipt, len) && self.is_unproven(i)
    }

    /// Whether a segment has nothing beyond what came in order. A middlebox that cuts segments may
    /// leave the options on the first part, which may be late.
    fn in_order(&self, receipt: &Receipt, len: u32) -> bool {
        receipt.rel_start + i64::from(len) <= receipt.rcv_nxt as i64
    }

    /// Keep count of segments without any MPTCP option since the last that had one.
    pub(crate) fn watch_options(&mut self, receipt: &Receipt, incoming: &Incoming<'_>) {
        let silence = &mut self.handshake.silence;
        if !incoming.all.is_empty() {
            *silence = 0;
        } else if receipt.peer_wnd.is_some() {
            *silence = silence.saturating_add(1);
        }
    }

    /// Whether one plain stream each way can stand for what was sent and received so far: there
    /// was only one subflow, and it carried each byte once. With checksums the path may have
    /// altered bytes since, and nobody would know.
    fn may_go_plain(&self) -> bool {
        let [only] = &self.paths.list[..] else {
            return false;
        };
        let straight = !only.rx.bent && only.tcb.snd_end() == self.tx.next();
        let alone = !self.paths.joined && self.mode == Mode::Multipath;
        straight && alone && !self.handshake.checksum
    }

    /// Payload in order came without a mapping, again and again: options do not pass any more.
    pub(crate) fn check_later_data(&mut self, now: Instant, i: usize, receipt: &Receipt) {
        let first = self.paths.list[i].rx.first_waiting();
        let unmapped = first.is_some_and(|rel| rel < receipt.rcv_nxt);
        if unmapped {
            self.fall_back_unmapped(now);
        }
    }

    /// Payload waits for a mapping that will not come. Gives back whether the connection fell
    /// back.
    pub(crate) fn fall_back_unmapped(&mut self, now: Instant) -> bool {
        if self.handshake.silence >= SILENCE && self.may_go_plain() {
            self.go_on_plain(now, FallbackReason::NoMapping);
        }
        self.mode != Mode::Multipath
    }

    /// TCP delivered what was sent, and only segments without options came back: sent again, a
    /// plain peer would take it for more. Gives back whether the connection fell back.
    pub(crate) fn fall_back_unheard(&mut self, now: Instant) -> bool {
        let silent = self.handshake.silence > 0 && self.may_go_plain();
        // With a hole before it, payload without a mapping may be part of a segment that was cut.
        let clear = self.paths.list.first().is_some_and(|s| {
            let waiting = s.rx.first_waiting();
            s.tx.is_empty() && waiting.is_none_or(|rel| rel < s.tcb.rcv_nxt())
        });
        if silent && clear {
            self.go_on_plain(now, FallbackReason::NoDataAck);
        }
        self.mode != Mode::Multipath
    }

    fn go_on_plain(&mut self, now: Instant, reason: FallbackReason) {
        let subflow = &self.paths.list[0];
        // What fills a hole before the first byte that waits may come without a mapping too.
        let next = subflow.tcb.rcv_nxt();
        let rel = subflow.rx.first_waiting().map_or(next, |w| w.min(next));
        let rx = RxMapping {
            rel,
            position: rel,
            len: u64::MAX,
            check: None,
        };
        self.fall_back_midway(now, 0, reason, rx);
    }

    /// First data without a mapping: the other side fell back, or the path removes options.
    pub(crate) fn check_first_data(&mut self, now: Instant, i: usize, receipt: &Receipt) {
        let unmapped = receipt.rcv_nxt > 0 && self.paths.list[i].rx.has_unmapped();
        if !unmapped || !self.is_unproven(i) {
            return;
        }
        let reason = match self.mode {
            Mode::Opening => FallbackReason::ThirdAck,
            _ => FallbackReason::NoMapping,
        };
        self.fall_back_from_start(now, i, reason);
    }

    /// Plain TCP before anything was sent or received.
    pub(crate) fn plain_from_start(&mut self, now: Instant, reason: FallbackReason) {
        self.fall_back_from_start(now, 0, reason);
    }

    /// Plain TCP from the first byte on, in both directions.
    pub(crate) fn fall_back_from_start(&mut self, now: Instant, i: usize, reason: FallbackReason) {
        let all = RxMapping {
            rel: 0,
            position: 0,
            len: u64::MAX,
            check: None,
        };
        self.fall_back(now, i, reason, all);
    }

    /// Plain TCP: what comes belongs to `rx`; what is sent goes on where it is.
    fn fall_back(&mut self, now: Instant, i: usize, reason: FallbackReason, rx: RxMapping) {
        if matches!(self.mode, Mode::Plain { .. }) {
            return;
        }
        self.give_up_joins();
        let others = self.paths.alive_besides(i);
        let subflow = &mut self.paths.list[i];
        let shift = self.tx.next().wrapping_sub(subflow.tcb.snd_end());
        let straight = |m: &crate::mapping::TxMapping| m.position.wrapping_sub(m.rel) == shift;
        if !subflow.tx.iter().all(straight) || others > 0 {
            // What was sent is not one stream on one subflow: nothing can stand for it.
            return subflow.reset(ResetReason::Middlebox);
        }
        let mut delivery = Delivery::new();
        subflow.rx.make_infinite(rx, &mut delivery);
        let snd_una = subflow.tcb.snd_una();
        let subflow = subflow.id;
        self.mode = Mode::Plain {
            subflow,
            reason,
            shift,
        };
        self.deliver(delivery, true);
        self.tx.allow_all();
        self.tx.forget_reinjections();
        self.tx.acknowledge(snd_una.wrapping_add(shift));
        self.signals.clear();
        self.events.push(Event::Fallback(reason));
        self.arm_data_timer(now, false);
    }

    /// There will be no further subflows: joins that are not complete end.
    fn give_up_joins(&mut self) {
        let incomplete = |s: &&mut Subflow| !matches!(s.phase, Phase::Initial | Phase::Joined);
        for subflow in self.paths.list.iter_mut().filter(incomplete) {
            subflow.reset(ResetReason::Unspecified);
        }
    }

    /// A segment of a connection that is plain TCP.
    pub(crate) fn on_plain(&mut self, now: Instant, i: usize, receipt: &Receipt, payload: &Bytes) {
        let Mode::Plain { subflow, shift, .. } = self.mode else {
            return;
        };
        if self.paths.list[i].id != subflow {
            return;
        }
        self.subflow_acked(i, receipt.snd_una);
        if self.tx.acknowledge(receipt.snd_una.wrapping_add(shift)) > 0 {
            self.restart_orphan_timer(now);
        }
        let mut delivery = Delivery::new();
        for range in &receipt.new {
            let rel = receipt.rel_start + i64::from(range.start);
            let bytes = payload.slice(range.start as usize..range.end as usize);
            if let Ok(rel) = u64::try_from(rel) {
                // An infinite mapping leaves nothing unmapped.
                self.paths.list[i].rx.feed(rel, bytes, &mut delivery);
            }
        }
        self.deliver(delivery, true);
    }

    /// FIN stands for DATA_FIN, both ways.
    pub(crate) fn update_plain_fin(&mut self) {
        let Mode::Plain { subflow, .. } = self.mode else {
            return;
        };
        let Some(subflow) = self.paths.get_mut(subflow) else {
            return;
        };
        let tcb = &mut subflow.tcb;
        let finished = self.tx.fin() >= Fin::Wanted && self.tx.unassigned() == 0;
        if finished && tcb.is_synchronized() && !tcb.is_closing() {
            // A DATA_FIN that left before says nothing any more.
            tcb.close();
            self.tx.set_fin(Fin::Sent);
        }
        if tcb.peer_fin() {
            self.rx.set_fin(self.rx.next());
        }
        let orderly = tcb.is_closed() && subflow.gone.is_none();
        let acked = matches!(tcb.state(), State::FinWait2 | State::TimeWait) || orderly;
        if self.tx.fin() == Fin::Sent && acked {
            self.tx.set_fin(Fin::Acked);
        }
    }

    /// An infinite mapping: the peer goes on as plain TCP from there, and so do we.
    pub(crate) fn on_infinite_mapping(
        &mut self,
        now: Instant,
        i: usize,
        mapping: &DssMapping,
        receipt: &Receipt,
    ) {
        self.counters.infinite_in += 1;
        match self.place(mapping, receipt.rcv_nxt) {
            Some((rel, position)) => {
                let rx = RxMapping {
                    rel,
                    position,
                    len: u64::MAX,
                    check: None,
                };
                self.fall_back_midway(now, i, FallbackReason::Peer, rx);
            }
            None => self.counters.bad_options += 1,
        }
    }

    /// A checksum was wrong (RFC 8684 §3.7). With other subflows this one is reset; the only one
    /// tells the peer with MP_FAIL, which answers with an infinite mapping.
    pub(crate) fn on_bad_checksum(&mut self, i: usize, position: u64) {
        self.counters.checksum_failures += 1;
        let Some(remote) = self.handshake.remote else {
            return;
        };
        let alone = self.paths.alive_besides(i) == 0;
        let subflow = &mut self.paths.list[i];
        if alone && subflow.failed {
            return;
        }
        subflow.failed = true;
        subflow.pending.fail = Some(remote.space().dsn(position));
        if alone {
            subflow.tcb.request_bare_ack();
        } else {
            subflow.reset(ResetReason::Middlebox);
        }
    }

    /// MP_FAIL: the peer found a wrong checksum in what we sent. On the only subflow it is
    /// answered with MP_FAIL, and everything is plain TCP from then on; data that was not
    /// acknowledged belongs to the infinite mapping too, which acts retroactively.
    pub(crate) fn on_fail(&mut self, now: Instant, i: usize) {
        self.counters.fail_in += 1;
        if self.mode != Mode::Multipath || self.paths.alive_besides(i) > 0 {
            return;
        }
        let Some(remote) = self.handshake.remote else {
            return;
        };
        let position = self.rx.next();
        let subflow = &mut self.paths.list[i];
        if !subflow.failed {
            subflow.pending.fail = Some(remote.space().dsn(position));
            subflow.tcb.request_bare_ack();
        }
        // Everything before was placed: the first byte that waits is the next of the stream.
        let next = subflow.tcb.rcv_nxt();
        let rel = subflow.rx.first_waiting().map_or(next, |w| w.min(next));
        let rx = RxMapping {
            rel,
            position,
            len: u64::MAX,
            check: None,
        };
        self.fall_back_midway(now, i, FallbackReason::Peer, rx);
    }

    /// Plain TCP after data flowed with mappings: ours become an infinite one, from the first
    /// byte that was not acknowledged.
    fn fall_back_midway(&mut self, now: Instant, i: usize, reason: FallbackReason, rx: RxMapping) {
        let una = self.tx.una();
        self.fall_back(now, i, reason, rx);
        if let Mode::Plain { shift, .. } = self.mode {
            let rel = una.wrapping_sub(shift);
            self.paths.list[i].pending.infinite = Some(Infinite {
                rel,
                position: una,
                until: None,
            });
        }
    }

    /// Option bytes of plain segments: with payload, and without.
    pub(crate) fn plain_options(&self, i: usize) -> (u8, u8) {
        let pending = &self.paths.list[i].pending;
        let data = if pending.infinite.is_some() { 20 } else { 0 };
        let ack = if pending.fail.is_some() { 12 } else { 0 };
        (data, ack)
    }

    /// What is left of options after a fallback: MP_FAIL and the infinite mapping, once.
    pub(crate) fn plain_segment(&mut self, i: usize, emit: &Emit) -> MptcpOptions {
        let mut out = MptcpOptions::new();
        let checksum = self.handshake.checksum.then_some(0);
        let space = self.handshake.local.space();
        let Subflow { pending, tcb, .. } = &mut self.paths.list[i];
        if emit.rel.is_empty() {
            if let Some(dsn) = pending.fail.take() {
                self.counters.fail_out += 1;
                out.push(MptcpOption::Fail(dsn));
            }
            return out;
        }
        let Some(infinite) = &mut pending.infinite else {
            return out;
        };
        let until = *infinite.until.get_or_insert(emit.rel.end);
        if tcb.snd_una() >= until {
            pending.infinite = None;
            return out;
        }
        self.counters.infinite_out += 1;
        let mapping = DssMapping {
            dsn: Dsn::Long(space.dsn(infinite.position)),
            ssn: (infinite.rel as u32).wrapping_add(1),
            len: 0,
            checksum,
        };
        out.push(MptcpOption::Dss(Dss {
            data_ack: None,
            mapping: Some(mapping),
            data_fin: false,
        }));
        out
    }
}
