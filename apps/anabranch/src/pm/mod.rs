//! `anabranch pm`: the paths of the kernel's own Multipath TCP connections.

mod account;
pub mod args;
mod connections;
mod control;
mod endpoints;
mod listeners;
mod state;

pub use args::PmArgs;

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anabranch_kernel::mptcp::{self, Events};
use anabranch_kernel::{Monitor, Netns, capability};
use anabranch_paths::{Plan, Policy};
use tokio::io::unix::AsyncFd;

use crate::cli::Failure;
use crate::control::server::ControlSocket;
use crate::device::refused;
use crate::signals::Signals;
use account::Account;
use args::Mode;
use connections::Connections;
use control::Asked;
use endpoints::Endpoints;
use state::{State, lock};

/// How often a namespace is looked for by its name: one that was deleted lives on only because we
/// are in it.
const LOOK_FOR_NAME: Duration = Duration::from_secs(1);

/// Manages paths until told to stop.
///
/// # Errors
/// One line: a missing permission, another path manager, or what the kernel refused.
pub fn run(args: PmArgs) -> Result<(), Failure> {
    crate::log::init();
    let netns = args.netns.as_deref().map(Netns::existing).transpose();
    let Some(netns) = netns.map_err(|error| Failure::Usage(format!("--netns: {error}")))? else {
        return start(&args, None);
    };
    netns.run(|| start(&args, Some(&netns))).map_err(refused)?
}

fn start(args: &PmArgs, netns: Option<&Netns>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(manage(args, netns))
}

async fn manage(args: &PmArgs, netns: Option<&Netns>) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Failed(format!("cannot wait for signals: {error}"));
    let mut signals = Signals::new().map_err(failed)?;
    mptcp::available().map_err(refused)?;
    capability::require_net_admin("manage paths").map_err(refused)?;
    let plan = wanted(args).map_err(Failure::Usage)?;
    if args.dry_run {
        return preview(args.mode, plan);
    }
    let account = Account::open(&args.state_dir).map_err(Failure::Failed)?;
    let state = State::start(args, plan, account)?;
    let managed = manage_with(args, netns, &mut signals, &state).await;
    lock(&state).close();
    managed
}

/// Manages, and answers on the control socket, until told to stop.
async fn manage_with(
    args: &PmArgs,
    netns: Option<&Netns>,
    signals: &mut Signals,
    state: &Arc<Mutex<State>>,
) -> Result<(), Failure> {
    // Nothing is missed: the kernel is listened to before it is asked what there is.
    let mut watched = Watched::open()?;
    let control = args.control();
    let control = ControlSocket::bind(&control).map_err(|error| {
        let path = control.display();
        Failure::Failed(match error.kind() {
            ErrorKind::AddrInUse => {
                format!("another path manager answers at {path}: give each its own --control")
            }
            _ => format!("--control {path}: {error}"),
        })
    })?;
    lock(state).begin().map_err(Failure::Failed)?;
    let control = tokio::spawn(control.serve(Arc::new(Asked::new(Arc::clone(state)))));
    tracing::info!("{}", lock(state).describe());
    tracing::info!("ready");
    let stopped = watched.until_stopped(args, netns, signals, state).await;
    control.abort();
    // Ended when its file is removed.
    let _ = control.await;
    stopped
}

/// What is wanted of paths.
fn wanted(args: &PmArgs) -> Result<Plan, String> {
    match &args.config {
        Some(file) => crate::paths::load(file).map(state::for_the_kernel),
        None => Ok(Plan::of(Policy::new(args.policy.kind()))),
    }
}

/// Prints what would be done, and does nothing.
fn preview(mode: Mode, plan: Plan) -> Result<(), Failure> {
    let lines = match mode {
        Mode::Kernel => Endpoints::new(plan)?.preview(),
        Mode::Userspace => Connections::new(plan)?.preview(),
    }
    .map_err(Failure::Failed)?;
    if lines.is_empty() {
        println!("nothing to do");
    }
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Waits until the namespace has no longer its name.
async fn deleted(args: &PmArgs, netns: Option<&Netns>) {
    if let (Some(name), Some(netns)) = (&args.netns, netns) {
        while netns.is_named(name) {
            tokio::time::sleep(LOOK_FOR_NAME).await;
        }
        return;
    }
    std::future::pending().await
}

/// What of the kernel is listened to.
struct Watched {
    changes: Monitor,
    changed: AsyncFd<OwnedFd>,
    events: Events,
    told: AsyncFd<OwnedFd>,
}

impl Watched {
    fn open() -> Result<Watched, Failure> {
        let changes = Monitor::open().map_err(refused)?;
        let events = Events::open().map_err(refused)?;
        Ok(Watched {
            changed: watch(&changes)?,
            changes,
            told: watch(&events)?,
            events,
        })
    }

    /// Until a signal says so, or something fails. SIGHUP has the file read again, if there is one.
    async fn until_stopped(
        &mut self,
        args: &PmArgs,
        netns: Option<&Netns>,
        signals: &mut Signals,
        state: &Mutex<State>,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                name = signals.next() => {
                    if name != "SIGHUP" || args.config.is_none() {
                        tracing::info!("{name}: stopping");
                        return Ok(());
                    }
                    match lock(state).reload() {
                        Ok(says) => tracing::info!("{says}"),
                        Err(reason) => tracing::error!("{reason}; what was in force stays"),
                    }
                }
                turned = self.turn(state) => turned.map_err(Failure::Failed)?,
                () = deleted(args, netns) => {
                    let name = args.netns.as_deref().unwrap_or_default();
                    let reason = format!("network namespace {name} was deleted");
                    return Err(Failure::Failed(reason));
                }
            }
        }
    }

    /// Waits for something to happen, and has it dealt with.
    async fn turn(&mut self, state: &Mutex<State>) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("cannot wait for the kernel: {error}");
        let deadline = lock(state).deadline();
        tokio::select! {
            guard = self.told.readable() => {
                guard.map_err(failed)?.clear_ready();
                while let Some(event) = self.events.poll().map_err(|it| it.to_string())? {
                    lock(state).on_event(event)?;
                }
            }
            guard = self.changed.readable() => {
                guard.map_err(failed)?.clear_ready();
                if self.changes.drain().map_err(|error| error.to_string())? {
                    lock(state).follow()?;
                }
            }
            () = until(deadline) => lock(state).on_deadline()?,
        }
        Ok(())
    }
}

fn watch(fd: &impl AsFd) -> Result<AsyncFd<OwnedFd>, Failure> {
    let watched = anabranch_sockets::watch(fd.as_fd());
    watched.map_err(|error| Failure::Failed(format!("cannot wait for the kernel: {error}")))
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
