//! The policy of one connection: what is common to all kinds, around the one that is configured.
//!
//! The kind (`crate::policy`) looks at what there is and says which subflow is lacking, which
//! should be a backup, which addresses the peer should know. Here it is decided whether and when
//! that is done: limits, attempts that failed, the delay of the second subflow, checks of those
//! that stand by.

mod attempts;
mod decide;
mod events;
mod health;
mod subflow;

pub use subflow::{State, SubflowState};

use crate::{Command, Ends, Facts, MAX_ADDRESSES, Policy, Side, Source, Time};
use attempts::{Attempts, Trouble};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
pub(crate) use subflow::Subflow;

/// An address of ours.
#[derive(Clone, Copy, Debug)]
struct Local {
    source: Source,
    present: bool,
}

/// An address of the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Remote {
    /// 0 for that of the first subflow.
    pub(crate) id: u8,
    pub(crate) addr: SocketAddr,
    /// A subflow has been there.
    proven: bool,
}

/// An address that the peer is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Announcement {
    pub(crate) id: u8,
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Running,
    Over,
}

/// The policy of one connection, from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Connection {
    policy: Arc<Policy>,
    /// Who opened it.
    side: Side,
    /// Of the first subflow.
    first: Ends,
    phase: Phase,
    /// Since when it is established.
    established: Time,
    /// The second subflow is not to come before this.
    hold: Option<Time>,
    locals: Vec<Local>,
    /// The peer's address of the first subflow, if it may be joined.
    initial: Option<Remote>,
    announced: Vec<Remote>,
    subflows: Vec<Subflow>,
    troubles: Vec<Trouble>,
    attempts: Attempts,
    told: Vec<Announcement>,
    commands: VecDeque<Command>,
    /// When figures of subflows were looked at last.
    looked: Time,
}

impl Connection {
    /// The policy of a connection, which may use these addresses, at most [`MAX_ADDRESSES`] of
    /// them, best first.
    ///
    /// Where the peer opened it, its first address is not joined: that port is no listener's. Nor
    /// is an address that it announces without a port.
    pub fn new(now: Time, policy: Arc<Policy>, facts: &Facts, sources: &[Source]) -> Connection {
        let first = Ends {
            local: facts.local,
            remote: facts.remote,
        };
        let mut connection = Connection {
            policy: Arc::clone(&policy),
            side: facts.side,
            first,
            phase: Phase::Opening,
            established: now,
            hold: None,
            locals: Vec::new(),
            initial: None,
            announced: Vec::new(),
            subflows: Vec::new(),
            troubles: Vec::new(),
            attempts: Attempts::default(),
            told: Vec::new(),
            commands: VecDeque::new(),
            looked: now,
        };
        sources
            .iter()
            .for_each(|source| connection.local_up(*source));
        if policy.limits != crate::Limits::default() {
            connection.tell_limits();
        }
        connection
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// The ends of the first subflow.
    pub fn first(&self) -> Ends {
        self.first
    }

    /// The peer's addresses that may be joined, with their IDs.
    pub fn peer_addresses(&self) -> impl Iterator<Item = (u8, SocketAddr)> + '_ {
        self.remotes().map(|r| (r.id, r.addr))
    }

    /// Our addresses that subflows may start from now.
    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        self.present().filter(|s| s.routed)
    }

    /// Our addresses that there are now.
    pub(crate) fn present(&self) -> impl Iterator<Item = Source> + '_ {
        let present = self.locals.iter().filter(|l| l.present);
        present.map(|l| l.source)
    }

    /// Its subflows, those being opened included.
    pub fn subflows(&self) -> impl Iterator<Item = SubflowState> + '_ {
        self.subflows.iter().map(SubflowState::from)
    }

    /// How many subflows it has beside the first, those being opened included.
    pub fn further_subflows(&self) -> usize {
        self.subflows
            .iter()
            .filter(|s| s.ends != self.first)
            .count()
    }

    fn tell_limits(&mut self) {
        let limits = self.policy.limits;
        self.commands.push_back(Command::SetLimits {
            subflows: limits.subflows,
            add_addr_accepted: limits.add_addr_accepted,
        });
    }

    fn local_up(&mut self, source: Source) {
        let ip = source.addr.ip();
        let known = self.locals.iter_mut().find(|l| l.source.addr.ip() == ip);
        if let Some(local) = known {
            let present = true;
            *local = Local { source, present };
        } else {
            if self.locals.len() >= MAX_ADDRESSES {
                // One that is away makes room.
                let Some(away) = self.locals.iter().position(|l| !l.present) else {
                    return;
                };
                self.locals.remove(away);
            }
            let present = true;
            self.locals.push(Local { source, present });
        }
    }
}

/// What kinds of policies look at.
impl Connection {
    /// The peer's addresses that may be joined, each once: first that of the first subflow.
    pub(crate) fn remotes(&self) -> impl Iterator<Item = Remote> + '_ {
        let initial = self.initial;
        let known = move |r: &&Remote| initial.is_none_or(|i| i.addr != r.addr);
        initial
            .into_iter()
            .chain(self.accepted().filter(known).copied())
    }

    /// Those that it announced, as far as the limit goes.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Remote> + '_ {
        let limit = match self.policy.limits.add_addr_accepted {
            // Who joins nothing that is announced would have a single path to a peer that denies
            // joins to its first address: Linux takes one then.
            0 if self.side == Side::Client && self.initial.is_none() => 1,
            limit => limit,
        };
        self.announced.iter().take(limit)
    }

    /// That of the first subflow, if it may be joined.
    pub(crate) fn initial(&self) -> Option<Remote> {
        self.initial
    }

    pub(crate) fn subflow_list(&self) -> &[Subflow] {
        &self.subflows
    }

    /// The address of ours of this IP address, if it may be used.
    pub(crate) fn source(&self, ip: IpAddr) -> Option<Source> {
        self.sources().find(|s| s.addr.ip() == ip)
    }

    /// Subflows from an address.
    pub(crate) fn count_from(&self, ip: IpAddr) -> usize {
        let here = |s: &&Subflow| s.ends.local.ip() == ip;
        self.subflows.iter().filter(here).count()
    }

    /// Subflows to an address.
    pub(crate) fn count_to(&self, remote: SocketAddr) -> usize {
        let there = |s: &&Subflow| s.ends.remote == remote;
        self.subflows.iter().filter(there).count()
    }

    /// Subflows between the two.
    pub(crate) fn count_between(&self, ip: IpAddr, remote: SocketAddr) -> usize {
        let between = |s: &&Subflow| s.ends.local.ip() == ip && s.ends.remote == remote;
        self.subflows.iter().filter(between).count()
    }

    /// Subflows through an interface; of one that is not known, through the address.
    pub(crate) fn count_through(&self, source: &Source) -> usize {
        let through = |s: &&Subflow| {
            let ip = s.ends.local.ip();
            let link = self.locals.iter().find(|l| l.source.addr.ip() == ip);
            let same = link.is_some_and(|l| source.link != 0 && l.source.link == source.link);
            same || ip == source.addr.ip()
        };
        self.subflows.iter().filter(through).count()
    }

    /// Whether a subflow between the two may be opened as far as addresses and earlier attempts
    /// are concerned; another one there may exist.
    pub(crate) fn may_try(&self, from: &Source, to: &Remote) -> bool {
        let ip = from.addr.ip();
        let mut troubles = self.troubles.iter().filter(|t| t.is_between(ip, to.addr));
        from.addr.is_ipv4() == to.addr.is_ipv4() && troubles.all(Trouble::is_over)
    }

    /// As [`Connection::may_try`], and there is none yet.
    pub(crate) fn is_free(&self, from: &Source, to: &Remote) -> bool {
        self.may_try(from, to) && self.count_between(from.addr.ip(), to.addr) == 0
    }
}
