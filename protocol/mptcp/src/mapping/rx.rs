//! Mappings of what we receive on one subflow, and payload that waits for them.

use anabranch_tcp::budget::{Budget, Charge};
use anabranch_tcp::packed;
use anabranch_wire::checksum::{self, Sum};
use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Mappings kept for bytes that have not come. A peer that repeats the mapping on each segment
/// needs one or two.
const MAX_MAPPINGS: usize = 4096;
/// Payload without a mapping that may wait: twice the largest mapping. RFC 8684 §3.7: a subflow
/// whose buffer fills because mappings do not come is broken.
const MAX_UNMAPPED: u64 = 128 << 10;
/// Pieces that may wait.
const MAX_WAITING: usize = 16 << 10;

/// A mapping as received.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct RxMapping {
    /// Subflow position of the first byte.
    pub(crate) rel: u64,
    /// Data position of the first byte.
    pub(crate) position: u64,
    /// Payload bytes; `u64::MAX` makes it infinite.
    pub(crate) len: u64,
    /// What to verify, where checksums are in use.
    pub(crate) check: Option<Check>,
}

packed!(RxMapping {
    rel,
    position,
    len,
    check
});

/// A DSS checksum and the fields of the pseudo-header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Check {
    pub(crate) dsn: u64,
    pub(crate) ssn: u32,
    pub(crate) len: u16,
    pub(crate) checksum: u16,
}

packed!(Check {
    dsn,
    ssn,
    len,
    checksum
});

impl Check {
    pub(crate) fn holds(&self, payload: Sum) -> bool {
        checksum::dss_valid(self.dsn, self.ssn, self.len, payload, self.checksum)
    }
}

impl RxMapping {
    fn end(&self) -> u64 {
        self.rel.saturating_add(self.len)
    }

    fn contains(&self, rel: u64) -> bool {
        self.rel <= rel && rel < self.end()
    }

    /// Distance from subflow to data positions.
    fn shift(&self) -> u64 {
        self.position.wrapping_sub(self.rel)
    }
}

/// Payload with its data position, ready for reassembly.
pub(crate) type Delivery = SmallVec<[(u64, Bytes); 2]>;

/// Why a subflow cannot go on as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Too much payload without a mapping.
    Unmapped,
    /// So much of it, in so small pieces, that some was dropped.
    Overflow,
    /// The mapping at this data position has a wrong checksum.
    Checksum(u64),
}

/// What is known of one subflow's bytes: where they belong, and those that wait.
#[derive(Debug, Default)]
pub(crate) struct RxMappings {
    /// Sorted, disjoint.
    mappings: VecDeque<RxMapping>,
    /// Bytes that came, of the checked mapping that begins here.
    arrived: BTreeMap<u64, u64>,
    /// The last one registered: repetitions are the common case.
    last: Option<RxMapping>,
    /// Payload without a mapping, or of a mapping that is checked when it is whole.
    waiting: BTreeMap<u64, Bytes>,
    /// Bytes in `waiting`, and where they are charged.
    held: u64,
    charge: Option<Charge>,
    /// Bytes in `waiting` without a mapping.
    unmapped: u64,
    trouble: Option<Trouble>,
    /// The end of the last mapping, subflow position, and its distance to data positions.
    tail: (u64, u64),
    /// Bytes of mappings with a wrong checksum.
    pub(crate) failed: u64,
    /// Mappings that contradict earlier ones.
    pub(crate) conflicts: u64,
}

packed!(RxMappings { mappings, last, held, unmapped, tail, failed, conflicts } empty { arrived, waiting, charge, trouble });

impl RxMappings {
    /// Learn a mapping that came with bytes from `floor` on; payload that waited for it goes to
    /// `out`. What was mapped before stays as it was (RFC 8684 §3.3: a mapping cannot be changed).
    pub(crate) fn register(&mut self, mapping: RxMapping, floor: u64, out: &mut Delivery) {
        if self.last == Some(mapping) || mapping.len == 0 {
            return;
        }
        let floor = self.waiting.keys().next().map_or(floor, |w| floor.min(*w));
        if mapping.end() <= floor || self.mappings.len() >= MAX_MAPPINGS {
            return;
        }
        self.last = Some(mapping);
        for part in self.uncovered(&mapping) {
            if part.end() > self.tail.0 {
                self.tail = (part.end(), part.shift());
            }
            let at = self.mappings.partition_point(|m| m.rel < part.rel);
            self.mappings.insert(at, part);
            self.release(part.rel..part.end(), out);
        }
    }

    /// The parts of `new` that no mapping covers.
    fn uncovered(&mut self, new: &RxMapping) -> SmallVec<[RxMapping; 2]> {
        let mut parts = SmallVec::new();
        let mut at = new.rel;
        let first = self.mappings.partition_point(|m| m.end() <= new.rel);
        let mut overlaps = false;
        for old in self.mappings.range(first..) {
            if old.rel >= new.end() {
                break;
            }
            overlaps = true;
            let agree = old.shift() == new.shift() && old.check.is_none() && new.check.is_none();
            // A checked mapping is taken whole or not at all.
            self.conflicts += u64::from(!agree && old != new);
            if at < old.rel {
                parts.push(part(new, at..old.rel));
            }
            at = at.max(old.end());
        }
        if at < new.end() {
            parts.push(part(new, at..new.end()));
        }
        if overlaps && new.check.is_some() {
            parts.clear();
        }
        parts
    }

    /// Payload that was new to the subflow, from position `rel` on. All of it is kept, whatever
    /// trouble it makes: a fallback may need it.
    pub(crate) fn feed(&mut self, mut rel: u64, mut bytes: Bytes, out: &mut Delivery) {
        while bytes.has_remaining() {
            let i = self.mappings.partition_point(|m| m.end() <= rel);
            match self.mappings.get(i).copied() {
                Some(m) if m.contains(rel) => {
                    let take = (m.end() - rel).min(bytes.len() as u64) as usize;
                    let piece = bytes.split_to(take);
                    self.mapped(&m, rel, piece, out);
                    rel += take as u64;
                }
                next => {
                    let gap = next.map_or(u64::MAX, |m| m.rel - rel);
                    let take = gap.min(bytes.len() as u64) as usize;
                    let piece = bytes.split_to(take);
                    self.unmapped += take as u64;
                    self.wait(rel, piece);
                    rel += take as u64;
                }
            }
        }
        if self.unmapped > MAX_UNMAPPED {
            self.trouble.get_or_insert(Trouble::Unmapped);
        }
    }

    /// Charge what waits: TCP has acknowledged it, so it is kept whatever there is.
    pub(crate) fn account(&mut self, budget: &Budget) {
        match &mut self.charge {
            _ if self.held == 0 => self.charge = None,
            Some(charge) => charge.set(self.held as usize),
            none => *none = Some(budget.charge_anyway(self.held as usize)),
        }
    }

    /// What was found wrong since this was asked last.
    pub(crate) fn take_trouble(&mut self) -> Option<Trouble> {
        self.trouble.take()
    }

    /// Payload that lies within `mapping`.
    fn mapped(&mut self, mapping: &RxMapping, rel: u64, piece: Bytes, out: &mut Delivery) {
        let Some(check) = mapping.check else {
            out.push((rel.wrapping_add(mapping.shift()), piece));
            return;
        };
        let arrived = self.arrived.entry(mapping.rel).or_default();
        *arrived += piece.len() as u64;
        let whole = *arrived == mapping.len;
        self.wait(rel, piece);
        if whole {
            self.check(mapping, &check, out);
        }
    }

    /// Verify a mapping all bytes of which are here, and hand them over.
    fn check(&mut self, mapping: &RxMapping, check: &Check, out: &mut Delivery) {
        let range = mapping.rel..mapping.end();
        let pieces = self.waiting.range(range.clone()).map(|(_, b)| b.as_ref());
        if !check.holds(checksum::sum_slices(pieces)) {
            self.failed += mapping.len;
            self.trouble
                .get_or_insert(Trouble::Checksum(mapping.position));
            return;
        }
        while let Some((&rel, _)) = self.waiting.range(range.clone()).next() {
            let piece = self.waiting.remove(&rel).unwrap_or_default();
            self.held -= piece.len() as u64;
            out.push((rel.wrapping_add(mapping.shift()), piece));
        }
        self.arrived.remove(&mapping.rel);
    }

    fn wait(&mut self, rel: u64, piece: Bytes) {
        if self.waiting.len() < MAX_WAITING {
            self.held += piece.len() as u64;
            self.waiting.insert(rel, piece);
        } else {
            self.trouble = Some(Trouble::Overflow);
        }
    }

    /// Payload in `range` that waited for a mapping has got one.
    fn release(&mut self, range: Range<u64>, out: &mut Delivery) {
        self.cut(range.start);
        self.cut(range.end);
        let keys: Vec<u64> = self.waiting.range(range).map(|(rel, _)| *rel).collect();
        for rel in keys {
            let Some(piece) = self.waiting.remove(&rel) else {
                continue;
            };
            self.unmapped -= piece.len() as u64;
            self.held -= piece.len() as u64;
            self.feed(rel, piece, out);
        }
    }

    /// Cut the waiting piece that reaches over `at`, if one does.
    fn cut(&mut self, at: u64) {
        if let Some((rel, piece)) = self.waiting.range_mut(..at).next_back()
            && rel + piece.len() as u64 > at
        {
            let tail = piece.split_off((at - rel) as usize);
            self.waiting.insert(at, tail);
        }
    }

    /// Forget mappings whose bytes have all come.
    pub(crate) fn forget(&mut self, rcv_nxt: u64) {
        while let Some(m) = self.mappings.front() {
            if m.end() > rcv_nxt || self.arrived.contains_key(&m.rel) {
                break;
            }
            self.mappings.pop_front();
        }
    }

    /// Whether payload waits for a mapping.
    pub(crate) fn has_unmapped(&self) -> bool {
        self.unmapped > 0
    }

    /// Subflow position of the first byte that waits.
    pub(crate) fn first_waiting(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }

    /// Subflow position of the first byte that waits for a mapping.
    pub(crate) fn first_unmapped(&self) -> Option<u64> {
        if self.unmapped == 0 {
            return None;
        }
        let mapped = |rel: u64| {
            let i = self.mappings.partition_point(|m| m.end() <= rel);
            self.mappings.get(i).is_some_and(|m| m.contains(rel))
        };
        self.waiting.keys().copied().find(|rel| !mapped(*rel))
    }

    /// Whether all that is mapped from `mapping.rel` on, or was mapped last, is part of the stream
    /// that `mapping` would make of it.
    pub(crate) fn agrees(&self, mapping: &RxMapping) -> bool {
        let shift = mapping.shift();
        let recent = self.mappings.iter().rev();
        let mut later = recent.take_while(|m| m.end() > mapping.rel);
        self.tail.1 == shift && later.all(|m| m.shift() == shift)
    }

    /// Data position after the last byte mapped.
    pub(crate) fn end(&self) -> u64 {
        self.tail.0.wrapping_add(self.tail.1)
    }

    /// Forget bytes with wrong checksums all of which came before data position `next` from
    /// elsewhere.
    pub(crate) fn forgive(&mut self, next: u64) {
        let (arrived, waiting) = (&mut self.arrived, &mut self.waiting);
        let (failed, held) = (&mut self.failed, &mut self.held);
        self.mappings.retain(|m| {
            let whole = m.check.is_some() && arrived.get(&m.rel) == Some(&m.len);
            let void = whole && m.position.saturating_add(m.len) <= next;
            if void {
                *failed -= m.len;
                *held -= m.len;
                arrived.remove(&m.rel);
                waiting.retain(|rel, _| !m.contains(*rel));
            }
            !void
        });
    }

    /// From `mapping.rel` on everything belongs to this infinite mapping, whatever was said or
    /// found wrong before.
    pub(crate) fn make_infinite(&mut self, mapping: RxMapping, out: &mut Delivery) {
        self.mappings.retain(|m| m.end() <= mapping.rel);
        let shift = mapping.shift();
        self.cut(mapping.rel);
        let waiting = self.waiting.split_off(&mapping.rel);
        out.extend(
            waiting
                .into_iter()
                .map(|(rel, b)| (rel.wrapping_add(shift), b)),
        );
        self.unmapped = 0;
        self.waiting.clear();
        self.held = 0;
        self.arrived.clear();
        self.mappings.push_back(mapping);
        self.last = None;
    }
}

/// The part of a mapping that covers `range`.
fn part(mapping: &RxMapping, range: Range<u64>) -> RxMapping {
    RxMapping {
        rel: range.start,
        position: range.start.wrapping_add(mapping.shift()),
        len: range.end - range.start,
        check: mapping.check,
    }
}
