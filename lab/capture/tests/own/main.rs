//! Captures of our own stack, read by our analyser and by tshark's dissector, which know nothing
//! of each other nor of the stack.

mod scenes;
mod tshark;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anabranch_capture::file;
use anabranch_capture::report::{End, Kind, Report};

use scenes::{Case, cases};

/// What the analyser finds wrong, and by whom.
fn errors(report: &Report) -> Vec<(Kind, Option<End>)> {
    let connections = report.connections.iter().flat_map(|c| &c.findings);
    let wrong = connections.chain(&report.findings).filter(|f| f.error);
    let mut kinds: Vec<_> = wrong.map(|f| (f.kind, f.from)).collect();
    kinds.dedup();
    kinds
}

fn judge(case: &Case, path: &Path) -> Report {
    let name = case.name;
    let report = file::read(path).expect("a readable capture");
    assert_eq!(errors(&report), case.wrong, "{name}: {report}");
    let [connection] = &report.connections[..] else {
        panic!("{name}: {report}");
    };
    assert_eq!(connection.subflows.len(), case.subflows, "{name}: {report}");
    assert_eq!(
        connection.fallback.is_some(),
        case.falls_back,
        "{name}: {report}"
    );
    let proved = connection.subflows[0].established.is_some();
    assert!(proved || case.falls_back, "{name}: {report}");
    assert!(!connection.incomplete, "{name}: {report}");
    let version = connection.version.map(anabranch_capture::Version::number);
    assert_eq!(version, Some(case.version), "{name}: {report}");
    report
}

#[test]
fn the_analyser_finds_nothing_wrong_but_what_a_middlebox_altered() {
    for case in cases() {
        let path = case.run("analyser");
        let report = judge(&case, &path);
        fs::remove_file(&path).unwrap();
        let connection = &report.connections[0];
        for stream in [&connection.up, &connection.down] {
            // What was aborted may have sent its last bytes before those in front of them.
            let whole = !stream.data_fin || stream.missing == 0;
            assert!(whole, "{}: {report}", case.name);
        }
    }
}

#[test]
fn tshark_reads_every_option_and_computes_the_same_tokens() {
    if !tshark::is_there() {
        return;
    }
    let mut subtypes = BTreeSet::new();
    for case in cases() {
        let path = case.run("tshark");
        let report = judge(&case, &path);
        let seen = tshark::read(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(seen.complaints, Vec::<String>::new(), "{}", case.name);
        let connection = &report.connections[0];
        let hosts = [&connection.client, &connection.server];
        let ours: BTreeSet<u64> = hosts
            .iter()
            .filter_map(|h| h.token)
            .map(u64::from)
            .collect();
        assert_eq!(seen.tokens, ours, "{}: {report}", case.name);
        let ours: BTreeSet<u64> = hosts.iter().filter_map(|h| h.idsn).collect();
        assert_eq!(seen.idsns, ours, "{}: {report}", case.name);
        subtypes.extend(seen.subtypes);
    }
    let every: BTreeSet<u64> = (0..=8).collect();
    assert_eq!(subtypes, every, "a kind of option was in no capture");
}
