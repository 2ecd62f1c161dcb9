//! The command line: what can be asked, and what each ending means.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::connect::ConnectArgs;
use crate::explain::ExplainArgs;
use crate::manual::{self, CompletionsArgs, ManArgs};
use crate::paths::check::CheckArgs;
use crate::paths::commands::{
    self, EndpointArgs, LimitsArgs, MonitorArgs, ReloadArgs, SubflowArgs,
};
use crate::pm::PmArgs;
use crate::serve::ServeArgs;
use crate::set::{SetArgs, WhyArgs};
use crate::ss::SsArgs;
use crate::r#try::TryArgs;

/// The command did what was asked.
pub const EXIT_OK: u8 = 0;
/// It could not; one line on standard error says why.
pub const EXIT_FAILED: u8 = 1;
/// The command line is wrong; one line on standard error names the argument.
pub const EXIT_USAGE: u8 = 2;

/// Multipath TCP outside the kernel.
///
/// A Multipath TCP connection uses several network paths at once: it is faster than any one of
/// them, and lives on when one breaks. `anabranch serve` gives it to any TCP service.
#[derive(Parser, Debug)]
#[command(name = "anabranch", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 done; 1 failed, the reason is on standard error; \
                        2 the command line is wrong.\nLogs go to standard error; RUST_LOG=debug \
                        says more, RUST_LOG=warn less."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Explain(ExplainArgs),
    Serve(ServeArgs),
    Connect(ConnectArgs),
    Pm(PmArgs),
    Ss(SsArgs),
    Set(SetArgs),
    Why(WhyArgs),
    Try(TryArgs),
    Check(CheckArgs),
    Endpoint(EndpointArgs),
    Limits(LimitsArgs),
    Subflow(SubflowArgs),
    Monitor(MonitorArgs),
    Reload(ReloadArgs),
    Man(ManArgs),
    Completions(CompletionsArgs),
}

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub enum Failure {
    /// An argument is wrong in a way only the command itself can see: [`EXIT_USAGE`].
    Usage(String),
    /// Anything else: [`EXIT_FAILED`].
    Failed(String),
    /// Anything else, with an exit code of its own.
    Coded(u8, String),
}

/// Parses `args` (the program's name first), runs the command, and says how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    let result = match cli.command {
        Command::Explain(args) => crate::explain::run(&args),
        Command::Serve(args) => crate::serve::run(args),
        Command::Connect(args) => crate::connect::run(args),
        Command::Pm(args) => crate::pm::run(args),
        Command::Ss(args) => crate::ss::run(&args),
        Command::Set(args) => crate::set::set(args),
        Command::Why(args) => crate::set::why(args),
        Command::Try(args) => crate::r#try::run(args),
        Command::Check(args) => crate::paths::check::run(&args),
        Command::Endpoint(args) => commands::endpoint(&args),
        Command::Limits(args) => commands::limits(&args),
        Command::Subflow(args) => commands::subflow(&args),
        Command::Monitor(args) => commands::monitor(&args),
        Command::Reload(args) => commands::reload(&args),
        Command::Man(args) => manual::man(&args, Cli::command()),
        Command::Completions(args) => manual::completions(&args, Cli::command()),
    };
    match result {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(Failure::Usage(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Failed(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::from(EXIT_FAILED)
        }
        Err(Failure::Coded(code, reason)) => {
            eprintln!("error: {reason}");
            ExitCode::from(code)
        }
    }
}

/// Help and version go to standard output; of an error, one line goes to standard error.
fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{error}");
            ExitCode::from(EXIT_OK)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            eprintln!("error: no command given: see anabranch --help");
            ExitCode::from(EXIT_USAGE)
        }
        _ => {
            eprintln!("{}", one_line(&error.to_string()));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// The first paragraph of clap's message: what is wrong, without the usage that follows.
fn one_line(message: &str) -> String {
    let paragraph = message.split("\n\n").next().unwrap_or(message);
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    words.join(" ")
}
