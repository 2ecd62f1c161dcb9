//! `peer ADDR:PORT SEED UP DOWN PAUSE`: a client as a process of its own, so that it can be killed.
//! It reads nothing for the first PAUSE seconds.

use std::process::ExitCode;
use std::time::Duration;

use anabranch_interop::exchange::{self, Plan};
use anabranch_interop::scene::PATIENCE;
use anabranch_interop::socket::{self, Protocol};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let [to, seed, up, down, pause] = arguments else {
        return Err("usage: peer ADDR:PORT SEED UP DOWN PAUSE".into());
    };
    let plan = Plan {
        client_pause: Duration::from_secs(pause.parse()?),
        ..Plan::new(seed.parse()?, up.parse()?, down.parse()?)
    };
    let stream = socket::connect(Protocol::Mptcp, None, to.parse()?, PATIENCE)?;
    exchange::client(&stream, &plan, PATIENCE)?;
    Ok(())
}
