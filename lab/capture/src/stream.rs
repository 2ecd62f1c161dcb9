//! One direction of a connection: which bytes stand where.

use std::collections::BTreeMap;

use crate::flow::nearest;
use crate::ranges::Ranges;
use crate::report;

/// Offsets beyond this are no offsets of a stream, but data sequence numbers of something else.
const OFFSET_MAX: u64 = 1 << 48;

/// Bytes of a stream as they were first seen.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    packet: u64,
    subflow: usize,
}

/// Another byte stands where one was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Differs {
    /// Offset of the first that differs.
    pub(crate) offset: u64,
    /// Where the first one was seen.
    pub(crate) packet: u64,
    pub(crate) subflow: usize,
}

#[derive(Debug)]
pub(crate) struct Stream {
    /// Data sequence number of the first byte.
    first: Option<u64>,
    /// The end of what was mapped.
    pub(crate) end: u64,
    pub(crate) fin: Option<u64>,
    pub(crate) acked: u64,
    pub(crate) counts: report::Stream,
    seen: Ranges,
    kept: BTreeMap<u64, Piece>,
    kept_bytes: usize,
    kept_max: usize,
}

impl Stream {
    /// A stream of which the last `kept_max` bytes are kept for comparison.
    pub(crate) fn new(kept_max: usize) -> Self {
        Self {
            first: None,
            end: 0,
            fin: None,
            acked: 0,
            counts: report::Stream::default(),
            seen: Ranges::default(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
            kept_max,
        }
    }

    pub(crate) fn first(&self) -> Option<u64> {
        self.first
    }

    /// Where the stream begins; the first that is said holds.
    pub(crate) fn begin(&mut self, first: u64) {
        self.first.get_or_insert(first);
    }

    /// A data sequence number of 32 bits, as one of 64.
    pub(crate) fn widen(&self, low: u32) -> u64 {
        nearest(self.first.unwrap_or(0).wrapping_add(self.end), low)
    }

    /// The same for a DATA_ACK.
    pub(crate) fn widen_ack(&self, low: u32) -> u64 {
        nearest(self.first.unwrap_or(0).wrapping_add(self.acked), low)
    }

    /// The offset of a data sequence number in the stream.
    pub(crate) fn offset(&self, dsn: u64) -> Option<u64> {
        let offset = dsn.wrapping_sub(self.first?);
        (offset < OFFSET_MAX).then_some(offset)
    }

    /// Bytes of the stream in a packet. Gives back how many had been seen before, and the first
    /// that is another than before.
    pub(crate) fn put(
        &mut self,
        offset: u64,
        bytes: &[u8],
        packet: u64,
        subflow: usize,
    ) -> (u64, Option<Differs>) {
        let end = offset + bytes.len() as u64;
        self.end = self.end.max(end);
        let fresh = self.seen.missing(offset, end);
        let news: u64 = fresh.iter().map(|(start, end)| end - start).sum();
        let again = bytes.len() as u64 - news;
        let differs = if again > 0 {
            self.compare(offset, bytes)
        } else {
            None
        };
        for (start, end) in fresh {
            self.seen.insert(start, end);
            let bytes = &bytes[(start - offset) as usize..(end - offset) as usize];
            self.keep(start, bytes, packet, subflow);
        }
        (again, differs)
    }

    fn keep(&mut self, offset: u64, bytes: &[u8], packet: u64, subflow: usize) {
        if self.kept_max == 0 {
            return;
        }
        self.kept_bytes += bytes.len();
        let piece = Piece {
            bytes: bytes.to_vec(),
            packet,
            subflow,
        };
        self.kept.insert(offset, piece);
        while self.kept_bytes > self.kept_max
            && let Some((_, piece)) = self.kept.pop_first()
        {
            self.kept_bytes -= piece.bytes.len();
        }
    }

    fn compare(&self, offset: u64, bytes: &[u8]) -> Option<Differs> {
        let end = offset + bytes.len() as u64;
        let first = self.kept.range(..=offset).next_back();
        let first = first.map_or(offset, |(start, _)| *start);
        for (&start, piece) in self.kept.range(first..end) {
            let piece_end = start + piece.bytes.len() as u64;
            let (from, to) = (start.max(offset), piece_end.min(end));
            if from >= to {
                continue;
            }
            let old = &piece.bytes[(from - start) as usize..(to - start) as usize];
            let new = &bytes[(from - offset) as usize..(to - offset) as usize];
            if old != new {
                let at = old.iter().zip(new).take_while(|(a, b)| a == b).count();
                return Some(Differs {
                    offset: from + at as u64,
                    packet: piece.packet,
                    subflow: piece.subflow,
                });
            }
        }
        None
    }

    pub(crate) fn report(&self) -> report::Stream {
        let bytes = self.seen.total();
        let missing = self.seen.gaps();
        report::Stream {
            bytes,
            missing: missing.iter().map(|(start, end)| end - start).sum(),
            acknowledged: self.acked.min(self.fin.unwrap_or(u64::MAX)),
            data_fin: self.fin.is_some(),
            data_fin_acknowledged: self.fin.is_some_and(|fin| self.acked > fin),
            ..self.counts.clone()
        }
    }
}
