//! Small segments: when the end of what is queued waits for more to fill a segment.

use crate::timers::Timer;
use crate::{Instant, Tcb};
use std::time::Duration;

/// Longest that a cork holds anything back.
const CORKED: Duration = Duration::from_millis(200);

impl Tcb {
    /// More bytes follow soon what was appended last: hold a segment that is not full back as
    /// [`crate::SocketOption::Cork`] does, until this is taken back.
    pub fn set_more(&mut self, more: bool) {
        self.snd.more = more;
    }

    /// What waits to fill a segment waits no longer.
    pub(crate) fn push(&mut self) {
        self.snd.pushed = self.snd.end;
        self.timers.stop(Timer::Cork);
    }

    /// How much of the `size` bytes at `start` leaves now. A small segment at the end of the queue
    /// is held back while an earlier small one is unacknowledged (RFC 9293 §3.7.4; Minshall's
    /// variant does not delay the tail of a large write), or by a cork.
    pub(crate) fn hold_back(
        &mut self,
        now: Instant,
        start: u64,
        size: u64,
        mss: u64,
    ) -> Option<u64> {
        let full = size - size % mss;
        let last = start + size == self.snd.end && !self.snd.fin;
        let may_wait = full < size && last && start + full >= self.snd.pushed;
        let nagle = self.config.nagle && self.snd.small > self.snd.una;
        let corked = may_wait && (self.config.socket.cork || self.snd.more);
        if !corked {
            self.timers.stop(Timer::Cork);
        } else if !self.timers.is_set(Timer::Cork) {
            self.timers.set(Timer::Cork, now + CORKED);
        }
        let size = if corked || (may_wait && nagle) {
            full
        } else {
            size
        };
        (size > 0).then_some(size)
    }
}
