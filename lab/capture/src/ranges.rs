//! Sets of positions.

use std::collections::BTreeMap;

/// A set of positions as disjoint runs, start to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(crate) fn insert(&mut self, mut start: u64, mut end: u64) {
        if start == end {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.0.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.0.insert(start, end);
    }

    pub(crate) fn contains(&self, at: u64) -> bool {
        self.0
            .range(..=at)
            .next_back()
            .is_some_and(|(_, end)| at < *end)
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// The runs of `start..end` that are not in the set.
    pub(crate) fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut at = start;
        let mut missing = Vec::new();
        let first = self.0.range(..=start).next_back().map_or(start, |r| *r.0);
        for (&s, &e) in self.0.range(first..end) {
            if s > at {
                missing.push((at, s));
            }
            at = at.max(e);
        }
        if at < end {
            missing.push((at, end));
        }
        missing
    }

    /// The runs between 0 and the last position that are not in the set.
    pub(crate) fn gaps(&self) -> Vec<(u64, u64)> {
        let end = self.0.last_key_value().map_or(0, |(_, end)| *end);
        self.missing(0, end)
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn runs_join() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (0, 5), (20, 30), (38, 50), (12, 13)] {
            ranges.insert(start, end);
        }
        assert_eq!((ranges.total(), ranges.gaps()), (45, vec![(5, 10)]));
        assert_eq!(ranges.missing(3, 60), [(5, 10), (50, 60)]);
        assert_eq!(ranges.missing(12, 45), []);
    }
}
