//! Bytes waiting to be sent and to be acknowledged.

use crate::budget::{Budget, Charge};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// Slices that together are a range of a [`ByteQueue`].
pub type Slices = SmallVec<[Bytes; 4]>;

/// Writes below this many bytes are copied together; from it on they are kept as they came. It
/// bounds the number of slices of a 64 KB range to about 17.
const COPY_BELOW: usize = 4096;
/// Least and largest chunk into which small writes are copied.
const CHUNK: (usize, usize) = (2048, 65_536);

/// A queue of bytes addressed by position: appended at the end, sliced anywhere, freed from the
/// start. Large writes are kept by reference, small ones are copied together into chunks.
///
/// Memory stays charged to the budget for as long as any slice of it lives, in the queue or not.
#[derive(Debug)]
pub struct ByteQueue {
    budget: Budget,
    start: u64,
    end: u64,
    pieces: VecDeque<Piece>,
    tail: Option<Chunk>,
    next_chunk: usize,
}

crate::packed!(ByteQueue { start, end, next_chunk } empty { pieces, tail } kept { budget });

#[derive(Debug)]
struct Piece {
    at: u64,
    bytes: Bytes,
}

/// The chunk that small writes fill; what it holds is the end of the queue.
#[derive(Debug)]
struct Chunk {
    filled: BytesMut,
    charge: Arc<Charge>,
}

/// Bytes that carry their charge: it goes back when the last slice of them is dropped.
struct Charged {
    bytes: Bytes,
    _charge: Arc<Charge>,
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
            tail: None,
            next_chunk: CHUNK.0,
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
        let taken = len == 0
            || if len < COPY_BELOW {
                self.copy(&bytes)
            } else {
                self.keep(bytes)
            };
        if taken {
            self.end += len as u64;
        }
        taken
    }

    fn keep(&mut self, bytes: Bytes) -> bool {
        let Some(charge) = self.budget.charge(bytes.len()) else {
            return false;
        };
        self.seal();
        let charged = Charged {
            bytes,
            _charge: Arc::new(charge),
        };
        self.pieces.push_back(Piece {
            at: self.end,
            bytes: Bytes::from_owner(charged),
        });
        true
    }

    fn copy(&mut self, bytes: &[u8]) -> bool {
        let fits = |chunk: &Chunk| chunk.filled.capacity() - chunk.filled.len() >= bytes.len();
        if !self.tail.as_ref().is_some_and(fits) {
            let size = self.next_chunk.max(bytes.len());
            let Some(charge) = self.budget.charge(size) else {
                return false;
            };
            self.seal();
            let filled = BytesMut::with_capacity(size);
            self.tail = Some(Chunk {
                filled,
                charge: Arc::new(charge),
            });
            self.next_chunk = (2 * self.next_chunk).min(CHUNK.1);
        }
        if let Some(chunk) = &mut self.tail {
            chunk.filled.extend_from_slice(bytes);
        }
        true
    }

    /// Make what the tail chunk holds a piece; later writes go on filling the rest of the chunk.
    fn seal(&mut self) {
        if let Some(chunk) = self.tail.as_mut().filter(|chunk| !chunk.filled.is_empty()) {
            let bytes = chunk.filled.split().freeze();
            let at = self.end - bytes.len() as u64;
            let charged = Charged {
                bytes,
                _charge: chunk.charge.clone(),
            };
            self.pieces.push_back(Piece {
                at,
                bytes: Bytes::from_owner(charged),
            });
        }
    }

    /// The bytes of `range`, which must lie within what is held.
    pub fn slices(&mut self, range: Range<u64>) -> Slices {
        let unsealed = self
            .tail
            .as_ref()
            .map_or(0, |chunk| chunk.filled.len() as u64);
        if range.end > self.end - unsealed {
            self.seal();
        }
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
        if self.is_empty() {
            // Idle connections hold no chunk.
            self.tail = None;
            self.next_chunk = CHUNK.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(slices: &[Bytes]) -> String {
        slices
            .iter()
            .map(|s| String::from_utf8_lossy(s).into_owned())
            .collect()
    }

    #[test]
    fn small_writes_are_joined() {
        let mut queue = ByteQueue::new(0, Budget::unlimited());
        for word in ["an", "a", "branch"] {
            assert!(queue.push(Bytes::from_static(word.as_bytes())));
        }
        let slices = queue.slices(0..9);
        assert_eq!((slices.len(), text(&slices).as_str()), (1, "anabranch"));
        assert!(queue.push(Bytes::from_static(b" rejoins")));
        assert_eq!(text(&queue.slices(3..12)), "branch re");
        queue.advance(9);
        assert_eq!((queue.start(), queue.len()), (9, 8));
        assert_eq!(text(&queue.slices(9..17)), " rejoins");
    }

    #[test]
    fn large_writes_are_not_copied() {
        let mut queue = ByteQueue::new(100, Budget::unlimited());
        let large = Bytes::from(vec![7; 100_000]);
        assert!(queue.push(Bytes::from_static(b"x")));
        assert!(queue.push(large.clone()));
        let slices = queue.slices(100..40_101);
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
    }

    #[test]
    fn memory_is_charged_until_the_last_slice_is_gone() {
        let budget = Budget::new(10_000);
        let mut queue = ByteQueue::new(0, budget.clone());
        assert!(queue.push(Bytes::from(vec![1; 8000])));
        assert!(!queue.push(Bytes::from(vec![2; 4096])), "beyond the budget");
        let slices = queue.slices(0..10);
        queue.advance(8000);
        assert_eq!(budget.used(), 8000);
        drop(slices);
        assert_eq!(budget.used(), 0);
        assert!(queue.push(Bytes::from_static(b"small")));
        let slices = queue.slices(8000..8005);
        queue.advance(8005);
        assert_eq!(budget.used(), 2048);
        drop(slices);
        assert_eq!(budget.used(), 0);
    }
}
