//! Sequence numbers (RFC 9293 §3.4).

use std::ops::{Add, Sub};

/// A 32-bit TCP sequence number; arithmetic wraps, comparison is modulo 2³².
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Seq(pub u32);

impl Seq {
    /// Whether `self` comes before `other` within half the sequence space.
    pub fn lt(self, other: Seq) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether `self` is `other` or comes before it.
    pub fn le(self, other: Seq) -> bool {
        !other.lt(self)
    }

    /// Signed distance from `other` to `self`.
    pub fn since(self, other: Seq) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }
}

impl Add<u32> for Seq {
    type Output = Seq;
    fn add(self, n: u32) -> Seq {
        Seq(self.0.wrapping_add(n))
    }
}

impl Sub<u32> for Seq {
    type Output = Seq;
    fn sub(self, n: u32) -> Seq {
        Seq(self.0.wrapping_sub(n))
    }
}
