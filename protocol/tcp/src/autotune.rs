//! Sizes of buffers that follow what a connection can use.
//!
//! They bound what may be promised or taken; memory is charged for what is there only, so an idle
//! connection costs nothing, whatever its sizes.

use crate::Instant;
use std::time::Duration;

/// A round is never taken to be shorter: timestamps tell no better, and applications are woken no
/// oftener.
const LEAST_ROUND: Duration = Duration::from_millis(1);

/// Size of a receive buffer: at least four times what the application reads in a round trip. A
/// sender in slow start doubles its window each round, and hears of more room only after a part of
/// the next.
#[derive(Clone, Copy, Debug)]
pub struct RecvSize {
    size: u32,
    max: u32,
    /// Start of the round, and the position read up to then.
    mark: (Instant, u64),
    /// Bytes read in the last round.
    space: u32,
}

crate::packed!(RecvSize {
    size,
    max,
    mark,
    space
});

impl RecvSize {
    /// Starts with `initial` bytes and grows to `max`; fixed if `initial` is not less.
    pub fn new(now: Instant, initial: u32, max: u32) -> RecvSize {
        RecvSize {
            size: initial.min(max),
            max,
            mark: (now, 0),
            space: 0,
        }
    }

    /// Stays at `size` bytes from now on.
    pub fn fix(&mut self, size: u32) {
        (self.size, self.max) = (size, size);
    }

    /// Bytes.
    pub fn get(&self) -> u32 {
        self.size
    }

    /// Bytes the application read in the last round.
    pub fn space(&self) -> u32 {
        self.space
    }

    /// The application has read everything before position `read`; `round` is the longest
    /// round-trip time of what brings the bytes.
    pub fn on_read(&mut self, now: Instant, read: u64, round: Duration) {
        let copied = u32::try_from(read - self.mark.1).unwrap_or(u32::MAX);
        let over = now.since(self.mark.0) >= round.max(LEAST_ROUND);
        let grows = copied > self.size / 4 && self.size < self.max;
        if grows {
            self.size = self.size.saturating_mul(2).min(self.max);
        }
        if over || grows {
            self.space = copied;
            self.mark = (now, read);
        }
    }
}

/// Size of a send buffer: twice the congestion window, so that there is always another window to
/// send while one is under way, and besides what the peer has selectively acknowledged: it is no
/// longer under way, but stays until the hole before it is filled.
#[derive(Clone, Copy, Debug)]
pub struct SendSize {
    initial: usize,
    max: usize,
}

crate::packed!(SendSize { initial, max });

impl SendSize {
    /// From `initial` to `max` bytes; fixed if `initial` is not less.
    pub fn new(initial: usize, max: usize) -> SendSize {
        SendSize {
            initial: initial.min(max),
            max,
        }
    }

    /// Stays at `size` bytes from now on.
    pub fn fix(&mut self, size: usize) {
        *self = SendSize::new(size, size);
    }

    /// Bytes, for a congestion window of `cwnd` bytes while `sacked` are selectively acknowledged.
    pub fn get(&self, cwnd: u64, sacked: u64) -> usize {
        let wanted = cwnd.saturating_mul(2).saturating_add(sacked);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        wanted.clamp(self.initial, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    #[test]
    fn the_receive_buffer_is_four_times_what_is_read_in_a_round() {
        let mut size = RecvSize::new(at(0), 1000, 16_000);
        // A round of 200 bytes fits four times.
        size.on_read(at(5), 100, ROUND);
        size.on_read(at(10), 200, ROUND);
        assert_eq!((size.get(), size.space()), (1000, 200));
        // 400 bytes do not.
        size.on_read(at(12), 400, ROUND);
        size.on_read(at(15), 600, ROUND);
        assert_eq!(size.get(), 2000);
        for i in 1..10 {
            size.on_read(at(30 + i), 100_000 * i, ROUND);
        }
        assert_eq!(size.get(), 16_000, "the limit");
    }

    #[test]
    fn a_slow_reader_gets_no_more_than_it_reads() {
        let mut size = RecvSize::new(at(0), 1000, 16_000);
        for round in 1..100 {
            size.on_read(at(10 * round), 250 * round, ROUND);
        }
        assert_eq!(size.get(), 1000);
    }

    #[test]
    fn the_send_buffer_is_twice_the_congestion_window() {
        let size = SendSize::new(100, 1000);
        let sizes = [10, 200, 5000].map(|cwnd| size.get(cwnd, 0));
        assert_eq!(sizes, [100, 400, 1000]);
        assert_eq!(size.get(200, 150), 550, "what is sacked comes besides");
    }
}
