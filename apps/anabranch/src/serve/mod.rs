//! `anabranch serve`: ports of the host, each in front of a TCP service.

pub mod args;
pub(crate) mod attach;
pub mod backend;
mod figures;
pub mod relay;
mod rule;
mod server;
pub(crate) mod snapshot;

pub use args::ServeArgs;
pub use server::Server;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anabranch_mptcp::Config as MptcpConfig;
use anabranch_paths::{Endpoint, Flags, Kind, Plan, Policy};
use anabranch_sockets::{Congestion, Host, Limits, Shards, StackConfig};
use anabranch_tcp::Config as TcpConfig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::Failure;
use crate::control::server::ControlSocket;
use crate::device;
use crate::paths::{Own, Wanted};
use crate::ports::Ports;
use crate::signals::Signals;
use args::{Listen, Target};
use attach::Attached;
use backend::Backend;
use snapshot::Snapshot;

/// Descriptors beside those of connections: the device, sockets, signals, standard streams.
const OTHER_DESCRIPTORS: u64 = 64;

/// Serves until told to stop.
///
/// # Errors
/// One line: a wrong argument, a missing permission, or what the host refused.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    let pairs = args.pairs().map_err(Failure::Usage)?;
    args.check_announced().map_err(Failure::Usage)?;
    args.device.check().map_err(Failure::Usage)?;
    crate::log::init();
    // Each shard has one thread, the first this one: a stack and everything that uses it run
    // without waiting for locks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let served = runtime.block_on(serve(&args, pairs));
    // A name look-up may still run in a thread of its own; nobody waits for its answer.
    runtime.shutdown_background();
    served
}

/// Raises the limit of open files as far as it may be: each connection takes one, towards its
/// service.
fn allow_descriptors(connections: u32) {
    let wanted = u64::from(connections) + OTHER_DESCRIPTORS;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let raised = soft.max(wanted.min(hard));
        setrlimit(Resource::RLIMIT_NOFILE, raised, hard)?;
        Ok(raised)
    });
    match allowed {
        Ok(allowed) if allowed >= wanted => {}
        Ok(allowed) => tracing::warn!(
            "the limit of open files ({allowed}) allows fewer connections than \
             --max-connections {connections}"
        ),
        Err(error) => tracing::warn!("the limit of open files is unknown: {error}"),
    }
}

async fn serve(args: &ServeArgs, pairs: Vec<(Listen, Target)>) -> Result<(), Failure> {
    // Before anything is set up on the host, so that nothing stays behind.
    let mut signals = Signals::new().map_err(failed("cannot wait for signals"))?;
    attach::check_addresses(args)?;
    let wanted = args.paths.as_deref().map(crate::paths::load).transpose();
    let wanted = wanted.map_err(Failure::Usage)?;
    let pairs = resolve(pairs).await?;
    attach::check_loops(args, &pairs)?;
    let mtu = device::mtu(args.mtu)?;
    let devices = attach::open_devices(args, mtu)?;
    let control = bind_control(args)?;
    let host = Shards::start(devices, stack_config(args, mtu))
        .map_err(failed("cannot use the packet device"))?;
    for shard in &host {
        shard.set_busy_poll(args.device.busy_poll());
    }
    let server = Server::new(host.clone()).fast_open(args.fast_open);
    for (listen, backend) in pairs {
        server
            .serve(listen, backend)
            .map_err(failed(&format!("--listen {listen}")))?;
    }
    allow_descriptors(args.max_connections);
    if args.device.is_tun() {
        let ports = args.listen.iter().map(|listen| listen.port);
        device::hear_icmp(|errors| host.hear(errors), ports);
    }
    // Last, so that no client comes before all is ready.
    let mut attached = Attached::new(args)?;
    let paths = match managed(args, &host, attached.ports(), wanted) {
        Ok(paths) => Arc::new(paths),
        Err(reason) => return attached.detach().and(Err(Failure::Failed(reason))),
    };
    let snapshot = Arc::new(Snapshot::new(host.clone(), Arc::clone(&paths)));
    let control = tokio::spawn(control.serve(snapshot));
    tracing::info!("ready");
    let stopped = tokio::select! {
        () = paths.watch() => unreachable!("watching never ends"),
        name = told_to_stop(&mut signals, &paths) => {
            tracing::info!("{name}: stopping, open connections have {} s to finish", args.drain);
            stop(server, &mut signals, Duration::from_secs(args.drain)).await;
            Ok(())
        }
        error = host.closed() => Err(Failure::Failed(error.to_string())),
        followed = attached.follow() => followed,
    };
    control.abort();
    // Ended when its file is removed.
    let _ = control.await;
    stopped.and(attached.detach())
}

/// Waits for a signal that means to stop.
async fn told_to_stop(signals: &mut Signals, paths: &Own) -> &'static str {
    loop {
        let name = signals.next().await;
        if !paths.hang_up(name) {
            return name;
        }
    }
}

/// Paths by the file; without one, what is to be announced, as long as this host has it.
fn managed(
    args: &ServeArgs,
    host: &Shards,
    ports: Option<Ports>,
    wanted: Option<Wanted>,
) -> Result<Own, String> {
    let (plan, rules) = wanted.map(|it| (it.plan, it.rules)).unzip();
    let mut policy = Policy::new(Kind::Endpoints);
    // Peers join: a server opens nothing unless it is told to.
    policy.limits.add_addr_accepted = 0;
    for addr in &args.announce {
        let endpoint = Endpoint {
            // The kernel does not have those of our own.
            external: !args.device.is_tun(),
            ..Endpoint::new(*addr, Flags::SIGNAL)
        };
        if let Err(error) = policy.add_endpoint(endpoint) {
            tracing::warn!("--announce {addr}: {error}");
        }
    }
    let otherwise = Plan::of(policy);
    let plan = plan.or_else(|| (!args.announce.is_empty()).then(|| otherwise.clone()));
    let hosts = host.iter().map(|shard| Host::clone(shard)).collect();
    let file = args.paths.clone();
    let own = Own::new(hosts, ports, &args.device, file, plan, otherwise)?;
    Ok(own.with_rules(args.rule.clone(), rules.unwrap_or_default()))
}

async fn stop(server: Server, signals: &mut Signals, drain: Duration) {
    let limit = async {
        tokio::select! {
            () = tokio::time::sleep(drain) => {}
            name = signals.next() => tracing::warn!("{name} again: stopping at once"),
        }
    };
    if server.stop(limit).await {
        tracing::info!("stopped, every connection finished");
    } else {
        tracing::warn!("stopped, connections still open were reset");
    }
}

/// Finds every service for the first time.
async fn resolve(pairs: Vec<(Listen, Target)>) -> Result<Vec<(Listen, Backend)>, Failure> {
    let mut resolved = Vec::with_capacity(pairs.len());
    for (listen, target) in pairs {
        let name = target.to_string();
        let backend = Backend::resolve(target)
            .await
            .map_err(|error| Failure::Usage(format!("--to {name}: {error}")))?;
        resolved.push((listen, backend));
    }
    Ok(resolved)
}

fn bind_control(args: &ServeArgs) -> Result<ControlSocket, Failure> {
    ControlSocket::bind(&args.control).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "another server answers there; give each its own path",
            io::ErrorKind::PermissionDenied => {
                "its directory must belong to this user (sudo install -d -o USER /run/anabranch, \
                 or in a systemd unit RuntimeDirectory=anabranch)"
            }
            _ => return Failure::Failed(format!("--control {}: {error}", args.control.display())),
        };
        Failure::Failed(format!("--control {}: {hint}", args.control.display()))
    })
}

fn stack_config(args: &ServeArgs, mtu: u16) -> StackConfig {
    let memory = usize::try_from(args.memory.0).unwrap_or(usize::MAX);
    let share = memory / args.threads();
    let defaults = Limits::default();
    let mut tcp = TcpConfig {
        ecn: args.ecn,
        ..TcpConfig::default()
    };
    let mut mptcp = MptcpConfig {
        versions: args.versions,
        scheduler: args.scheduler.clone(),
        steering: args.steer,
        ..MptcpConfig::default()
    };
    match args.congestion {
        Congestion::Alone(algorithm) => tcp.congestion.algorithm = algorithm,
        Congestion::Coupled(kind) => mptcp.coupling = Some(kind),
    }
    StackConfig {
        tcp,
        mptcp,
        rules: args.rule.clone(),
        mtu,
        limits: Limits {
            memory,
            subflows: match args.paths {
                Some(_) => anabranch_paths::MAX_ADDRESSES,
                None => defaults.subflows,
            },
            flows: args.max_connections as usize,
            // One connection alone cannot use up a small budget.
            recv_buffer: defaults.recv_buffer.min(share / 4),
            send_buffer: defaults.send_buffer.min(share / 4),
            ..defaults
        },
        announce: attach::announcements(&args.announce),
        syn_cookies: args.syn_cookies,
        ..StackConfig::default()
    }
}

fn failed(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Failed(format!("{what}: {error}"))
}
