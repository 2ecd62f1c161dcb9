//! `anabranch try`: the main job, in one command, on a network of its own.

mod args;
mod http;
mod meter;
mod needs;
mod report;
mod simulate;
mod stage;
mod text;
mod view;

pub use args::TryArgs;

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::Failure;
use args::Rate;
use report::{Report, Way};
use stage::{Service, Stage};

/// Default size of the file, and rate of each link: some seconds for each transfer.
const SIZE: u64 = 1 << 30;
const RATE: Rate = Rate(1_000_000_000);

/// The exit code of programs that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs everything and prints the report on standard output.
///
/// # Errors
/// One line and, if the server said anything, its log: what went wrong.
pub fn run(args: TryArgs) -> Result<(), Failure> {
    // First of all: a user namespace can only be made while there is one thread.
    let reason = if args.simulate {
        None
    } else {
        needs::provide().err()
    };
    let simulate = args.simulate || reason.is_some();
    if let Some(reason) = &reason {
        eprintln!("{reason}; running over a simulated network");
    }
    let cancel = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let json = args.json;
    let report = runtime.block_on(async {
        let work = tokio::task::spawn_blocking({
            let cancel = Arc::clone(&cancel);
            move || match simulate {
                true => simulate::run(&args, reason, &cancel),
                false => in_namespaces(&args, &cancel),
            }
        });
        tokio::select! {
            done = work => done.unwrap_or_else(|panic| Err(panic.to_string())),
            () = interrupted(&cancel) => process::exit(EXIT_INTERRUPTED),
        }
    });
    if cancel.load(Ordering::Relaxed) {
        process::exit(EXIT_INTERRUPTED);
    }
    let report = report.map_err(Failure::Failed)?;
    match json {
        true => println!("{}", report.json()),
        false => print!("\n{report}"),
    }
    match report.all_equal() {
        true => Ok(()),
        false => Err(Failure::Failed(
            "not every byte arrived as it was sent".to_owned(),
        )),
    }
}

/// Ends at the second signal; the first asks the work to end, which then removes what it made.
async fn interrupted(cancel: &AtomicBool) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        // Without signals to wait for, they end the process as ever.
        return std::future::pending().await;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancel.store(true, Ordering::Relaxed);
    }
}

fn in_namespaces(args: &TryArgs, cancel: &AtomicBool) -> Result<Report, String> {
    let size = args.size.map_or(SIZE, |size| size.0);
    let rate = args.rate.unwrap_or(RATE);
    if !args.json {
        println!(
            "Two hosts in network namespaces, two links of {rate}. Link 1 is cut when half of a \
             transfer is\ndone, and comes back at three quarters.\n"
        );
    }
    let mut transfers = Vec::new();
    for service in [Service::Anabranch, Service::Linux] {
        let stage = Stage::new(service, size, rate, args.seed).map_err(|e| e.to_string())?;
        for way in [Way::Down, Way::Up] {
            transfers.push(stage.transfer(way, cancel)?);
        }
    }
    Ok(Report {
        network: "namespaces",
        reason: None,
        size_bytes: size,
        link_bits_per_second: rate.0,
        seed: args.seed,
        transfers,
    })
}
