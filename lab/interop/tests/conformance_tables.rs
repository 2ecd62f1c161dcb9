//! The conformance tables of `docs/` name functions and tests: they exist.

use std::fs;
use std::path::{Path, PathBuf};

/// A table and what its short paths count from.
struct Table {
    doc: &'static str,
    code: &'static [&'static str],
    tests: &'static [&'static str],
    rows_min: usize,
}

const TCP: Table = Table {
    doc: "docs/tcp.md",
    code: &["protocol/tcp/src"],
    tests: &["protocol/tcp/tests/scenarios", "protocol/tcp/src"],
    rows_min: 150,
};

const MPTCP: Table = Table {
    doc: "docs/mptcp.md",
    code: &["protocol/mptcp/src"],
    tests: &["protocol/mptcp/tests/mptcp", "protocol/mptcp/src"],
    rows_min: 100,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace")
}

/// The cells of each row of the tables, heads left out.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| cells[0] != "RFC section")
        .collect()
}

/// What stands between backticks in a cell.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether `path`, counted from the root or from one of `folders`, defines a function `name`.
fn defined(path: &str, folders: &[&str], name: &str) -> bool {
    let root = root();
    let places = folders.iter().map(|folder| root.join(folder).join(path));
    let text: String = std::iter::once(root.join(path))
        .chain(places)
        .filter_map(|place| fs::read_to_string(place).ok())
        .collect();
    ["(", "<"]
        .iter()
        .any(|after| text.contains(&format!("fn {name}{after}")))
}

/// What is wrong with a row.
fn faults(table: &Table, cells: &[&str]) -> Vec<String> {
    let &[_, _, code, tests] = cells else {
        return vec![format!("{} columns", cells.len())];
    };
    if let Some(reason) = code.strip_prefix("not done") {
        let told = reason.len() > ": ".len();
        return if told {
            vec![]
        } else {
            vec!["no reason".to_owned()]
        };
    }
    let mut faults = Vec::new();
    for (what, cell) in [("code", code), ("test", tests)] {
        if names(cell).count() == 0 {
            faults.push(format!("no {what}"));
        }
    }
    for name in names(code) {
        let known = name
            .split_once(':')
            .is_some_and(|(path, name)| defined(path, table.code, name));
        if !known {
            faults.push(format!("{name} does not exist"));
        }
    }
    for name in names(tests) {
        let known = name
            .split_once("::")
            .is_some_and(|(path, name)| defined(path, table.tests, name));
        if !known {
            faults.push(format!("{name} does not exist"));
        }
    }
    faults
}

fn check(table: &Table) {
    let text = fs::read_to_string(root().join(table.doc)).expect("the table");
    let rows = rows(&text);
    assert!(rows.len() >= table.rows_min, "{} rows", rows.len());
    let faults: Vec<String> = rows
        .iter()
        .flat_map(|cells| {
            let row = format!("{} {}", cells[0], cells.get(1).unwrap_or(&""));
            faults(table, cells)
                .into_iter()
                .map(move |fault| format!("{row}: {fault}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}:\n{}", table.doc, faults.join("\n"));
}

#[test]
fn every_function_and_test_of_tcp_exists() {
    check(&TCP);
}

#[test]
fn every_function_and_test_of_multipath_tcp_exists() {
    check(&MPTCP);
}
