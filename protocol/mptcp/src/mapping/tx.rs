//! Mappings of what we send on one subflow.

use anabranch_tcp::packed;
use anabranch_tcp::queue::Slices;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// A run of bytes given to a subflow. It is held until the subflow's own acknowledgement, whatever
/// was acknowledged at data level: the subflow has to deliver its bytes.
#[derive(Clone, Debug)]
pub(crate) struct TxMapping {
    /// Subflow position of the first byte.
    pub(crate) rel: u64,
    /// Data position of the first byte.
    pub(crate) position: u64,
    /// Payload bytes.
    pub(crate) len: u16,
    /// DATA_FIN follows the last byte; the length on the wire counts it.
    pub(crate) fin: bool,
    /// Checksum, where agreed.
    pub(crate) checksum: Option<u16>,
    /// Payload.
    pub(crate) data: Slices,
}

impl TxMapping {
    /// Subflow position after the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.rel + u64::from(self.len)
    }

    /// Data position after the last byte: names the run (see [`crate::send`]).
    pub(crate) fn run(&self) -> u64 {
        self.position + u64::from(self.len)
    }

    /// Distance from subflow to data positions.
    fn shift(&self) -> u64 {
        self.position.wrapping_sub(self.rel)
    }

    /// Length as it stands in a DSS.
    pub(crate) fn wire_len(&self) -> u16 {
        self.len + u16::from(self.fin)
    }
}

/// The mappings of one subflow, in order and without gaps.
#[derive(Debug, Default)]
pub(crate) struct TxMappings {
    list: VecDeque<TxMapping>,
    /// Since which subflow position the distance to data positions is what it is now, and that
    /// distance.
    straight: (u64, u64),
}

packed!(TxMappings { straight } empty { list });

impl TxMappings {
    /// Whether everything given to the subflow was acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What was given to the subflow so far has no mapping any more.
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    pub(crate) fn push(&mut self, mapping: TxMapping) {
        if mapping.shift() != self.straight.1 {
            self.straight = (mapping.rel, mapping.shift());
        }
        self.list.push_back(mapping);
    }

    /// Since which subflow position everything has been sent at this distance to data positions;
    /// `None`: what was sent last was not.
    pub(crate) fn straight_since(&self, shift: u64) -> Option<u64> {
        (self.straight.1 == shift).then_some(self.straight.0)
    }

    /// The mapping a subflow byte belongs to.
    pub(crate) fn find(&self, rel: u64) -> Option<&TxMapping> {
        // What is sent is mostly at the end of the list, or all of it.
        if let Some(last) = self.list.back()
            && last.rel <= rel
        {
            return (rel < last.end()).then_some(last);
        }
        let i = self.list.partition_point(|m| m.end() <= rel);
        self.list.get(i).filter(|m| m.rel <= rel)
    }

    /// Payload of a range of subflow bytes, which lie within mappings held.
    pub(crate) fn slices(&self, range: Range<u64>) -> Slices {
        let mut out = Slices::new();
        let first = self.list.partition_point(|m| m.end() <= range.start);
        for mapping in self.list.range(first..) {
            if mapping.rel >= range.end {
                break;
            }
            let from = range.start.saturating_sub(mapping.rel) as usize;
            let to = (range.end - mapping.rel).min(u64::from(mapping.len)) as usize;
            cut(&mapping.data, from..to, &mut out);
        }
        out
    }

    /// Remove mappings that end at or before `snd_una`, oldest first.
    pub(crate) fn acknowledged(&mut self, snd_una: u64) -> Option<TxMapping> {
        let done = self.list.front().is_some_and(|m| m.end() <= snd_una);
        if done { self.list.pop_front() } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TxMapping> {
        self.list.iter()
    }
}

/// The slices that make up `range` of `data`.
fn cut(data: &[Bytes], range: Range<usize>, out: &mut Slices) {
    let mut at = 0;
    for piece in data {
        let end = at + piece.len();
        let from = range.start.max(at);
        let to = range.end.min(end);
        if from < to {
            out.push(piece.slice(from - at..to - at));
        }
        at = end;
        if at >= range.end {
            break;
        }
    }
}
