//! `judge FILE.pcap`: tells of a capture of an interop test which end sent wrong bytes, if any.

use std::path::Path;
use std::process::ExitCode;

use anabranch_capture::Judge;
use anabranch_interop::exchange::PLAN_LEN;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: judge FILE.pcap");
        return ExitCode::from(2);
    };
    let judge = match Judge::read(Path::new(&path), Vec::new(), PLAN_LEN as u64) {
        Ok(judge) => judge,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let reports = judge.reports();
    for report in &reports {
        println!("{report}");
    }
    let wrong = reports
        .iter()
        .any(|r| !r.wrong.is_empty() || r.changed_mappings > 0);
    if wrong {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
