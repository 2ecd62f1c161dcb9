//! One direction's data sequence space.

use anabranch_wire::Seq;
use anabranch_wire::mptcp::Dsn;

/// Translates data sequence numbers, which wrap, to positions, which do not: a position counts
/// payload bytes from 0, the byte with IDSN + 1 (RFC 8684 §3.1: the SYN takes one).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Space {
    idsn: u64,
}

impl Space {
    pub(crate) fn new(idsn: u64) -> Space {
        Space { idsn }
    }

    /// The data sequence number of a position.
    pub(crate) fn dsn(self, position: u64) -> u64 {
        self.idsn.wrapping_add(1).wrapping_add(position)
    }

    /// The position of a number from the wire, the one nearest to `near` if it is short; `None`
    /// before the start of the stream.
    pub(crate) fn position(self, dsn: Dsn, near: u64) -> Option<u64> {
        let offset = dsn.expand(self.dsn(near)).wrapping_sub(self.dsn(0));
        u64::try_from(offset as i64).ok()
    }
}

/// The subflow position of a relative subflow sequence number (the first byte after the SYN is 1),
/// the one nearest to what is expected next: after 4 GiB it wraps. `None` before the start.
pub(crate) fn subflow_position(ssn: u32, rcv_nxt: u64) -> Option<u64> {
    let offset = Seq(ssn.wrapping_sub(1)).since(Seq(rcv_nxt as u32));
    rcv_nxt.checked_add_signed(i64::from(offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subflow_numbers_wrap_and_positions_do_not() {
        assert_eq!(subflow_position(1, 0), Some(0));
        assert_eq!(subflow_position(0, 0), None, "the SYN has no byte");
        let four_gib = 1u64 << 32;
        for rcv_nxt in [four_gib - 1000, four_gib, four_gib + 1000, 3 * four_gib - 1] {
            for position in [rcv_nxt - 500, rcv_nxt, rcv_nxt + 500] {
                let ssn = (position as u32).wrapping_add(1);
                assert_eq!(subflow_position(ssn, rcv_nxt), Some(position));
            }
        }
    }

    #[test]
    fn positions_do_not_wrap_where_numbers_do() {
        for idsn in [0, 7, u64::from(u32::MAX) - 5, u64::MAX - 5, u64::MAX] {
            let space = Space::new(idsn);
            for position in [0, 1, 5, 6, 1 << 31, u64::from(u32::MAX) + 9] {
                let dsn = space.dsn(position);
                assert_eq!(space.position(Dsn::Long(dsn), 0), Some(position));
                for near in [position, position + 1000, position.saturating_sub(1000)] {
                    assert_eq!(space.position(Dsn::Short(dsn as u32), near), Some(position));
                }
            }
            assert_eq!(space.position(Dsn::Long(idsn), 0), None);
        }
    }
}
