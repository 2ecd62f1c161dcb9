//! Going on as plain TCP (RFC 8684 §3.7): one subflow with an infinite mapping both ways.

use crate::connection::input::Incoming;
use crate::connection::{Connection, Mode};
use crate::event::{Event, FallbackReason};
use crate::mapping::{Delivery, RxMapping};
use crate::send::Fin;
use crate::subflow::{Infinite, Phase, Subflow};
use anabranch_tcp::{Emit, Instant, Receipt, Segment, State};
use anabranch_wire::mptcp::{Dsn, Dss, DssMapping, MptcpOption, MptcpOptions, ResetReason};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// So many segments in a row without any option mean that none will come: one without could be
/// the second half of one that was cut.
const SILENCE: u8 = 3;
/// How long payload without a mapping may wait, where segments without options came: less than
/// any peer takes to send again what is not acknowledged at data level.
const GRACE: Duration = Duration::from_millis(90);
/// So many are enough to reset one of several subflows.
const BROKEN: u8 = 16;

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
        let acked = receipt.peer_wnd.is_some() && receipt.snd_una > self.first_data();
        acked && incoming.all.is_empty() && self.in_order(receipt, len) && self.is_unproven(i)
    }

    /// Whether a segment has nothing beyond what came in order. A middlebox that cuts segments may
    /// leave the options on the first part, which may be late.
    pub(crate) fn in_order(&self, receipt: &Receipt, len: u32) -> bool {
        receipt.rel_start + i64::from(len) <= receipt.rcv_nxt as i64
    }

    /// See whether an acceptable segment of a subflow speaks of data sequence numbers.
    pub(crate) fn listen(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        receipt: &Receipt,
        incoming: &Incoming<'_>,
    ) {
        let Subflow { heard, tcb, .. } = &mut self.paths.list[i];
        if incoming.all.is_empty() {
            heard.silence = heard.silence.saturating_add(1);
            heard.bare_fin |= segment.flags.has(Flags::FIN);
        } else {
            heard.silence = 0;
        }
        // One that was overtaken is no answer.
        let una = tcb.iss() + 1 + receipt.snd_una as u32;
        let newest = una.le(segment.ack);
        if newest && incoming.dss.is_some_and(|dss| dss.data_ack.is_some()) {
            self.timers.answered(now, !self.handshake.checksum);
        }
    }

    /// What one plain stream would go on with: the next byte expected, at the first byte of the
    /// subflow that has no place yet. `None` if what came on the subflow is not that stream.
    pub(crate) fn onward(&self, i: usize) -> Option<RxMapping> {
        let subflow = &self.paths.list[i];
        let infinite = RxMapping {
            rel: self.first_unplaced(i),
            position: self.rx.next(),
            len: u64::MAX,
            check: None,
        };
        let alone = self.rx.highest() <= subflow.rx.end().max(infinite.position);
        (alone && subflow.rx.agrees(&infinite)).then_some(infinite)
    }

    /// The first byte of a subflow that has not come, or waits for its mapping. What fills a hole
    /// before those that wait may come without a mapping too.
    fn first_unplaced(&self, i: usize) -> u64 {
        let subflow = &self.paths.list[i];
        let next = subflow.tcb.rcv_nxt();
        subflow.rx.first_waiting().map_or(next, |w| w.min(next))
    }

    /// Data position minus subflow position of what a subflow was given, where one stream can
    /// stand for it: from the first byte not acknowledged at either level, it has all that was
    /// sent, once and in order.
    pub(crate) fn plain_shift(&self, i: usize) -> Option<u64> {
        let subflow = &self.paths.list[i];
        let end = subflow.tcb.snd_end();
        let shift = self.tx.next().wrapping_sub(end);
        let unacked = end.checked_sub(self.tx.next() - self.tx.una())?;
        let since = subflow.tx.straight_since(shift).unwrap_or(end);
        (since <= unacked.min(subflow.tcb.snd_una())).then_some(shift)
    }

    /// Whether one plain stream each way can stand for what was sent and received so far, and
    /// there never was another subflow.
    fn may_go_plain(&self) -> bool {
        let initial = self.paths.list.first();
        let initial = initial.is_some_and(|s| s.phase == Phase::Initial && !s.is_ending());
        let alone = initial && !self.paths.joined;
        let straight = || self.plain_shift(0).is_some() && self.onward(0).is_some();
        alone && self.mode == Mode::Multipath && straight()
    }

    /// Payload in order came without a mapping, and segments without options: none pass any more.
    /// One of several subflows is broken then (RFC 8684 §3.7). The only one goes on as plain TCP
    /// if it is seen soon: a peer that does not know sends again what it takes for lost, as bytes
    /// of its own, and the stream would have them twice. That it learns by MP_FAIL, if anything
    /// reaches it.
    pub(crate) fn check_later_data(&mut self, now: Instant, i: usize) {
        let subflow = &self.paths.list[i];
        let silence = subflow.heard.silence;
        if silence == 0 || self.mode != Mode::Multipath {
            self.timers.unmapped = None;
            return;
        }
        let first = subflow.rx.first_unmapped();
        if first.is_none_or(|rel| rel >= subflow.tcb.rcv_nxt()) {
            self.timers.unmapped = None;
        } else if self.paths.joined {
            if silence >= BROKEN {
                self.paths.list[i].reset(ResetReason::Middlebox);
            }
        } else {
            self.timers.unmapped.get_or_insert(now + GRACE);
            if silence >= SILENCE {
                self.fall_back_unmapped(now);
            }
        }
    }

    /// As much payload without a mapping as may wait, perhaps behind a hole. Gives back whether
    /// that is settled.
    pub(crate) fn fall_back_full(&mut self, now: Instant, i: usize) -> bool {
        if self.paths.joined || self.paths.list[i].heard.silence < SILENCE {
            return false;
        }
        self.timers.unmapped.get_or_insert(now);
        self.fall_back_unmapped(now);
        true
    }

    /// Payload of the only subflow waits for a mapping that will not come.
    pub(crate) fn fall_back_unmapped(&mut self, now: Instant) {
        let Some(due) = self.timers.unmapped.take() else {
            return;
        };
        // A peer that speaks plainly while our MP_FAIL waits for an answer has heard it: its answer was
        // lost, or its own MP_FAIL was, which crossed ours.
        let answers = self.timers.fail.is_some();
        let soon = (self.config.plain_midway || answers) && now <= due + GRACE;
        if soon && self.may_go_plain() {
            let reason = match answers {
                true => FallbackReason::Checksum,
                false => FallbackReason::NoMapping,
            };
            self.go_on_plain(now, reason);
        } else if let Some(initial) = self.paths.list.first_mut() {
            initial.reset(ResetReason::Middlebox);
        }
    }

    /// TCP delivered what was sent, and only segments without options came back, although the peer
    /// was asked. Gives back whether the connection fell back.
    pub(crate) fn fall_back_unheard(&mut self, now: Instant) -> bool {
        // With a hole before it, payload without a mapping may be part of a segment that was cut.
        let unheard = self.paths.list.first().is_some_and(|s| {
            let waiting = s.rx.first_waiting();
            let clear = waiting.is_none_or(|rel| rel < s.tcb.rcv_nxt());
            let silence = s.heard.silence;
            silence > 0 && clear && (s.tx.is_empty() || silence >= SILENCE)
        });
        if unheard && self.timers.asks() && self.may_go_plain() {
            self.go_on_plain(now, FallbackReason::NoDataAck);
        }
        self.mode != Mode::Multipath
    }

    /// FIN on the only subflow, without any option and without DATA_FIN: the peer took the
    /// connection for plain, and would take our FIN for the end of our stream. Gives back whether
    /// the subflow may be closed.
    pub(crate) fn fall_back_at_fin(&mut self, now: Instant, i: usize) -> bool {
        if self.paths.active_besides(i) > 0 || !self.paths.list[i].heard.bare_fin {
            return true;
        }
        self.timers.unmapped.get_or_insert(now + GRACE);
        self.fall_back_unmapped(now);
        false
    }

    fn go_on_plain(&mut self, now: Instant, reason: FallbackReason) {
        let Some(rx) = self.onward(0) else {
            return;
        };
        if let Some(remote) = self.handshake.remote {
            let initial = &mut self.paths.list[0];
            initial.pending.fail = Some(remote.space().dsn(rx.position));
            initial.tcb.request_bare_ack();
        }
        self.fall_back_midway(now, 0, reason, rx);
    }

    /// First data without a mapping: the other side fell back, or the path removes options.
    pub(crate) fn check_first_data(&mut self, now: Instant, i: usize, receipt: &Receipt) {
        let subflow = &self.paths.list[i];
        let unmapped = receipt.rcv_nxt > 0 && subflow.rx.has_unmapped();
        // A FIN before the keys is the end of a peer that has none.
        let ended = self.mode == Mode::Opening && subflow.tcb.peer_fin();
        if !(unmapped || ended) || !self.is_unproven(i) {
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
        let shift = self.plain_shift(i).filter(|_| others == 0);
        let subflow = &mut self.paths.list[i];
        let Some(shift) = shift else {
            // What was sent is not one stream on one subflow: nothing can stand for it.
            return subflow.reset(ResetReason::Middlebox);
        };
        let mut delivery = Delivery::new();
        subflow.rx.make_infinite(rx, &mut delivery);
        subflow.rx.account(&self.config.budget);
        subflow.pending.prio = None;
        let snd_una = subflow.tcb.snd_una();
        let subflow = subflow.id;
        self.mode = Mode::Plain {
            subflow,
            reason,
            shift,
        };
        self.timers.fail = None;
        self.timers.unmapped = None;
        self.rx.forget_fin();
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

    /// An infinite mapping: the peer goes on as plain TCP, and so do we.
    pub(crate) fn on_infinite_mapping(
        &mut self,
        now: Instant,
        i: usize,
        incoming: &Incoming<'_>,
        receipt: &Receipt,
    ) {
        let mapping = incoming.dss.and_then(|dss| dss.mapping);
        let Some(mapping) = mapping.filter(|m| m.len == 0) else {
            return;
        };
        self.counters.infinite_in += 1;
        let Some((rel, position)) = self.place(i, &mapping, receipt.rcv_nxt) else {
            self.counters.bad_options += 1;
            return;
        };
        let said = RxMapping {
            rel,
            position,
            len: u64::MAX,
            check: None,
        };
        match self.infinite_from(i, said) {
            Some(rx) => self.fall_back_midway(now, i, self.failure_reason(i), rx),
            None => self.paths.list[i].reset(ResetReason::Middlebox),
        }
    }

    /// Where an infinite mapping begins. It acts retroactively, from what the peer knows to have
    /// arrived (RFC 8684 §3.7), or begins anew behind bytes that do not count any more. Linux
    /// names the first new byte and means the stream as it is.
    fn infinite_from(&self, i: usize, said: RxMapping) -> Option<RxMapping> {
        let known = self.rx.next().checked_sub(said.position);
        let next = known.and_then(|known| said.rel.checked_add(known));
        if next.is_some_and(|rel| rel >= self.first_unplaced(i)) {
            return Some(said);
        }
        self.onward(i)
    }

    /// Plain TCP after data flowed with mappings: ours become an infinite one, from the first
    /// byte that was not acknowledged.
    pub(crate) fn fall_back_midway(
        &mut self,
        now: Instant,
        i: usize,
        reason: FallbackReason,
        rx: RxMapping,
    ) {
        let una = self.tx.una();
        self.fall_back(now, i, reason, rx);
        if let Mode::Plain { shift, .. } = self.mode {
            let rel = una.wrapping_sub(shift);
            let subflow = &mut self.paths.list[i];
            subflow.pending.infinite = Some(Box::new(Infinite {
                rel,
                position: una,
                fresh: subflow.tcb.snd_nxt(),
                until: None,
            }));
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
        if emit.rel.is_empty() {
            out.extend(self.take_fail(i).map(MptcpOption::Fail));
            return out;
        }
        let checksum = self.handshake.checksum.then_some(0);
        let space = self.handshake.local.space();
        let Subflow { pending, tcb, .. } = &mut self.paths.list[i];
        let Some(infinite) = &mut pending.infinite else {
            return out;
        };
        if infinite.until.is_some_and(|end| tcb.snd_una() >= end) {
            pending.infinite = None;
            return out;
        }
        if emit.rel.end > infinite.fresh {
            infinite.until.get_or_insert(emit.rel.end);
        }
        self.counters.infinite_out += 1;
        let (rel, position) = (infinite.rel, infinite.position);
        let mapping = DssMapping {
            dsn: Dsn::Long(space.dsn(position)),
            ssn: self.paths.list[i].ssn(rel),
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
