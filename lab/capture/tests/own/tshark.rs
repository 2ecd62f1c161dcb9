//! What tshark says of a capture.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What tshark saw.
pub(crate) struct Seen {
    pub(crate) tokens: BTreeSet<u64>,
    pub(crate) idsns: BTreeSet<u64>,
    pub(crate) subtypes: BTreeSet<u64>,
    pub(crate) complaints: Vec<String>,
}

const FIELDS: [&str; 7] = [
    "frame.number",
    "mptcp.expected_token",
    "mptcp.expected_idsn",
    "tcp.options.mptcp.subtype",
    "_ws.malformed",
    "_ws.expert.severity",
    "_ws.expert.message",
];

/// The severity "error".
const ERROR: &str = "8388608";

/// What tshark says of healthy connections: its own bookkeeping of mappings is that of one packet
/// at a time.
const HEALTHY: [&str; 1] = ["No mapping available"];

/// What it says of what should not be, though it takes it for a warning.
const WRONG: [&str; 3] = ["echoed key", "crypto algorithm", "Option length"];

/// Whether tshark can be run. If not, an ordinary user is told; under `CI=true` it panics.
pub(crate) fn is_there() -> bool {
    if Command::new("tshark").arg("-v").output().is_ok() {
        return true;
    }
    let ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(!ci, "under CI nothing is skipped: there is no `tshark`");
    eprintln!("skipped: there is no `tshark` (Debian package tshark)");
    false
}

/// Reads a capture with tshark.
pub(crate) fn read(path: &Path) -> Seen {
    let mut command = Command::new("tshark");
    // The payload is only bytes, whatever protocol they look like.
    command.args([
        "-n",
        "-d",
        "tcp.port==443,data",
        "-T",
        "fields",
        "-E",
        "separator=|",
    ]);
    FIELDS.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.arg("-r").arg(path).output().expect("tshark");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut seen = Seen {
        tokens: BTreeSet::new(),
        idsns: BTreeSet::new(),
        subtypes: BTreeSet::new(),
        complaints: Vec::new(),
    };
    assert!(text.lines().count() > 4, "{text}");
    for line in text.lines() {
        let cells: Vec<&str> = line.splitn(FIELDS.len(), '|').collect();
        let [_, tokens, idsns, subtypes, malformed, severities, messages] = cells[..] else {
            panic!("{line}");
        };
        seen.tokens.extend(numbers(tokens));
        seen.idsns.extend(numbers(idsns));
        seen.subtypes.extend(numbers(subtypes));
        let error = severities.split(',').any(|severity| severity == ERROR);
        let wrong = WRONG.iter().any(|wrong| messages.contains(wrong));
        let healthy = HEALTHY.contains(&messages);
        if !malformed.is_empty() || wrong || (error && !healthy) {
            seen.complaints.push(line.to_owned());
        }
    }
    seen
}

fn numbers(cell: &str) -> impl Iterator<Item = u64> {
    let cells = cell.split(',').filter(|number| !number.is_empty());
    cells.map(|number| number.parse().expect("a number"))
}
