//! Figures of anabranch beside Linux's own Multipath TCP and beside what packet devices can carry:
//! one run, one machine, interleaved, medians.

mod clients;
mod cpu;
mod lab;
mod multipath;
mod relayed;
mod report;
mod run;
mod server;
mod work;
mod works;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "anabranch-bench", about, version)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: run::Options,
}

#[derive(Subcommand)]
enum Command {
    /// One sender at a time over paths with loss and reordering, beside Linux's TCP.
    Sender(relayed::sender::Options),
    /// Two senders at once through one queue: what share each gets.
    Fairness(relayed::fairness::Options),
    /// Schedulers and failover over two paths, beside Linux's Multipath TCP.
    Multipath(multipath::Options),
    /// A server, in the namespace it is started in.
    #[command(hide = true)]
    Server(server::Server),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Some(Command::Server(server)) => server.run(),
        Some(Command::Sender(options)) => relayed::sender::run(&options),
        Some(Command::Fairness(options)) => relayed::fairness::run(&options),
        Some(Command::Multipath(options)) => multipath::run(&options),
        None => run::run(&arguments.options, works::ALL),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anabranch-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
