//! The shape of the workspace: which crate may know which (the table of `docs/architecture.md`).

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate of ours with those it may depend on, tests aside.
const EDGES: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("tcp", &["wire"]),
    ("mptcp", &["wire", "tcp"]),
    ("paths", &[]),
    ("stack", &["wire", "tcp", "mptcp", "paths"]),
    ("drivers", &["wire"]),
    ("kernel", &[]),
    ("sockets", &["wire", "tcp", "mptcp", "stack", "drivers"]),
    ("cabi", &[]),
    ("heap", &[]),
    ("counts", &["wire", "stack", "heap"]),
    ("sim", &["wire", "tcp", "mptcp", "stack"]),
    (
        "interop",
        &[
            "wire", "tcp", "mptcp", "stack", "drivers", "kernel", "sockets", "sim", "capture",
        ],
    ),
    ("capture", &[]),
    (
        "packetdrill",
        &["wire", "tcp", "mptcp", "stack", "cabi", "kernel"],
    ),
];

/// The command and the benches may know everything.
const APPS: &[&str] = &["anabranch", "anabranch-bench"];

/// What a protocol crate may use from outside: memory, hashing, keys; nothing that does I/O, reads
/// a clock or starts a thread.
const PROTOCOL_DEPENDENCIES: &[&str] = &[
    "bytes",
    "smallvec",
    "slab",
    "sha1",
    "sha2",
    "hmac",
    "subtle",
    "siphasher",
    "rand_chacha",
    "zeroize",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace")
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".into()])
        .exec()
        .expect("cargo metadata")
}

/// Dependencies of each package of the workspace, those of its tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let needed = |kind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
    metadata()
        .packages
        .iter()
        .map(|package| {
            let dependencies = package.dependencies.iter().filter(|d| needed(d.kind));
            (
                package.name.to_string(),
                dependencies.map(|d| d.name.clone()).collect(),
            )
        })
        .collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn crates_know_only_whom_they_may() {
    let all = dependencies();
    for (name, dependencies) in &all {
        if APPS.contains(&name.as_str()) {
            continue;
        }
        let short = name.strip_prefix("anabranch-").unwrap_or(name);
        let (_, allowed) = EDGES
            .iter()
            .find(|(of, _)| *of == short)
            .unwrap_or_else(|| panic!("{name} is missing in the table of edges"));
        let ours = dependencies
            .iter()
            .filter_map(|d| d.strip_prefix("anabranch-"));
        for dependency in ours {
            assert!(
                allowed.contains(&dependency),
                "{name} may not depend on {dependency}"
            );
        }
    }
    for (short, _) in EDGES {
        assert!(
            all.contains_key(&format!("anabranch-{short}")),
            "{short} is no crate of ours"
        );
    }
}

#[test]
fn protocol_crates_use_nothing_that_touches_the_world() {
    let all = dependencies();
    for short in ["wire", "tcp", "mptcp", "paths", "stack"] {
        let name = format!("anabranch-{short}");
        for dependency in all[&name].iter().filter(|d| !d.starts_with("anabranch-")) {
            assert!(
                PROTOCOL_DEPENDENCIES.contains(&dependency.as_str()),
                "{name} may not use {dependency}"
            );
        }
    }
}

#[test]
fn tcp_has_never_heard_of_multipath() {
    for path in sources(&root().join("protocol/tcp")) {
        let text = fs::read(&path).expect("a readable file");
        let text = String::from_utf8_lossy(&text).to_lowercase();
        assert!(!text.contains("mptcp"), "{} speaks of it", path.display());
    }
}

#[test]
fn unsafe_code_stands_in_system_only() {
    for short in ["wire", "tcp", "mptcp", "paths", "stack"] {
        let path = root().join("protocol").join(short).join("src/lib.rs");
        let text = fs::read_to_string(&path).expect("a crate root");
        assert!(
            text.contains("#![forbid(unsafe_code)]"),
            "{} allows it",
            path.display()
        );
    }
}
