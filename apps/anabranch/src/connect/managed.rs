//! Paths of a connection by a file, or by what an operator says while it runs.

use std::net::SocketAddr;
use std::sync::Arc;

use anabranch_paths::{Kind, Plan, Policy, Prefix, Rule};
use anabranch_sockets::Host;
use anabranch_sockets::policy::Source;
use tokio::task::JoinHandle;

use super::args::ConnectArgs;
use super::uplinks::Uplinks;
use crate::cli::Failure;
use crate::control::server::ControlSocket;
use crate::paths::{Own, Wanted};
use crate::ports::Ports;
use crate::serve::snapshot::Snapshot;
use crate::signals::Signals;

/// What decides on paths, if that is not the command line alone.
pub(super) struct Managed {
    own: Option<Arc<Own>>,
    control: Option<JoinHandle<()>>,
}

impl Managed {
    /// Puts the plan of a file in force; with a control socket alone, that of the command line.
    ///
    /// # Errors
    /// One line: the control socket cannot be, or the plan wants what cannot be.
    pub(super) fn new(
        args: &ConnectArgs,
        host: &Host,
        ports: Option<&Ports>,
        wanted: Option<Wanted>,
    ) -> Result<Managed, Failure> {
        if wanted.is_none() && args.control.is_none() {
            return Ok(Managed {
                own: None,
                control: None,
            });
        }
        let otherwise = command_line(args);
        let (plan, rules) = wanted.map(|it| (it.plan, it.rules)).unzip();
        let plan = plan.unwrap_or_else(|| otherwise.clone());
        let hosts = vec![host.clone()];
        let (ports, file) = (ports.cloned(), args.paths.clone());
        let own = Own::new(hosts, ports, &args.device, file, Some(plan), otherwise);
        let own = own.map_err(Failure::Failed)?;
        let own = Arc::new(own.with_rules(Vec::new(), rules.unwrap_or_default()));
        let socket = args.control.as_deref().map(ControlSocket::bind).transpose();
        let socket = socket.map_err(|error| Failure::Failed(format!("--control: {error}")))?;
        let snapshot = || Arc::new(Snapshot::new(host.clone().into(), Arc::clone(&own)));
        let control = socket.map(|socket| tokio::spawn(socket.serve(snapshot())));
        Ok(Managed {
            control,
            own: Some(own),
        })
    }

    /// Addresses to connect from, best first.
    pub(super) fn paths(&self, remote: SocketAddr) -> Option<Vec<Source>> {
        let planned = self.own.as_ref()?.planned(remote)?;
        let routed = planned.locals.into_iter().filter(|source| source.routed);
        Some(routed.collect())
    }

    /// Waits for a signal that means to stop.
    pub(super) async fn told_to_stop(&self, signals: &mut Signals) -> &'static str {
        loop {
            let name = signals.next().await;
            if !self.own.as_ref().is_some_and(|own| own.hang_up(name)) {
                return name;
            }
        }
    }

    /// Has everything follow changes of addresses and routes; never returns.
    pub(super) async fn follow(&self, host: &Host, uplinks: &mut Uplinks, ports: Option<&Ports>) {
        match &self.own {
            Some(own) => own.watch().await,
            None => uplinks.follow(host, ports).await,
        }
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            control.abort();
        }
    }
}

/// The policy that the command line asks for.
pub(super) fn policy(args: &ConnectArgs) -> Policy {
    let kind = if args.full_mesh {
        Kind::FullMesh
    } else {
        Kind::OneEach
    };
    let mut policy = Policy::new(kind);
    policy.limits.subflows = args.max_subflows.into();
    policy
}

/// The plan that the command line asks for.
fn command_line(args: &ConnectArgs) -> Plan {
    let mut policy = policy(args);
    if !args.from.is_empty() {
        policy.sources = args.from.iter().chain(&args.backup).copied().collect();
    }
    let whole = |addr: &std::net::IpAddr| Prefix::new(*addr, if addr.is_ipv4() { 32 } else { 128 });
    let backup = args.backup.iter().map(|addr| Rule {
        network: whole(addr).ok(),
        backup: Some(true),
        ..Rule::default()
    });
    Plan {
        rules: backup.collect(),
        ..Plan::of(policy)
    }
}
