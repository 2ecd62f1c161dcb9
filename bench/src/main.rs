//! Figures of anabranch beside Linux's own Multipath TCP as the server, and beside what the
//! packet device can carry: one run, one machine, interleaved, medians.

mod cpu;
mod dumb;
mod relayed;
mod report;
mod scene;
mod server;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// The server reads what comes to this port.
const SINK: u16 = 5001;
/// The server writes without end to who connects to this port.
const SOURCE: u16 = 5002;

#[derive(Parser)]
#[command(name = "anabranch-bench", about, version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs of each measurement; medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// One short round: shows that everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Plain TCP instead of Multipath TCP: anabranch beside Linux, over one link.
    #[arg(long)]
    plain: bool,
    /// Write the figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// One sender at a time over paths with loss and reordering, beside Linux's TCP.
    Sender(relayed::sender::Options),
    /// Two senders at once through one queue: what share each gets.
    Fairness(relayed::fairness::Options),
    /// A server, in the namespace it is started in.
    #[command(hide = true)]
    Server {
        kind: Server,
        /// Plain TCP only.
        #[arg(long)]
        plain: bool,
    },
}

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Server {
    /// anabranch's stack over TUN, in this process.
    Anabranch,
    /// Linux's own Multipath TCP, or its TCP.
    Kernel,
    /// An endpoint without memory over TUN: the ceiling.
    Dumb,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Server::Anabranch => "anabranch",
            Server::Kernel => "kernel",
            Server::Dumb => "dumb",
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Server { kind, plain }) => server::run(kind, plain),
        Some(Command::Sender(options)) => relayed::sender::run(&options),
        Some(Command::Fairness(options)) => relayed::fairness::run(&options),
        None => scene::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anabranch-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
