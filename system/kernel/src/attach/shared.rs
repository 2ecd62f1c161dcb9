//! What all processes need alike and the last one puts back: where the local table stands among
//! the rules, and which interfaces forward.

use super::AttachConfig;
use super::desired::{PORTS, Snapshot};
use super::forwarding;
use super::state::Lock;
use crate::route::{LOCAL, Protocol};
use crate::rule::Action;
use crate::{Netlink, Result, Rule};
use serde::{Deserialize, Serialize};

/// Where the local table goes, and the blackholes behind it.
const LOCAL_MOVED: u32 = 100;
const GUARD: u32 = 101;

/// Name of the file.
const FILE: &str = "shared.json";

/// How things stood before; written down before each change.
#[derive(Serialize, Deserialize, Default, Debug)]
struct Former {
    /// The rules for the local table that were taken away.
    local: Vec<LocalRule>,
    forwarding: forwarding::Former,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
struct LocalRule {
    ipv4: bool,
    preference: u32,
    protocol: u8,
}

impl LocalRule {
    fn rule(self) -> Rule {
        let LocalRule {
            ipv4,
            preference,
            protocol,
        } = self;
        let protocol = Protocol(protocol);
        Rule {
            protocol,
            ..Rule::new(ipv4, preference, Action::Lookup(LOCAL))
        }
    }
}

/// Makes the host ready for the first process, or for what has changed since.
pub(super) fn enter(
    netlink: &Netlink,
    lock: &Lock<'_>,
    snapshot: &Snapshot,
    config: &AttachConfig,
) -> Result<()> {
    let mut former: Former = lock.load(FILE);
    let devices = lock.devices();
    for (ipv4, wanted) in [(true, config.ipv4), (false, config.ipv6)] {
        if !wanted {
            continue;
        }
        let links = snapshot
            .links
            .iter()
            .filter(|link| !link.loopback && !devices.contains(&link.name));
        let names: Vec<&str> = links.map(|link| link.name.as_str()).collect();
        // One may have been seen by another process before its own had said whose it is.
        for name in former.forwarding.forget(ipv4, &devices) {
            let rule = guard(ipv4, &name);
            if snapshot.rules.contains(&rule) {
                netlink.delete_rule(&rule)?;
            }
        }
        let change = former.forwarding.plan(ipv4, &names)?;
        lock.store(FILE, &former)?;
        for name in former.forwarding.guarded(ipv4) {
            let rule = guard(ipv4, name);
            if !snapshot.rules.contains(&rule) {
                netlink.add_rule(&rule)?;
            }
        }
        change.make()?;
        move_local(netlink, lock, snapshot, &mut former, ipv4)?;
    }
    Ok(())
}

/// Drops what comes by an interface and is neither this host's nor ours: what would be dropped
/// without a word if the interface did not forward.
fn guard(ipv4: bool, name: &str) -> Rule {
    let rule = Rule::new(ipv4, GUARD, Action::Blackhole);
    Rule {
        input: Some(name.into()),
        protocol: Protocol::ANABRANCH,
        ..rule
    }
}

/// Puts the local table behind the rules for ports, if it is not there already.
fn move_local(
    netlink: &Netlink,
    lock: &Lock<'_>,
    snapshot: &Snapshot,
    former: &mut Former,
    ipv4: bool,
) -> Result<()> {
    let is_local = |rule: &&Rule| {
        let action = Action::Lookup(LOCAL);
        rule.ipv4 == ipv4 && rule.action == action && rule.is_unconditional()
    };
    let moved = LocalRule {
        ipv4,
        preference: LOCAL_MOVED,
        protocol: Protocol::ANABRANCH.0,
    };
    let rules: Vec<&Rule> = snapshot.rules.iter().filter(is_local).collect();
    let early: Vec<&Rule> = rules
        .iter()
        .copied()
        .filter(|it| it.preference <= PORTS)
        .collect();
    if early.is_empty() {
        return Ok(());
    }
    // Before the other is gone: there is no moment without the host's own addresses.
    if !rules.contains(&&moved.rule()) {
        netlink.add_rule(&moved.rule())?;
    }
    for rule in early {
        let (preference, protocol) = (rule.preference, rule.protocol.0);
        let local = LocalRule {
            ipv4,
            preference,
            protocol,
        };
        if !former.local.contains(&local) {
            former.local.push(local);
            lock.store(FILE, former)?;
        }
        netlink.delete_rule(rule)?;
    }
    Ok(())
}

/// Puts everything back; what cannot be does not keep the rest.
pub(super) fn leave(netlink: &Netlink, lock: &Lock<'_>) -> Result<()> {
    let former: Former = lock.load(FILE);
    let rules = netlink.rules()?;
    let mut outcome = Ok(());
    for local in former.local.iter().chain(&lost(&former, &rules)) {
        match netlink.add_rule(&local.rule()) {
            Err(error) if error.errno() == Some(libc::EEXIST) => {}
            other => outcome = outcome.and(other),
        }
    }
    outcome = outcome.and(former.forwarding.restore());
    let is_shared = |rule: &&Rule| {
        let moved = rule.action == Action::Lookup(LOCAL);
        rule.protocol == Protocol::ANABRANCH && (moved || rule.action == Action::Blackhole)
    };
    for rule in rules.iter().filter(is_shared) {
        outcome = outcome.and(netlink.delete_rule(rule));
    }
    lock.forget(FILE);
    outcome
}

/// Rules for the local table that were moved, though the file does not tell any more: the kernel's
/// own have preference 0.
fn lost(former: &Former, rules: &[Rule]) -> Vec<LocalRule> {
    let families = [true, false].into_iter().filter(|ipv4| {
        let mut of_family = rules.iter().filter(|rule| rule.ipv4 == *ipv4);
        let told = former.local.iter().any(|local| local.ipv4 == *ipv4);
        let lookups = of_family
            .by_ref()
            .filter(|rule| rule.action == Action::Lookup(LOCAL));
        let mut lookups = lookups.peekable();
        !told && lookups.peek().is_some() && lookups.all(|it| it.protocol == Protocol::ANABRANCH)
    });
    families
        .map(|ipv4| LocalRule {
            ipv4,
            preference: 0,
            protocol: Protocol::KERNEL.0,
        })
        .collect()
}
