//! Bytes received, perhaps out of order, until they are read in order.

use crate::budget::{Budget, Charge};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Pieces below this many bytes are copied out of the buffer they came in, so that they do not pin
/// it.
const COPY_BELOW: usize = 2048;

/// Bytes keyed by position: inserted in any order, read in order. What is held is charged to a
/// budget, beyond its limit if need be: it was promised by the window.
#[derive(Debug)]
pub struct Reassembly {
    /// Position of the next byte in order.
    next: u64,
    ready: VecDeque<Bytes>,
    ready_len: u64,
    waiting: BTreeMap<u64, Bytes>,
    waiting_len: u64,
    charge: Charge,
}

crate::packed!(Reassembly { next, ready_len, waiting_len } empty { ready, waiting } kept { charge });

impl Reassembly {
    /// Nothing received, position 0 expected.
    pub fn new(budget: &Budget) -> Reassembly {
        Reassembly {
            next: 0,
            ready: VecDeque::new(),
            ready_len: 0,
            waiting: BTreeMap::new(),
            waiting_len: 0,
            charge: budget.charge_anyway(0),
        }
    }

    /// Add `bytes` at `position`. They must not overlap what was inserted before.
    pub fn insert(&mut self, position: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        debug_assert!(position >= self.next, "bytes inserted twice");
        let small = bytes.len() < COPY_BELOW;
        let bytes = if small {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        };
        if position == self.next {
            self.accept(bytes);
            self.accept_waiting();
        } else {
            self.waiting_len += bytes.len() as u64;
            self.waiting.insert(position, bytes);
        }
        self.recharge();
    }

    fn accept_waiting(&mut self) {
        while let Some(entry) = self.waiting.first_entry().filter(|e| *e.key() == self.next) {
            let bytes = entry.remove();
            self.waiting_len -= bytes.len() as u64;
            self.accept(bytes);
        }
    }

    fn accept(&mut self, bytes: Bytes) {
        self.next += bytes.len() as u64;
        self.ready_len += bytes.len() as u64;
        self.ready.push_back(bytes);
    }

    /// Up to `max` bytes in order, without copying; `None` when there are none.
    pub fn read(&mut self, max: usize) -> Option<Bytes> {
        let first = self.ready.front_mut()?;
        let bytes = if first.len() > max {
            first.split_to(max)
        } else {
            self.ready.pop_front()?
        };
        self.ready_len -= bytes.len() as u64;
        self.recharge();
        Some(bytes)
    }

    /// Forget everything held.
    pub fn clear(&mut self) {
        self.ready.clear();
        self.waiting.clear();
        (self.ready_len, self.waiting_len) = (0, 0);
        self.recharge();
    }

    /// Position of the next byte in order that has not come.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Bytes that can be read now.
    pub fn readable(&self) -> u64 {
        self.ready_len
    }

    /// Bytes held out of order.
    pub fn waiting(&self) -> u64 {
        self.waiting_len
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.ready_len + self.waiting_len == 0
    }

    fn recharge(&mut self) {
        self.charge
            .set((self.ready_len + self.waiting_len) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_in_order_whatever_the_order_of_arrival() {
        let budget = Budget::unlimited();
        let mut bytes = Reassembly::new(&budget);
        bytes.insert(6, Bytes::from_static(b"gh"));
        bytes.insert(3, Bytes::from_static(b"def"));
        assert_eq!((bytes.readable(), bytes.waiting()), (0, 5));
        assert_eq!(bytes.read(10), None);
        bytes.insert(0, Bytes::from_static(b"abc"));
        assert_eq!((bytes.readable(), bytes.waiting(), bytes.next()), (8, 0, 8));
        assert_eq!(budget.used(), 8);
        let mut text = vec![];
        while let Some(part) = bytes.read(2) {
            assert!(part.len() <= 2);
            text.extend_from_slice(&part);
        }
        assert_eq!(text, b"abcdefgh");
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn small_pieces_do_not_pin_their_buffer_and_large_ones_are_not_copied() {
        let mut bytes = Reassembly::new(&Budget::unlimited());
        let buffer = Bytes::from(vec![0; 65_536]);
        bytes.insert(0, buffer.slice(..100));
        bytes.insert(100, buffer.slice(100..60_000));
        assert_ne!(bytes.read(100).unwrap().as_ptr(), buffer.as_ptr());
        assert_eq!(
            bytes.read(100_000).unwrap().as_ptr(),
            buffer[100..].as_ptr()
        );
    }
}
