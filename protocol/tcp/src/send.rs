//! The send side's sequence variables.
//!
//! Positions here count sequence space from the SYN at 0: payload starts at 1 and the FIN follows
//! it. `rel` of the public interface is one less.

use anabranch_wire::Seq;
use std::collections::VecDeque;

#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) iss: Seq,
    pub(crate) una: u64,
    pub(crate) nxt: u64,
    /// After the appended payload.
    pub(crate) end: u64,
    /// A FIN follows the payload.
    pub(crate) fin: bool,
    /// Zero-length probes are wanted while nothing is in flight.
    pub(crate) blocked: bool,
    /// End of the last segment sent that was smaller than the mss.
    pub(crate) small: u64,
    /// What comes before does not wait to fill a segment.
    pub(crate) pushed: u64,
    /// The owner said that more follows.
    pub(crate) more: bool,
    /// The owner has more, but no room for it.
    pub(crate) starved: bool,
    pub(crate) wnd: Window,
    /// Positions that no segment spans, beyond `una`.
    boundaries: VecDeque<u64>,
}

crate::packed!(Send { iss, una, nxt, end, fin, blocked, small, pushed, more, starved, wnd } empty { boundaries });

/// The peer's window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Bytes from `una`.
    pub(crate) size: u32,
    /// Largest seen.
    pub(crate) max: u32,
    /// Shift of the window field (RFC 7323 §2.3).
    pub(crate) scale: u8,
    /// Sequence and acknowledgement number of the segment it was taken from.
    wl1: Seq,
    wl2: u64,
}

crate::packed!(Window {
    size,
    max,
    scale,
    wl1,
    wl2
});

impl Window {
    /// Take the window of an acceptable segment unless it is older than what is known
    /// (RFC 9293 §3.10.7.4). Tells whether it moved.
    pub(crate) fn update(&mut self, una: u64, seq: Seq, ack: u64, size: u32) -> bool {
        let newer = self.wl1.lt(seq) || (self.wl1 == seq && self.wl2 <= ack);
        if !newer && ack <= una {
            return false;
        }
        self.force(seq, ack, size)
    }

    /// The window was taken from a segment beyond a hole that is still there, or that nobody sent.
    /// From now on what is said at `next`, in order, counts again: a window that was forged to be
    /// closed does not stay so.
    pub(crate) fn no_newer_than(&mut self, next: Seq) {
        if next.lt(self.wl1) {
            self.wl1 = next;
        }
    }

    /// Take the window in any case.
    pub(crate) fn force(&mut self, seq: Seq, ack: u64, size: u32) -> bool {
        (self.wl1, self.wl2) = (seq, ack);
        self.max = self.max.max(size);
        std::mem::replace(&mut self.size, size) != size
    }
}

impl Send {
    pub(crate) fn new(iss: Seq) -> Send {
        Send {
            iss,
            una: 0,
            nxt: 0,
            end: 1,
            fin: false,
            blocked: false,
            small: 0,
            pushed: 0,
            more: false,
            starved: false,
            wnd: Window::default(),
            boundaries: VecDeque::new(),
        }
    }

    pub(crate) fn seq(&self, position: u64) -> Seq {
        self.iss + position as u32
    }

    /// Position of an acknowledgement number, as near `una` as can be.
    pub(crate) fn position(&self, ack: Seq) -> i64 {
        self.una as i64 + i64::from(ack.since(self.seq(self.una)))
    }

    pub(crate) fn append(&mut self, len: u64, boundary: bool) {
        if boundary && self.end > self.una.max(1) && self.boundaries.back() != Some(&self.end) {
            self.boundaries.push_back(self.end);
        }
        self.end += len;
    }

    /// Where a segment that starts at `position` must end: a boundary, or the end with the FIN.
    pub(crate) fn run_end(&self, position: u64) -> u64 {
        let next = self.boundaries.partition_point(|b| *b <= position);
        self.boundaries
            .get(next)
            .copied()
            .unwrap_or_else(|| self.limit())
    }

    /// The last position at which a run starts before `position`.
    pub(crate) fn run_start(&self, position: u64) -> u64 {
        let next = self.boundaries.partition_point(|b| *b < position);
        next.checked_sub(1).map_or(0, |i| self.boundaries[i])
    }

    pub(crate) fn acked(&mut self, una: u64) {
        self.una = una;
        while self.boundaries.front().is_some_and(|b| *b <= una) {
            self.boundaries.pop_front();
        }
    }

    /// After everything there is to send, FIN included.
    pub(crate) fn limit(&self) -> u64 {
        self.end + u64::from(self.fin)
    }

    /// Right edge of the peer's window.
    pub(crate) fn right(&self) -> u64 {
        // Our SYN takes no room at the peer, which with Fast Open may have let payload follow it.
        self.una.max(1) + u64::from(self.wnd.size)
    }

    /// Whether our FIN was acknowledged.
    pub(crate) fn fin_acked(&self) -> bool {
        self.fin && self.una > self.end
    }

    /// A position as the public interface counts, FIN left out.
    pub(crate) fn rel(&self, position: u64) -> u64 {
        position.clamp(1, self.end) - 1
    }
}
