//! Initial sequence numbers (RFC 6528).

use crate::Instant;
use anabranch_wire::Seq;

/// ISN = M + F: `hash` is a keyed pseudo-random function of the connection's addresses and ports
/// (SipHash over them with a secret key, say), M a clock that ticks every 4 µs.
pub fn initial_seq(hash: u32, now: Instant) -> Seq {
    Seq(hash.wrapping_add((now.0 / 4000) as u32))
}
