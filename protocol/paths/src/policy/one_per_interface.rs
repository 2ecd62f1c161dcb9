//! One subflow through each interface, whatever addresses it has: links are what bandwidth comes
//! from.

use super::{Join, free_pairs};
use crate::Connection;

/// From the first address of an interface that has no subflow, to the address of the peer that is
/// used least.
pub(super) fn wanted(c: &Connection) -> Option<Join> {
    let mut idle = free_pairs(c).filter(|(from, _)| c.count_through(from) == 0);
    let first = idle.next()?;
    let same = idle.take_while(|(from, _)| from.addr == first.0.addr);
    let least = std::iter::once(first)
        .chain(same)
        .min_by_key(|(_, to)| c.count_to(to.addr));
    least.map(|(from, to)| Join::new(from, to))
}
