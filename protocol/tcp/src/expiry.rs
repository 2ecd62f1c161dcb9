//! What happens when a timer expires.

use crate::recovery::Phase;
use crate::recovery::frto::Frto;
use crate::recovery::rtt::backed_off;
use crate::segment::{Change, Close};
use crate::tcb::Probe;
use crate::timers::Timer;
use crate::{Instant, State, Tcb};
use std::time::Duration;

/// Least time beyond two round trips before a tail-loss probe.
const PROBE_SLACK: Duration = Duration::from_millis(2);

impl Tcb {
    /// When [`Tcb::on_deadline`] must be called next; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Act on every timer that expired. Early calls do no harm.
    pub fn on_deadline(&mut self, now: Instant) -> Change {
        self.check_app_limited();
        for timer in Timer::ALL {
            if !self.timers.take(timer, now) {
                continue;
            }
            let change = self.expired(now, timer);
            if change != Change::None {
                return change;
            }
        }
        Change::None
    }

    fn expired(&mut self, now: Instant, timer: Timer) -> Change {
        match timer {
            Timer::Rto => return self.retransmission_timeout(now),
            Timer::Tlp => self.pending.probe = Some(Probe::Tail),
            Timer::Reorder => {
                self.detect_losses(now, false);
                self.tell_losses();
                let lost = !self.recovery.board.lost().is_empty();
                if lost && self.recovery.phase == Phase::Open && !self.trial_failed(now) {
                    self.enter_recovery(now);
                }
            }
            Timer::DelayedAck => self.acks.now = true,
            Timer::Persist => return self.persist(),
            Timer::Keepalive => return self.keepalive(now),
            Timer::Linger if self.state == State::FinWait2 => return self.abort(Close::TimedOut),
            Timer::Linger => self.become_closed(),
            // The poll that follows finds that a segment may leave.
            Timer::Pace => {}
            Timer::Cork => self.push(),
            Timer::User => return self.user_timed_out(),
        }
        Change::None
    }

    /// RFC 6298 §5.4 to §5.7.
    fn retransmission_timeout(&mut self, now: Instant) -> Change {
        let limits = &self.config.retransmit;
        let limit = match self.state {
            State::SynSent => limits.syn_retries,
            State::SynReceived => limits.synack_retries,
            _ => limits.data_retries,
        };
        // A peer that closed its window but answers is alive (RFC 9293 §3.8.6.1).
        let alive = self.snd.wnd.size == 0
            && self.is_synchronized()
            && now.since(self.seen.received) <= limits.max_rto;
        let counts = self.config.socket.user_timeout.is_none() || !self.is_synchronized();
        if counts && self.rtt.streak() >= u32::from(limit) && !alive {
            return self.abort(Close::TimedOut);
        }
        let again = self.rtt.streak() > 0;
        self.rtt.back_off();
        self.stats.rtos += 1;
        if matches!(self.state, State::SynSent | State::SynReceived) {
            self.pending.syn = true;
            self.timers.set(Timer::Rto, now + self.rto());
            return Change::None;
        }
        self.suspect_black_hole(now);
        self.enter_loss(now, again);
        self.timers.set(Timer::Rto, now + self.rto());
        Change::None
    }

    /// What is outstanding is lost, but for what was sent so recently that it may be under way
    /// (RFC 8985 §6.3). `again`: the timer expired for the same segment before.
    fn enter_loss(&mut self, now: Instant, again: bool) {
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let flight = nxt - una;
        // One reduction for each window: none for what a recovery could not repair, and none for
        // a segment that is lost once more (RFC 5681 §3.1).
        let first = match self.recovery.phase {
            Phase::Open => true,
            Phase::Recovery => false,
            Phase::Loss => !again,
        };
        self.control.cc.on_rto(now, flight, self.mss(), first);
        self.window_reduced();
        let recovery = &mut self.recovery;
        if first {
            recovery.arm_undo(now, una);
        }
        let fresh = recovery.phase == Phase::Open || again;
        recovery.frto = Frto::start(self.config.retransmit.frto && fresh);
        recovery.loss_since.get_or_insert(now);
        recovery.phase = Phase::Loss;
        recovery.point = nxt;
        recovery.force = true;
        recovery.tail = None;
        recovery.reno = Default::default();
        self.timers.stop(Timer::Tlp);
        self.timers.stop(Timer::Reorder);
        if recovery.board.sacked().at(una).is_some() {
            // The peer took back what it had sacked (RFC 2018 §8).
            recovery.board.forget_sacks();
            recovery.board.mark_lost(una, nxt);
            recovery.rack.timed_out(now, Duration::ZERO);
            recovery.frto = Frto::Off;
            return;
        }
        let late = if self.agreed.sack && self.config.retransmit.rack {
            recovery.rack.rtt()
        } else {
            Duration::ZERO
        };
        recovery.rack.timed_out(now, late);
        recovery.board.mark_late(una, now, late);
    }

    /// RFC 9293 §3.8.6.1: probe with backoff for as long as the peer answers.
    fn persist(&mut self) -> Change {
        if self.pending.window_probes >= self.config.retransmit.data_retries {
            return self.abort(Close::TimedOut);
        }
        self.snd.wnd.no_newer_than(self.rcv.seq(self.rcv.nxt));
        self.pending.window_probes += 1;
        self.pending.window_backoff = self.pending.window_backoff.saturating_add(1);
        self.pending.probe = Some(Probe::Window);
        Change::None
    }

    /// RFC 9293 §3.8.4. The timer is not moved by each segment; it looks at when the last came.
    fn keepalive(&mut self, now: Instant) -> Change {
        let Some(config) = self.config.keepalive else {
            return Change::None;
        };
        let heard = self.seen.received;
        let busy = self.snd.nxt > self.snd.una || self.timers.is_set(Timer::Persist);
        if busy || now.since(heard) < config.time {
            let from = if busy { now } else { heard };
            self.timers.set(Timer::Keepalive, from + config.time);
            return Change::None;
        }
        let given_up = match self.config.socket.user_timeout {
            Some(limit) => now.since(heard) >= limit && self.pending.alive_probes > 0,
            None => self.pending.alive_probes >= config.probes,
        };
        if given_up {
            self.reset();
            return Change::Aborted(Close::TimedOut);
        }
        self.pending.alive_probes += 1;
        self.pending.probe = Some(Probe::Alive);
        self.timers.set(Timer::Keepalive, now + config.interval);
        Change::None
    }

    /// The owner learned that the path carries again: what timeouts went by for is sent once more at
    /// once, and the timer's back-off starts anew. Without effect where none went by.
    pub fn hasten(&mut self, now: Instant) {
        if self.rtt.streak() > 0 && self.is_synchronized() && self.timers.is_set(Timer::Rto) {
            self.rtt.reset_backoff();
            self.timers.set(Timer::Rto, now);
        }
    }

    /// Retransmission timer or tail-loss probe, whichever is due for what is outstanding.
    pub(crate) fn arm_loss_timer(&mut self, now: Instant) {
        if self.snd.nxt == self.snd.una {
            self.timers.stop(Timer::Rto);
            self.timers.stop(Timer::Tlp);
            self.timers.stop(Timer::Reorder);
            return;
        }
        let rto = self.rto();
        if !self.may_probe_tail() {
            self.timers.stop(Timer::Tlp);
            self.timers.set(Timer::Rto, now + rto);
            return;
        }
        let srtt = self.rtt.srtt().unwrap_or(rto);
        let flight = self.snd.nxt - self.snd.una;
        // A single segment may be waiting for a delayed acknowledgement (RFC 8985 §7.2).
        let delayed = flight <= u64::from(self.mss());
        let slack = if delayed {
            self.config.retransmit.min_rto
        } else {
            PROBE_SLACK
        };
        self.timers.stop(Timer::Rto);
        self.timers
            .set(Timer::Tlp, now + (2 * srtt + slack).min(rto));
    }

    /// RFC 8985 §7.2: not during recovery, and one at a time.
    pub(crate) fn may_probe_tail(&self) -> bool {
        let recovery = &self.recovery;
        self.config.retransmit.tail_loss_probe
            && self.agreed.sack
            && recovery.phase == Phase::Open
            && recovery.tail.is_none()
            && recovery.board.sacked().is_empty()
            && recovery.board.lost().is_empty()
            && self.rtt.srtt().is_some()
            && self.rtt.streak() == 0
    }

    /// Nothing is in flight, yet something waits: probe the window (RFC 9293 §3.8.6.1).
    pub(crate) fn arm_persist_timer(&mut self, now: Instant) {
        let waiting = self.snd.nxt < self.snd.limit() || self.snd.blocked;
        let held = self.timers.is_set(Timer::Pace) || self.timers.is_set(Timer::Cork);
        let idle = self.snd.nxt == self.snd.una && !held;
        let open = self.is_synchronized() && self.state != State::TimeWait;
        if !(waiting && idle && open) {
            self.timers.stop(Timer::Persist);
        } else if !self.timers.is_set(Timer::Persist) {
            let limits = &self.config.retransmit;
            let times = u32::from(self.pending.window_backoff);
            let wait = backed_off(self.rtt.base_rto(limits), times, limits.max_rto);
            self.timers.set(Timer::Persist, now + wait);
        }
    }
}
