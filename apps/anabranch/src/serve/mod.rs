//! `anabranch serve`: ports of the host, each in front of a TCP service.

pub mod args;
mod attach;
pub mod backend;
mod figures;
pub mod relay;
mod server;
mod signals;
mod snapshot;

pub use args::ServeArgs;
pub use server::Server;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anabranch_sockets::{Host, Limits, StackConfig};
use anabranch_tcp::Config as TcpConfig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::Failure;
use crate::control::server::ControlSocket;
use args::{Listen, Target};
use attach::Attached;
use backend::Backend;
use signals::Signals;
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
    crate::log::init();
    // One thread: the stack and everything that uses it run without waiting for locks.
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
    let pairs = resolve(pairs).await?;
    attach::check_loops(&pairs)?;
    let mtu = attach::mtu(args)?;
    let device = attach::open_device(args, mtu)?;
    let control = bind_control(args)?;
    let host = Host::start(device, stack_config(args, mtu))
        .map_err(failed("cannot use the TUN device"))?;
    let server = Server::new(host.clone()).fast_open(args.fast_open);
    for (listen, backend) in pairs {
        server
            .serve(listen, backend)
            .map_err(failed(&format!("--listen {listen}")))?;
    }
    allow_descriptors(args.max_connections);
    attach::hear_icmp(&host, args);
    // Last, so that no client comes before all is ready.
    let mut attached = Attached::new(args)?;
    let control = tokio::spawn(control.serve(Arc::new(Snapshot::new(host.clone()))));
    tracing::info!("ready");
    let stopped = tokio::select! {
        name = signals.next() => {
            tracing::info!("{name}: stopping, open connections have {} s to finish", args.drain);
            stop(server, &mut signals, Duration::from_secs(args.drain)).await;
            Ok(())
        }
        error = host.closed() => Err(Failure::Failed(error.to_string())),
        () = attached.follow() => unreachable!("following never ends"),
    };
    control.abort();
    // Ended when its file is removed.
    let _ = control.await;
    stopped.and(attached.detach())
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
    let defaults = Limits::default();
    let mut tcp = TcpConfig::default();
    tcp.congestion.algorithm = args.congestion;
    tcp.ecn = args.ecn;
    StackConfig {
        tcp,
        mtu,
        limits: Limits {
            memory,
            flows: args.max_connections as usize,
            // One connection alone cannot use up a small budget.
            recv_buffer: defaults.recv_buffer.min(memory / 4),
            send_buffer: defaults.send_buffer.min(memory / 4),
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
