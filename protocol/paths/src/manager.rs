//! Many connections, for an engine that keeps no state of its own for each.

use crate::{Command, Connection, Event, Facts, Host, HostEvent, Plan, Policy, Source, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What names a connection: the token that its peer joins by.
pub type Token = u32;

/// Connections managed at once; further ones are left alone.
const MAX_CONNECTIONS: usize = 1 << 20;

/// All connections of an engine, and the host they are on.
///
/// After any call [`Manager::next`] is asked until it gives nothing, then [`Manager::deadline`].
#[derive(Clone, Default, Debug)]
pub struct Manager {
    plan: Plan,
    host: Host,
    connections: BTreeMap<Token, Managed>,
    /// Connections that something happened to.
    ready: BTreeSet<Token>,
    deadlines: BTreeSet<(Time, Token)>,
    /// Further subflows by peer address.
    peers: BTreeMap<IpAddr, usize>,
}

/// A connection, and what is kept of it outside.
#[derive(Clone, Debug)]
struct Managed {
    facts: Facts,
    connection: Connection,
    deadline: Option<Time>,
    /// Further subflows counted for its peer.
    counted: usize,
}

impl Manager {
    /// A manager without connections.
    pub fn new(plan: Plan) -> Manager {
        Manager {
            plan,
            ..Manager::default()
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is known of this host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Puts another plan in force, for connections that exist too.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
        for (token, managed) in &mut self.connections {
            let policy = Arc::clone(self.plan.policy_for(&managed.facts));
            let sources = sources(&self.host, &self.plan, &policy, &managed.facts);
            managed.connection.set_policy(policy, &sources);
            self.ready.insert(*token);
        }
    }

    /// This host changed.
    pub fn on_host(&mut self, event: HostEvent) {
        if self.host.on_event(event) {
            self.host_changed();
        }
    }

    /// This host is as told, whatever was known before.
    pub fn replace_host(&mut self, host: impl FnOnce(&mut Host) -> bool) {
        if host(&mut self.host) {
            self.host_changed();
        }
    }

    fn host_changed(&mut self) {
        for (token, managed) in &mut self.connections {
            let policy = managed.connection.policy();
            let sources = sources(&self.host, &self.plan, policy, &managed.facts);
            managed.connection.set_sources(&sources, true);
            self.ready.insert(*token);
        }
    }

    /// A connection began. One that is known by that token already is forgotten.
    pub fn created(&mut self, now: Time, token: Token, facts: Facts) {
        self.forget(token);
        if self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let policy = Arc::clone(self.plan.policy_for(&facts));
        let sources = sources(&self.host, &self.plan, &policy, &facts);
        let managed = Managed {
            connection: Connection::new(now, policy, &facts, &sources),
            facts,
            deadline: None,
            counted: 0,
        };
        self.connections.insert(token, managed);
        self.ready.insert(token);
    }

    /// Something happened to a connection; one that is not known is none of ours.
    pub fn on_event(&mut self, now: Time, token: Token, event: Event) {
        let Some(managed) = self.connections.get_mut(&token) else {
            return;
        };
        if event == Event::Closed {
            return self.forget(token);
        }
        managed.connection.on_event(now, event);
        self.ready.insert(token);
    }

    fn forget(&mut self, token: Token) {
        let Some(managed) = self.connections.remove(&token) else {
            return;
        };
        self.ready.remove(&token);
        if let Some(at) = managed.deadline {
            self.deadlines.remove(&(at, token));
        }
        count(
            &mut self.peers,
            managed.facts.remote.ip(),
            managed.counted,
            0,
        );
    }

    /// The next thing to do, and with which connection.
    pub fn next(&mut self, now: Time) -> Option<(Token, Command)> {
        while let Some((at, token)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, token));
            if let Some(managed) = self.connections.get_mut(&token) {
                managed.deadline = None;
            }
            self.ready.insert(token);
        }
        while let Some(token) = self.ready.first().copied() {
            if let Some(command) = self.command(now, token) {
                return Some((token, command));
            }
            self.ready.remove(&token);
        }
        None
    }

    fn command(&mut self, now: Time, token: Token) -> Option<Command> {
        let managed = self.connections.get_mut(&token)?;
        let (connection, peer) = (&mut managed.connection, managed.facts.remote.ip());
        // Subflows may have come and gone since.
        let further = connection.further_subflows();
        count(&mut self.peers, peer, managed.counted, further);
        managed.counted = further;
        let used = self.peers.get(&peer).copied().unwrap_or(0);
        let limit = connection.policy().limits.per_peer;
        let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(used));
        let command = connection.next(now, room);
        let further = connection.further_subflows();
        count(&mut self.peers, peer, managed.counted, further);
        managed.counted = further;
        if command.is_none() {
            if let Some(at) = managed.deadline {
                self.deadlines.remove(&(at, token));
            }
            // What is due already and led to nothing waits for something to happen.
            managed.deadline = connection.deadline().filter(|at| *at > now);
            if let Some(at) = managed.deadline {
                self.deadlines.insert((at, token));
            }
        }
        command
    }

    /// When to ask again, if nothing happens before.
    pub fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether the engine should give the figures of a connection's subflows before it asks.
    pub fn watches(&self, token: Token) -> bool {
        let managed = self.connections.get(&token);
        managed.is_some_and(|m| m.connection.watches())
    }

    /// Every connection that is known.
    pub fn connections(&self) -> impl Iterator<Item = (Token, &Connection, &Facts)> + '_ {
        let all = self.connections.iter();
        all.map(|(token, m)| (*token, &m.connection, &m.facts))
    }

    /// One of them.
    pub fn connection(&self, token: Token) -> Option<&Connection> {
        self.connections.get(&token).map(|m| &m.connection)
    }
}

fn sources(host: &Host, plan: &Plan, policy: &Policy, facts: &Facts) -> Vec<Source> {
    host.sources(policy, &plan.rules, facts.remote.ip())
}

/// Counts `after` further subflows of a peer in place of `before`; who has none is forgotten.
fn count(peers: &mut BTreeMap<IpAddr, usize>, peer: IpAddr, before: usize, after: usize) {
    if before == after {
        return;
    }
    let known = peers.entry(peer).or_insert(0);
    *known = (*known + after).saturating_sub(before);
    if *known == 0 {
        peers.remove(&peer);
    }
}
