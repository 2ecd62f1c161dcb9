//! How a connection ends (RFC 8684 §3.3.3, §3.5).

use crate::connection::input::{Incoming, tcp_rst};
use crate::connection::{Connection, Mode};
use crate::event::{CloseReason, Event, GoneReason};
use crate::handshake::Role;
use crate::send::Fin;
use anabranch_tcp::packed;
use anabranch_tcp::{Close, Instant, State};
use anabranch_wire::mptcp::{MptcpOption, ResetReason};
use std::time::Duration;

/// What is known of the end.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    reason: Option<CloseReason>,
    /// The initial subflow completed its handshake once.
    established: bool,
    /// The application let go: what arrives finds nobody.
    orphan: bool,
    /// When an orphan is aborted unless there was progress.
    deadline: Option<Instant>,
    /// Why the last subflow went.
    last_gone: Option<GoneReason>,
}

packed!(Closing { established, orphan, deadline } empty { reason } kept { last_gone });

impl Closing {
    pub(crate) fn reason(&self) -> Option<CloseReason> {
        self.reason
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.reason.is_some()
    }

    /// `false`: it was before.
    fn establish(&mut self) -> bool {
        !std::mem::replace(&mut self.established, true)
    }

    pub(crate) fn was_established(&self) -> bool {
        self.established
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn last_gone(&mut self, reason: GoneReason) {
        self.last_gone = Some(reason);
    }

    /// Kept apart while the connection rests.
    pub(crate) fn last_gone_mut(&mut self) -> &mut Option<GoneReason> {
        &mut self.last_gone
    }
}

impl Connection {
    /// The application lets go: [`Connection::shutdown`], and nobody reads any more. Unread bytes,
    /// or bytes that still come, make it an [`Connection::abort`] (RFC 2525 §2.17).
    pub fn close(&mut self, now: Instant) {
        // In SYN-SENT with nothing to deliver, nobody misses it (RFC 9293 §3.10.4).
        if self.handshake.role == Role::Initiator
            && !self.closing.was_established()
            && self.tx.end() == 0
        {
            return self.abort(now);
        }
        if self.config.tcp.socket.linger == Some(Duration::ZERO) {
            return self.abort(now);
        }
        self.closing.orphan = true;
        self.restart_orphan_timer(now);
        self.shutdown(now);
    }

    /// End the connection at once: MP_FASTCLOSE and RST on every subflow, or as
    /// [`crate::Config::fastclose_on_ack`] has it. After its end, cut short the closing of subflows
    /// that linger.
    pub fn abort(&mut self, now: Instant) {
        if self.closing.is_closed() {
            self.reset_fast();
            (0..self.paths.list.len()).for_each(|i| self.drop_lingering(i));
        }
        self.end(now, CloseReason::Aborted);
        self.update(now);
    }

    /// A subflow is established; the first one makes the connection so. That may be a join, if
    /// the initial subflow's last segment of the handshake was lost.
    pub(crate) fn established(&mut self) {
        if self.closing.establish() {
            self.events.push(Event::Established);
        }
    }

    /// Whether the connection has ended and no subflow is left: it can be dropped.
    pub fn is_finished(&self) -> bool {
        self.closing.is_closed() && self.paths.list.is_empty()
    }

    /// Progress at data level: an orphan may take more time.
    pub(crate) fn restart_orphan_timer(&mut self, now: Instant) {
        if self.closing.orphan && !self.closing.is_closed() {
            self.closing.deadline = Some(now + self.config.close_timeout);
        }
    }

    /// Reset whatever is left.
    fn end(&mut self, now: Instant, reason: CloseReason) {
        if self.closing.is_closed() {
            return;
        }
        let multipath = self.mode == Mode::Multipath;
        let abort = multipath && reason == CloseReason::Aborted;
        let closer = self.fast_closer().filter(|_| abort);
        // In the order in which they were made.
        self.paths.restart();
        let open = self.paths.list.iter_mut().filter(|s| !s.tcb.is_closed());
        for subflow in open.filter(|s| closer != Some(s.id)) {
            // Who sent MP_FASTCLOSE has forgotten the connection: it needs no proof any more.
            if multipath && reason == CloseReason::FastClose {
                subflow.pending.rst = Some(tcp_rst(ResetReason::Unspecified, false));
            } else {
                subflow.pending.fastclose = multipath && closer.is_none();
            }
            subflow.tcb.reset();
            subflow.note(anabranch_tcp::Change::Aborted(Close::Local));
        }
        self.set_closed(reason);
        if let Some(id) = closer {
            self.fast_close_on(now, id);
        }
    }

    /// The application's part of the connection is over.
    fn set_closed(&mut self, reason: CloseReason) {
        self.closing.reason = Some(reason);
        self.closing.deadline = None;
        self.timers.no_subflow = None;
        self.tx.clear();
        self.rx.clear();
        self.signals.clear();
        self.events.push(Event::Closed(reason));
    }

    /// MP_FASTCLOSE, on RST or ACK: with our key in it, the whole connection ends.
    pub(crate) fn on_fastclose(&mut self, now: Instant, incoming: &Incoming<'_>) {
        for option in incoming.all {
            let MptcpOption::FastClose(key) = option else {
                continue;
            };
            if self.handshake.keys.is_local(*key) {
                self.counters.fastclose_in += 1;
                self.end(now, CloseReason::FastClose);
            } else {
                self.counters.bad_options += 1;
            }
            return;
        }
    }

    /// See whether a change brought the connection to its end.
    pub(crate) fn update_closing(&mut self, now: Instant) {
        if self.closing.is_closed() {
            return;
        }
        if self.closing.orphan && self.rx.readable() > 0 {
            return self.end(now, CloseReason::Aborted);
        }
        self.follow_subflow_fins(now);
        if self.tx.fin() == Fin::Acked && self.rx.fin_reached() {
            return self.finish(now);
        }
        self.watch_subflows(now);
    }

    /// A subflow that the peer closes while it has more to say elsewhere is closed by us too.
    /// After its DATA_FIN it may close its half of subflows and still take our data on them.
    fn follow_subflow_fins(&mut self, now: Instant) {
        if self.mode != Mode::Multipath || self.rx.fin_reached() {
            return;
        }
        for i in 0..self.paths.list.len() {
            let tcb = &self.paths.list[i].tcb;
            let half = tcb.peer_fin() && !tcb.is_closing();
            if half && self.fall_back_at_fin(now, i) {
                self.paths.list[i].leave(now + self.config.close_timeout);
            }
        }
    }

    /// Both directions are done: the subflows follow.
    fn finish(&mut self, now: Instant) {
        let deadline = now + self.config.close_timeout;
        for subflow in self.paths.list.iter_mut().filter(|s| !s.tcb.is_closed()) {
            if subflow.tcb.is_synchronized() {
                subflow.leave(deadline);
            } else {
                subflow.tcb.reset();
            }
        }
        self.set_closed(CloseReason::Finished);
    }

    /// Without a subflow the connection waits for a join, if there can be one.
    fn watch_subflows(&mut self, now: Instant) {
        if self.paths.list.iter().any(|s| !s.is_ending()) {
            self.timers.no_subflow = None;
            return;
        }
        let over = self.paths.list.iter().all(|s| s.tcb.is_closed());
        let can_wait = self.mode == Mode::Multipath && self.closing.established;
        if can_wait && !(over && self.peer_is_done()) {
            let limit = self.config.tcp.socket.user_timeout;
            let wait = self.config.no_subflow_wait;
            let wait = limit.map_or(wait, |limit| wait.min(limit));
            self.timers.no_subflow.get_or_insert(now + wait);
        } else if over {
            self.end_without_subflow();
        }
    }

    /// Whether only formalities are missing: both sides have all bytes.
    fn peer_is_done(&self) -> bool {
        self.rx.fin_reached() && self.tx.fin() == Fin::Sent && self.tx.una() == self.tx.end()
    }

    fn end_without_subflow(&mut self) {
        let last = self
            .paths
            .list
            .last()
            .and_then(|s| s.gone)
            .or(self.closing.last_gone);
        let reason = match last {
            _ if self.peer_is_done() => CloseReason::Finished,
            Some(GoneReason::Tcp(close)) => CloseReason::Tcp(close),
            Some(GoneReason::PeerReset(_)) => CloseReason::Tcp(Close::Reset),
            Some(GoneReason::Reset(_)) => CloseReason::Protocol,
            Some(GoneReason::TimedOut) => CloseReason::CloseTimeout,
            Some(GoneReason::Withdrawn) => CloseReason::NoSubflow,
            Some(GoneReason::Closed) | None => CloseReason::Tcp(Close::Local),
        };
        self.set_closed(reason);
    }

    pub(crate) fn closing_timers(&mut self, now: Instant) {
        if self.timers.no_subflow.is_some_and(|t| t <= now) {
            self.timers.no_subflow = None;
            self.end(now, CloseReason::NoSubflow);
        }
        if self.closing.deadline.is_some_and(|t| t <= now) {
            self.closing.deadline = None;
            self.end(now, CloseReason::CloseTimeout);
        }
    }

    /// A subflow did not close in time. TIME-WAIT has its own limit.
    pub(crate) fn drop_lingering(&mut self, i: usize) {
        let subflow = &mut self.paths.list[i];
        if subflow.tcb.state() != State::TimeWait && !subflow.tcb.is_closed() {
            subflow.gone = Some(GoneReason::TimedOut);
            subflow.tcb.reset();
        }
    }
}
