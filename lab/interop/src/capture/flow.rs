//! One direction of one subflow: its mappings, and the payload that waits for one.

use std::collections::BTreeMap;

/// Bytes of a flow that wait for their mapping at most; RFC 8684 lets a mapping come late, but
/// not by more than a window.
const WAITING_MAX: usize = 4 << 20;

/// A run of subflow bytes and its place in the data sequence space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) ssn: u64,
    pub(super) dsn: u64,
    pub(super) len: u64,
}

/// Payload under a mapping.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped<'a> {
    pub(super) dsn: u64,
    pub(super) mapping: Mapping,
    pub(super) bytes: &'a [u8],
}

#[derive(Debug, Default)]
pub(super) struct Flow {
    isn: Option<u32>,
    highest: u64,
    mappings: BTreeMap<u64, Mapping>,
    waiting: Vec<(u64, Vec<u8>)>,
    waiting_bytes: usize,
    /// Payload given up because no mapping came for it.
    pub(super) unmapped: u64,
}

impl Flow {
    pub(super) fn syn(&mut self, seq: u32) {
        if self.isn != Some(seq) {
            *self = Self {
                isn: Some(seq),
                ..Self::default()
            };
        }
    }

    /// The relative sequence number in 64 bits: the first byte after the SYN is 1. Without a SYN
    /// in the capture there is nothing to count from.
    pub(super) fn relative(&mut self, seq: u32) -> Option<u64> {
        let low = seq.wrapping_sub(self.isn?);
        Some(self.widen(low))
    }

    pub(super) fn widen(&mut self, low: u32) -> u64 {
        let wide = nearest(self.highest, low);
        self.highest = self.highest.max(wide);
        wide
    }

    /// Takes a mapping. An earlier one that gives some of its bytes another place is returned: a
    /// mapping, once sent, cannot change.
    pub(super) fn map(&mut self, new: Mapping) -> Result<(), Mapping> {
        let old = self
            .mappings
            .range(..new.ssn + new.len)
            .next_back()
            .map(|(_, m)| *m);
        let conflict = old.filter(|old| {
            old.ssn + old.len > new.ssn
                && old.dsn.wrapping_sub(old.ssn) != new.dsn.wrapping_sub(new.ssn)
        });
        match self.mappings.get(&new.ssn) {
            Some(known) if known.len >= new.len => {}
            _ => {
                self.mappings.insert(new.ssn, new);
            }
        }
        conflict.map_or(Ok(()), Err)
    }

    /// Calls `each` with the mapped pieces of `bytes`; the rest waits.
    pub(super) fn payload(&mut self, ssn: u64, bytes: &[u8], mut each: impl FnMut(Mapped<'_>)) {
        let (mut ssn, mut bytes) = (ssn, bytes);
        while !bytes.is_empty() {
            let Some(mapping) = self.covering(ssn) else {
                return self.wait(ssn, bytes);
            };
            let skip = ssn - mapping.ssn;
            let take = (mapping.len - skip).min(bytes.len() as u64) as usize;
            each(Mapped {
                dsn: mapping.dsn.wrapping_add(skip),
                mapping,
                bytes: &bytes[..take],
            });
            ssn += take as u64;
            bytes = &bytes[take..];
        }
    }

    /// Pieces that waited, to be offered again after a mapping came.
    pub(super) fn take_waiting(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }

    fn covering(&self, ssn: u64) -> Option<Mapping> {
        // The last mapping that starts at or before `ssn` nearly always covers it; after
        // repeated, shorter mappings an earlier one may.
        let mut before = self.mappings.range(..=ssn).rev().take(64).map(|(_, m)| *m);
        before.find(|m| ssn < m.ssn + m.len)
    }

    fn wait(&mut self, ssn: u64, bytes: &[u8]) {
        if self.waiting_bytes + bytes.len() > WAITING_MAX {
            self.unmapped += bytes.len() as u64;
            return;
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push((ssn, bytes.to_vec()));
    }
}

/// The 64-bit number nearest to `near` whose low half is `low`.
pub(super) fn nearest(near: u64, low: u32) -> u64 {
    let distance = low.wrapping_sub(near as u32).cast_signed();
    near.saturating_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        flow.map(Mapping {
            ssn: 1,
            dsn: 101,
            len: 2,
        })
        .unwrap();
        flow.map(Mapping {
            ssn: 3,
            dsn: 201,
            len: 2,
        })
        .unwrap();
        for (ssn, bytes) in flow.take_waiting() {
            flow.payload(ssn, &bytes, |m| seen.push((m.dsn, m.bytes.to_vec())));
        }
        assert_eq!(seen, [(101, b"ab".to_vec()), (201, b"cd".to_vec())]);
    }

    #[test]
    fn a_mapping_that_changes_is_told() {
        let mut flow = Flow::default();
        let first = Mapping {
            ssn: 1,
            dsn: 101,
            len: 10,
        };
        assert_eq!(flow.map(first), Ok(()));
        assert_eq!(flow.map(first), Ok(()));
        assert_eq!(
            flow.map(Mapping {
                ssn: 5,
                dsn: 105,
                len: 10
            }),
            Ok(())
        );
        assert_eq!(
            flow.map(Mapping {
                ssn: 8,
                dsn: 300,
                len: 4
            })
            .map_err(|m| m.ssn),
            Err(5)
        );
    }
}
