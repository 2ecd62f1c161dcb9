//! The conformance table of `docs/tcp.md` names functions and tests: they exist.

use std::fs;
use std::path::{Path, PathBuf};

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

#[test]
fn every_function_and_test_in_the_table_exists() {
    let table = fs::read_to_string(root().join("docs/tcp.md")).expect("the table");
    let rows = rows(&table);
    assert!(rows.len() > 60, "{} rows", rows.len());
    for cells in rows {
        assert_eq!(cells.len(), 4, "{cells:?}");
        assert!(names(cells[2]).count() > 0, "no code in {cells:?}");
        assert!(names(cells[3]).count() > 0, "no test in {cells:?}");
        for code in names(cells[2]) {
            let (path, name) = code.split_once(':').expect("file:function");
            let found = defined(path, &["protocol/tcp/src"], name);
            assert!(found, "{code} does not exist: {cells:?}");
        }
        for test in names(cells[3]) {
            let (path, name) = test.split_once("::").expect("file::test");
            let folders = ["protocol/tcp/tests/scenarios", "protocol/tcp/src"];
            let found = defined(path, &folders, name);
            assert!(found, "{test} does not exist: {cells:?}");
        }
    }
}
