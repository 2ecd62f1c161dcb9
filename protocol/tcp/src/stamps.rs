//! Timestamps (RFC 7323 §3 to §5).

use crate::Instant;
use anabranch_wire::tcp::Timestamps;
use std::time::Duration;

/// `ts_recent` older than this is not compared with (RFC 7323 §5.5: 24 days).
const STALE: Duration = Duration::from_secs(24 * 24 * 3600);

/// State of the timestamps option; the clock ticks every millisecond.
#[derive(Debug)]
pub(crate) struct Stamps {
    /// Agreed.
    pub(crate) on: bool,
    offset: u32,
    /// TS.Recent.
    pub(crate) recent: u32,
    recent_at: Instant,
    /// Position acknowledged last (Last.ACK.sent).
    pub(crate) last_ack_sent: u64,
}

crate::packed!(Stamps {
    on,
    offset,
    recent,
    recent_at,
    last_ack_sent
});

impl Stamps {
    pub(crate) fn new(offset: u32) -> Stamps {
        Stamps {
            on: false,
            offset,
            recent: 0,
            recent_at: Instant(0),
            last_ack_sent: 0,
        }
    }

    /// Bytes the option takes on a segment, padding included.
    pub(crate) fn option_len(&self) -> u32 {
        if self.on { 12 } else { 0 }
    }

    /// TSval at `now`.
    pub(crate) fn val(&self, now: Instant) -> u32 {
        val(self.offset, now)
    }

    /// TSval at the origin of time.
    pub(crate) fn offset(&self) -> u32 {
        self.offset
    }

    /// The option as it would be sent at `now`.
    pub(crate) fn make(&self, now: Instant) -> Timestamps {
        Timestamps {
            val: self.val(now),
            ecr: self.recent,
        }
    }

    pub(crate) fn set_recent(&mut self, val: u32, now: Instant) {
        (self.recent, self.recent_at) = (val, now);
    }

    /// Whether a segment with this TSval is too old to be of this connection (PAWS, RFC 7323 §5).
    pub(crate) fn too_old(&self, val: u32, now: Instant) -> bool {
        before(val, self.recent) && now.since(self.recent_at) < STALE
    }

    /// A segment that is not too old and starts at `start` may move TS.Recent (RFC 7323 §4.3).
    pub(crate) fn update(&mut self, val: u32, start: i64, now: Instant) {
        if start <= self.last_ack_sent as i64 && !(before(val, self.recent)) {
            self.set_recent(val, now);
        }
    }

    /// The round-trip time that an echo shows, no better than the clock; `None` if it cannot be.
    pub(crate) fn rtt(&self, ecr: u32, now: Instant) -> Option<Duration> {
        let passed = self.val(now).wrapping_sub(ecr);
        (passed < 1 << 24).then(|| Duration::from_millis(u64::from(passed.max(1))))
    }
}

/// TSval at `now` of a clock that showed `offset` at the origin of time.
pub(crate) fn val(offset: u32, now: Instant) -> u32 {
    offset.wrapping_add((now.0 / 1_000_000) as u32)
}

/// Whether timestamp `a` comes before `b`.
pub(crate) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
