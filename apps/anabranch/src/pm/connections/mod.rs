//! Single connections of the kernel, managed by the plan: what the kernel tells goes to the policy,
//! and what the policy says to the kernel.

mod by_hand;
mod figures;
mod hear;
mod obey;
mod probes;
mod resync;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anabranch_kernel::mptcp::{PathManager, SubflowEvent, sockets};
use anabranch_paths::{Ends, Manager, Plan, Time, Token};
pub(super) use hear::loss;
use probes::Probes;

use super::listeners::Listeners;
use crate::cli::Failure;
use crate::control::{Answer, Would};
use crate::paths::own::in_words;
use crate::paths::world::World;

/// How often the figures of subflows are asked for while a policy goes by them.
const LOOK: Duration = Duration::from_millis(500);

/// Every connection of the namespace that was made since paths are managed in userspace.
pub(super) struct Connections {
    kernel: PathManager,
    manager: Manager,
    listeners: Listeners,
    probes: Probes,
    epoch: Instant,
    /// When figures are to be asked for next.
    look: Option<Time>,
    /// Nothing is really done.
    tries: bool,
}

impl Connections {
    pub(super) fn new(plan: Plan) -> Result<Connections, Failure> {
        Ok(Connections {
            kernel: PathManager::open().map_err(crate::device::refused)?,
            manager: Manager::new(plan),
            listeners: Listeners::default(),
            probes: Probes::default(),
            epoch: Instant::now(),
            look: None,
            tries: false,
        })
    }

    /// Puts another plan in force, for connections that are there too.
    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.manager.set_plan(plan);
        self.act();
    }

    /// What would be done for the connections there are, for people.
    ///
    /// # Errors
    /// One line.
    pub(super) fn preview(&mut self) -> Result<Vec<String>, String> {
        self.tries = true;
        let world = World::read().map_err(|error| error.to_string())?;
        self.manager.replace_host(|host| world.tell(host));
        self.resync()?;
        let mut lines = Vec::new();
        while let Some((token, command)) = self.manager.next(self.now()) {
            lines.push(format!("connection {token:08x}: {}", in_words(&command)));
        }
        Ok(lines)
    }

    /// What another plan would do with each connection there is.
    pub(super) fn would(&self, plan: Plan) -> Vec<Answer> {
        let mut manager = self.manager.clone();
        manager.set_plan(plan);
        let mut would: BTreeMap<Token, Vec<String>> = BTreeMap::new();
        for (token, ..) in self.manager.connections() {
            would.insert(token, Vec::new());
        }
        while let Some((token, command)) = manager.next(self.now()) {
            would.entry(token).or_default().push(in_words(&command));
        }
        let all = would.into_iter().filter_map(|(token, commands)| {
            let first = self.manager.connection(token)?.first();
            Some(Answer::Would(Would {
                connection: format!("{token:08x}"),
                local: first.local,
                peer: first.remote,
                commands,
            }))
        });
        all.collect()
    }

    /// The endpoints that the plan comes to, as far as endpoints can say it.
    pub(super) fn derived(&self) -> Vec<anabranch_paths::Endpoint> {
        let plan = self.manager.plan();
        let all = self.manager.host().endpoints(&plan.policy, &plan.rules);
        all.unwrap_or_default()
    }

    /// The number of an address towards the peer; RFC 8684 §3.2: 0 is where the connection began.
    fn id_of(&self, token: Token, from: &anabranch_paths::Source) -> u8 {
        let first = self.manager.connection(token).map(|it| it.first());
        let is_first = first.is_some_and(|first| first.local.ip() == from.addr.ip());
        if is_first { 0 } else { from.id }
    }

    fn now(&self) -> Time {
        self.epoch.elapsed()
    }

    /// When to call [`Connections::on_deadline`], if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = self.manager.deadline().into_iter().chain(self.look).min()?;
        Some(self.epoch + next)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// One line.
    pub(super) fn on_deadline(&mut self) -> Result<(), String> {
        if self.look.is_some_and(|at| at <= self.now()) {
            self.look_at_figures()?;
        }
        self.act();
        Ok(())
    }

    /// Looks at the host.
    ///
    /// # Errors
    /// One line.
    pub(super) fn follow(&mut self) -> Result<(), String> {
        let world = World::read().map_err(|error| error.to_string())?;
        self.manager.replace_host(|host| world.tell(host));
        self.act();
        Ok(())
    }

    /// Does what the policy says until it says nothing more.
    fn act(&mut self) {
        if self.tries {
            return;
        }
        while let Some((token, command)) = self.manager.next(self.now()) {
            tracing::debug!("{token:08x}: {command:?}");
            self.obey(token, command);
        }
        let watched = {
            let mut all = self.manager.connections();
            all.any(|(token, it, _)| self.manager.watches(token) || it.counts_bytes())
        };
        let now = self.now();
        self.look = match (watched, self.look) {
            (false, _) => None,
            (true, Some(at)) if at > now => Some(at),
            (true, _) => Some(now + LOOK),
        };
    }

    /// How many connections are managed.
    pub(super) fn count(&self) -> usize {
        self.manager.connections().count()
    }
}

fn ends(subflow: &SubflowEvent) -> Ends {
    Ends {
        local: subflow.local,
        remote: subflow.remote,
    }
}

fn ends_now(subflow: &sockets::Subflow) -> Ends {
    Ends {
        local: subflow.local,
        remote: subflow.remote,
    }
}
