//! `anabranch-counts list` names the paths; `anabranch-counts PROTOCOL PATH` takes one of them and
//! prints how often, and how many allocations that was. `bench/counts/run` asks valgrind for the
//! instructions. `anabranch-counts goodput SECONDS` prints Gbit/s of plain TCP between the two hosts,
//! in real time.

use anabranch_counts::paths::{self, PROTOCOLS, Path};
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static HEAP: anabranch_heap::Counting = anabranch_heap::Counting;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list"] => list(),
        ["goodput", seconds] => {
            let Ok(seconds) = seconds.parse() else {
                return usage();
            };
            println!("{:.3}", paths::goodput(Duration::from_secs_f64(seconds)));
        }
        [protocol, path] => {
            let protocol = PROTOCOLS.iter().find(|(name, _)| *name == protocol);
            let path = Path::ALL.into_iter().find(|p| p.name() == path);
            let (Some((_, protocol)), Some(path)) = (protocol, path) else {
                return usage();
            };
            let taken = paths::run(path, *protocol);
            println!("{} {}", taken.times, taken.allocations);
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn list() {
    for (protocol, _) in PROTOCOLS {
        for path in Path::ALL {
            // A checksum makes a difference to payload alone.
            let payload = matches!(path, Path::Receive | Path::Send);
            if protocol != "checksum" || payload {
                println!("{protocol} {}", path.name());
            }
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: anabranch-counts list | goodput SECONDS | PROTOCOL PATH");
    ExitCode::FAILURE
}
