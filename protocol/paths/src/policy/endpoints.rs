//! Linux's model: each address has a purpose of its own (`ip mptcp endpoint`).
//!
//! - `subflow`: one subflow starts there, to the address that the connection was opened to.
//! - `subflow fullmesh`: one to that and to every other address of the peer; `fullmesh` alone: to
//!   those that the peer announces.
//! - `signal`: the peer is told of it, with a port if it has one.
//! - `laminar`: when the peer announces an address, one subflow starts there, from the first such
//!   endpoint that has none; if there are only used ones, none does.
//! - `backup`: its subflows are backups.
//!
//! An announced address is answered by all `fullmesh` endpoints; if there are none, by a `laminar`
//! one; if there are none either, by an address of this host without any endpoint, as routing has
//! it; and where the peer denies joins to its first address and nothing announced is accepted
//! otherwise, by the `subflow` endpoints. In difference to Linux, what failed is tried again.

use super::{Join, has_room};
use crate::connection::{Announcement, Remote, Subflow};
use crate::{Connection, Endpoint, Flags, Source};

/// The endpoints of some flag whose address may be used, in their order.
fn sources(c: &Connection, flag: Flags) -> impl Iterator<Item = (&Endpoint, Source)> + '_ {
    let all = c.policy().endpoints.iter();
    let fitting = all.filter(move |e| e.flags.has(flag));
    fitting.filter_map(|e| Some((e, c.source(e.addr)?)))
}

fn join(endpoint: &Endpoint, from: Source, to: Remote) -> Join {
    let backup = endpoint.flags.has(Flags::BACKUP) || from.backup;
    Join { from, to, backup }
}

/// What endpoints ask for.
pub(super) fn wanted(c: &Connection) -> Option<Join> {
    let plain = || {
        let to = c.initial()?;
        let mut idle = sources(c, Flags::SUBFLOW).filter(|(e, s)| {
            let unused = c.count_from(s.addr.ip()) == 0;
            unused && !e.flags.has(Flags::FULLMESH) && has_room(c, s) && c.is_free(s, &to)
        });
        idle.next().map(|(e, s)| join(e, s, to))
    };
    let mesh = || {
        let pairs = sources(c, Flags::FULLMESH)
            .filter(|(_, s)| has_room(c, s))
            .flat_map(|(e, s)| c.remotes().map(move |r| (e, s, r)));
        let mut free = pairs.filter(|(e, s, r)| {
            let meant = r.id != 0 || e.flags.has(Flags::SUBFLOW);
            meant && c.is_free(s, r)
        });
        free.next().map(|(e, s, r)| join(e, s, r))
    };
    plain().or_else(mesh).or_else(|| laminar(c))
}

/// The peer's announced addresses that no subflow goes to.
fn idle_remotes(c: &Connection) -> impl Iterator<Item = Remote> + '_ {
    c.remotes().filter(|r| r.id != 0 && c.count_to(r.addr) == 0)
}

fn any(c: &Connection, flag: Flags) -> bool {
    c.policy().endpoints.iter().any(|e| e.flags.has(flag))
}

/// Each address of ours to one of the peer's.
fn laminar(c: &Connection) -> Option<Join> {
    if any(c, Flags::FULLMESH) {
        return None;
    }
    idle_remotes(c).find_map(|r| {
        let mut idle = sources(c, Flags::LAMINAR).filter(|(_, s)| c.count_from(s.addr.ip()) == 0);
        let fits = |(_, s): &(&Endpoint, Source)| has_room(c, s) && c.is_free(s, &r);
        idle.find(fits).map(|(e, s)| join(e, s, r))
    })
}

/// An announced address where no endpoint says from where to answer it.
pub(super) fn answer_announced(c: &Connection) -> Option<Join> {
    if any(c, Flags::FULLMESH) || any(c, Flags::LAMINAR) {
        return None;
    }
    let denied = c.initial().is_none() && c.policy().limits.add_addr_accepted == 0;
    idle_remotes(c).find_map(|r| {
        let fits = |s: &Source| has_room(c, s) && c.is_free(s, &r);
        if denied && any(c, Flags::SUBFLOW) {
            let mut subflow = sources(c, Flags::SUBFLOW);
            return subflow.find(|(_, s)| fits(s)).map(|(e, s)| join(e, s, r));
        }
        let first = c.source(c.first().local.ip()).filter(fits);
        let mut from = first.or_else(|| c.sources().find(fits))?;
        from.addr.set_port(0);
        Some(Join::new(from, r))
    })
}

/// The addresses to tell the peer of, but the one it knows.
pub(super) fn announced(c: &Connection) -> Vec<Announcement> {
    let first = c.first().local;
    let signal = c.policy().endpoints.iter().filter(|e| {
        let here = e.external || c.present().any(|s| s.addr.ip() == e.addr);
        let known = e.addr == first.ip() && e.port.is_none_or(|p| p == first.port());
        e.flags.has(Flags::SIGNAL) && here && !known && e.id != 0
    });
    signal
        .map(|e| Announcement {
            id: e.id,
            addr: e.addr,
            port: e.port,
        })
        .collect()
}

/// Backups are the subflows of addresses that are.
pub(super) fn backup(c: &Connection, subflow: &Subflow) -> bool {
    let ip = subflow.ends.local.ip();
    let endpoint = c
        .policy()
        .endpoints
        .iter()
        .find(|e| e.addr == ip && e.port.is_none());
    let by_endpoint = endpoint.map(|e| e.flags.has(Flags::BACKUP));
    match c.source(ip) {
        Some(source) => source.backup || by_endpoint == Some(true),
        None => by_endpoint.unwrap_or(subflow.backup),
    }
}
