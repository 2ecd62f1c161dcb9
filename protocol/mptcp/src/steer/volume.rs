//! Does the peer send in bulk?

use anabranch_tcp::{Instant, packed};
use std::time::Duration;

/// So many bytes in full segments, one behind the other, are more than a request: what they take on
/// the best path alone is two or three round trips.
const BULK: u64 = 32 << 10;
/// Who sent in bulk is taken for one who does for so long.
const CALM: Duration = Duration::from_secs(1);
/// A full segment is never shorter.
const LEAST: u32 = 536;
/// Full segments differ by what options take of them.
const OPTIONS: u32 = 40;

/// Full segments in a row: who has more to send than fits sends no other, on a slow path as on a fast
/// one, and who writes a message ends it with one that is not full.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Volume {
    row: u64,
    /// Payload of the largest wire segment.
    segment: u32,
    bulk: Option<Instant>,
    last: Instant,
}

packed!(Volume {
    row,
    segment,
    bulk,
    last
});

impl Volume {
    /// `len` bytes of payload came, in wire segments of `size` (0: one).
    pub(crate) fn arrived(&mut self, now: Instant, len: u32, size: u32) {
        if len == 0 {
            return;
        }
        let size = if size == 0 { len } else { size.min(len) };
        self.segment = self.segment.max(size);
        if now.since(self.last) >= CALM {
            self.row = 0;
        }
        self.last = now;
        self.row += u64::from(len);
        if self.row >= BULK {
            self.bulk = Some(now);
        }
        let last = match len % size {
            0 => size,
            rest => rest,
        };
        if last < self.segment.saturating_sub(OPTIONS).max(LEAST) {
            self.row = 0;
        }
    }

    /// Whether it sends little.
    pub(crate) fn is_thin(&self, now: Instant) -> bool {
        self.bulk.is_none_or(|at| now.since(at) >= CALM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u32 = 1448;

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    /// Whether it is still thin after these segments, 10 ms apart.
    fn thin(segments: impl IntoIterator<Item = (u32, u32)>) -> bool {
        let mut volume = Volume::default();
        let mut now = 0;
        for (len, size) in segments {
            now += 10;
            volume.arrived(at(now), len, size);
        }
        volume.is_thin(at(now))
    }

    #[test]
    fn messages_are_thin_however_many_and_full_segments_in_a_row_are_bulk() {
        assert!(thin((0..10_000).map(|_| (64, 0))), "an echo");
        assert!(
            thin((0..1000).flat_map(|_| [(FULL, 0), (FULL, 0), (1104, 0)])),
            "messages of 4 KB"
        );
        assert!(
            !thin((0..23).map(|_| (FULL, 0))),
            "one segment after the other"
        );
        assert!(!thin((0..3).map(|_| (8 * FULL, FULL))), "merged ones");
        assert!(
            thin((0..100).map(|_| (8 * FULL + 100, FULL))),
            "merged ones that end a message"
        );
    }

    #[test]
    fn a_second_after_the_last_of_them_it_is_thin_again() {
        let mut volume = Volume::default();
        for _ in 0..30 {
            volume.arrived(at(0), FULL, 0);
        }
        assert!(!volume.is_thin(at(999)));
        assert!(volume.is_thin(at(1000)));
        volume.arrived(at(1000), 64, 0);
        assert!(volume.is_thin(at(1000)));
    }
}
