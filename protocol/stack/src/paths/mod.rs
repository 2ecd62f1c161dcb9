//! Path management: the policies of [`anabranch_paths`], told what happens to connections and
//! obeyed.

mod carry_out;
mod inform;
mod peers;

use crate::config::ConnectConfig;
use crate::error::ConnectError;
use crate::flow::Flow;
use crate::id::FlowId;
use crate::lifecycle::Handle;
use crate::multi::Multi;
use crate::stack::Stack;
use anabranch_paths::{
    Command, Connection, Event, Facts, Host, HostEvent, Kind, Plan, Policy, Side, Source, Time,
};
use anabranch_tcp::{Instant, SocketOption};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

pub(crate) use peers::Peers;

/// What a connection that we open does with this host's addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathConfig {
    /// Addresses to connect and to join from, best first, at most 32 of them.
    pub locals: Vec<Source>,
    /// Which subflows there are, and what becomes of those that fail.
    /// [`crate::Limits::subflows`] bounds their number too.
    pub policy: Arc<Policy>,
}

/// The plan in force, and what it is about.
#[derive(Default)]
pub(crate) struct Management {
    plan: Option<Plan>,
    host: Host,
    peers: Peers,
}

/// The policy of one connection.
#[derive(Debug)]
pub(crate) struct Managed {
    policy: Connection,
    facts: Facts,
    /// What it decided is being carried out.
    deciding: bool,
    /// Something happened since it was asked last.
    news: bool,
    /// When to ask it again, if nothing happens before.
    due: Option<Time>,
    /// Further subflows counted for its peer.
    counted: usize,
}

impl PathConfig {
    /// From these addresses, with any free port, none of them a backup: one subflow from each, and
    /// one to each that the server announces.
    pub fn from_addresses(locals: impl IntoIterator<Item = IpAddr>) -> PathConfig {
        PathConfig {
            locals: locals.into_iter().map(Source::new).collect(),
            policy: Arc::default(),
        }
    }

    /// With at most so many subflows, the initial one included.
    #[must_use]
    pub fn max_subflows(mut self, subflows: usize) -> PathConfig {
        Arc::make_mut(&mut self.policy).limits.subflows = subflows;
        self
    }

    /// With this kind of policy.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> PathConfig {
        Arc::make_mut(&mut self.policy).kind = kind;
        self
    }

    /// Where the initial subflow to `remote` starts: rather no backup.
    pub fn initial(&self, remote: SocketAddr) -> Option<Source> {
        let fits = |s: &&Source| s.addr.is_ipv4() == remote.is_ipv4();
        let mut fitting = self.locals.iter().filter(fits);
        let preferred = fitting.clone().find(|l| !l.backup);
        preferred.or_else(|| fitting.next()).copied()
    }
}

pub(crate) fn time(now: Instant) -> Time {
    Time::from_nanos(now.0)
}

impl Managed {
    fn new(now: Instant, policy: Arc<Policy>, facts: Facts, sources: &[Source]) -> Managed {
        Managed {
            policy: Connection::new(time(now), policy, &facts, sources),
            facts,
            deciding: false,
            news: true,
            due: None,
            counted: 0,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let nanos = self.due?.as_nanos();
        Some(Instant(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// The policy, to be told something.
    fn tell(&mut self) -> &mut Connection {
        self.news = true;
        &mut self.policy
    }

    /// Whether it is due to look at figures.
    fn wants_figures(&self, now: Instant) -> bool {
        let due = self.policy.deadline().is_some_and(|at| at <= time(now));
        self.policy.counts_bytes() || self.policy.watches() && due
    }

    /// Whether there is a reason to ask it.
    fn is_due(&self, now: Instant) -> bool {
        let due = self.due.is_some_and(|at| at <= time(now));
        !self.deciding && (self.news || due || self.policy.counts_bytes())
    }
}

/// What an application and its operator decide.
impl Stack {
    /// Opens a connection from the first of [`PathConfig::locals`] that fits, and keeps subflows
    /// from the others for as long as it lives.
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::Address`] if none fits.
    pub fn connect_from(
        &mut self,
        now: Instant,
        paths: PathConfig,
        remote: SocketAddr,
        config: ConnectConfig,
        options: &[SocketOption],
    ) -> Result<FlowId, ConnectError> {
        let initial = paths.initial(remote).ok_or(ConnectError::Address)?;
        let id = self.connect_with(now, initial.addr, remote, config, options)?;
        if let Some(multi) = self.managed(id.into()) {
            let facts = facts(Side::Client, multi.initial.local, remote);
            let managed = Managed::new(now, paths.policy, facts, &paths.locals);
            multi.paths = Some(Box::new(managed));
        }
        Ok(id)
    }

    /// The addresses and the policy that the plan has for a connection to `remote`; `None` without
    /// a plan.
    pub fn planned(&self, remote: SocketAddr) -> Option<PathConfig> {
        let Management { plan, host, .. } = &self.management;
        let plan = plan.as_ref()?;
        // Its own address is not known yet, and no condition asks for it.
        let unknown = SocketAddr::new(remote.ip(), 0);
        let policy = Arc::clone(plan.policy_for(&facts(Side::Client, unknown, remote)));
        let locals = host.sources(&policy, &plan.rules, remote.ip());
        Some(PathConfig { locals, policy })
    }

    /// The plan in force.
    pub fn plan(&self) -> Option<&Plan> {
        self.management.plan.as_ref()
    }

    /// Puts a plan in force: for connections of [`Stack::connect_from`] as for those that peers
    /// open from now on. Those that exist go over to it; subflows that it does not want end in
    /// order. [`crate::Config::announce`] counts for nothing beside it: it says itself what is
    /// announced.
    pub fn set_plan(&mut self, now: Instant, plan: Plan) {
        let host = &self.management.host;
        for (_, slot) in self.flows.iter_mut() {
            let Some(managed) = slot.body.managed() else {
                continue;
            };
            let policy = Arc::clone(plan.policy_for(&managed.facts));
            let remote = managed.facts.remote.ip();
            let sources = host.sources(&policy, &plan.rules, remote);
            managed.tell().set_policy(policy, &sources);
        }
        self.management.plan = Some(plan);
        let handles: Vec<Handle> = self.flows.iter().map(|(handle, _)| handle).collect();
        for handle in handles {
            self.manage_accepted(now, handle);
        }
        self.each_managed(now, |_, _| {});
    }

    /// What is known of this host.
    pub fn host(&self) -> &Host {
        &self.management.host
    }

    /// An interface, an address or a route came or went; a plan follows.
    pub fn on_host(&mut self, now: Instant, event: HostEvent) {
        self.change_host(now, |host| host.on_event(event));
    }

    /// Changes what is known of this host; `change` says whether it did.
    pub fn change_host(&mut self, now: Instant, change: impl FnOnce(&mut Host) -> bool) {
        if !change(&mut self.management.host) {
            return;
        }
        let Management { plan, host, .. } = &self.management;
        let Some(plan) = plan else {
            return;
        };
        for (_, slot) in self.flows.iter_mut() {
            let Some(managed) = slot.body.managed() else {
                continue;
            };
            let remote = managed.facts.remote.ip();
            let sources = host.sources(managed.policy.policy(), &plan.rules, remote);
            managed.tell().set_sources(&sources, true);
        }
        self.each_managed(now, |_, _| {});
    }

    /// An address is no longer this host's: the subflows of [`Stack::connect_from`]'s connections
    /// that use it end, and peers are told (REMOVE_ADDR).
    pub fn address_gone(&mut self, now: Instant, addr: IpAddr) {
        self.each_managed(now, |now, paths| {
            paths.tell().on_event(now, Event::LocalDown(addr));
        });
    }

    /// An address is this host's, or again: [`Stack::connect_from`]'s connections join from it.
    pub fn address_back(&mut self, now: Instant, source: Source) {
        self.each_managed(now, |now, paths| {
            paths.tell().on_event(now, Event::LocalUp(source));
        });
    }

    /// The policy of a connection, if it has one.
    pub fn path_policy(&self, id: FlowId) -> Option<&Connection> {
        let managed = self.flows.get(id.into())?.body.policy()?;
        Some(&managed.policy)
    }

    /// What would be done if a plan came into force now: for each connection, what
    /// [`Command`]s would follow if everything they try succeeded.
    pub fn preview(&self, now: Instant, plan: &Plan) -> Vec<(FlowId, Vec<Command>)> {
        let host = &self.management.host;
        let flows = self.flows.iter();
        let managed = flows.filter_map(|(handle, slot)| Some((handle, slot.body.policy()?)));
        let all = managed.map(|(handle, managed)| {
            let mut policy = managed.policy.clone();
            let new = Arc::clone(plan.policy_for(&managed.facts));
            let sources = host.sources(&new, &plan.rules, managed.facts.remote.ip());
            policy.set_policy(new, &sources);
            (handle.into(), drain(time(now), &mut policy))
        });
        all.collect()
    }

    /// A connection that a peer opened has a policy if there is a plan.
    pub(crate) fn manage_accepted(&mut self, now: Instant, handle: Handle) {
        let Management { plan, host, .. } = &self.management;
        let Some(plan) = plan else {
            return;
        };
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        // One that has a policy is not woken to be asked.
        if slot.body.policy().is_some() {
            return;
        }
        let Flow::Mptcp(multi) = slot.flow() else {
            return;
        };
        let wanted = multi.connection.is_multipath() && multi.connection.is_accepted();
        if multi.paths.is_some() || !wanted {
            return;
        }
        let facts = facts(Side::Server, multi.initial.local, multi.initial.remote);
        let policy = Arc::clone(plan.policy_for(&facts));
        let sources = host.sources(&policy, &plan.rules, facts.remote.ip());
        let managed = Managed::new(now, policy, facts, &sources);
        multi.paths = Some(Box::new(managed));
        multi.catch_up(now);
    }

    fn each_managed(&mut self, now: Instant, change: impl Fn(Time, &mut Managed)) {
        let handles: Vec<Handle> = self.flows.iter().map(|(handle, _)| handle).collect();
        for handle in handles {
            let slot = self.flows.get_mut(handle);
            if let Some(paths) = slot.and_then(|slot| slot.body.managed()) {
                change(time(now), paths);
                self.consult(now, handle);
            }
        }
    }

    fn managed(&mut self, handle: Handle) -> Option<&mut Multi> {
        match self.flows.get_mut(handle)?.flow() {
            Flow::Mptcp(multi) => Some(multi),
            Flow::Tcp(_) => None,
        }
    }
}

fn facts(side: Side, local: SocketAddr, remote: SocketAddr) -> Facts {
    Facts {
        side,
        local,
        remote,
        // No packet tells.
        process: None,
        cgroup: None,
    }
}

/// Everything a policy says until it says no more.
fn drain(now: Time, policy: &mut Connection) -> Vec<Command> {
    std::iter::from_fn(|| policy.next(now, usize::MAX))
        .take(8 * anabranch_paths::MAX_ADDRESSES)
        .collect()
}
