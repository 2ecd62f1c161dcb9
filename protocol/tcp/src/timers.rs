//! The timers of a connection: an enum and a table.

use crate::Instant;

/// What may come due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Timer {
    /// Retransmission timeout (RFC 6298); of the SYN too.
    Rto,
    /// Tail-loss probe (RFC 8985 §7).
    Tlp,
    /// Segments sent before one that was delivered, given time for reordering (RFC 8985 §6.2).
    Reorder,
    /// An acknowledgement held back (RFC 9293 §3.8.6.3).
    DelayedAck,
    /// Probe of a window that lets nothing through (RFC 9293 §3.8.6.1).
    Persist,
    /// Probe of an idle peer (RFC 9293 §3.8.4).
    Keepalive,
    /// End of FIN-WAIT-2 that nobody reads from, or of TIME-WAIT.
    Linger,
    /// The next segment may leave ([`crate::pacer`]).
    Pace,
    /// End of what a cork may hold back.
    Cork,
    /// User timeout (RFC 5482).
    User,
}

impl Timer {
    pub(crate) const ALL: [Timer; 10] = [
        Timer::Rto,
        Timer::Tlp,
        Timer::Reorder,
        Timer::DelayedAck,
        Timer::Persist,
        Timer::Keepalive,
        Timer::Linger,
        Timer::Pace,
        Timer::Cork,
        Timer::User,
    ];
}

const NEVER: Instant = Instant(u64::MAX);

/// When each timer expires.
#[derive(Debug)]
pub(crate) struct Timers([Instant; Timer::ALL.len()]);

impl crate::rest::Pack for Timers {
    fn pack(&mut self, parcel: &mut crate::rest::Parcel<'_>) {
        self.0.pack(parcel);
    }
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers([NEVER; Timer::ALL.len()])
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    pub(crate) fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    pub(crate) fn stop_all(&mut self) {
        *self = Timers::new();
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize] != NEVER
    }

    /// Whether the timer expired; if so it is stopped.
    pub(crate) fn take(&mut self, timer: Timer, now: Instant) -> bool {
        let expired = self.is_set(timer) && self.0[timer as usize] <= now;
        if expired {
            self.stop(timer);
        }
        expired
    }

    /// The earliest expiry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().copied().min().filter(|at| *at != NEVER)
    }
}
