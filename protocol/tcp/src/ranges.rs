//! Sets of positions as sorted, disjoint ranges.

use std::collections::VecDeque;

/// A set of positions. Look-ups are O(log n) in the number of ranges; changes near either end are
/// cheap, which is where loss happens.
#[derive(Debug, Default)]
pub(crate) struct RangeSet {
    /// Sorted, disjoint, not touching: `[start, end)`.
    ranges: VecDeque<(u64, u64)>,
    bytes: u64,
}

crate::packed!(RangeSet { bytes } empty { ranges });

impl RangeSet {
    /// Positions in the set.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Ranges in the set.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn first(&self) -> Option<(u64, u64)> {
        self.ranges.front().copied()
    }

    pub(crate) fn last(&self) -> Option<(u64, u64)> {
        self.ranges.back().copied()
    }

    /// The ranges, in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.ranges.iter().copied()
    }

    /// The range that holds `position`.
    pub(crate) fn at(&self, position: u64) -> Option<(u64, u64)> {
        let range = *self.ranges.get(self.first_ending_after(position))?;
        (range.0 <= position).then_some(range)
    }

    /// Whether `[start, end)` overlaps a range or touches one.
    pub(crate) fn touches(&self, start: u64, end: u64) -> bool {
        let i = self.ranges.partition_point(|r| r.1 < start);
        self.ranges.get(i).is_some_and(|r| r.0 <= end)
    }

    /// Whether all of `[start, end)` is in the set.
    pub(crate) fn covers(&self, start: u64, end: u64) -> bool {
        start >= end || self.at(start).is_some_and(|r| end <= r.1)
    }

    /// Add `[start, end)`.
    pub(crate) fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.ranges.partition_point(|r| r.1 < start);
        let mut merged = (start, end);
        let mut last = first;
        while let Some(r) = self.ranges.get(last).filter(|r| r.0 <= end) {
            merged = (merged.0.min(r.0), merged.1.max(r.1));
            self.bytes -= r.1 - r.0;
            last += 1;
        }
        self.bytes += merged.1 - merged.0;
        if first == last {
            self.ranges.insert(first, merged);
        } else {
            self.ranges[first] = merged;
            self.ranges.drain(first + 1..last);
        }
    }

    /// Take `[start, end)` out.
    pub(crate) fn remove(&mut self, start: u64, end: u64) {
        let mut i = self.first_ending_after(start);
        while let Some(&(s, e)) = self.ranges.get(i).filter(|r| r.0 < end && start < end) {
            self.bytes -= e.min(end) - s.max(start);
            match (s < start, end < e) {
                (true, true) => {
                    self.ranges[i] = (s, start);
                    self.ranges.insert(i + 1, (end, e));
                    return;
                }
                (true, false) => {
                    self.ranges[i] = (s, start);
                    i += 1;
                }
                (false, true) => {
                    self.ranges[i] = (end, e);
                    return;
                }
                (false, false) => {
                    self.ranges.remove(i);
                }
            }
        }
    }

    /// Take out everything before `position`.
    pub(crate) fn remove_before(&mut self, position: u64) {
        while let Some(first) = self.ranges.front_mut() {
            if first.0 >= position {
                return;
            }
            if first.1 > position {
                self.bytes -= position - first.0;
                first.0 = position;
                return;
            }
            self.bytes -= first.1 - first.0;
            self.ranges.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
        self.bytes = 0;
    }

    /// The first part of `[start, end)` that is not in the set.
    pub(crate) fn gap(&self, start: u64, end: u64) -> Option<(u64, u64)> {
        let mut start = start;
        let mut i = self.first_ending_after(start);
        if let Some(r) = self.ranges.get(i).filter(|r| r.0 <= start) {
            start = r.1;
            i += 1;
        }
        let end = self.ranges.get(i).map_or(end, |r| end.min(r.0));
        (start < end).then_some((start, end))
    }

    /// The parts of `[start, end)` that are not in the set, in order.
    pub(crate) fn gaps(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = start;
        std::iter::from_fn(move || {
            let gap = self.gap(at, end)?;
            at = gap.1;
            Some(gap)
        })
    }

    fn first_ending_after(&self, position: u64) -> usize {
        self.ranges.partition_point(|r| r.1 <= position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every operation against a bitmap, from a small generator.
    #[test]
    fn agrees_with_a_bitmap() {
        let mut state = 1u64;
        let mut next = |n: u64| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let mut set = RangeSet::default();
        let mut map = [false; 64];
        for _ in 0..20_000 {
            let (a, b) = (next(65), next(65));
            let (a, b) = (a.min(b), a.max(b));
            match next(8) {
                0..4 => {
                    set.insert(a, b);
                    map[a as usize..b as usize].fill(true);
                }
                4..7 => {
                    set.remove(a, b);
                    map[a as usize..b as usize].fill(false);
                }
                _ => {
                    set.remove_before(a / 4);
                    map[..a as usize / 4].fill(false);
                }
            }
            assert_eq!(set.bytes(), map.iter().filter(|m| **m).count() as u64);
            let covered = map[a as usize..b as usize].iter().all(|m| *m);
            assert_eq!(set.covers(a, b), covered);
            let gaps: u64 = set.gaps(a, b).map(|(s, e)| e - s).sum();
            let holes = map[a as usize..b as usize].iter().filter(|m| !**m).count() as u64;
            assert_eq!(gaps, holes);
            assert!(
                set.ranges
                    .iter()
                    .zip(set.ranges.iter().skip(1))
                    .all(|(x, y)| x.1 < y.0)
            );
        }
    }
}
