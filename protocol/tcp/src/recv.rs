//! The receive side: what came, what may come, and what to acknowledge selectively.
//!
//! Positions count the peer's sequence space from its SYN at 0.

use crate::ranges::RangeSet;
use crate::segment::Segment;
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, SackBlocks};
use smallvec::SmallVec;
use std::ops::Range;

/// Holes kept in what was received out of order, however little that is ...
const HOLES: u64 = 256;
/// ... and one more for so many bytes of it: where every other segment of a large window was lost
/// there are as many holes as segments. What would make another is dropped.
const BYTES_PER_HOLE: u64 = 512;
/// SACK blocks remembered as most recent.
const RECENT: usize = 4;

#[derive(Debug, Default)]
pub(crate) struct Recv {
    /// The peer's initial sequence number.
    pub(crate) irs: Option<Seq>,
    pub(crate) nxt: u64,
    /// Highest right edge ever advertised: payload before it is acceptable.
    pub(crate) adv: u64,
    /// Shift of our window field.
    pub(crate) scale: u8,
    /// Position of the peer's FIN.
    fin: Option<u64>,
    /// Window last advertised, bytes.
    last_wnd: u64,
    out_of_order: RangeSet,
    /// Positions received out of order, the most recent first.
    recent: SmallVec<[u64; RECENT]>,
    /// Something received twice, to be reported once (RFC 2883).
    dsack: Option<(u64, u64)>,
}

crate::packed!(Recv {
    irs,
    nxt,
    adv,
    scale,
    fin,
    last_wnd,
    out_of_order,
    recent,
    dsack
});

/// What became of a segment's payload and FIN.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    /// Payload offsets not seen before.
    pub(crate) new: SmallVec<[Range<u32>; 2]>,
    /// It moved `nxt`.
    pub(crate) in_order: bool,
    /// All or part of it was out of order, filled a hole, or was seen before.
    pub(crate) irregular: bool,
    /// It would have made one hole too many.
    pub(crate) dropped: bool,
    /// The peer's FIN is now in order.
    pub(crate) fin: bool,
}

impl Recv {
    /// The peer's SYN.
    pub(crate) fn start(&mut self, irs: Seq) {
        self.irs = Some(irs);
        self.nxt = 1;
        // The window of our SYN, if we sent one first, counts from after the peer's SYN.
        self.adv += 1;
    }

    pub(crate) fn seq(&self, position: u64) -> Seq {
        self.irs.unwrap_or_default() + position as u32
    }

    /// Position of a sequence number, as near `nxt` as can be.
    pub(crate) fn position(&self, seq: Seq) -> i64 {
        self.nxt as i64 + i64::from(seq.since(self.seq(self.nxt)))
    }

    /// Whether the peer's FIN came in order.
    pub(crate) fn fin_received(&self) -> bool {
        self.fin.is_some_and(|fin| self.nxt > fin)
    }

    /// Next position expected as the public interface counts, SYN and FIN left out.
    pub(crate) fn rel_nxt(&self) -> u64 {
        self.nxt.saturating_sub(1 + u64::from(self.fin_received()))
    }

    /// Ranges kept of what came out of order.
    pub(crate) fn holes(&self) -> usize {
        self.out_of_order.len()
    }

    pub(crate) fn has_holes(&self) -> bool {
        !self.out_of_order.is_empty()
    }

    /// Whether what starts at `start` is missing before something that came.
    pub(crate) fn is_hole(&self, start: i64) -> bool {
        let Some((_, end)) = self.out_of_order.last() else {
            return false;
        };
        let within = start >= self.nxt as i64 && start < end as i64;
        within && self.out_of_order.at(start as u64).is_none()
    }

    /// Whether the next acknowledgement has something to say by SACK.
    pub(crate) fn has_sack(&self) -> bool {
        self.has_holes() || self.dsack.is_some()
    }

    /// Payload and FIN of an acceptable segment; its payload starts at position `start`.
    pub(crate) fn arrive(&mut self, start: i64, segment: &Segment) -> Arrival {
        let end = start + i64::from(segment.len);
        let mut arrival = Arrival::default();
        let has_fin = segment.flags.has(Flags::FIN) && self.fin_fits(end);
        self.note_duplicate(start, end + i64::from(has_fin), &mut arrival);
        let last = self.fin.unwrap_or(u64::MAX).min(self.adv);
        let from = start.max(self.nxt as i64) as u64;
        let to = (end.max(0) as u64).min(last);
        let to_fin = if has_fin { to + 1 } else { to };
        if from >= to_fin {
            return arrival;
        }
        let holes = &self.out_of_order;
        let full = holes.len() as u64 >= HOLES + holes.bytes() / BYTES_PER_HOLE;
        if full && from > self.nxt && !self.out_of_order.touches(from, to_fin) {
            arrival.dropped = true;
            arrival.irregular = true;
            return arrival;
        }
        if has_fin {
            self.fin = Some(end as u64);
        }
        let offset = |position: u64| (position as i64 - start) as u32;
        let gaps = self.out_of_order.gaps(from, to);
        arrival.new = gaps.map(|(s, e)| offset(s)..offset(e)).collect();
        arrival.irregular |= self.has_holes();
        if from == self.nxt {
            self.advance(to_fin);
            arrival.in_order = true;
        } else {
            arrival.irregular = true;
            self.out_of_order.insert(from, to_fin);
            self.note_recent(from);
        }
        arrival.fin = self.fin_received();
        arrival
    }

    /// Whether a FIN may stand at `end`. It may stand just outside the window: it takes no room.
    fn fin_fits(&self, end: i64) -> bool {
        let Ok(end) = u64::try_from(end) else {
            return false;
        };
        let beyond = self.out_of_order.last().is_some_and(|r| r.1 > end + 1);
        match self.fin {
            Some(fin) => fin == end,
            None => end <= self.adv && end >= self.nxt && !beyond,
        }
    }

    /// Remember a part that was received before, for DSACK.
    fn note_duplicate(&mut self, start: i64, end: i64, arrival: &mut Arrival) {
        if start < end && end > 0 && start < self.nxt as i64 {
            arrival.irregular = true;
            self.dsack = Some((start.max(0) as u64, (end.max(0) as u64).min(self.nxt)));
            return;
        }
        let (start, end) = (start as u64, end as u64);
        if start < end && self.out_of_order.at(start).is_some() {
            let fresh = self.out_of_order.gap(start, end).map_or(end, |gap| gap.0);
            arrival.irregular = true;
            self.dsack = Some((start, fresh));
            self.note_recent(start);
        }
    }

    /// A segment wholly before the window came again.
    pub(crate) fn duplicate(&mut self, start: i64, end: i64) {
        self.note_duplicate(start, end, &mut Arrival::default());
    }

    fn advance(&mut self, to: u64) {
        self.nxt = to;
        while let Some((start, end)) = self.out_of_order.first() {
            if start > self.nxt {
                break;
            }
            self.nxt = self.nxt.max(end);
            self.out_of_order.remove_before(self.nxt);
        }
        self.adv = self.adv.max(self.nxt);
    }

    fn note_recent(&mut self, position: u64) {
        let ranges = &self.out_of_order;
        let newest = ranges.at(position);
        self.recent
            .retain(|p| ranges.at(*p).is_some_and(|r| Some(r) != newest));
        self.recent.truncate(RECENT - 1);
        self.recent.insert(0, position);
    }

    /// SACK blocks, at most `max`: a duplicate first (RFC 2883), then the most recent first
    /// (RFC 2018 §4).
    pub(crate) fn sack_blocks(&mut self, max: usize) -> SackBlocks {
        let mut blocks: SmallVec<[(u64, u64); 5]> = SmallVec::new();
        if max == 0 {
            return SackBlocks::new();
        }
        blocks.extend(self.dsack.take());
        let reported = blocks.len();
        for range in self.recent.iter().filter_map(|p| self.out_of_order.at(*p)) {
            if blocks.len() < max && !blocks[reported..].contains(&range) {
                blocks.push(range);
            }
        }
        blocks
            .iter()
            .take(max)
            .map(|(s, e)| (self.seq(*s), self.seq(*e)))
            .collect()
    }

    /// The window field to send, and the edge it advertises. `step`: the right edge moves by at
    /// least this much or not at all (RFC 9293 §3.8.6.2.2).
    pub(crate) fn window(&mut self, room: u32, shared: bool, step: u64, scale: u8) -> u16 {
        let largest = 65_535u64 << scale;
        let wanted = u64::from(room).min(largest);
        let kept = self.adv.saturating_sub(self.nxt).min(largest);
        let size = if shared || self.nxt + wanted >= self.adv + step {
            wanted
        } else {
            kept
        };
        let field = size >> scale;
        self.last_wnd = field << scale;
        self.adv = self.adv.max(self.nxt + self.last_wnd);
        field as u16
    }

    /// Whether so much room was freed that the peer should hear of it without asking.
    pub(crate) fn update_due(&self, room: u32, shared: bool, step: u64) -> bool {
        let room = u64::from(room).min(65_535 << self.scale);
        let left = if shared {
            self.last_wnd
        } else {
            self.adv.saturating_sub(self.nxt)
        };
        room >= left + step && room >= 2 * left
    }
}
