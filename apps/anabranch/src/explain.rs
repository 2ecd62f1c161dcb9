//! `anabranch explain`: what a packet capture shows of Multipath TCP.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anabranch_capture::file;

use crate::cli::Failure;

/// Read a packet capture and tell what it shows of Multipath TCP.
///
/// For each connection: version, keys, subflows, addresses, bytes, and what is wrong, with the
/// number of the packet. HMACs, tokens and checksums are computed again, and bytes sent twice are
/// compared. Fails when something is wrong.
#[derive(clap::Args, Debug)]
pub struct ExplainArgs {
    /// A pcap or pcapng file.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Reads the capture and prints the report.
pub fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let name = args.file.display();
    let report = file::read(&args.file).map_err(|e| Failure::Failed(format!("{name}: {e}")))?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report);
        json.map_err(|e| Failure::Failed(e.to_string()))? + "\n"
    } else {
        report.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::Failed(error.to_string()));
        }
        _ => {}
    }
    match report.errors() {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 thing is wrong".into())),
        n => Err(Failure::Failed(format!("{n} things are wrong"))),
    }
}
