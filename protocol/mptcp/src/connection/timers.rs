//! Timers of the connection, beside those of its Tcbs.

use super::{Connection, Mode};

use crate::subflow::Phase;
use anabranch_tcp::Instant;
use std::time::Duration;

/// Bounds of the data-level retransmission timeout.
const MIN_DATA_RTO: Duration = Duration::from_millis(200);
const MAX_DATA_RTO: Duration = Duration::from_secs(60);

/// Longest that a cork holds anything back.
const CORKED: Duration = Duration::from_millis(200);

/// Deadlines at data level.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Something unacknowledged at data level is looked at again.
    data: Option<Instant>,
    /// Expirations of it without progress.
    backoff: u32,
    /// When a cork lets go what it holds back.
    pub(crate) cork: Option<Instant>,
    /// No subflow is left: how long to wait for one.
    pub(crate) no_subflow: Option<Instant>,
}

impl Connection {
    /// When [`Connection::on_deadline`] must be called next; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let own = [
            self.timers.data,
            self.timers.no_subflow,
            self.timers.cork,
            self.closing.deadline(),
        ];
        let subflows = self.paths.list.iter().flat_map(|s| {
            let retry = match s.phase {
                Phase::JoinConfirm { retry, .. } => Some(retry),
                Phase::JoinActive { .. } if s.tcb.deadline().is_none() => self.join_not_before(),
                _ => None,
            };
            [s.tcb.deadline(), retry, s.linger]
        });
        let all = own
            .into_iter()
            .chain(subflows)
            .chain([self.signals.deadline()]);
        all.flatten().min()
    }

    /// Act on every timer that expired. Early calls do no harm.
    pub fn on_deadline(&mut self, now: Instant) {
        for i in 0..self.paths.list.len() {
            self.subflow_timers(now, i);
        }
        if self.timers.data.is_some_and(|t| t <= now) {
            self.data_timeout(now);
        }
        if self.timers.cork.is_some_and(|t| t <= now) {
            self.push();
        }
        self.signals.on_deadline(now);
        self.closing_timers(now);
        self.update(now);
    }

    fn subflow_timers(&mut self, now: Instant, i: usize) {
        let subflow = &mut self.paths.list[i];
        if subflow.tcb.deadline().is_some_and(|t| t <= now) {
            let change = subflow.tcb.on_deadline(now);
            subflow.note(change);
        }
        if let Phase::JoinConfirm {
            nonces,
            retry,
            tries,
        } = subflow.phase
            && retry <= now
        {
            // Unanswered third ACKs are given up like SYNs.
            if tries > u32::from(self.config.tcp.retransmit.syn_retries) {
                subflow.reset(anabranch_wire::mptcp::ResetReason::Unspecified);
            } else {
                let retry = now + subflow.tcb.rto() * (1 << tries.min(6));
                subflow.phase = Phase::JoinConfirm {
                    nonces,
                    retry,
                    tries: tries + 1,
                };
                subflow.tcb.request_ack();
            }
        }
        if subflow.linger.is_some_and(|t| t <= now) {
            subflow.linger = None;
            self.drop_lingering(i);
        }
        self.note_stale(i);
    }

    /// Nothing is held back by a cork for longer than 200 ms.
    pub(crate) fn arm_cork(&mut self, now: Instant) {
        if self.corked() && self.tx.unassigned() > 0 && !self.closing.is_closed() {
            self.timers.cork.get_or_insert(now + CORKED);
        } else {
            self.timers.cork = None;
        }
    }

    /// Arm the data-level timer when something is unacknowledged; restart it on progress.
    pub(crate) fn arm_data_timer(&mut self, now: Instant, progress: bool) {
        if progress {
            self.timers.backoff = 0;
        }
        let over = self.closing.is_closed() || self.mode != Mode::Multipath;
        if over || !self.tx.outstanding() {
            self.timers.data = None;
        } else if self.timers.data.is_none() || progress {
            self.timers.data = Some(now + self.data_rto());
        }
    }

    /// Long enough for any subflow in use to have had its answer.
    fn data_rto(&self) -> Duration {
        let usable = self.paths.active().filter(|s| !s.stale);
        let rto = usable
            .map(|s| s.tcb.rto())
            .max()
            .unwrap_or(MIN_DATA_RTO)
            .max(MIN_DATA_RTO);
        (rto * (1 << self.timers.backoff.min(8))).min(MAX_DATA_RTO)
    }

    /// Nothing was acknowledged at data level for a while. What a live subflow still has to
    /// deliver is its business; what was delivered and yet not acknowledged, the peer dropped.
    fn data_timeout(&mut self, now: Instant) {
        self.timers.data = None;
        if self.fall_back_unheard(now) {
            return;
        }
        let live = self.paths.live();
        let head = self.tx.head().map(|run| run.end);
        let again = head.is_some_and(|end| self.tx.doubt(end, None, &live));
        if again || self.tx.fin_due() {
            self.timers.backoff += 1;
            self.counters.data_rtos += 1;
        }
        if self.tx.fin_due() {
            // Pure ACKs do not show which path lost one: try all.
            let active = self.paths.list.iter_mut().filter(|s| s.is_active());
            active.for_each(|s| s.tcb.request_bare_ack());
        }
        self.arm_data_timer(now, false);
        self.dirty = true;
    }
}
