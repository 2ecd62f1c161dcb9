//! `anabranch set` and `anabranch why`: a running connection's scheduler and congestion control,
//! and why its data goes where it goes.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::Failure;
use crate::control::{Answer, Decision, Request, client};
use crate::serve::args::CONTROL_PATH;

/// Change the scheduler, the congestion control or the steering of a running connection.
///
/// It holds at once; nothing is lost or reordered. `anabranch ss` shows the id of each connection,
/// its scheduler and its congestion control.
#[derive(Args, Debug, Clone)]
#[command(after_help = "Examples:\n  \
    anabranch set 3.1 --scheduler adaptive:budget=10%\n  \
    anabranch set 3.1 --scheduler redundant --congestion olia")]
pub struct SetArgs {
    /// The connection, by its id in `anabranch ss`
    #[arg(value_name = "ID")]
    pub connection: String,

    /// minrtt, roundrobin, redundant, blest, ecf, weighted, backup or adaptive, some with settings
    /// after a colon: see docs/schedulers.md
    #[arg(
        long,
        value_name = "NAME[:SETTINGS]",
        required_unless_present_any = ["congestion", "steer"]
    )]
    pub scheduler: Option<String>,

    /// cubic, reno or bbr for each path by itself; lia, olia, balia or wvegas for all together
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,

    /// What the peer is told about where to send: on, off, or settings such as
    /// slower=2,give-up=always (docs/schedulers.md)
    #[arg(long, value_name = "SETTINGS")]
    pub steer: Option<String>,

    /// The server's control socket
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
}

/// Show why data of a running connection went to the paths it went to.
///
/// The server keeps decisions from the first question about a connection on, the last 256; so the
/// first time this waits a moment for some.
#[derive(Args, Debug, Clone)]
pub struct WhyArgs {
    /// The connection, by its id in `anabranch ss`
    #[arg(value_name = "ID")]
    pub connection: String,

    /// How many decisions to show
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 10)]
    pub last: usize,

    /// Print JSON, one decision a line (the fields are those of docs/control.md)
    #[arg(long)]
    pub json: bool,

    /// Have the server keep no more decisions of this connection
    #[arg(long)]
    pub stop: bool,

    /// The server's control socket
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
}

/// How long decisions are waited for where none were kept before.
const WAIT: Duration = Duration::from_secs(1);

/// Tells the server.
///
/// # Errors
/// One line: no server there, no such connection, or no such scheduler.
pub fn set(args: SetArgs) -> Result<(), Failure> {
    let request = Request::Set {
        connection: args.connection,
        scheduler: args.scheduler,
        congestion: args.congestion,
        steer: args.steer,
    };
    client::ask(&args.control, &request, |_| {}).map_err(Failure::Failed)
}

/// Asks the server and prints its answer on standard output.
///
/// # Errors
/// One line: no server there, or no such connection.
pub fn why(args: WhyArgs) -> Result<(), Failure> {
    let request = Request::Why {
        connection: args.connection,
        stop: args.stop,
    };
    let ask = || -> Result<Vec<Decision>, Failure> {
        let mut decisions = Vec::new();
        let each = |answer| {
            if let Answer::Decision(decision) = answer {
                decisions.push(*decision);
            }
        };
        client::ask(&args.control, &request, each).map_err(Failure::Failed)?;
        Ok(decisions)
    };
    let mut decisions = ask()?;
    if decisions.is_empty() && !args.stop {
        eprintln!("decisions are kept from now on");
        std::thread::sleep(WAIT);
        decisions = ask()?;
    }
    let first = decisions.len().saturating_sub(args.last);
    let text: String = decisions[first..]
        .iter()
        .map(|it| shown(it, args.json))
        .collect();
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads us has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("cannot print: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn shown(decision: &Decision, json: bool) -> String {
    if json {
        let line = serde_json::to_string(decision);
        line.expect("plain data always has a JSON form") + "\n"
    } else {
        decision.words()
    }
}
