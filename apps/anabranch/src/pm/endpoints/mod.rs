//! The kernel's own path manager, kept in step with the plan: its endpoints and limits follow
//! addresses and interfaces as they come and go.

mod again;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use again::Again;
use anabranch_kernel::mptcp::{Endpoint, Event, Flags, Limits, PathManager, link_index, sockets};
use anabranch_paths::{Host, Loss, NotExpressible, Plan, Policy};

use super::account::{Account, Owned, is_owned};
use super::connections::loss;
use crate::cli::Failure;
use crate::paths::world::World;

/// The most that the kernel takes of either limit.
const MOST: u32 = 8;

/// Endpoints of ours, and those of others.
pub(super) struct Endpoints {
    kernel: PathManager,
    host: Host,
    plan: Plan,
    /// Addresses that have an endpoint of somebody else, each told of once.
    foreign: BTreeSet<IpAddr>,
    again: Again,
}

impl Endpoints {
    pub(super) fn new(plan: Plan) -> Result<Endpoints, Failure> {
        Ok(Endpoints {
            kernel: PathManager::open().map_err(crate::device::refused)?,
            host: Host::new(),
            plan: checked(plan).map_err(Failure::Usage)?,
            foreign: BTreeSet::new(),
            again: Again::default(),
        })
    }

    /// Puts another plan in force.
    ///
    /// # Errors
    /// One line: endpoints cannot say it, and the one before goes on; or the kernel refused.
    pub(super) fn set_plan(&mut self, plan: Plan, account: &mut Account) -> Result<(), String> {
        self.plan = checked(plan)?;
        self.follow(account)
    }

    /// What [`Endpoints::follow`] would do, for people.
    ///
    /// # Errors
    /// One line.
    pub(super) fn preview(&mut self) -> Result<Vec<String>, String> {
        let wanted = self.wanted()?;
        let present = self.kernel.endpoints().map_err(|error| error.to_string())?;
        let lines = wanted.iter().filter_map(|wanted| {
            let now = present.iter().find(|it| it.address == wanted.address);
            match now {
                None => Some(format!("add {}", describe(wanted))),
                Some(now) if now.flags != wanted.flags => Some(format!(
                    "leave {} as it is: not {}",
                    describe(now),
                    describe(wanted)
                )),
                Some(_) => None,
            }
        });
        let limits = limits(&self.plan.policy);
        let set = format!(
            "set limits subflow {} add_addr_accepted {}",
            limits.subflows, limits.add_addr_accepted
        );
        Ok(std::iter::once(set).chain(lines).collect())
    }

    /// The endpoints of the kernel, whoever made them.
    ///
    /// # Errors
    /// One line.
    pub(super) fn there(&self) -> Result<Vec<anabranch_paths::Endpoint>, String> {
        let all = self.kernel.endpoints().map_err(|error| error.to_string())?;
        let shown = all.into_iter().map(|it| anabranch_paths::Endpoint {
            id: it.id,
            port: Some(it.port).filter(|port| *port != 0),
            dev: self.host.link(it.link).map(|link| link.name.clone()),
            ..anabranch_paths::Endpoint::new(it.address, anabranch_paths::Flags(it.flags.0))
        });
        Ok(shown.collect())
    }

    /// The endpoints that the plan comes to on this host now.
    fn wanted(&mut self) -> Result<Vec<Endpoint>, String> {
        let world = World::read().map_err(|error| error.to_string())?;
        world.tell(&mut self.host);
        let wanted = self.host.endpoints(&self.plan.policy, &self.plan.rules);
        let wanted = wanted.map_err(|error| error.to_string())?;
        Ok(wanted.iter().map(as_kernel).collect())
    }

    /// Looks at the host, and makes endpoints and limits what the plan says.
    ///
    /// # Errors
    /// One line.
    pub(super) fn follow(&mut self, account: &mut Account) -> Result<(), String> {
        let wanted = self.wanted()?;
        account.set_limits(&self.kernel, limits(&self.plan.policy))?;
        let present = self.kernel.endpoints().map_err(|error| error.to_string())?;
        self.leave(account, &wanted, &present)?;
        for endpoint in &wanted {
            self.want(account, endpoint, &present)?;
        }
        self.again.settle(Instant::now());
        Ok(())
    }

    /// The kernel told something: a subflow from an endpoint may have ended that should not.
    pub(super) fn on_event(&mut self, event: &Event) {
        match event {
            Event::SubflowClosed(subflow) if loss(subflow) == Loss::Passing => {
                let (address, now) = (subflow.local.ip(), Instant::now());
                self.again.ended(address, subflow.token, now);
            }
            Event::Closed { token } => self.again.closed(*token),
            _ => {}
        }
    }

    /// When to call [`Endpoints::on_deadline`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again.deadline()
    }

    /// Takes endpoints away whose subflows were lost, and adds those that were away long enough.
    ///
    /// # Errors
    /// One line.
    pub(super) fn on_deadline(&mut self, account: &mut Account) -> Result<(), String> {
        for (address, ended) in self.again.due(Instant::now()) {
            // Without an answer nothing is changed: whoever has a subflow keeps it.
            let (lacking, having) = count(address, &ended.tokens).unwrap_or_else(|error| {
                tracing::warn!("endpoint {address}: {error}");
                (0, 0)
            });
            if ended.is_worth_it(lacking, having) {
                tracing::info!(
                    "endpoint {address}: connections have lost their subflow from it \
                     ({lacking}): added again"
                );
                self.take(account, address)?;
            }
        }
        self.follow(account)
    }

    /// Removes an endpoint of ours that is to come back.
    fn take(&mut self, account: &mut Account, address: IpAddr) -> Result<(), String> {
        let owned = account.endpoints().iter().find(|it| it.address == address);
        if let Some(owned) = owned.cloned() {
            complain(self.kernel.remove(owned.id));
            account.forget(owned.address, owned.port)?;
            self.again.taken(address, Instant::now());
        }
        Ok(())
    }

    /// Removes what is ours and not wanted any more, or not like this.
    fn leave(
        &mut self,
        account: &mut Account,
        wanted: &[Endpoint],
        present: &[Endpoint],
    ) -> Result<(), String> {
        for owned in account.endpoints().to_vec() {
            let now = present.iter().find(|it| is_owned(it, &owned));
            let stays = |now: &&Endpoint| wanted.iter().any(|it| can_become(now, it));
            if now.is_some_and(|now| stays(&now)) {
                continue;
            }
            if now.is_some() {
                tracing::info!("endpoint {} removed", owned.address);
                complain(self.kernel.remove(owned.id));
            }
            account.forget(owned.address, owned.port)?;
            self.again.removed(owned.address, Instant::now());
        }
        Ok(())
    }

    /// Adds an endpoint, or changes ours to be like it.
    fn want(
        &mut self,
        account: &mut Account,
        wanted: &Endpoint,
        present: &[Endpoint],
    ) -> Result<(), String> {
        if self.again.is_away(wanted.address, Instant::now()) {
            return Ok(());
        }
        let is_ours = |it: &Endpoint, account: &Account| {
            account.endpoints().iter().any(|owned| is_owned(it, owned))
        };
        let same = |it: &&Endpoint| (it.address, it.port) == (wanted.address, wanted.port);
        // What the kernel made for an address in use gives way to what is wanted of it.
        let made = |it: &&Endpoint| !it.flags.has(Flags::IMPLICIT);
        match present.iter().filter(same).find(made) {
            Some(now) if !is_ours(now, account) => {
                if self.foreign.insert(wanted.address) {
                    tracing::info!(
                        "endpoint {} was made by others: left as it is",
                        wanted.address
                    );
                }
            }
            Some(now) if can_become(now, wanted) => {
                if now.flags != wanted.flags {
                    let change = Endpoint {
                        id: now.id,
                        ..wanted.clone()
                    };
                    complain(self.kernel.set_flags(&change));
                }
            }
            _ => self.add(account, wanted)?,
        }
        Ok(())
    }

    fn add(&mut self, account: &mut Account, wanted: &Endpoint) -> Result<(), String> {
        self.foreign.remove(&wanted.address);
        account.add(Owned {
            address: wanted.address,
            port: wanted.port,
            id: wanted.id,
        })?;
        match self.kernel.add(wanted) {
            Ok(()) => {
                tracing::info!("endpoint {} added", wanted.address);
                self.again.added(wanted.address, Instant::now());
            }
            Err(error) => {
                account.forget(wanted.address, wanted.port)?;
                tracing::warn!("{error}");
            }
        }
        Ok(())
    }
}

/// How many of these connections are still there and have no subflow from an address; and how many
/// subflows there are from it. Those that the peer made are its own to mend.
fn count(address: IpAddr, tokens: &BTreeSet<u32>) -> anabranch_kernel::Result<(usize, usize)> {
    let (connections, subflows) = (sockets::connections()?, sockets::subflows()?);
    let here = subflows.iter().filter(|it| it.local.ip() == address);
    let having: Vec<u32> = here.map(|it| it.token).collect();
    let is_own = |token: &u32| subflows.iter().any(|it| it.token == *token && !it.passive);
    let lacks = |token: &u32| tokens.contains(token) && !having.contains(token) && is_own(token);
    let lacking = connections.iter().filter(|it| lacks(&it.token)).count();
    Ok((lacking, having.len()))
}

/// What the kernel refuses is said, and the rest goes on.
fn complain(result: anabranch_kernel::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("{error}");
    }
}

/// Refuses what endpoints cannot say.
fn checked(plan: Plan) -> Result<Plan, String> {
    let tried: Result<_, NotExpressible> = Host::new().endpoints(&plan.policy, &plan.rules);
    tried.map_err(|error| format!("{error}: use --mode userspace"))?;
    if matches!(plan.policy.kind, anabranch_paths::Kind::NDiffPorts(_)) {
        return Err(format!("{NotExpressible}: use --mode userspace"));
    }
    if !plan.selections.is_empty() {
        return Err(
            "the kernel's own path manager has one policy for all connections: use --mode \
             userspace for rules about some of them"
                .into(),
        );
    }
    Ok(plan)
}

/// In the words of `ip mptcp`.
fn describe(endpoint: &Endpoint) -> String {
    let flags = anabranch_paths::Flags(endpoint.flags.0);
    let port = match endpoint.port {
        0 => String::new(),
        port => format!(" port {port}"),
    };
    format!("{} id {}{port} {flags}", endpoint.address, endpoint.id)
}

/// Whether an endpoint can be made like another without ending its subflows.
fn can_become(now: &Endpoint, wanted: &Endpoint) -> bool {
    let fixed = |it: &Endpoint| it.flags.0 & !(Flags::BACKUP.0 | Flags::FULLMESH.0);
    (now.address, now.port, now.link) == (wanted.address, wanted.port, wanted.link)
        && fixed(now) == fixed(wanted)
}

fn as_kernel(endpoint: &anabranch_paths::Endpoint) -> Endpoint {
    let link = endpoint.dev.as_deref().and_then(|dev| link_index(dev).ok());
    Endpoint {
        address: endpoint.addr,
        id: endpoint.id,
        port: endpoint.port.unwrap_or(0),
        flags: Flags(endpoint.flags.0),
        link: link.unwrap_or(0),
    }
}

/// Those of the policy, as far as the kernel goes.
fn limits(policy: &Policy) -> Limits {
    let further = policy.limits.subflows.saturating_sub(1);
    let most = |count: usize| u32::try_from(count).unwrap_or(MOST).min(MOST);
    Limits {
        subflows: most(further),
        add_addr_accepted: most(policy.limits.add_addr_accepted),
    }
}
