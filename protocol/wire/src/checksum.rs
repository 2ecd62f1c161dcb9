//! The Internet checksum (RFC 1071), whole, partial and incremental (RFC 1624).
//!
//! A *sum* is the folded, uncomplemented ones'-complement sum of big-endian 16-bit words; a
//! *checksum* is its complement, as it stands in headers. Over bytes that include a right
//! checksum, the sum is `0xffff`.

use std::net::IpAddr;

/// Ones'-complement addition of two sums.
pub fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// Bytes that are summed before lanes of 32 bits could overflow: of 65,537 words in each, as many as
/// make whole blocks.
const PART: usize = 1 << 20;

/// The sum of `bytes`; an odd last byte counts as the high half of a word.
pub fn sum(bytes: &[u8]) -> u16 {
    // Ones'-complement addition commutes with swapping bytes (RFC 1071 §2(B)), so words are added as
    // the machine reads them.
    u16::from_be(fold(bytes.chunks(PART).map(sum_part).sum()))
}

/// The sum of one part, not folded.
fn sum_part(bytes: &[u8]) -> u64 {
    // Each 32-bit word is two 16-bit words, high and low. A lane sums the high ones, and beside them
    // the words as they are, whose overflow is lost; what is right modulo 2³² and below it is right,
    // so the sum of the low ones is what the two differ by. That is a load, two additions and a
    // shift for as many lanes as the compiler's registers have, and no widening.
    let (blocks, rest) = bytes.as_chunks::<64>();
    let (mut whole, mut high) = ([0u32; 16], [0u32; 16]);
    for block in blocks {
        let words = block.as_chunks::<4>().0;
        for ((whole, high), word) in whole.iter_mut().zip(&mut high).zip(words) {
            let word = u32::from_ne_bytes(*word);
            *whole = whole.wrapping_add(word);
            *high += word >> 16;
        }
    }
    let lanes = whole.iter().zip(&high);
    let lanes: u64 = lanes
        .map(|(whole, high)| u64::from(whole.wrapping_sub(high << 16)) + u64::from(*high))
        .sum();
    let (words, tail) = rest.as_chunks::<4>();
    let words: u64 = words
        .iter()
        .map(|w| u64::from(u32::from_ne_bytes(*w)))
        .sum();
    let mut last = [0u8; 4];
    last[..tail.len()].copy_from_slice(tail);
    lanes + words + u64::from(u32::from_ne_bytes(last))
}

/// Brings a 64-bit ones'-complement sum below 2³³.
fn fold32(sum: u64) -> u64 {
    (sum >> 32) + (sum & 0xffff_ffff)
}

/// Folds a sum of words of any width to 16 bits.
fn fold(sum: u64) -> u16 {
    let sum = fold32(fold32(sum)) as u32;
    add((sum >> 16) as u16, sum as u16)
}

/// A sum over a run of bytes given in pieces of any length, odd ones too.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sum {
    value: u16,
    odd: bool,
}

impl Sum {
    /// Appends `bytes` to the run.
    pub fn push(&mut self, bytes: &[u8]) {
        self.join(Sum {
            value: sum(bytes),
            odd: bytes.len() % 2 == 1,
        });
    }

    /// Appends a run that was summed on its own.
    pub fn join(&mut self, next: Sum) {
        // A run that starts at an odd offset has the halves of all its words exchanged.
        let value = if self.odd {
            next.value.swap_bytes()
        } else {
            next.value
        };
        self.value = add(self.value, value);
        self.odd ^= next.odd;
    }

    /// The sum so far.
    pub fn value(self) -> u16 {
        self.value
    }
}

/// Sum of several pieces as one run of bytes.
pub fn sum_slices<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> Sum {
    let mut run = Sum::default();
    slices.into_iter().for_each(|slice| run.push(slice));
    run
}

/// Sum of the pseudo-header of RFC 9293 §3.1 (IPv4) and RFC 8200 §8.1 (IPv6). `len` is that of the
/// upper-layer header and its payload.
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: u32) -> u16 {
    fold(address(src) + address(dst) + u64::from(len) + u64::from(protocol))
}

fn address(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.segments().iter().map(|&word| u64::from(word)).sum(),
    }
}

/// The checksum after one 16-bit word of what it covers changed from `old` to `new` (RFC 1624 §3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

/// The DSS checksum (RFC 8684 §3.3.1): pseudo-header of the 64-bit DSN, relative subflow sequence
/// number and length of the mapping, then its bytes. `payload` is the sum of those bytes; a
/// DATA_FIN counts in `len` and adds no byte.
pub fn dss(dsn: u64, ssn: u32, len: u16, payload: Sum) -> u16 {
    !add(dss_pseudo_header(dsn, ssn, len), payload.value())
}

/// Whether `checksum` is right for a mapping.
pub fn dss_valid(dsn: u64, ssn: u32, len: u16, payload: Sum, checksum: u16) -> bool {
    // Compared as a sum: 0x0000 and 0xffff are the same number in ones' complement.
    let all = add(dss_pseudo_header(dsn, ssn, len), payload.value());
    add(all, checksum) == 0xffff
}

fn dss_pseudo_header(dsn: u64, ssn: u32, len: u16) -> u16 {
    let mut bytes = [0u8; 14];
    bytes[..8].copy_from_slice(&dsn.to_be_bytes());
    bytes[8..12].copy_from_slice(&ssn.to_be_bytes());
    bytes[12..].copy_from_slice(&len.to_be_bytes());
    sum(&bytes)
}
