//! Several subflows between the same two addresses, from different ports: for networks that spread
//! flows over paths by their ports, and for paths where one flow alone does not get its share.

use super::{Join, has_room};
use crate::Connection;

/// One more between the addresses of the first subflow, until there are `count`. If that address
/// of ours is gone, the first that is there takes its place.
pub(super) fn wanted(c: &Connection, count: usize) -> Option<Join> {
    let to = c.initial().or_else(|| c.remotes().next())?;
    let fits = |s: &crate::Source| s.addr.is_ipv4() == to.addr.is_ipv4();
    let first = c.source(c.first().local.ip()).filter(fits);
    let mut from = first.or_else(|| c.sources().find(fits))?;
    from.addr.set_port(0);
    let lacking = c.count_between(from.addr.ip(), to.addr) < count;
    let may = lacking && c.may_try(&from, &to) && has_room(c, &from);
    may.then(|| Join::new(from, to))
}
