//! MP_FAIL: a checksum was wrong (RFC 8684 §3.7).
//!
//! Where there are other subflows, the one it happened on is reset, and what it did not deliver is
//! sent on the others. The only one goes on as plain TCP: who found the wrong checksum says so
//! with MP_FAIL on an acknowledgement, again and again until the other answers; who hears it
//! answers with MP_FAIL and sends an infinite mapping with its next payload. Both have
//! acknowledged bytes at subflow level that they cannot place yet: these belong to the infinite
//! mapping, so nothing is lost and nothing comes twice.

use crate::config::SubflowId;
use crate::connection::input::Incoming;
use crate::connection::{Connection, Mode};
use crate::event::FallbackReason;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::{Dsn, MptcpOption, ResetReason};
use std::time::Duration;

/// When an MP_FAIL is sent again first; doubles each time. The peer waits no longer than some such
/// intervals before it sends again what is not acknowledged, and then bytes are no longer one
/// stream.
const RETRY: Duration = Duration::from_millis(200);
/// Bytes with wrong checksums that may wait beyond the window: what was under way when the peer
/// took its stream for plain.
const FAILED_SLACK: u64 = 128 << 10;
/// Repeated MP_FAILs answered after the fallback; an answer is never taken for one of them, but a
/// peer may take it so.
const MAX_ANSWERS: u8 = 32;

/// Our MP_FAIL on the only subflow, until it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    subflow: SubflowId,
    /// Data sequence number of the mapping that failed.
    dsn: u64,
    /// When it is sent again, or the subflow reset.
    pub(crate) retry: Instant,
    until: Instant,
    tries: u32,
}

impl Connection {
    /// The mapping at this data position has a wrong checksum.
    pub(crate) fn on_bad_checksum(&mut self, now: Instant, i: usize, position: u64) {
        self.counters.checksum_failures += 1;
        let Some(remote) = self.handshake.remote else {
            return;
        };
        let dsn = remote.space().dsn(position);
        let patience = u64::from(self.rx.room()) + FAILED_SLACK;
        let contiguous = self.onward(i).is_some() && self.plain_shift(i).is_some();
        let excess = self.paths.list[i].rx.failed > patience;
        if self.paths.active_besides(i) > 0 || !contiguous || excess {
            return self.reset_failed(i, dsn);
        }
        if self.timers.fail.is_some() {
            return;
        }
        let subflow = &mut self.paths.list[i];
        subflow.failure.ours = true;
        subflow.pending.fail = Some(dsn);
        subflow.tcb.request_bare_ack();
        self.timers.fail = Some(Box::new(Unanswered {
            subflow: subflow.id,
            dsn,
            retry: now + RETRY,
            until: now + self.config.fail_timeout,
            tries: 0,
        }));
    }

    /// A subflow whose bytes cannot be known ends; others carry them.
    fn reset_failed(&mut self, i: usize, dsn: u64) {
        let subflow = &mut self.paths.list[i];
        subflow.pending.fail = Some(dsn);
        subflow.reset(ResetReason::Middlebox);
    }

    /// An MP_FAIL without an answer is repeated, in the end with a RST.
    pub(crate) fn fail_timer(&mut self, now: Instant) {
        let Some(mut fail) = self.timers.fail.take_if(|fail| fail.retry <= now) else {
            return;
        };
        let Some(i) = self.paths.index(fail.subflow) else {
            return;
        };
        if self.mode != Mode::Multipath || self.paths.list[i].is_ending() {
            return;
        }
        if fail.until <= now || self.paths.active_besides(i) > 0 {
            return self.reset_failed(i, fail.dsn);
        }
        let subflow = &mut self.paths.list[i];
        subflow.pending.fail = Some(fail.dsn);
        subflow.tcb.request_bare_ack();
        fail.tries += 1;
        let interval = RETRY * (1 << fail.tries.min(16));
        fail.retry = (now + interval).min(fail.until);
        self.timers.fail = Some(fail);
    }

    /// MP_FAIL on a segment that is no RST: what we sent failed, or it answers ours. Everything is
    /// plain TCP from then on.
    pub(crate) fn on_fail(&mut self, now: Instant, i: usize, dsn: u64) {
        self.counters.fail_in += 1;
        let answer = self.paths.list[i].failure.ours;
        let local = self.handshake.local.space();
        let position = local.position(Dsn::Long(dsn), self.tx.una());
        // What it names may have been acknowledged since: Linux delivers it all the same.
        let sent = position.is_some_and(|p| p < self.tx.next());
        let (Mode::Multipath, Some(remote), true) =
            (self.mode, self.handshake.remote, sent || answer)
        else {
            self.counters.bad_options += 1;
            return;
        };
        let said = remote.space().dsn(self.rx.next());
        if self.paths.active_besides(i) > 0 {
            // It should have been a RST: the peer does not know of the others.
            self.reset_failed(i, said);
            return self.send_failed_again(i, position);
        }
        let Some(rx) = self.onward(i) else {
            return self.reset_failed(i, said);
        };
        if !answer {
            self.answer_fail(i);
        }
        let reason = self.failure_reason(i);
        self.fall_back_midway(now, i, reason, rx);
    }

    /// After the fallback: a peer that still speaks of data sequence numbers did not hear our
    /// answer.
    pub(crate) fn on_late_fail(&mut self, i: usize, incoming: &Incoming<'_>) {
        let fail = |o: &MptcpOption| matches!(o, MptcpOption::Fail(_));
        if !incoming.all.iter().any(fail) {
            return;
        }
        self.counters.fail_in += 1;
        let asks = incoming.dss.is_some_and(|dss| dss.data_ack.is_some());
        if asks && self.paths.list[i].failure.answers < MAX_ANSWERS {
            self.answer_fail(i);
        }
    }

    fn answer_fail(&mut self, i: usize) {
        let Some(remote) = self.handshake.remote else {
            return;
        };
        let subflow = &mut self.paths.list[i];
        subflow.failure.answers += 1;
        subflow.pending.fail = Some(remote.space().dsn(self.rx.next()));
        subflow.tcb.request_bare_ack();
    }

    /// The peer reset a subflow because of this data sequence number: what was sent there since,
    /// and is not acknowledged, did not arrive, whatever TCP acknowledged.
    pub(crate) fn on_fail_reset(&mut self, i: usize, dsn: u64) {
        self.counters.fail_in += 1;
        let local = self.handshake.local.space();
        let position = local.position(Dsn::Long(dsn), self.tx.una());
        if position.is_none_or(|p| p > self.tx.next()) {
            self.counters.bad_options += 1;
            return;
        }
        self.send_failed_again(i, position);
    }

    fn send_failed_again(&mut self, i: usize, position: Option<u64>) {
        if self.mode == Mode::Multipath {
            let live = self.paths.live();
            let gone = self.paths.list[i].id;
            self.tx.doubt_from(position.unwrap_or(0), gone, &live);
        }
    }

    /// Bytes with a wrong checksum that came again with a right one are forgotten.
    pub(crate) fn forgive(&mut self, i: usize) {
        let rx = &mut self.paths.list[i].rx;
        if rx.failed == 0 {
            return;
        }
        rx.forgive(self.rx.next());
        if rx.failed == 0 {
            self.timers.fail = None;
            self.paths.list[i].pending.fail = None;
        }
    }

    /// MP_FAIL for an acknowledgement of a subflow.
    pub(crate) fn take_fail(&mut self, i: usize) -> Option<u64> {
        let dsn = self.paths.list[i].pending.fail.take();
        self.counters.fail_out += u64::from(dsn.is_some());
        dsn
    }

    /// Why a connection falls back because of MP_FAIL or what answers it.
    pub(crate) fn failure_reason(&self, i: usize) -> FallbackReason {
        if self.paths.list[i].failure.ours {
            FallbackReason::Checksum
        } else {
            FallbackReason::Peer
        }
    }
}
