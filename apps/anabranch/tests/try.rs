//! `anabranch try` as a newcomer runs it.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::require;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    command.arg("try").args(arguments);
    command
}

fn try_it(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {log}", output.status);
    serde_json::from_slice(&output.stdout).expect("standard output is JSON and nothing else")
}

#[test]
fn both_servers_move_all_bytes_both_ways_over_two_subflows() {
    if !require::lab() {
        return;
    }
    let report = report(&try_it(&["--size", "24M", "--rate", "200M", "--json"]));
    assert_eq!(report["network"], "namespaces");
    let transfers = report["transfers"].as_array().unwrap();
    let names: Vec<_> = transfers
        .iter()
        .map(|t| (t["server"].clone(), t["way"].clone()))
        .collect();
    let expected = [
        ("anabranch", "down"),
        ("anabranch", "up"),
        ("linux", "down"),
        ("linux", "up"),
    ];
    assert_eq!(
        names,
        expected.map(|(server, way)| (server.into(), way.into()))
    );
    for transfer in transfers {
        assert_eq!(transfer["equal"], true, "{transfer}");
        assert_eq!(
            transfer["sha256_sent"], transfer["sha256_received"],
            "{transfer}"
        );
        assert_eq!(transfer["bytes"], 24 << 20, "{transfer}");
        assert_eq!(transfer["subflows"], 2, "{transfer}");
    }
}

#[test]
fn a_simulation_needs_nothing_and_is_the_same_every_time() {
    let arguments = ["--simulate", "--size", "4M", "--seed", "7", "--json"];
    let (first, second) = (try_it(&arguments), try_it(&arguments));
    let (first, second) = (report(&first), report(&second));
    assert_eq!(first, second);
    assert_eq!(first["network"], "simulation");
    for transfer in first["transfers"].as_array().unwrap() {
        assert_eq!(transfer["equal"], true, "{transfer}");
    }
}

#[test]
fn a_table_ends_it() {
    let output = try_it(&["--simulate", "--size", "1M"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let head = text.lines().rev().nth(2).unwrap();
    for column in [
        "server",
        "way",
        "bytes",
        "SHA-256",
        "longest stall",
        "goodput",
    ] {
        assert!(head.contains(column), "no {column} in {head}");
    }
}

#[test]
fn wrong_arguments_are_named_in_one_line() {
    for (argument, value) in [("--size", "0"), ("--rate", "1K"), ("--seed", "x")] {
        let output = try_it(&[argument, value]);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.contains(argument) && error.lines().count() == 1,
            "{error}"
        );
    }
}

#[test]
fn an_interrupt_ends_it_soon_and_leaves_no_process() {
    if !require::lab() {
        return;
    }
    let mut child = command(&["--rate", "1M"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let servers = loop {
        let servers = children(child.id());
        if !servers.is_empty() {
            break servers;
        }
        assert!(Instant::now() < deadline, "it starts no server");
        thread::sleep(Duration::from_millis(10));
    };
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(Instant::now() < deadline, "it took too long to end");
    for server in servers {
        assert!(!std::path::Path::new(&format!("/proc/{server}")).exists());
    }
}

/// Processes that any thread of a process started.
fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten();
    let lists = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| {
        list.split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect()
    };
    lists
        .flat_map(|list| -> Vec<u32> { numbers(list) })
        .collect()
}
