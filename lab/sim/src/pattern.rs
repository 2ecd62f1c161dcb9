//! Bytes that tell their own position: a reader that knows the key finds the first wrong one.

use crate::rng::mix;
use bytes::Bytes;

/// `len` bytes of the stream `key` from position `at` on.
pub fn bytes(key: u64, at: u64, len: usize) -> Bytes {
    let mut out = Vec::with_capacity(len + 16);
    let mut word = at / 8;
    while out.len() < len + 8 {
        out.extend_from_slice(&mix(key ^ mix(word)).to_le_bytes());
        word += 1;
    }
    let skip = (at % 8) as usize;
    Bytes::from(out).slice(skip..skip + len)
}

/// Whether `data` is the stream `key` at `at`; otherwise the position of the first wrong byte.
pub fn check(key: u64, at: u64, data: &[u8]) -> Result<(), u64> {
    let expected = bytes(key, at, data.len());
    if expected == data {
        return Ok(());
    }
    let same = expected.iter().zip(data).take_while(|(a, b)| a == b);
    Err(at + same.count() as u64)
}

/// Where `data` (8 bytes or more) stands in the first `limit` bytes of the stream `key`: tells
/// what was delivered instead of what was due.
pub fn find(key: u64, data: &[u8], limit: u64) -> Option<u64> {
    let head = data.get(..8)?;
    let mut at = 0;
    while at < limit {
        let block = bytes(key, at, 65_536 + 7);
        if let Some(n) = block.windows(8).position(|w| w == head) {
            return Some(at + n as u64);
        }
        at += 65_536;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_slice_is_the_slice_of_the_whole() {
        let whole = bytes(7, 0, 4096);
        for (at, len) in [(0, 1), (1, 8), (7, 100), (13, 0), (4000, 96)] {
            assert_eq!(bytes(7, at as u64, len), whole[at..at + len]);
        }
        assert_ne!(bytes(8, 0, 4096), whole);
    }

    #[test]
    fn the_first_wrong_byte_is_named_and_found_again() {
        let mut data = bytes(7, 100, 50).to_vec();
        assert_eq!(check(7, 100, &data), Ok(()));
        data[30] ^= 1;
        assert_eq!(check(7, 100, &data), Err(130));
        assert_eq!(find(7, &bytes(7, 70_001, 20), 100_000), Some(70_001));
        assert_eq!(find(7, &[0; 20], 100_000), None);
    }
}
