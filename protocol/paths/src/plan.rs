//! What is wanted, as it is configured.

use crate::{Endpoint, EndpointError, MAX_ADDRESSES, Pattern, Prefix, endpoint};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Which subflows a connection should have.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Kind {
    /// One from each address of ours, and one to each that the peer announces.
    #[default]
    OneEach,
    /// As Linux's path manager: what the endpoints say, and nothing else.
    Endpoints,
    /// From each address of ours to each of the peer's.
    FullMesh,
    /// One through each interface.
    OnePerInterface,
    /// So many between the same two addresses, from different ports.
    NDiffPorts(u8),
    /// One that is used, the others standing by.
    Handover(Handover),
    /// Addresses are announced; the peer opens subflows.
    Server,
}

/// How standing by is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handover {
    /// Subflows stand by established, as backups. Otherwise one is opened only when it is needed,
    /// and closed when it is not any more.
    pub warm: bool,
}

impl Default for Handover {
    fn default() -> Self {
        Handover { warm: true }
    }
}

/// Which subflows a connection should have, and what holds for any of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Which subflows.
    pub kind: Kind,
    /// Addresses with a purpose of their own, beside what `kind` says.
    pub endpoints: Vec<Endpoint>,
    /// The only addresses of this host to use, best first; empty for all that rules allow.
    pub sources: Vec<IpAddr>,
    /// How many.
    pub limits: Limits,
    /// What becomes of subflows that failed.
    pub retry: Retry,
    /// When the second subflow may come.
    pub delay: Delay,
    /// Whether standing by is checked.
    pub health: Option<Health>,
    /// What counts as a bad path.
    pub thresholds: Thresholds,
    /// How long a better path has to be good before it is gone back to.
    pub failback: Duration,
    /// What becomes of interfaces that are paid for by volume.
    pub metered: Metered,
}

/// What becomes of interfaces that are paid for by volume.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Metered {
    /// They are used as any other.
    Use,
    /// Their subflows are backups unless a rule says otherwise.
    #[default]
    Backup,
    /// They are not used.
    Never,
}

/// How many subflows and addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Subflows of a connection, the first one included; at most [`MAX_ADDRESSES`].
    pub subflows: usize,
    /// Addresses that the peer may announce to some effect, at most [`MAX_ADDRESSES`].
    pub add_addr_accepted: usize,
    /// Further subflows of all connections with one peer address together.
    pub per_peer: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            subflows: 8,
            add_addr_accepted: MAX_ADDRESSES,
            per_peer: None,
        }
    }
}

/// What becomes of subflows that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    /// When it is tried again first; doubles each time.
    pub first: Duration,
    /// The longest time between two attempts.
    pub max: Duration,
    /// Attempts in a row that fail before a pair of addresses is given up, until no subflow at all
    /// is left or the address comes back. One that succeeds but does not last for `max` counts too.
    /// 0: not even tried again.
    pub tries: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            tries: 6,
        }
    }
}

/// When the second subflow may come: a short connection is over before it would help. It comes
/// when either is reached, and at once when the first one fails.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delay {
    /// After this time.
    pub time: Duration,
    /// After so many payload bytes, both ways together; `None`: time alone counts.
    pub bytes: Option<u64>,
}

/// How subflows that stand by are checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Health {
    /// A subflow on which nothing came for so long is asked for a sign of life.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Answers missed in a row before the subflow is given up.
    pub tries: u32,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            tries: 3,
        }
    }
}

/// What counts as a bad path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// A smoothed round-trip time of so much.
    pub srtt: Duration,
    /// A retransmission timeout of so much.
    pub rto: Duration,
}

impl Default for Thresholds {
    /// Where Apple's systems leave a path.
    fn default() -> Self {
        Thresholds {
            srtt: Duration::from_millis(600),
            rto: Duration::from_millis(1500),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy::new(Kind::default())
    }
}

impl Policy {
    /// A policy of this kind, all else as by default.
    pub fn new(kind: Kind) -> Policy {
        Policy {
            kind,
            endpoints: Vec::new(),
            sources: Vec::new(),
            limits: Limits::default(),
            retry: Retry::default(),
            delay: Delay::default(),
            health: None,
            thresholds: Thresholds::default(),
            failback: Duration::from_secs(10),
            metered: Metered::default(),
        }
    }

    /// Adds an endpoint; its ID, the least that is free unless it has one.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn add_endpoint(&mut self, endpoint: Endpoint) -> Result<u8, EndpointError> {
        endpoint::add(&mut self.endpoints, endpoint)
    }

    /// The endpoint of this ID.
    ///
    /// # Errors
    /// [`EndpointError::Missing`].
    pub fn endpoint_mut(&mut self, id: u8) -> Result<&mut Endpoint, EndpointError> {
        let found = self.endpoints.iter_mut().find(|e| e.id == id);
        found.ok_or(EndpointError::Missing)
    }

    /// Removes an endpoint.
    ///
    /// # Errors
    /// [`EndpointError::Missing`].
    pub fn delete_endpoint(&mut self, id: u8) -> Result<Endpoint, EndpointError> {
        let at = self.endpoints.iter().position(|e| e.id == id);
        Ok(self.endpoints.remove(at.ok_or(EndpointError::Missing)?))
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// This host.
    Client,
    /// The peer.
    Server,
}

/// What is known of a connection when it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Who opened it.
    pub side: Side,
    /// Our address and port, of its first subflow.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Name of the program, if the engine knows it.
    pub process: Option<String>,
    /// Path of its control group, if the engine knows it.
    pub cgroup: Option<String>,
}

/// Connections that a policy is for: every condition given must hold. What the engine does not
/// know holds for no condition.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct When {
    /// Who opened it.
    pub side: Option<Side>,
    /// Port of a listener of ours.
    pub listener: Option<u16>,
    /// The peer's address.
    pub peer: Option<Prefix>,
    /// The peer's port, where we opened it.
    pub port: Option<u16>,
    /// Name of the program.
    pub process: Option<Pattern>,
    /// Path of its control group.
    pub cgroup: Option<Pattern>,
}

impl When {
    /// Whether a connection is meant.
    pub fn holds(&self, facts: &Facts) -> bool {
        let named = |wanted: &Option<Pattern>, known: &Option<String>| {
            let fits = |w: &Pattern| known.as_ref().is_some_and(|k| w.matches(k));
            wanted.as_ref().is_none_or(fits)
        };
        let is = |side: Side| facts.side == side;
        let listener = |port: u16| is(Side::Server) && facts.local.port() == port;
        let port = |port: u16| is(Side::Client) && facts.remote.port() == port;
        self.side.is_none_or(is)
            && self.listener.is_none_or(listener)
            && self.port.is_none_or(port)
            && self.peer.is_none_or(|p| p.contains(facts.remote.ip()))
            && named(&self.process, &facts.process)
            && named(&self.cgroup, &facts.cgroup)
    }
}

/// A policy for some connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Which.
    pub when: When,
    /// Theirs.
    pub policy: Arc<Policy>,
}

/// What holds for interfaces and addresses: of each setting, the first rule that fits and gives it
/// decides.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rule {
    /// Interfaces of such names.
    pub interface: Option<Pattern>,
    /// Addresses of this network.
    pub network: Option<Prefix>,
    /// May be used.
    pub allow: Option<bool>,
    /// Is paid for by volume.
    pub metered: Option<bool>,
    /// Its subflows are backups.
    pub backup: Option<bool>,
    /// The lesser, the better.
    pub rank: Option<u8>,
    /// Subflows that a connection may have through it.
    pub subflows: Option<u8>,
}

impl Rule {
    fn fits(&self, interface: &str, addr: IpAddr) -> bool {
        let named = |p: &Pattern| p.matches(interface);
        self.interface.as_ref().is_none_or(named)
            && self.network.is_none_or(|network| network.contains(addr))
    }

    /// All settings of an address of an interface, as one rule.
    pub(crate) fn settings(rules: &[Rule], interface: &str, addr: IpAddr, metered: bool) -> Rule {
        let mut all = Rule::default();
        for rule in rules.iter().filter(|rule| rule.fits(interface, addr)) {
            all.allow = all.allow.or(rule.allow);
            all.metered = all.metered.or(rule.metered);
            all.backup = all.backup.or(rule.backup);
            all.rank = all.rank.or(rule.rank);
            all.subflows = all.subflows.or(rule.subflows);
        }
        all.metered = all.metered.or(Some(metered));
        all
    }
}

/// All that is configured.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Plan {
    /// The policy of connections that no selection means.
    pub policy: Arc<Policy>,
    /// Interfaces.
    pub rules: Vec<Rule>,
    /// Policies of some connections; the first that fits counts.
    pub selections: Vec<Selection>,
}

impl Plan {
    /// One policy for all connections, without rules.
    pub fn of(policy: Policy) -> Plan {
        Plan {
            policy: Arc::new(policy),
            ..Plan::default()
        }
    }

    /// The policy of a connection.
    pub fn policy_for(&self, facts: &Facts) -> &Arc<Policy> {
        let mut fitting = self.selections.iter().filter(|s| s.when.holds(facts));
        fitting.next().map_or(&self.policy, |s| &s.policy)
    }

    /// Changes every policy alike, as a command to the running engine does.
    pub fn each_policy(&mut self, mut change: impl FnMut(&mut Policy)) {
        change(Arc::make_mut(&mut self.policy));
        for selection in &mut self.selections {
            change(Arc::make_mut(&mut selection.policy));
        }
    }
}
