//! The user timeout (RFC 9293 §3.9.1, RFC 5482): how long nothing may come of what is to be
//! delivered.

use crate::segment::{Change, Close};
use crate::timers::Timer;
use crate::{Instant, Tcb};

impl Tcb {
    /// After everything that could leave has: something waits for the peer, or nothing does.
    pub(crate) fn arm_user_timeout(&mut self, now: Instant) {
        let Some(limit) = self.config.socket.user_timeout else {
            return;
        };
        if self.is_closed() || self.snd.una >= self.snd.limit() {
            self.timers.stop(Timer::User);
        } else if !self.timers.is_set(Timer::User) {
            let in_flight = self.snd.nxt > self.snd.una;
            let since = if in_flight { self.seen.progress } else { now };
            self.timers.set(Timer::User, since + limit);
        }
    }

    /// Something was acknowledged, or the window opened: the time begins anew.
    pub(crate) fn restart_user_timeout(&mut self) {
        self.timers.stop(Timer::User);
    }

    /// Nothing came of it in time.
    pub(crate) fn user_timed_out(&mut self) -> Change {
        self.abort(Close::TimedOut)
    }
}
