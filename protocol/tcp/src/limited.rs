//! What sending waited for, and how long.

use crate::{Instant, Tcb};
use std::time::Duration;

/// What a sender with something to deliver waits for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Limit {
    /// There is nothing to deliver.
    #[default]
    Idle,
    /// The network: acknowledgements, the congestion window, pacing.
    Network,
    /// The peer's window.
    PeerWindow,
    /// The application, whose send buffer is full of what is not acknowledged.
    SendBuffer,
}

crate::packed!(
    enum Limit {
        Idle,
        Network,
        PeerWindow,
        SendBuffer,
    }
);

/// Time spent with something to deliver, up to `since`; what is the case since then is `now`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    /// Altogether.
    pub busy: Duration,
    /// Of that, for the peer's window.
    pub peer_window: Duration,
    /// Of that, for the send buffer.
    pub send_buffer: Duration,
    /// What is the case.
    pub now: Limit,
    /// Since when.
    pub since: Instant,
}

crate::packed!(Limited {
    busy,
    peer_window,
    send_buffer,
    now,
    since
});

impl Limited {
    pub(crate) fn new(since: Instant) -> Limited {
        Limited {
            busy: Duration::ZERO,
            peer_window: Duration::ZERO,
            send_buffer: Duration::ZERO,
            now: Limit::Idle,
            since,
        }
    }

    /// The same with the time since then counted.
    #[must_use]
    pub fn at(mut self, now: Instant) -> Limited {
        let passed = now.since(self.since);
        self.since = now;
        match self.now {
            Limit::Idle => return self,
            Limit::Network => {}
            Limit::PeerWindow => self.peer_window += passed,
            Limit::SendBuffer => self.send_buffer += passed,
        }
        self.busy += passed;
        self
    }
}

impl Tcb {
    /// The owner has more, but no room for it before something is acknowledged.
    pub fn set_starved(&mut self, starved: bool) {
        self.snd.starved = starved;
    }

    /// After everything that could leave has.
    pub(crate) fn account(&mut self, now: Instant) {
        let limit = self.limit();
        if limit != self.limited.now {
            self.limited = self.limited.at(now);
            self.limited.now = limit;
        }
    }

    fn limit(&self) -> Limit {
        if !self.is_synchronized() || self.snd.una >= self.snd.limit() {
            return Limit::Idle;
        }
        let least = self.unsent().min(u64::from(self.mss()));
        let window = self.snd.right().saturating_sub(self.snd.nxt);
        let room = self.cwnd().saturating_sub(self.in_flight());
        match self.unsent() {
            0 if self.snd.starved => Limit::SendBuffer,
            0 => Limit::Network,
            _ if window < least && room >= least => Limit::PeerWindow,
            _ => Limit::Network,
        }
    }
}
