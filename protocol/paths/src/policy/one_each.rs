//! One subflow from each address of ours, and one to each that the peer announces: every address
//! is in use, none more than it takes. What happens unless something else is asked for.

use super::{Join, free_pairs};
use crate::Connection;

/// The pair that lacks a subflow most: that of the address of ours which is used least.
pub(super) fn wanted(c: &Connection) -> Option<Join> {
    let lacking = free_pairs(c).filter(|(from, to)| {
        let unused = c.count_from(from.addr.ip()) == 0;
        unused || c.count_to(to.addr) == 0
    });
    // Of equals the first: the peer's initial address comes before those it announced.
    let least = lacking.min_by_key(|(from, _)| c.count_from(from.addr.ip()));
    least.map(|(from, to)| Join::new(from, to))
}
