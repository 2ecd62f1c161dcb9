//! The send buffer as Linux counts it: scripts compare what a write takes to the byte.
//!
//! A write fills buffers (`sk_buff`) of at most half the peer's window; whether there is memory for
//! more is looked at only before a new one, which then is filled whole.

/// Memory that a buffer takes beside its bytes, and what a segment of the congestion window is
/// reckoned to take.
const OVERHEAD: usize = 1280;
const LARGEST: usize = 65_535;

#[derive(Clone, Debug)]
pub(crate) struct SendBuffer {
    /// `sk_sndbuf`.
    limit: usize,
    /// Set by the application, so that it does not grow.
    fixed: bool,
    /// Bytes of the last buffer, while some of them are unsent.
    tail: usize,
}

/// What there is to know of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) mss: usize,
    /// The largest window of the peer so far.
    pub(crate) window: usize,
    /// Written and not acknowledged; written and not sent.
    pub(crate) queued: usize,
    pub(crate) unsent: usize,
    /// In segments.
    pub(crate) cwnd: usize,
    pub(crate) in_flight: usize,
    /// `TCP_NOTSENT_LOWAT`.
    pub(crate) lowat: usize,
}

impl SendBuffer {
    pub(crate) fn new(limit: u32) -> SendBuffer {
        SendBuffer {
            limit: limit as usize,
            fixed: false,
            tail: 0,
        }
    }

    /// `SO_SNDBUF`: Linux doubles what is asked for.
    pub(crate) fn fix(&mut self, asked: u32) {
        self.limit = 2 * asked as usize;
        self.fixed = true;
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// How many more bytes of a write to take at once; 0: the application has to wait.
    pub(crate) fn room(&self, sending: &Sending) -> usize {
        let goal = sending.goal();
        let tail = self.tail.min(sending.unsent);
        if tail > 0 && tail < goal {
            return goal - tail;
        }
        if self.has_memory(sending) && sending.unsent < sending.lowat {
            goal
        } else {
            0
        }
    }

    pub(crate) fn took(&mut self, bytes: usize, sending: &Sending) {
        let tail = self.tail.min(sending.unsent);
        self.tail = if tail < sending.goal() {
            tail + bytes
        } else {
            bytes
        };
    }

    fn has_memory(&self, sending: &Sending) -> bool {
        sending.memory() < self.limit
    }

    /// Whether waiting writers are worth waking.
    pub(crate) fn is_writable(&self, sending: &Sending) -> bool {
        let memory = sending.memory();
        let free = self.limit.saturating_sub(memory);
        free >= memory / 2 && 2 * sending.unsent < sending.lowat.max(1)
    }

    /// Something was acknowledged while a writer waits: the buffer grows with the window, if that
    /// is not full.
    pub(crate) fn grow(&mut self, sending: &Sending, most: usize) {
        if !self.fixed && sending.in_flight < sending.cwnd {
            let segment = (sending.mss + OVERHEAD / 2).next_power_of_two() + 256;
            let wanted = 2 * sending.cwnd.max(10) * segment;
            self.limit = self.limit.max(wanted.min(most));
        }
    }
}

impl Sending {
    /// Bytes of a full buffer: whole segments.
    fn goal(&self) -> usize {
        let most = (self.window / 2).clamp(self.mss, LARGEST);
        most / self.mss * self.mss
    }

    fn memory(&self) -> usize {
        self.queued + self.queued.div_ceil(self.goal()) * OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDING: Sending = Sending {
        mss: 1000,
        window: 32_896,
        queued: 0,
        unsent: 0,
        cwnd: 10,
        in_flight: 0,
        lowat: usize::MAX,
    };

    /// Ten segments leave at once, the rest stays.
    fn write(buffer: &mut SendBuffer, lowat: usize) -> usize {
        let mut taken = 0;
        loop {
            let sending = Sending {
                queued: taken,
                unsent: taken.saturating_sub(10_000),
                lowat,
                ..SENDING
            };
            match buffer.room(&sending) {
                0 => return taken,
                room => {
                    buffer.took(room, &sending);
                    taken += room;
                }
            }
        }
    }

    #[test]
    fn memory_is_looked_at_before_each_buffer_only() {
        assert_eq!(write(&mut SendBuffer::new(50_000), usize::MAX), 58_000);
        assert_eq!(write(&mut SendBuffer::new(50_000), 4000), 26_000);
    }

    #[test]
    fn a_buffer_that_was_set_does_not_grow() {
        let full = Sending {
            cwnd: 40,
            ..SENDING
        };
        let mut buffer = SendBuffer::new(50_000);
        buffer.grow(&full, 1 << 22);
        assert!(buffer.limit() > 100_000);
        buffer.fix(20_000);
        buffer.grow(&full, 1 << 22);
        assert_eq!(buffer.limit(), 40_000);
    }
}
