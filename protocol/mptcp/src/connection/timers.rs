//! Timers of the connection, beside those of its Tcbs.

use super::{Connection, Mode};
use crate::fail::Unanswered;
use crate::fast_close::Unheard;
use crate::subflow::Phase;
use anabranch_tcp::Instant;
use anabranch_tcp::packed;
use std::time::Duration;

/// Bounds of the data-level retransmission timeout.
const MIN_DATA_RTO: Duration = Duration::from_millis(200);
const MAX_DATA_RTO: Duration = Duration::from_secs(60);

/// Data-level timeouts sat out where an MP_FAIL may be under way.
const PATIENCE: u32 = 3;

/// Longest that a cork holds anything back.
const CORKED: Duration = Duration::from_millis(200);

/// What the only subflow there ever was delivered is not acknowledged at data level. A peer that
/// takes the connection for plain would take what is sent again for more: it is asked first.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Probe {
    #[default]
    No,
    Asked,
    /// It spoke of data since.
    Answered,
}

packed!(
    enum Probe {
        No,
        Asked,
        Answered,
    }
);

impl Timers {
    /// Whether the peer is being asked for a DATA_ACK.
    pub(crate) fn asks(&self) -> bool {
        self.probe == Probe::Asked
    }

    /// A DATA_ACK came; what it does not acknowledge is sent again at once, if in a `hurry`.
    pub(crate) fn answered(&mut self, now: Instant, hurry: bool) {
        if self.asks() {
            self.probe = Probe::Answered;
            self.data = if hurry { Some(now) } else { self.data };
        }
    }
}

/// Deadlines at data level.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// Something unacknowledged at data level is looked at again.
    data: Option<Instant>,
    /// Expirations of it without progress.
    backoff: u32,
    /// Whether the peer was asked for a DATA_ACK.
    probe: Probe,
    /// Payload without a mapping came, and no option: what follows from that.
    pub(crate) unmapped: Option<Instant>,
    /// When a cork lets go what it holds back.
    pub(crate) cork: Option<Instant>,
    /// No subflow is left: how long to wait for one.
    pub(crate) no_subflow: Option<Instant>,
    /// An MP_FAIL that nobody has answered.
    pub(crate) fail: Option<Box<Unanswered>>,
    /// An MP_FASTCLOSE on an ACK that nobody has answered.
    pub(crate) fastclose: Option<Box<Unheard>>,
}

packed!(Timers { data, backoff, unmapped, cork, no_subflow, probe } empty { fail, fastclose });

impl Connection {
    /// When [`Connection::on_deadline`] must be called next; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let own = [
            self.timers.data,
            self.timers.no_subflow,
            self.timers.cork,
            self.timers.fail.as_ref().map(|fail| fail.retry),
            self.timers.fastclose.as_ref().map(|unheard| unheard.due),
            self.timers.unmapped,
            self.closing.deadline(),
            self.steer_deadline(),
            self.scheduling.wake().filter(|_| self.tx.waits()),
        ];
        let inquiries = self.inquiry_interval();
        let subflows = self.paths.list.iter().flat_map(|s| {
            let retry = match s.phase {
                Phase::JoinConfirm { retry, .. } => Some(retry),
                Phase::JoinActive { .. } if s.tcb.deadline().is_none() => self.join_not_before(),
                _ => None,
            };
            let prio = self.signals.prio_deadline(s);
            let watch = self.watch_deadline(s);
            let inquiry = inquiries.and_then(|each| self.inquiry_due(s, each));
            let tcp = s.tcb.deadline().filter(|_| !self.closes_fast(s.id));
            [tcp, retry, s.linger, prio, watch, inquiry]
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
        self.fail_timer(now);
        self.fastclose_timer(now);
        if self.timers.unmapped.is_some_and(|t| t <= now) {
            self.fall_back_unmapped(now);
        }
        self.signal_timers(now);
        self.steer_timers(now);
        self.closing_timers(now);
        self.update(now);
    }

    fn subflow_timers(&mut self, now: Instant, i: usize) {
        let closes_fast = self.closes_fast(self.paths.list[i].id);
        let subflow = &mut self.paths.list[i];
        if !closes_fast && subflow.tcb.deadline().is_some_and(|t| t <= now) {
            let change = subflow.tcb.on_deadline(now);
            subflow.note(change);
            self.note_tail_probe(i);
        }
        let subflow = &mut self.paths.list[i];
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
                let retry = now + subflow.third_ack_wait() * (1 << tries.min(6));
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
        self.watch(now, i);
        self.inquire(now, i);
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
            self.timers.probe = Probe::No;
        }
        let over = self.closing.is_closed() || self.mode != Mode::Multipath;
        if over || !self.tx.outstanding() {
            self.timers.data = None;
            self.timers.probe = Probe::No;
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
        // A DATA_FIN alone loads no path: it may come again once more before the time doubles.
        let soon = u32::from(self.tx.fin_due());
        let doublings = self.timers.backoff.saturating_sub(soon);
        (rto * (1 << doublings.min(8))).min(MAX_DATA_RTO)
    }

    /// Whether nothing may be sent again before the peer has spoken.
    fn must_ask(&mut self) -> bool {
        let initial = self.paths.list.first();
        let alone = !self.paths.joined && initial.is_some_and(|s| s.tcb.snd_una() > 0);
        let answered = self.timers.probe == Probe::Answered;
        let fails = self.handshake.checksum && self.timers.backoff < PATIENCE;
        if !alone || answered && !fails {
            self.timers.probe = Probe::No;
            return false;
        }
        self.timers.probe = Probe::Asked;
        true
    }

    /// Nothing was acknowledged at data level for a while. What a live subflow still has to
    /// deliver is its business; what was delivered and yet not acknowledged, the peer dropped: if
    /// it still speaks of data at all. With checksums, it may have failed: an MP_FAIL is given time
    /// to come, because what is sent again behind the rest is no longer one stream with it.
    fn data_timeout(&mut self, now: Instant) {
        self.timers.data = None;
        if self.fall_back_unheard(now) {
            return;
        }
        // The only subflow delivers what it has, or nothing does.
        let live = match self.paths.joined {
            true => self.paths.live(),
            false => self.paths.list.iter().map(|s| s.id).collect(),
        };
        let head = self.tx.head().map(|run| run.end);
        let head = head.filter(|end| !self.tx.is_under_way(*end, &live));
        let again = head.is_some_and(|end| self.must_ask() || self.tx.doubt(end, None, &live));
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
