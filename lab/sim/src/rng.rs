//! Random numbers of our own: the same seed gives the same draws on every machine and release.

use std::ops::Range;
use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator whose draws `seed` decides.
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    /// A generator for a part of the scene, independent of the draws made from `self`.
    #[must_use]
    pub fn fork(&self, part: u64) -> Rng {
        let mut child = Rng::new(self.state ^ part.wrapping_mul(0xa076_1d64_78bd_642f));
        Rng::new(child.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// True with probability `p`. Draws nothing when `p` is 0, so that switching a fault off
    /// leaves the other draws as they were.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `range`; its start if it is empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start).max(1);
        range.start + ((u128::from(self.next_u64()) * u128::from(width)) >> 64) as u64
    }

    /// One of `items`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.range(0..items.len() as u64) as usize]
    }

    /// Uniform in `[0, max]`; draws nothing when `max` is zero.
    pub fn duration(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX - 1);
        if nanos == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.range(0..nanos + 1))
    }
}

/// The output function of SplitMix64: a good 64-bit mixer by itself.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
