//! What is received, in data order.

use anabranch_tcp::Instant;
use anabranch_tcp::autotune::RecvSize;
use anabranch_tcp::budget::{Budget, Charge};
use anabranch_tcp::packed;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Pieces that may wait out of order, and further ones for each 512 bytes of window: many small
/// segments cost more memory than they carry.
const MIN_PIECES: usize = 1024;

/// Bytes and the memory they are charged for.
#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    _charge: Option<Charge>,
}

/// The reassembly queue in data sequence space, and the window in front of it.
#[derive(Debug)]
pub(crate) struct Reassembly {
    /// Next position expected: what DATA_ACK says, but for the DATA_FIN.
    next: u64,
    ready: VecDeque<Piece>,
    ready_len: u64,
    /// Out of order, disjoint, none before `next`.
    waiting: BTreeMap<u64, Piece>,
    waiting_len: u64,
    /// Position of the DATA_FIN.
    fin: Option<u64>,
    /// `next` as last reported.
    seen: u64,
    window: Window,
    budget: Budget,
    pub(crate) duplicate_bytes: u64,
    pub(crate) dropped_bytes: u64,
}

packed!(Reassembly { next, ready_len, waiting_len, fin, seen, window, duplicate_bytes, dropped_bytes } empty { ready, waiting } kept { budget });

/// How much may be received, and what the peer was told.
#[derive(Debug)]
struct Window {
    /// First position that may not be received; never shrinks (RFC 8684 §3.3.5).
    edge: u64,
    /// `edge` as last sent.
    advertised: u64,
    /// DATA_ACK as last sent.
    acknowledged: u64,
    /// Bytes beyond what was read that may be received.
    size: RecvSize,
}

packed!(Window {
    edge,
    advertised,
    acknowledged,
    size
});

impl Reassembly {
    pub(crate) fn new(now: Instant, initial: u32, max: u32, budget: Budget) -> Reassembly {
        let size = RecvSize::new(now, initial, max);
        let window = Window {
            edge: u64::from(size.get()),
            advertised: 0,
            acknowledged: 0,
            size,
        };
        Reassembly {
            next: 0,
            ready: VecDeque::new(),
            ready_len: 0,
            waiting: BTreeMap::new(),
            waiting_len: 0,
            fin: None,
            seen: 0,
            window,
            budget,
            duplicate_bytes: 0,
            dropped_bytes: 0,
        }
    }

    /// Next position expected, DATA_FIN included: what DATA_ACK says.
    pub(crate) fn data_ack(&self) -> u64 {
        self.next + u64::from(self.fin_reached())
    }

    /// The DATA_ACK left with a segment.
    pub(crate) fn acknowledge(&mut self) {
        self.window.acknowledged = self.data_ack();
    }

    /// Whether the peer was told of all that came.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.window.acknowledged == self.data_ack()
    }

    /// Next position expected.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Whether more can be read than when this was asked last.
    pub(crate) fn take_fresh(&mut self) -> bool {
        std::mem::replace(&mut self.seen, self.next) != self.next
    }

    /// Whether everything up to the DATA_FIN has come.
    pub(crate) fn fin_reached(&self) -> bool {
        self.fin == Some(self.next)
    }

    /// Whether a DATA_FIN has come.
    pub(crate) fn knows_fin(&self) -> bool {
        self.fin.is_some()
    }

    /// After the last byte that has come.
    pub(crate) fn highest(&self) -> u64 {
        let last = self.waiting.iter().next_back();
        last.map_or(self.next, |(p, w)| p + w.bytes.len() as u64)
    }

    /// Learn where the stream ends. `false`: it contradicts what is known.
    pub(crate) fn set_fin(&mut self, position: u64) -> bool {
        match self.fin {
            Some(known) => known == position,
            None if position < self.highest() || position > self.window.edge => false,
            None => {
                self.fin = Some(position);
                true
            }
        }
    }

    /// Plain TCP from here on: what was said of an end that has not come is void.
    pub(crate) fn forget_fin(&mut self) {
        if !self.fin_reached() {
            self.fin = None;
        }
    }

    /// Add bytes at a position; those that were here before, or may not be received, are dropped.
    /// What is in order is always taken; with `forced` all is: nobody would send it again.
    pub(crate) fn insert(&mut self, position: u64, mut bytes: Bytes, forced: bool) {
        let len = bytes.len() as u64;
        let fin = self.fin.unwrap_or(u64::MAX);
        let limit = if forced {
            fin
        } else {
            fin.min(self.window.edge)
        };
        let allowed = limit.saturating_sub(position).min(len);
        // More than the window only if the subflow's own, which counted bytes that waited for a
        // mapping as received, let it in.
        self.window.edge = self.window.edge.max(position.saturating_add(allowed));
        self.dropped_bytes += len - allowed;
        bytes.truncate(allowed as usize);
        let old = self.next.saturating_sub(position).min(allowed);
        self.duplicate_bytes += old;
        let mut position = position;
        if old > 0 {
            position += old;
            let _ = bytes.split_to(old as usize);
        }
        if bytes.is_empty() {
            return;
        }
        if position == self.next && self.waiting.is_empty() {
            let charge = self.budget.charge(bytes.len());
            return self.push(Piece {
                bytes,
                _charge: charge,
            });
        }
        for (at, from, to) in self.gaps(position, bytes.len()) {
            self.hold(at, bytes.slice(from..to), forced);
        }
        self.advance();
    }

    /// The parts of `len` bytes at `position` that are not held: position, and offsets.
    fn gaps(&mut self, position: u64, len: usize) -> SmallVec<[(u64, usize, usize); 4]> {
        let mut gaps = SmallVec::new();
        let end = position + len as u64;
        let before = self.waiting.range(..=position).next_back();
        let mut at = before.map_or(position, |(p, w)| position.max(p + w.bytes.len() as u64));
        let mut missing = 0;
        let from = |at: u64| (at - position) as usize;
        for (&start, piece) in self.waiting.range(position..end) {
            if at < start {
                missing += start - at;
                gaps.push((at, from(at), from(start)));
            }
            at = at.max(start + piece.bytes.len() as u64);
        }
        if at < end {
            missing += end - at;
            gaps.push((at, from(at), len));
        }
        self.duplicate_bytes += len as u64 - missing;
        gaps
    }

    fn hold(&mut self, position: u64, bytes: Bytes, forced: bool) {
        let len = bytes.len() as u64;
        let pieces = MIN_PIECES + self.window.size.get() as usize / 512;
        let charge = self.budget.charge(bytes.len());
        if !forced && (charge.is_none() || self.waiting.len() >= pieces) && position != self.next {
            self.dropped_bytes += len;
            return;
        }
        self.waiting_len += len;
        self.waiting.insert(
            position,
            Piece {
                bytes,
                _charge: charge,
            },
        );
    }

    /// Move what is in order now.
    fn advance(&mut self) {
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() != self.next {
                break;
            }
            let piece = entry.remove();
            self.waiting_len -= piece.bytes.len() as u64;
            self.push(piece);
        }
    }

    fn push(&mut self, piece: Piece) {
        let len = piece.bytes.len() as u64;
        self.next += len;
        self.ready_len += len;
        self.ready.push_back(piece);
    }

    /// Up to `max` bytes in order.
    pub(crate) fn read(&mut self, max: usize) -> Option<Bytes> {
        let first = self.ready.front_mut()?;
        let bytes = if first.bytes.len() > max {
            first.bytes.split_to(max)
        } else {
            self.ready.pop_front()?.bytes
        };
        self.ready_len -= bytes.len() as u64;
        Some(bytes)
    }

    /// After reading: move the right edge, and let the window grow if the application keeps up
    /// with what it allows in one round trip.
    pub(crate) fn open_window(&mut self, now: Instant, rtt: Duration) {
        let read = self.next - self.ready_len;
        let w = &mut self.window;
        w.size.on_read(now, read, rtt);
        let share = self.budget.share() as u64;
        w.edge = w.edge.max(read + u64::from(w.size.get()).min(share));
    }

    /// The application wants a buffer of this size: it does not grow from now on.
    pub(crate) fn fix_size(&mut self, size: u32) {
        self.window.size.fix(size);
    }

    /// Bytes the buffer holds at most now.
    pub(crate) fn size(&self) -> u32 {
        self.window.size.get()
    }

    /// Bytes the application read in the last round trip.
    pub(crate) fn space(&self) -> u32 {
        self.window.size.space()
    }

    /// Bytes that may be received beyond the DATA_ACK.
    pub(crate) fn room(&self) -> u32 {
        u32::try_from(self.window.edge - self.next).unwrap_or(u32::MAX)
    }

    /// The window left with a segment.
    pub(crate) fn advertised(&mut self) {
        self.window.advertised = self.window.edge;
    }

    /// Whether the peer should hear of the window: it moved by a quarter, or was closed.
    pub(crate) fn update_due(&self, mss: u64) -> Option<Update> {
        let w = &self.window;
        let gain = w.edge - w.advertised;
        let left = w.advertised.saturating_sub(self.next);
        let size = u64::from(w.size.get());
        if left < 2 * mss && gain >= (2 * mss).min(size / 2) {
            Some(Update::Reopened)
        } else if gain >= size / 4 {
            Some(Update::Grown)
        } else {
            None
        }
    }

    pub(crate) fn readable(&self) -> u64 {
        self.ready_len
    }

    pub(crate) fn out_of_order(&self) -> u64 {
        self.waiting_len
    }

    /// Drop everything.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_len = 0;
    }
}

/// Why a window update is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Update {
    /// The window was closed, or nearly.
    Reopened,
    /// It grew.
    Grown,
}
