//! When a box acts, and whether it did.

use crate::network::Middlebox;
use anabranch_tcp::Instant;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;

/// A box that acts from a time on.
pub struct Gate {
    from: Instant,
    inner: Box<dyn Middlebox>,
    acted: Rc<Cell<u64>>,
}

impl Gate {
    /// Before `from` everything passes.
    pub fn new(from: Instant, inner: Box<dyn Middlebox>) -> Gate {
        let acted = Rc::default();
        Gate { from, inner, acted }
    }

    /// Packets that did not pass as they came, and those the box made of its own accord.
    pub fn acted(&self) -> Rc<Cell<u64>> {
        self.acted.clone()
    }
}

impl Middlebox for Gate {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        if now < self.from {
            return vec![packet];
        }
        let out = self.inner.pass(now, packet.clone());
        if out != [packet] {
            self.acted.set(self.acted.get() + 1);
        }
        out
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }

    fn release(&mut self, now: Instant) -> Vec<Bytes> {
        let out = self.inner.release(now);
        self.acted.set(self.acted.get() + out.len() as u64);
        out
    }
}
