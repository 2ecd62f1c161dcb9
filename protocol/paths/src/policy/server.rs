//! A host that others connect to: it tells them its addresses and leaves it to them to open
//! subflows, since it is they who know of translators and costs on their side.

use crate::Connection;
use crate::connection::Announcement;

/// Each address of ours that may be used, but the one where the connection came in.
pub(super) fn announced(c: &Connection) -> impl Iterator<Item = Announcement> + '_ {
    let first = c.first().local.ip();
    let further = c
        .present()
        .filter(move |s| s.addr.ip() != first && s.id != 0);
    further.map(|s| Announcement {
        id: s.id,
        addr: s.addr.ip(),
        port: None,
    })
}
