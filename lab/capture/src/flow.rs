//! One direction of one subflow: its mappings, and the payload that waits for one.

use std::collections::BTreeMap;

use crate::ranges::Ranges;

/// Bytes of a flow that wait for their mapping at most; RFC 8684 lets a mapping come late, but
/// not by more than a window.
const WAITING_MAX: usize = 4 << 20;
/// Mappings kept of a flow.
const MAPPINGS_MAX: usize = 1 << 17;

/// A run of subflow bytes and its place in the data sequence space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The first byte after the SYN is 1.
    pub(crate) ssn: u64,
    /// In 64 bits.
    pub(crate) dsn: u64,
    /// Bytes, a DATA_FIN not counted.
    pub(crate) len: u64,
    pub(crate) check: Option<Check>,
}

/// A DSS checksum, and what stands in its pseudo-header beside the DSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) ssn: u32,
    pub(crate) len: u16,
    pub(crate) checksum: u16,
}

/// Payload under a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mapped<'a> {
    pub(crate) dsn: u64,
    pub(crate) mapping: Mapping,
    pub(crate) bytes: &'a [u8],
    /// The checksum was right or wrong: all bytes of the mapping have come.
    pub(crate) verdict: Option<bool>,
}

/// A mapping, and what came under it.
#[derive(Debug)]
struct Tracked {
    mapping: Mapping,
    seen: Ranges,
    sum: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Flow {
    isn: Option<u32>,
    /// The end of what was sent, relative.
    pub(crate) highest: u64,
    mappings: BTreeMap<u64, Tracked>,
    infinite: Option<Mapping>,
    waiting: Vec<(u64, Vec<u8>)>,
    waiting_bytes: usize,
    /// Payload given up because no mapping came for it.
    given_up: u64,
}

impl Flow {
    pub(crate) fn new(isn: Option<u32>) -> Self {
        Self {
            isn,
            ..Self::default()
        }
    }

    pub(crate) fn isn(&self) -> Option<u32> {
        self.isn
    }

    /// The SYN, or what a capture without SYN lets us conclude of it.
    pub(crate) fn set_isn(&mut self, isn: u32) {
        self.isn.get_or_insert(isn);
    }

    /// The relative sequence number in 64 bits: the first byte after the SYN is 1. Without a SYN
    /// in the capture there is nothing to count from.
    pub(crate) fn relative(&self, seq: u32) -> Option<u64> {
        let low = seq.wrapping_sub(self.isn?);
        Some(nearest(self.highest, low))
    }

    pub(crate) fn widen(&self, low: u32) -> u64 {
        nearest(self.highest, low)
    }

    /// Takes a mapping. An earlier one that gives some of its bytes another place is returned: a
    /// mapping, once sent, cannot change.
    pub(crate) fn map(&mut self, new: Mapping) -> Result<(), Mapping> {
        if self
            .mappings
            .get(&new.ssn)
            .is_some_and(|t| t.mapping == new)
        {
            return Ok(());
        }
        let before = self.mappings.range(..new.ssn + new.len).rev().take(64);
        let conflict = before.map(|(_, t)| t.mapping).find(|old| {
            old.ssn + old.len > new.ssn
                && old.dsn.wrapping_sub(old.ssn) != new.dsn.wrapping_sub(new.ssn)
        });
        if self
            .mappings
            .get(&new.ssn)
            .is_none_or(|t| t.mapping.len < new.len)
        {
            let tracked = Tracked {
                mapping: new,
                seen: Ranges::default(),
                sum: 0,
            };
            self.mappings.insert(new.ssn, tracked);
        }
        if self.mappings.len() > MAPPINGS_MAX {
            self.mappings.pop_first();
        }
        conflict.map_or(Ok(()), Err)
    }

    /// From `ssn` on all bytes belong to one mapping without end.
    pub(crate) fn map_rest(&mut self, ssn: u64, dsn: u64) {
        self.infinite.get_or_insert(Mapping {
            ssn,
            dsn,
            len: u64::MAX,
            check: None,
        });
    }

    /// Calls `each` with the mapped pieces of `bytes`; the rest waits.
    pub(crate) fn payload<'a>(
        &mut self,
        mut ssn: u64,
        mut bytes: &'a [u8],
        mut each: impl FnMut(Mapped<'a>),
    ) {
        while !bytes.is_empty() {
            let Some(mapped) = self.next_piece(ssn, bytes) else {
                return self.wait(ssn, bytes);
            };
            let take = mapped.bytes.len();
            each(mapped);
            ssn += take as u64;
            bytes = &bytes[take..];
        }
    }

    fn next_piece<'a>(&mut self, ssn: u64, bytes: &'a [u8]) -> Option<Mapped<'a>> {
        let Some(tracked) = self.covering(ssn) else {
            let mapping = self.infinite.filter(|m| ssn >= m.ssn)?;
            let dsn = mapping.dsn.wrapping_add(ssn - mapping.ssn);
            return Some(Mapped {
                dsn,
                mapping,
                bytes,
                verdict: None,
            });
        };
        let mapping = tracked.mapping;
        let skip = ssn - mapping.ssn;
        let take = (mapping.len - skip).min(bytes.len() as u64) as usize;
        let verdict = tracked.check(skip, &bytes[..take]);
        Some(Mapped {
            dsn: mapping.dsn.wrapping_add(skip),
            mapping,
            bytes: &bytes[..take],
            verdict,
        })
    }

    /// Pieces that waited, to be offered again after a mapping came.
    pub(crate) fn take_waiting(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    /// Payload without a mapping.
    pub(crate) fn unmapped(&self) -> u64 {
        self.waiting_bytes as u64 + self.given_up
    }

    fn covering(&mut self, ssn: u64) -> Option<&mut Tracked> {
        // The last mapping that starts at or before `ssn` nearly always covers it; after
        // repeated, shorter mappings an earlier one may.
        let mut before = self.mappings.range_mut(..=ssn).rev().take(64);
        let covers = |t: &Tracked| ssn < t.mapping.ssn + t.mapping.len;
        before.find(|(_, t)| covers(t)).map(|(_, t)| t)
    }

    fn wait(&mut self, ssn: u64, bytes: &[u8]) {
        if self.waiting_bytes + bytes.len() > WAITING_MAX {
            self.given_up += bytes.len() as u64;
            return;
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push((ssn, bytes.to_vec()));
    }
}

impl Tracked {
    /// Adds bytes at an offset of the mapping; the verdict once all have come.
    fn check(&mut self, offset: u64, bytes: &[u8]) -> Option<bool> {
        let check = self.mapping.check?;
        let missing = self.seen.missing(offset, offset + bytes.len() as u64);
        if missing.is_empty() {
            return None;
        }
        for (start, end) in missing {
            let piece = &bytes[(start - offset) as usize..(end - offset) as usize];
            self.sum += sum(piece, start % 2 == 1);
            self.seen.insert(start, end);
        }
        let whole = self.seen.total() == self.mapping.len;
        whole.then(|| check.holds(self.mapping.dsn, self.sum))
    }
}

impl Check {
    /// Whether the checksum fits bytes of this sum, mapped to `dsn` (RFC 8684 §3.3.1).
    pub(crate) fn holds(self, dsn: u64, bytes: u64) -> bool {
        let mut total = bytes + u64::from(self.len) + u64::from(self.checksum);
        total += sum(&dsn.to_be_bytes(), false) + sum(&self.ssn.to_be_bytes(), false);
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total == 0xffff
    }
}

/// The sum of 16-bit words; with `odd` the first byte is the lower half of one.
fn sum(mut bytes: &[u8], odd: bool) -> u64 {
    let mut total = 0;
    if odd && let [first, rest @ ..] = bytes {
        total += u64::from(*first);
        bytes = rest;
    }
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        total += u64::from(u16::from_be_bytes([pair[0], low]));
    }
    total
}

/// The 64-bit number nearest to `near` whose low half is `low`.
pub(crate) fn nearest(near: u64, low: u32) -> u64 {
    let distance = low.wrapping_sub(near as u32).cast_signed();
    near.wrapping_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(ssn: u64, dsn: u64, len: u64) -> Mapping {
        Mapping {
            ssn,
            dsn,
            len,
            check: None,
        }
    }

    #[test]
    fn nearest_crosses_the_wrap_both_ways() {
        assert_eq!(nearest(0xffff_fff0, 0x10), 0x1_0000_0010);
        assert_eq!(nearest(0x1_0000_0010, 0xffff_fff0), 0xffff_fff0);
        assert_eq!(nearest(5, 1), 1);
    }

    #[test]
    fn payload_before_its_mapping_waits() {
        let mut flow = Flow::default();
        let mut seen = Vec::new();
        flow.payload(1, b"abcd", |m| seen.push((m.dsn, m.bytes.to_vec())));
        assert!(seen.is_empty());
        flow.map(mapping(1, 101, 2)).unwrap();
        flow.map(mapping(3, 201, 2)).unwrap();
        for (ssn, bytes) in flow.take_waiting() {
            flow.payload(ssn, &bytes, |m| seen.push((m.dsn, m.bytes.to_vec())));
        }
        assert_eq!(seen, [(101, b"ab".to_vec()), (201, b"cd".to_vec())]);
    }

    #[test]
    fn a_mapping_that_changes_is_told() {
        let mut flow = Flow::default();
        let first = mapping(1, 101, 10);
        assert_eq!(flow.map(first), Ok(()));
        assert_eq!(flow.map(first), Ok(()));
        assert_eq!(flow.map(mapping(5, 105, 10)), Ok(()));
        assert_eq!(flow.map(mapping(8, 300, 4)).map_err(|m| m.ssn), Err(5));
    }

    #[test]
    fn a_checksum_is_judged_when_all_bytes_have_come_in_whatever_pieces() {
        let bytes = b"anabranch";
        let total = sum(bytes, false) + 9 + sum(&7u64.to_be_bytes(), false) + 1;
        let folded = (total & 0xffff) + (total >> 16);
        for (right, change) in [(true, 0), (false, 1)] {
            let mut flow = Flow::default();
            let check = Check {
                ssn: 1,
                len: 9,
                checksum: (!(folded as u16)).wrapping_add(change),
            };
            let mapping = Mapping {
                check: Some(check),
                ..mapping(1, 7, 9)
            };
            flow.map(mapping).unwrap();
            let mut verdicts = Vec::new();
            for (from, to) in [(5, 9), (0, 3), (2, 5), (0, 9)] {
                flow.payload(1 + from as u64, &bytes[from..to], |m| {
                    verdicts.push(m.verdict)
                });
            }
            assert_eq!(verdicts, [None, None, Some(right), None]);
        }
    }
}
