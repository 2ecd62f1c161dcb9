//! Addresses that an uplink does not know, translated to its own on their way out: by a table of
//! nftables for each process, written by `nft` in its JSON (`libnftables-json(5)`).

use super::Bound;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Write};
use std::process::{Command, Stdio};

const FAMILY: &str = "inet";

/// The table of a process.
fn table(slot: u32) -> String {
    format!("anabranch-{slot}")
}

/// Has these addresses translated and no others, at one stroke.
pub(super) fn set(slot: u32, bound: &[Bound]) -> Result<()> {
    let name = table(slot);
    let mut commands = removal(&name);
    if !bound.is_empty() {
        commands.push(json!({"add": {"table": {"family": FAMILY, "name": name}}}));
        commands.push(chain(&name, "out", "nat", "postrouting", 100));
        commands.push(chain(&name, "broken", "filter", "forward", 0));
    }
    for bound in bound {
        let masquerade = vec![json!({"masquerade": null})];
        commands.push(rule(&name, "out", bound, masquerade));
        // What the kernel takes for no part of a flow it does not translate.
        let invalid = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}},
            "right": "invalid"}});
        commands.push(rule(
            &name,
            "broken",
            bound,
            vec![invalid, json!({"drop": null})],
        ));
    }
    run(&json!({"nftables": commands}))
}

/// Removes the table of a process, if there is one.
pub(super) fn clear(slot: u32) -> Result<()> {
    run(&json!({"nftables": removal(&table(slot))}))
}

/// Added first, so that there is one to delete.
fn removal(name: &str) -> Vec<Value> {
    let table = json!({"table": {"family": FAMILY, "name": name}});
    vec![json!({"add": table}), json!({"delete": table})]
}

fn chain(table: &str, name: &str, kind: &str, hook: &str, priority: i32) -> Value {
    json!({"add": {"chain": {"family": FAMILY, "table": table, "name": name, "type": kind,
        "hook": hook, "prio": priority, "policy": "accept"}}})
}

fn rule(table: &str, chain: &str, bound: &Bound, then: Vec<Value>) -> Value {
    let protocol = if bound.address.is_ipv4() { "ip" } else { "ip6" };
    let mut expressions = vec![
        equal(json!({"meta": {"key": "oifname"}}), &bound.link),
        equal(
            json!({"payload": {"protocol": protocol, "field": "saddr"}}),
            &bound.address.to_string(),
        ),
    ];
    expressions.extend(then);
    json!({"add": {"rule": {"family": FAMILY, "table": table, "chain": chain,
        "expr": expressions}}})
}

fn equal(left: Value, right: &str) -> Value {
    json!({"match": {"op": "==", "left": left, "right": right}})
}

fn run(commands: &Value) -> Result<()> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => Error::Invalid(
            "an address bound to an interface that does not have it takes the program nft (Debian \
             package nftables), which is not there"
                .into(),
        ),
        _ => Error::net("translate addresses by nft", source),
    };
    let feed = || {
        let mut child = Command::new("nft")
            .args(["-j", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(commands.to_string().as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = feed().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("Error"));
    let line = line.unwrap_or("it failed without a word");
    Err(failed(io::Error::other(line.trim().to_owned())))
}
