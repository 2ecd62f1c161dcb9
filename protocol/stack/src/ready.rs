//! Who may have something to send, and how often strangers are answered.

use anabranch_tcp::Instant;
use std::collections::VecDeque;

/// Connections that may have something to send, served in turn: no poll looks at others.
#[derive(Default)]
pub(crate) struct Ready {
    queue: VecDeque<(u32, u32)>,
    /// Bytes that the one in front may still send before it goes to the back.
    credit: u32,
}

/// Bytes a connection may send before the next one's turn: one super-frame and what belongs to it.
const TURN: u32 = 128 * 1024;

impl Ready {
    /// Queues a connection; the caller sees to it that none is queued twice.
    pub(crate) fn push(&mut self, flow: (u32, u32)) {
        if self.queue.is_empty() {
            self.credit = TURN;
        }
        self.queue.push_back(flow);
    }

    /// Whose turn it is.
    pub(crate) fn front(&self) -> Option<(u32, u32)> {
        self.queue.front().copied()
    }

    /// The one in front sent a packet of `bytes`. True when that ended its turn: it is now last.
    pub(crate) fn sent(&mut self, bytes: u32) -> bool {
        self.credit = self.credit.saturating_sub(bytes);
        if self.credit > 0 {
            return false;
        }
        self.queue.rotate_left(1);
        self.credit = TURN;
        true
    }

    /// The one in front has no more.
    pub(crate) fn pop(&mut self) {
        self.queue.pop_front();
        self.credit = TURN;
    }
}

/// At most so many a second, all of them at once if need be.
pub(crate) struct Limiter {
    per_second: u32,
    left: u32,
    /// When `left` was last raised.
    since: Instant,
}

impl Limiter {
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Limiter {
            per_second,
            left: per_second,
            since: now,
        }
    }

    /// Takes one, if any is left.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let nanos = u128::from(now.0.saturating_sub(self.since.0));
        let earned = nanos * u128::from(self.per_second) / 1_000_000_000;
        if earned > 0 {
            self.left = self.per_second.min(
                self.left
                    .saturating_add(earned.min(u128::from(u32::MAX)) as u32),
            );
            self.since = now;
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn turns_go_round() {
        let mut ready = Ready::default();
        ready.push((0, 0));
        ready.push((1, 0));
        assert!(!ready.sent(TURN - 1));
        assert_eq!(ready.front(), Some((0, 0)));
        assert!(ready.sent(100));
        assert_eq!(ready.front(), Some((1, 0)));
        assert!(!ready.sent(TURN - 1));
        ready.pop();
        assert!(!ready.sent(TURN - 1), "the next one has a full turn");
        assert_eq!(ready.front(), Some((0, 0)));
    }

    #[test]
    fn a_limiter_lets_through_its_rate() {
        let mut limiter = Limiter::new(10, Instant(0));
        let through = (0..100).filter(|_| limiter.take(Instant(0))).count();
        assert_eq!(through, 10);
        let second = Duration::from_millis(1);
        let through = (0..2000)
            .filter(|i| limiter.take(Instant(0) + second * *i))
            .count();
        assert!((19..=20).contains(&through), "{through} in two seconds");
    }
}
