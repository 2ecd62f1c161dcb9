//! Kinds of policies, a file each: which subflow a connection lacks, by what there is.
//!
//! They keep nothing: each looks at the connection and says the next subflow it should have, so
//! whatever happens, and in whatever order, it comes to the same.

mod endpoints;
mod full_mesh;
mod handover;
mod ndiffports;
mod one_each;
mod one_per_interface;
mod server;

use crate::connection::{Announcement, Remote, Subflow};
use crate::{Connection, Ends, Kind, Policy, Source, Time};

/// A subflow that is lacking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) from: Source,
    pub(crate) to: Remote,
    pub(crate) backup: bool,
}

impl Join {
    /// A backup if its address is for backups.
    fn new(from: Source, to: Remote) -> Join {
        let backup = from.backup;
        Join { from, to, backup }
    }
}

impl Policy {
    /// The subflow that `c` lacks most.
    pub(crate) fn wanted(&self, c: &Connection, now: Time) -> Option<Join> {
        let join = match self.kind {
            Kind::OneEach => one_each::wanted(c),
            Kind::Endpoints => endpoints::answer_announced(c),
            Kind::FullMesh => full_mesh::wanted(c),
            Kind::OnePerInterface => one_per_interface::wanted(c),
            Kind::NDiffPorts(count) => ndiffports::wanted(c, count.into()),
            Kind::Handover(handover) => handover::wanted(c, now, handover),
            Kind::Server => None,
        };
        // Endpoints that somebody added are heeded whatever else there is.
        join.or_else(|| endpoints::wanted(c))
    }

    /// Whether a subflow of ours should be a backup.
    pub(crate) fn backup(&self, c: &Connection, now: Time, subflow: &Subflow) -> bool {
        match self.kind {
            Kind::Handover(_) => handover::backup(c, now, subflow),
            _ => endpoints::backup(c, subflow),
        }
    }

    /// The addresses that the peer should know.
    pub(crate) fn announced(&self, c: &Connection) -> Vec<Announcement> {
        let mut all = endpoints::announced(c);
        if self.kind == Kind::Server {
            let further = server::announced(c);
            let new = |a: &Announcement| {
                !all.iter()
                    .any(|known| known.id == a.id || known.addr == a.addr)
            };
            let further: Vec<_> = further.filter(new).collect();
            all.extend(further);
        }
        all.truncate(crate::MAX_ADDRESSES);
        all
    }

    /// A subflow that is not needed any more.
    pub(crate) fn unwanted(&self, c: &Connection, now: Time) -> Option<Ends> {
        match self.kind {
            Kind::Handover(handover) => handover::unwanted(c, now, handover),
            _ => None,
        }
    }
}

/// Whether the interface of an address may have one more subflow.
fn has_room(c: &Connection, source: &Source) -> bool {
    source.subflows == 0 || c.count_through(source) < source.subflows.into()
}

/// All pairs between which a subflow may be opened, ours in order first.
fn free_pairs(c: &Connection) -> impl Iterator<Item = (Source, Remote)> + '_ {
    let sources = c.sources().filter(|s| has_room(c, s));
    let pairs = sources.flat_map(|s| c.remotes().map(move |r| (s, r)));
    pairs.filter(|(s, r)| c.is_free(s, r))
}
