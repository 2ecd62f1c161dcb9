//! Test data that knows its own place.
//!
//! A stream of a [`Pattern`] is a sequence of little-endian 64-bit words, word `i` being a
//! bijective mix of `seed + i·STEP`. So any two neighbouring words, found anywhere, tell that
//! they belong to the pattern; together with the seed they tell from which offset they come. A
//! capture can be judged against it without any knowledge of who sent what
//! ([`crate::judge`]), and when bytes are wrong, it shows which bytes stand there instead.

use sha2::{Digest as _, Sha256};

/// Odd, so that it has an inverse modulo 2^64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// An endless stream of bytes, given by its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The pattern of this seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The seed it was made with.
    pub const fn seed(self) -> u64 {
        self.seed
    }

    /// The same bytes seen from `offset` bytes earlier: byte `offset` of the result is byte 0 of
    /// `self`. `offset` must be a multiple of 8.
    pub fn after(self, offset: u64) -> Self {
        assert!(offset.is_multiple_of(8), "patterns move by whole words");
        Self {
            seed: self.seed.wrapping_sub((offset / 8).wrapping_mul(STEP)),
        }
    }

    /// Fills `out` with the bytes from `offset` on.
    pub fn fill(self, offset: u64, out: &mut [u8]) {
        let mut state = self.seed.wrapping_add((offset / 8).wrapping_mul(STEP));
        let mut next = || {
            let word = mix(state).to_le_bytes();
            state = state.wrapping_add(STEP);
            word
        };
        let skip = (offset % 8) as usize;
        let mut out = out;
        if skip != 0 && !out.is_empty() {
            let take = (8 - skip).min(out.len());
            let (head, rest) = out.split_at_mut(take);
            head.copy_from_slice(&next()[skip..skip + take]);
            out = rest;
        }
        let mut words = out.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&next());
        }
        let tail = words.into_remainder();
        let len = tail.len();
        if len != 0 {
            tail.copy_from_slice(&next()[..len]);
        }
    }

    /// The index of the first byte of `bytes` that is not the pattern's byte at that place, where
    /// `bytes` starts at `offset`.
    pub fn first_difference(self, offset: u64, bytes: &[u8]) -> Option<usize> {
        let mut expected = [0; 4096];
        for (n, chunk) in bytes.chunks(expected.len()).enumerate() {
            let start = n * expected.len();
            let expected = &mut expected[..chunk.len()];
            self.fill(offset + start as u64, expected);
            if expected != chunk {
                let at = expected.iter().zip(chunk).position(|(a, b)| a != b)?;
                return Some(start + at);
            }
        }
        None
    }

    /// SHA-256 of the first `len` bytes.
    pub fn sha256(self, len: u64) -> [u8; 32] {
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut offset = 0;
        while offset < len {
            let take = (len - offset).min(buffer.len() as u64) as usize;
            self.fill(offset, &mut buffer[..take]);
            digest.update(&buffer[..take]);
            offset += take as u64;
        }
        digest.finalize().into()
    }

    /// The pattern of which `bytes` are the bytes from `offset` on, if they are of any. Needs at
    /// least 23 bytes; fewer tell nothing.
    pub fn recognise(offset: u64, bytes: &[u8]) -> Option<Self> {
        let skip = (offset.wrapping_neg() % 8) as usize;
        let (first, second) = (word_at(bytes, skip)?, word_at(bytes, skip + 8)?);
        let state = unmix(first);
        let index = (offset + skip as u64) / 8;
        (unmix(second) == state.wrapping_add(STEP)).then(|| Self {
            seed: state.wrapping_sub(index.wrapping_mul(STEP)),
        })
    }

    /// Where in this pattern the first of `bytes` belong, if they are some of its bytes below
    /// `limit`.
    pub fn locate(self, bytes: &[u8], limit: u64) -> Option<u64> {
        (0..8).find_map(|skip| {
            let found = Self::recognise(8 - skip as u64, bytes)?;
            // `recognise` was told that the words are numbers 1 and 2 (or 1 - 0 when skip is 0).
            let index = found
                .seed
                .wrapping_sub(self.seed)
                .wrapping_mul(inverse(STEP));
            let word = index.wrapping_add(1);
            let offset = word.wrapping_mul(8).wrapping_sub(skip as u64);
            (word < limit / 8 + 1 && offset < limit).then_some(offset)
        })
    }
}

/// What one end sent or received, for comparison with the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Bytes of the stream.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// Collects a [`Digest`] while bytes pass, and notes the first that is not the pattern's.
#[derive(Debug)]
pub struct Tally {
    pattern: Pattern,
    bytes: u64,
    sha256: Sha256,
    first_wrong: Option<u64>,
}

impl Tally {
    /// Nothing passed yet; the bytes should be those of `pattern`.
    pub fn new(pattern: Pattern) -> Self {
        Self {
            pattern,
            bytes: 0,
            sha256: Sha256::new(),
            first_wrong: None,
        }
    }

    /// `bytes` passed.
    pub fn update(&mut self, bytes: &[u8]) {
        if self.first_wrong.is_none() {
            self.first_wrong = self
                .pattern
                .first_difference(self.bytes, bytes)
                .map(|at| self.bytes + at as u64);
        }
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The offset of the first byte that was not the pattern's.
    pub fn first_wrong(&self) -> Option<u64> {
        self.first_wrong
    }

    /// The sum of what passed.
    pub fn digest(&self) -> Digest {
        Digest {
            bytes: self.bytes,
            sha256: self.sha256.clone().finalize().into(),
        }
    }
}

fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(word.try_into().ok()?))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every step can be undone.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const fn unmix(mut z: u64) -> u64 {
    z = z ^ (z >> 31) ^ (z >> 62);
    z = z.wrapping_mul(inverse(0x94d0_49bb_1331_11eb));
    z = z ^ (z >> 27) ^ (z >> 54);
    z = z.wrapping_mul(inverse(0xbf58_476d_1ce4_e5b9));
    z ^ (z >> 30) ^ (z >> 60)
}

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the number
/// of right bits, and `odd` itself has three.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut step = 0;
    while step < 5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_can_be_undone() {
        for z in [0, 1, STEP, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(unmix(mix(z)), z);
        }
    }

    #[test]
    fn pieces_join_to_the_same_bytes() {
        let pattern = Pattern::new(7);
        let mut whole = [0; 100];
        pattern.fill(0, &mut whole);
        for cut in 0..100 {
            let mut pieces = [0; 100];
            let (head, tail) = pieces.split_at_mut(cut);
            pattern.fill(0, head);
            pattern.fill(cut as u64, tail);
            assert_eq!(pieces, whole, "cut at {cut}");
        }
    }

    #[test]
    fn the_first_wrong_byte_is_found() {
        let pattern = Pattern::new(8);
        let mut bytes = vec![0; 10_000];
        pattern.fill(3, &mut bytes);
        assert_eq!(pattern.first_difference(3, &bytes), None);
        bytes[5001] ^= 1;
        assert_eq!(pattern.first_difference(3, &bytes), Some(5001));
    }

    #[test]
    fn a_pattern_is_recognised_from_any_offset_and_located() {
        let pattern = Pattern::new(0xfeed);
        for offset in 1000..1017 {
            let mut bytes = [0; 24];
            pattern.fill(offset, &mut bytes);
            assert_eq!(Pattern::recognise(offset, &bytes), Some(pattern));
            assert_eq!(pattern.locate(&bytes, 1 << 40), Some(offset));
            assert_eq!(Pattern::new(1).locate(&bytes, 1 << 40), None);
        }
        assert_eq!(Pattern::recognise(0, &[0; 64]), None);
    }

    #[test]
    fn a_pattern_behind_a_header() {
        let pattern = Pattern::new(9);
        let (mut plain, mut moved) = ([0; 16], [0; 16]);
        pattern.fill(0, &mut plain);
        pattern.after(32).fill(32, &mut moved);
        assert_eq!(plain, moved);
    }
}
