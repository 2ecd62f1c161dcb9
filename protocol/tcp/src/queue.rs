//! Bytes waiting to be sent and to be acknowledged.

use crate::budget::{Budget, Charge};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::ops::Range;

/// Slices that together are a range of a [`ByteQueue`].
pub type Slices = SmallVec<[Bytes; 4]>;

/// Writes below this many bytes are copied together; from it on they are kept as they came. It
/// bounds the number of slices of a 64 KB range to 17 or so.
const COPY_BELOW: usize = 4096;
/// Least and largest chunk into which small writes are copied.
const CHUNK: Range<usize> = 2048..65536;

/// A queue of bytes addressed by position: appended at the end, sliced anywhere, freed from the
/// start. Large writes are kept by reference, small ones are copied together into chunks.
#[derive(Debug)]
pub struct ByteQueue {
    budget: Budget,
    start: u64,
    end: u64,
    pieces: VecDeque<Piece>,
    tail: Tail,
}

#[derive(Debug)]
struct Piece {
    at: u64,
    bytes: Bytes,
}

/// The chunk being filled by small writes; `filled` starts at `ByteQueue::end - filled.len()`.
#[derive(Debug, Default)]
struct Tail {
    filled: BytesMut,
    /// Kept with each slice of the chunk, so that memory stays charged as long as it lives.
    next_size: usize,
}

/// Bytes that carry their charge: it goes back when the last slice of them is dropped.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ByteQueue {
    /// An empty queue whose first byte will have position `start`; memory is taken from `budget`.
    pub fn new(start: u64, budget: Budget) -> ByteQueue {
        ByteQueue {
            budget,
            start,
            end: start,
            pieces: VecDeque::new(),
            tail: Tail::default(),
        }
    }

    /// Position of the first byte held.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Position after the last byte held.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes held.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Append all of `bytes`, or nothing (`false`) when the budget is spent.
    #[must_use]
    pub fn push(&mut self, bytes: Bytes) -> bool {
        let len = bytes.len();
        if len == 0 {
            return true;
        }
        let Some(charge) = self.budget.charge(len) else {
            return false;
        };
        let bytes = Bytes::from_owner(Charged {
            bytes,
            _charge: charge,
        });
        self.pieces.push_back(Piece {
            at: self.end,
            bytes,
        });
        self.end += len as u64;
        true
    }

    /// The bytes of `range`, which must lie within what is held.
    pub fn slices(&mut self, range: Range<u64>) -> Slices {
        let mut slices = Slices::new();
        let mut at = range.start;
        let first = self
            .pieces
            .partition_point(|p| p.at + p.bytes.len() as u64 <= range.start);
        for piece in self.pieces.range(first..) {
            if at >= range.end {
                break;
            }
            let from = (at - piece.at) as usize;
            let to = piece.bytes.len().min((range.end - piece.at) as usize);
            slices.push(piece.bytes.slice(from..to));
            at = piece.at + to as u64;
        }
        debug_assert!(at >= range.end, "a range beyond what is held");
        slices
    }

    /// Free everything before `position`.
    pub fn advance(&mut self, position: u64) {
        self.start = position.clamp(self.start, self.end);
        while let Some(piece) = self.pieces.front() {
            if piece.at + piece.bytes.len() as u64 > self.start {
                break;
            }
            self.pieces.pop_front();
        }
    }
}
