//! `peer ADDR:PORT SEED UP DOWN`: a client as a process of its own, so that it can be killed.

use std::process::ExitCode;

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
    let [to, seed, up, down] = arguments else {
        return Err("usage: peer ADDR:PORT SEED UP DOWN".into());
    };
    let plan = Plan::new(seed.parse()?, up.parse()?, down.parse()?);
    let stream = socket::connect(Protocol::Mptcp, None, to.parse()?, PATIENCE)?;
    exchange::client(&stream, &plan, PATIENCE)?;
    Ok(())
}
