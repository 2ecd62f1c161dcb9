//! Our own stack as the engine of paths: the plan it has, and the commands that change it.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anabranch_kernel::Monitor;
use anabranch_paths::{Command, Endpoint, Plan};
use anabranch_sockets::{FlowId, FlowInfo, Host, PathConfig, Rule, SubflowId, SubflowInfo};
use std::net::SocketAddr;

use super::world::World;
use super::{check, edit, file, news};
use crate::control::server::News;
use crate::control::{Answer, Request, Would};
use crate::own::AttachArgs;
use crate::ports::{Ports, bound_endpoints};

/// The paths of a host: of each of its shards alike.
#[derive(Debug)]
pub struct Own {
    hosts: Vec<Host>,
    /// What has packets leave by the interface that they should, if anything does.
    ports: Option<Ports>,
    /// Whose addresses these are.
    device: AttachArgs,
    /// The file that says what is wanted.
    file: Option<PathBuf>,
    /// Rules of the command line, which come before those of the file.
    rules: Vec<Rule>,
    plan: Mutex<Plan>,
}

impl Own {
    /// Puts `plan` in force. Without one, what was decided so far goes on until a command changes
    /// `otherwise`, which then is in force.
    ///
    /// # Errors
    /// One line: the plan wants of the host what cannot be.
    pub(crate) fn new(
        hosts: Vec<Host>,
        ports: Option<Ports>,
        device: &AttachArgs,
        file: Option<PathBuf>,
        plan: Option<Plan>,
        otherwise: Plan,
    ) -> Result<Own, String> {
        let own = Own {
            hosts,
            ports,
            device: device.clone(),
            file,
            rules: Vec::new(),
            plan: Mutex::new(otherwise),
        };
        let translates = own.ports.is_some();
        for host in &own.hosts {
            host.change_host(|known| known.set_translates(translates));
        }
        own.follow();
        if let Some(plan) = plan {
            own.put_in_force(plan)?;
        }
        Ok(own)
    }

    /// Puts rules in force for connections to come: those of the command line, which stay, and those
    /// of the file.
    #[must_use]
    pub fn with_rules(mut self, own: Vec<Rule>, of_file: Vec<Rule>) -> Own {
        self.rules = own;
        self.set_rules(of_file);
        self
    }

    fn set_rules(&self, of_file: Vec<Rule>) {
        let rules: Vec<Rule> = self.rules.iter().cloned().chain(of_file).collect();
        self.hosts
            .iter()
            .for_each(|host| host.set_rules(rules.clone()));
    }

    /// Looks at the host's interfaces, addresses and routes, and follows what has changed.
    pub fn follow(&self) {
        // First: what is opened next goes where it should.
        if let Some(ports) = &self.ports {
            ports.refresh();
        }
        for host in &self.hosts {
            match World::of(&self.device) {
                Ok(world) => host.change_host(|known| world.tell(known)),
                Err(error) => tracing::warn!("cannot look at addresses and routes: {error}"),
            }
        }
    }

    /// The addresses and the policy of a connection to `remote`.
    pub(crate) fn planned(&self, remote: SocketAddr) -> Option<PathConfig> {
        self.hosts.first()?.planned(remote)
    }

    /// Follows what changes on the host; never returns.
    pub(crate) async fn watch(&self) {
        if let Err(error) = self.watch_while_told().await {
            tracing::warn!("changes of addresses and routes are not followed any more: {error}");
        }
        std::future::pending().await
    }

    async fn watch_while_told(&self) -> Result<(), Box<dyn std::error::Error>> {
        let monitor = Monitor::open()?;
        let ready = anabranch_sockets::watch(monitor.as_fd())?;
        loop {
            // Once before the first word: something may have changed since the start.
            self.follow();
            while !monitor.drain()? {
                ready.readable().await?.clear_ready();
            }
        }
    }

    /// On SIGHUP: reads the file again. Without one, `false`: the signal means what it always did.
    pub(crate) fn hang_up(&self, signal: &str) -> bool {
        if signal != "SIGHUP" || self.file.is_none() {
            return false;
        }
        match self.reload() {
            Ok(says) => tracing::info!("{says}"),
            Err(error) => tracing::error!("{error}; what was in force stays"),
        }
        true
    }

    /// Reads the file again; says what it comes to.
    ///
    /// # Errors
    /// One line; what was in force stays.
    pub fn reload(&self) -> Result<String, String> {
        let path = self.file.as_deref().ok_or(
            "there is no file to read again: name one with --paths when the program is started",
        )?;
        let wanted = file::load(path)?;
        let says = format!("{}: {}", path.display(), check::describe(&wanted));
        self.put_in_force(wanted.plan)?;
        self.set_rules(wanted.rules);
        Ok(says)
    }

    fn put_in_force(&self, plan: Plan) -> Result<(), String> {
        self.bind(&plan)?;
        if let Some(warning) = check::unknown_to_own(&plan) {
            tracing::warn!("{warning}");
        }
        self.hosts
            .iter()
            .for_each(|host| host.set_plan(plan.clone()));
        *self.lock() = plan;
        Ok(())
    }

    /// Has endpoints leave by their interfaces, before anything is opened from there.
    fn bind(&self, plan: &Plan) -> Result<(), String> {
        if let Some(ports) = &self.ports {
            return ports.bind(plan).map_err(one_line);
        }
        match bound_endpoints(plan).next() {
            Some(endpoint) => Err(format!(
                "endpoint {} dev {}: an address of --attach packet or xdp leaves by the interface \
                 it was given with; leave dev away",
                endpoint.addr,
                endpoint.dev.as_deref().unwrap_or_default()
            )),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        // A plan is whole whatever happened to its last holder.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does, or tells, what is asked.
    ///
    /// # Errors
    /// One line.
    pub fn request(&self, request: Request) -> Result<Vec<Answer>, String> {
        let edited = edit::edit(&self.lock(), &request);
        if let Some(edited) = edited {
            let (plan, answers) = edited?;
            self.put_in_force(plan)?;
            return Ok(answers);
        }
        match request {
            Request::Endpoints => Ok(self.endpoints()),
            Request::Limits => Ok(vec![Answer::Limits(edit::limits(&self.lock()))]),
            Request::Reload => Ok(vec![Answer::Done(self.reload()?)]),
            Request::Preview { text } => self.preview(&text),
            Request::SubflowAdd {
                connection,
                local,
                remote,
                backup,
            } => {
                let (host, flow) = self.find(&connection)?;
                let joined = host.paths(flow.id).join(local, remote, backup);
                joined.map_err(|error| format!("{local} > {remote}: {error}"))?;
                Ok(Vec::new())
            }
            Request::SubflowRemove {
                connection,
                local,
                remote,
            } => {
                let (host, flow) = self.find(&connection)?;
                let id = subflow(&flow, local, remote)?;
                let closed = host.paths(flow.id).close_subflow(id);
                closed.map_err(one_line)?;
                Ok(Vec::new())
            }
            Request::SubflowPrio {
                connection,
                local,
                remote,
                backup,
            } => {
                let (host, flow) = self.find(&connection)?;
                let id = subflow(&flow, local, remote)?;
                host.paths(flow.id)
                    .set_backup(id, backup)
                    .map_err(one_line)?;
                Ok(Vec::new())
            }
            _ => Err("this is not about paths".to_owned()),
        }
    }

    /// What happens to paths from now on.
    pub fn monitor(&self) -> News {
        news::of(&self.hosts)
    }

    /// Those configured, and those that the policy comes to.
    fn endpoints(&self) -> Vec<Answer> {
        let plan = self.lock();
        let Some(host) = self.hosts.first() else {
            return Vec::new();
        };
        let configured = plan.policy.endpoints.clone();
        let mut all = configured.clone();
        let derived = host.with_known(|known| known.endpoints(&plan.policy, &plan.rules));
        let is_new = |e: &Endpoint| !configured.iter().any(|c| c.id == e.id || c.addr == e.addr);
        if host.plan().is_some() {
            all.extend(derived.unwrap_or_default().into_iter().filter(is_new));
        }
        let shown = all.into_iter().map(|e| {
            let derived = !configured.contains(&e);
            edit::shown(e, derived)
        });
        shown.collect()
    }

    fn preview(&self, text: &str) -> Result<Vec<Answer>, String> {
        let wanted =
            file::parse(text).map_err(|(line, reason)| format!("line {line}: {reason}"))?;
        let plan = wanted.plan;
        let mut would = Vec::new();
        for (shard, host) in self.hosts.iter().enumerate() {
            for (id, commands) in host.preview(&plan) {
                let Some(flow) = host.info(id) else {
                    continue;
                };
                would.push(Answer::Would(Would {
                    connection: called(self.hosts.len(), shard, id),
                    local: flow.local,
                    peer: flow.remote,
                    commands: commands.iter().map(in_words).collect(),
                }));
            }
        }
        Ok(would)
    }

    /// A connection by its ID, or by its token as `anabranch monitor` writes it.
    fn find(&self, name: &str) -> Result<(&Host, FlowInfo), String> {
        let token = u32::from_str_radix(name.trim_start_matches("0x"), 16).ok();
        for (shard, host) in self.hosts.iter().enumerate() {
            let named = id(self.hosts.len(), shard, name).and_then(|id| host.info(id));
            let flow = named.or_else(|| host.find_token(token?));
            if let Some(flow) = flow {
                return Ok((host, flow));
            }
        }
        Err(format!(
            "no connection has the id or token {name:?}: see anabranch ss"
        ))
    }
}

/// What a connection is called; where there are several shards, its own comes first.
pub(super) fn called(shards: usize, shard: usize, id: FlowId) -> String {
    match shards {
        1 => id.to_string(),
        _ => format!("{shard}:{id}"),
    }
}

/// The ID of what is called so, if it may be on this shard.
pub(crate) fn id(shards: usize, shard: usize, name: &str) -> Option<FlowId> {
    let name = match shards {
        1 => name,
        _ => name.strip_prefix(&format!("{shard}:"))?,
    };
    name.parse().ok()
}

fn one_line(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn subflow(flow: &FlowInfo, local: SocketAddr, remote: SocketAddr) -> Result<SubflowId, String> {
    let meant = |s: &&SubflowInfo| (s.local, s.remote) == (local, remote);
    let found = flow.subflows.iter().find(meant).map(|s| s.id);
    found.ok_or_else(|| format!("the connection has no subflow {local} > {remote}"))
}

/// What a policy would have done, as `anabranch connect --verbose` would say it.
pub(crate) fn in_words(command: &Command) -> String {
    let of = |e: &anabranch_paths::Ends| format!("{} > {}", e.local, e.remote);
    match command {
        Command::Announce { id, addr, port } => {
            let port = port.map_or(String::new(), |port| format!(" port {port}"));
            format!("announce {addr}{port} id {id}")
        }
        Command::Remove { id } => format!("withdraw id {id}"),
        Command::Create {
            from, to, backup, ..
        } => {
            let backup = if *backup { " backup" } else { "" };
            format!("open {} > {to}{backup}", from.addr.ip())
        }
        Command::Destroy { ends, at_once } => {
            let how = if *at_once { "reset" } else { "close" };
            format!("{how} {}", of(ends))
        }
        Command::SetPriority { ends, backup: true } => format!("make {} a backup", of(ends)),
        Command::SetPriority { ends, .. } => format!("make {} no backup", of(ends)),
        Command::Probe { ends } => format!("probe {}", of(ends)),
        Command::SetLimits {
            subflows,
            add_addr_accepted,
        } => format!(
            "limits: add_addr_accepted {add_addr_accepted} subflows {}",
            subflows.saturating_sub(1)
        ),
    }
}
