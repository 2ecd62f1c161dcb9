//! What many connections cost one host, for `anabranch-bench scale`: a program of its own, because
//! its allocator counts.

mod busy;
mod costs;
mod host;
mod peers;
mod server;

use std::io;
use std::process::ExitCode;

#[global_allocator]
static HEAP: anabranch_heap::Counting = anabranch_heap::Counting;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["busy", busy, idle] => numbers(busy, idle).and_then(|(busy, idle)| busy::run(busy, idle)),
        ["costs", connections, name] => {
            number(connections).and_then(|connections| costs::run(connections, name))
        }
        ["host", idle] => number(idle).and_then(host::run),
        _ => Err(io::Error::other(
            "usage: anabranch-scale busy BUSY IDLE | costs CONNECTIONS NAME | host IDLE",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("anabranch-scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> io::Result<usize> {
    word.parse().map_err(io::Error::other)
}

fn numbers(one: &str, other: &str) -> io::Result<(usize, usize)> {
    Ok((number(one)?, number(other)?))
}
