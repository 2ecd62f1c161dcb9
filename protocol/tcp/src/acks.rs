//! When to acknowledge.

use crate::Instant;
use crate::config::CHALLENGE_PERIOD;

/// Acknowledgements sent at once at the start of a connection, while the peer is in slow start.
const QUICK: u8 = 16;
/// Until full-sized segments were seen they are taken to be at least this large.
const LEAST_SEGMENT: u32 = 536;
/// Full-sized segments differ by what options take of them.
const OPTION_SPACE: u32 = 40;

#[derive(Debug)]
pub(crate) struct AckPolicy {
    /// One is due at once.
    pub(crate) now: bool,
    /// Payload received since the last one, bytes.
    unacked: u32,
    /// Acknowledgements still to be sent at once.
    quick: u8,
    /// Largest wire segment seen.
    segment: u32,
    /// Answers to unacceptable segments: period, and how many in it (RFC 5961 §7).
    challenges: (Instant, u8),
}

crate::packed!(AckPolicy {
    now,
    unacked,
    quick,
    segment,
    challenges
});

impl AckPolicy {
    pub(crate) fn new(now: Instant) -> AckPolicy {
        AckPolicy {
            now: false,
            unacked: 0,
            quick: QUICK,
            segment: LEAST_SEGMENT,
            challenges: (now, 0),
        }
    }

    /// Payload of the largest wire segment seen, or a guess.
    pub(crate) fn segment(&self) -> u32 {
        self.segment
    }

    /// Payload came in order. Tells whether a delayed acknowledgement is to be timed. A merged
    /// segment counts as the many it was made of.
    pub(crate) fn received(&mut self, bytes: u32, wire: u32) -> bool {
        self.segment = self.segment.max(wire);
        self.unacked = self.unacked.saturating_add(bytes);
        let full = self.segment - OPTION_SPACE;
        if self.quick > 0 || self.unacked >= 2 * full {
            self.now = true;
        }
        !self.now
    }

    /// Acknowledge at once for a while, or not.
    pub(crate) fn set_quick(&mut self, on: bool) {
        self.quick = if on { QUICK } else { 0 };
        self.now |= on && self.unacked > 0;
    }

    /// Something out of the ordinary came: tell the peer at once, and for a while.
    pub(crate) fn irregular(&mut self) {
        self.now = true;
        self.quick = self.quick.max(QUICK / 2);
    }

    /// Payload leaves with an acknowledgement of payload: the application answers, so waiting for
    /// its next answer is worth it.
    pub(crate) fn rides_on_data(&mut self, payload: bool) {
        if payload && self.unacked > 0 {
            self.quick = 0;
        }
    }

    /// A segment with an acknowledgement leaves.
    pub(crate) fn sent(&mut self) {
        if self.unacked > 0 {
            self.quick = self.quick.saturating_sub(1);
        }
        self.now = false;
        self.unacked = 0;
    }

    /// Whether an unacceptable segment may be answered now.
    pub(crate) fn challenge(&mut self, now: Instant, limit: u8) -> bool {
        if now.since(self.challenges.0) >= CHALLENGE_PERIOD {
            self.challenges = (now, 0);
        }
        let allowed = self.challenges.1 < limit;
        self.challenges.1 += u8::from(allowed);
        allowed
    }
}
