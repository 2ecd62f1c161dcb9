//! Bytes received, perhaps out of order, until they are read in order.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Bytes keyed by position: inserted in any order, read in order.
#[derive(Debug, Default)]
pub struct Reassembly {
    /// Position of the next byte in order.
    next: u64,
    ready: VecDeque<Bytes>,
    ready_len: u64,
    waiting: BTreeMap<u64, Bytes>,
    waiting_len: u64,
}

impl Reassembly {
    /// Nothing received, position 0 expected.
    pub fn new() -> Reassembly {
        Reassembly::default()
    }

    /// Add `bytes` at `position`. They must not overlap what was inserted before.
    pub fn insert(&mut self, position: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        if position != self.next {
            self.waiting_len += bytes.len() as u64;
            self.waiting.insert(position, bytes);
            return;
        }
        self.accept(bytes);
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() != self.next {
                break;
            }
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
        Some(bytes)
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
}
