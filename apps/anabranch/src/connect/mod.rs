//! `anabranch connect`: a connection over several paths, from standard input and to standard output.

pub mod args;
mod managed;
mod pipe;
pub(crate) mod report;
mod uplinks;

pub use args::ConnectArgs;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anabranch_drivers::tun::{Tun, TunConfig};
use anabranch_kernel::attach::STATE_DIR;
use anabranch_kernel::{Attach, AttachConfig};
use anabranch_sockets::policy::Source;
use anabranch_sockets::{
    ConnectConfig, Host, Limits, PathConfig, StackConfig, Stream, Version, Versions,
};
use bytes::Bytes;

use crate::cli::Failure;
use crate::device::{self, NO_PERMISSION, refused};
use crate::ports::Ports;
use crate::signals::Signals;
use managed::Managed;
use pipe::{Broken, Carried};
use report::Log;
use uplinks::Uplinks;

/// Exit codes beside those of [`crate::cli`].
const EXIT_REFUSED: u8 = 3;
const EXIT_TIMED_OUT: u8 = 4;
const EXIT_RESET: u8 = 5;
const EXIT_UNREACHABLE: u8 = 6;

/// Ports of this host taken for one connection and its subflows, with room for attempts that fail.
const PORTS: u16 = 128;

/// How long the last packets may take when both directions have ended.
const FAREWELL: Duration = Duration::from_secs(5);

/// Connects, and carries bytes until both directions have ended.
///
/// # Errors
/// One line: a wrong argument, a missing permission, or how the connection failed.
pub fn run(args: ConnectArgs) -> Result<(), Failure> {
    args.check().map_err(Failure::Usage)?;
    crate::log::init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(connect(&args));
    // A read of standard input may still wait in a thread of its own.
    runtime.shutdown_background();
    outcome
}

async fn connect(args: &ConnectArgs) -> Result<(), Failure> {
    // Before anything is set up on the host, so that nothing stays behind.
    let mut signals = Signals::new()
        .map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")))?;
    let wanted = args.paths.as_deref().map(crate::paths::load).transpose();
    let wanted = wanted.map_err(Failure::Usage)?;
    let remotes = look_up(args).await?;
    let (remote, mut uplinks) = first_reachable(args, &remotes)?;
    let attached = Attached::new(args, &uplinks)?;
    let host = attached.host.clone();
    let ports = attached.ports.clone();
    let ports = ports.as_ref();
    let managed = match Managed::new(args, &host, ports, wanted) {
        Ok(managed) => managed,
        Err(failure) => return attached.detach(false).await.and(Err(failure)),
    };
    let connection = Connection {
        args,
        host: host.clone(),
        remote,
        carried: Carried::default(),
    };
    let paths = managed.paths(remote).unwrap_or_else(|| uplinks.paths());
    let outcome = tokio::select! {
        outcome = connection.run(paths) => outcome,
        name = managed.told_to_stop(&mut signals) => {
            Err(Failure::Failed(format!("{name}: interrupted")))
        }
        () = managed.follow(&host, &mut uplinks, ports) => unreachable!("following never ends"),
    };
    drop((connection, managed, host));
    attached.detach(outcome.is_ok()).await.and(outcome)
}

async fn look_up(args: &ConnectArgs) -> Result<Vec<SocketAddr>, Failure> {
    let target = &args.to;
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let found: Vec<SocketAddr> = found
        .map_err(|error| Failure::Failed(format!("{target}: {error}")))?
        .collect();
    if found.iter().all(|addr| addr.ip().is_loopback()) {
        return Err(Failure::Usage(format!(
            "{target}: a loopback address has one path only; connect to it without anabranch"
        )));
    }
    Ok(found)
}

/// The first of the server's addresses to which this host has a route.
fn first_reachable(
    args: &ConnectArgs,
    remotes: &[SocketAddr],
) -> Result<(SocketAddr, Uplinks), Failure> {
    let mut failure = Failure::Failed(format!("{} has no address", args.to));
    for &remote in remotes {
        match Uplinks::find(args, remote) {
            Ok(uplinks) => return Ok((remote, uplinks)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// A host, and what was set up on this one for it.
struct Attached {
    host: Host,
    /// With addresses of our own, none.
    ports: Option<Ports>,
}

impl Attached {
    fn new(args: &ConnectArgs, uplinks: &Uplinks) -> Result<Attached, Failure> {
        let attached = match args.device.is_tun() {
            true => Attached::by_tun(args, uplinks),
            false => Attached::by_own_addresses(args),
        }?;
        attached.host.set_busy_poll(args.device.busy_poll());
        Ok(attached)
    }

    fn by_own_addresses(args: &ConnectArgs) -> Result<Attached, Failure> {
        let stack = stack_config(args, device::mtu(args.mtu)?);
        let device = args.device.open(1)?.remove(0);
        let host = Host::start(device, stack)
            .map_err(|error| Failure::Failed(format!("cannot use the packet device: {error}")))?;
        Ok(Attached { host, ports: None })
    }

    fn by_tun(args: &ConnectArgs, uplinks: &Uplinks) -> Result<Attached, Failure> {
        let left = Attach::recover(STATE_DIR.as_ref()).map_err(refused)?;
        if left > 0 {
            tracing::warn!(
                "removed what {left} process(es) that ended without cleaning up had left"
            );
        }
        let mtu = device::mtu(args.mtu)?;
        let config = TunConfig {
            mtu,
            ..TunConfig::default()
        };
        let device = Tun::open(&config).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Failure::Failed(NO_PERMISSION.to_owned()),
            _ => Failure::Failed(format!("cannot make a TUN device: {error}")),
        })?;
        let shared = args.device.rps.apply(device.name(), 1);
        shared.map_err(crate::rps::refused)?;
        let mut config = AttachConfig::new(device.name(), []);
        config.addresses = uplinks.named();
        let attach = Attach::install_client(config, PORTS).map_err(refused)?;
        let range = attach.ports()[0].clone();
        let stack = StackConfig {
            ephemeral: range.clone(),
            ..stack_config(args, mtu)
        };
        let host = Host::start(device, stack)
            .map_err(|error| Failure::Failed(format!("cannot use the TUN device: {error}")))?;
        device::hear_icmp(|errors| host.hear(errors), range);
        let ports = Some(Ports::new(vec![attach]));
        Ok(Attached { host, ports })
    }

    /// Removes everything.
    async fn detach(self, in_order: bool) -> Result<(), Failure> {
        let limit = if in_order { FAREWELL } else { Duration::ZERO };
        self.host.shutdown(tokio::time::sleep(limit)).await;
        let removed = self.ports.map(Ports::remove).transpose();
        removed.map(drop).map_err(refused)
    }
}

fn stack_config(args: &ConnectArgs, mtu: u16) -> StackConfig {
    let mut config = StackConfig {
        mtu,
        limits: Limits {
            // A file has limits of its own.
            subflows: match args.paths {
                Some(_) => anabranch_paths::MAX_ADDRESSES,
                None => args.max_subflows.into(),
            },
            ..Limits::default()
        },
        ..StackConfig::default()
    };
    config.tcp.congestion.algorithm = args.congestion;
    config.mptcp.checksum = args.checksum;
    config.mptcp.versions = Versions::only(match args.mptcp_version {
        0 => Version::V0,
        _ => Version::V1,
    });
    config.mptcp.no_subflow_wait = Duration::from_secs(args.hold);
    config
}

/// One connection from its first packet to its last.
struct Connection<'a> {
    args: &'a ConnectArgs,
    host: Host,
    remote: SocketAddr,
    carried: Carried,
}

impl Connection<'_> {
    async fn run(&self, paths: Vec<Source>) -> Result<(), Failure> {
        let mut log = Log::new(self.args.verbose);
        let outcome = match self.open(paths).await {
            Ok(stream) => self.carry(stream, &mut log).await,
            Err(error) => Err(self.explain(&error, false)),
        };
        let Some(to) = &self.args.json else {
            return outcome;
        };
        let result = match &outcome {
            Ok(()) => "ok".to_owned(),
            Err(Failure::Usage(reason) | Failure::Failed(reason) | Failure::Coded(_, reason)) => {
                reason.clone()
            }
        };
        let carried = (self.carried.sent.get(), self.carried.received.get());
        let counters = self.host.counters();
        let summary = log.summary(result, self.remote.to_string(), carried, &counters);
        outcome.and(summary.write(to))
    }

    /// Connects from one address after the other until the server answers.
    async fn open(&self, paths: Vec<Source>) -> io::Result<Stream> {
        let fits = |path: &&Source| path.addr.is_ipv4() == self.remote.is_ipv4();
        let (backups, mut starts): (Vec<_>, Vec<_>) = paths
            .iter()
            .filter(fits)
            .copied()
            .partition(|path| path.backup);
        starts.extend(backups);
        let each = self.args.timeout() / u32::try_from(starts.len().max(1)).unwrap_or(1);
        let mut failure = ErrorKind::AddrNotAvailable.into();
        for start in starts {
            let mut locals = paths.clone();
            locals.sort_by_key(|path| path.addr != start.addr);
            match tokio::time::timeout(each, self.open_from(locals, start)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                    let plain = tokio::time::timeout(each, self.open_plain(start, error));
                    return plain.await.unwrap_or(Err(ErrorKind::TimedOut.into()));
                }
                Ok(Err(error)) => failure = error,
                Err(_) => failure = ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
    }

    /// What refused may be something on the path that takes no MP_CAPABLE: a SYN without tells.
    async fn open_plain(&self, start: Source, refused: io::Error) -> io::Result<Stream> {
        if self.args.plain {
            return Err(refused);
        }
        let config = ConnectConfig {
            mptcp: false,
            ..ConnectConfig::default()
        };
        self.host.connect(start.addr, self.remote, config).await
    }

    async fn open_from(&self, locals: Vec<Source>, start: Source) -> io::Result<Stream> {
        let config = ConnectConfig {
            mptcp: !self.args.plain,
            ..ConnectConfig::default()
        };
        if self.args.plain {
            return self.host.connect(start.addr, self.remote, config).await;
        }
        let planned = self.host.planned(self.remote);
        let policy = planned.map_or_else(|| Arc::new(managed::policy(self.args)), |it| it.policy);
        let paths = PathConfig { locals, policy };
        self.host
            .connect_from(paths, self.remote, config, Bytes::new())
            .await
    }

    async fn carry(&self, mut stream: Stream, log: &mut Log) -> Result<(), Failure> {
        let paths = stream.paths();
        log.look(stream.info().map_err(|error| self.explain(&error, true))?);
        log.connected();
        let carrying = pipe::carry(
            &mut stream,
            tokio::io::stdin(),
            tokio::io::stdout(),
            &self.carried,
        );
        let watching = async {
            while let Some(event) = paths.next().await {
                log.on_event(&event, paths.info().ok());
            }
            std::future::pending().await
        };
        let outcome = tokio::select! {
            outcome = carrying => outcome,
            () = watching => unreachable!("watching never ends"),
        };
        if let Ok(info) = paths.info() {
            log.look(info);
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(Broken::Connection(error)) => Err(self.explain(&error, true)),
            Err(Broken::Local(name, error)) => {
                stream.abort();
                Err(Failure::Failed(format!("{name}: {error}")))
            }
        }
    }

    /// One line that names the way out.
    fn explain(&self, error: &io::Error, connected: bool) -> Failure {
        let to = &self.args.to;
        let (code, reason) = match error.kind() {
            ErrorKind::ConnectionRefused => (
                EXIT_REFUSED,
                "refused the connection: does the service run, and on this port?",
            ),
            ErrorKind::TimedOut if connected => (
                EXIT_TIMED_OUT,
                "does not answer any more over any path (--hold waits longer)",
            ),
            ErrorKind::TimedOut => (
                EXIT_TIMED_OUT,
                "did not answer: is the address right, does a firewall drop it? (--timeout waits \
                 longer)",
            ),
            ErrorKind::ConnectionReset => (EXIT_RESET, "reset the connection"),
            ErrorKind::HostUnreachable => (
                EXIT_UNREACHABLE,
                "is unreachable: is there a route (ip route get)?",
            ),
            _ => return Failure::Failed(format!("{to}: {error}")),
        };
        Failure::Coded(code, format!("{to} {reason}"))
    }
}
