//! The file that says what is wanted of paths; `docs/paths.md` describes it.

use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anabranch_paths::{
    Endpoint, Flags, Handover, Health, Kind, Metered, Pattern, Plan, Policy, Prefix, Rule,
    Selection, Side, When,
};
use serde::Deserialize;
use toml::Spanned;

use super::units::{Bytes, Flag, Text};
use scheduling::SchedulingTable;

mod scheduling;

/// More than any sensible file has, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Further subflows, and addresses of the peer.
const MAX_LIMIT: u8 = 31;

/// What a file says.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of paths.
    pub plan: Plan,
    /// Of schedulers, congestion control and steering, which our own stack has alone.
    pub rules: Vec<anabranch_stack::Rule>,
}

/// Reads and checks a file.
///
/// # Errors
/// One line: the file with the line in it, the key, what is wrong and what is expected.
pub fn load(path: &Path) -> Result<Wanted, String> {
    let name = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("{name}: {error}"))?;
    if size.len() > MAX_FILE {
        return Err(format!("{name}: larger than 1 MB: is it the right file?"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    parse(&text).map_err(|(line, reason)| format!("{name}:{line}: {reason}"))
}

/// Reads and checks the text of a file.
///
/// # Errors
/// The line, counted from 1, and what is wrong there.
pub fn parse(text: &str) -> Result<Wanted, (usize, String)> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        told(text, at, error.message())
    })?;
    file.wanted()
        .map_err(|(span, reason)| told(text, span.start, &reason))
}

/// What is wrong at a position: the line, the key there, and the reason as one line.
fn told(text: &str, at: usize, reason: &str) -> (usize, String) {
    let before = &text[..at.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let here = text.lines().nth(line - 1).unwrap_or_default();
    let key = here.split_once('=').map(|(key, _)| key.trim());
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = match key {
        Some(key) if !key.is_empty() && !reason.contains(&format!("`{key}`")) => {
            format!("{key}: {reason}")
        }
        _ => reason,
    };
    (line, reason)
}

/// Something wrong, and where.
type Wrong = (Range<usize>, String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policy: PolicyTable,
    #[serde(default)]
    endpoint: Vec<Spanned<EndpointTable>>,
    #[serde(default)]
    interface: Vec<Spanned<InterfaceTable>>,
    #[serde(default)]
    connection: Vec<Spanned<ConnectionTable>>,
    #[serde(default)]
    scheduling: Vec<Spanned<SchedulingTable>>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum KindName {
    OneEach,
    Endpoints,
    Fullmesh,
    OnePerInterface,
    Ndiffports,
    Handover,
    Server,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Standby {
    Warm,
    Cold,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum MeteredName {
    Use,
    Backup,
    Never,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum SideName {
    Client,
    Server,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct PolicyTable {
    kind: Option<Spanned<KindName>>,
    count: Option<Spanned<u8>>,
    standby: Option<Spanned<Standby>>,
    sources: Option<Vec<Text<IpAddr>>>,
    metered: Option<MeteredName>,
    failback: Option<Text<Duration>>,
    limits: LimitsTable,
    retry: RetryTable,
    delay: DelayTable,
    health: Option<HealthTable>,
    thresholds: ThresholdsTable,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    subflow: Option<Spanned<u8>>,
    add_addr_accepted: Option<Spanned<u8>>,
    per_peer: Option<u32>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct RetryTable {
    first: Option<Spanned<Text<Duration>>>,
    max: Option<Spanned<Text<Duration>>>,
    tries: Option<u32>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct DelayTable {
    time: Option<Text<Duration>>,
    bytes: Option<Spanned<Text<Bytes>>>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct HealthTable {
    interval: Option<Spanned<Text<Duration>>>,
    timeout: Option<Spanned<Text<Duration>>>,
    tries: Option<u32>,
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields, default)]
struct ThresholdsTable {
    srtt: Option<Text<Duration>>,
    rto: Option<Text<Duration>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointTable {
    address: Text<IpAddr>,
    #[serde(default)]
    flags: Vec<Text<Flag>>,
    #[serde(default)]
    id: u8,
    port: Option<u16>,
    dev: Option<String>,
    #[serde(default)]
    external: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceTable {
    name: Option<Text<Pattern>>,
    network: Option<Text<Prefix>>,
    allow: Option<bool>,
    metered: Option<bool>,
    backup: Option<bool>,
    rank: Option<u8>,
    subflows: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionTable {
    side: Option<SideName>,
    listener: Option<u16>,
    port: Option<u16>,
    peer: Option<Text<Prefix>>,
    process: Option<Text<Pattern>>,
    cgroup: Option<Text<Pattern>>,
    #[serde(default)]
    policy: PolicyTable,
}

impl File {
    fn wanted(mut self) -> Result<Wanted, Wrong> {
        let tables = std::mem::take(&mut self.scheduling).into_iter();
        let rules = tables
            .map(SchedulingTable::rule)
            .collect::<Result<_, _>>()?;
        let plan = self.plan()?;
        Ok(Wanted { plan, rules })
    }

    fn plan(self) -> Result<Plan, Wrong> {
        let mut base = self.policy.apply(Policy::default())?;
        for table in self.endpoint {
            let span = table.span();
            let endpoint = table.into_inner().endpoint();
            let added = base.add_endpoint(endpoint);
            added.map_err(|error| (span, error.to_string()))?;
        }
        let rules = self.interface.into_iter().map(rule);
        let rules = rules.collect::<Result<Vec<Rule>, Wrong>>()?;
        let selections = self
            .connection
            .into_iter()
            .map(|table| selection(table, &base));
        Ok(Plan {
            selections: selections.collect::<Result<_, Wrong>>()?,
            policy: Arc::new(base),
            rules,
        })
    }
}

impl PolicyTable {
    /// `policy` with what is given here in place of what it has.
    fn apply(self, mut policy: Policy) -> Result<Policy, Wrong> {
        policy.kind = self.kind(policy.kind)?;
        if let Some(sources) = self.sources {
            policy.sources = sources.into_iter().map(|Text(addr)| addr).collect();
        }
        if let Some(metered) = self.metered {
            policy.metered = match metered {
                MeteredName::Use => Metered::Use,
                MeteredName::Backup => Metered::Backup,
                MeteredName::Never => Metered::Never,
            };
        }
        set(&mut policy.failback, self.failback);
        self.limits.apply(&mut policy)?;
        self.retry.apply(&mut policy)?;
        self.delay.apply(&mut policy)?;
        if let Some(health) = self.health {
            policy.health = Some(health.apply(policy.health.unwrap_or_default())?);
        }
        set(&mut policy.thresholds.srtt, self.thresholds.srtt);
        set(&mut policy.thresholds.rto, self.thresholds.rto);
        Ok(policy)
    }

    fn kind(&self, before: Kind) -> Result<Kind, Wrong> {
        let kind = match self.kind.as_ref().map(|kind| *kind.get_ref()) {
            None => before,
            Some(KindName::OneEach) => Kind::OneEach,
            Some(KindName::Endpoints) => Kind::Endpoints,
            Some(KindName::Fullmesh) => Kind::FullMesh,
            Some(KindName::OnePerInterface) => Kind::OnePerInterface,
            Some(KindName::Ndiffports) => Kind::NDiffPorts(2),
            Some(KindName::Handover) => Kind::Handover(Handover::default()),
            Some(KindName::Server) => Kind::Server,
        };
        match (kind, &self.count, &self.standby) {
            (Kind::NDiffPorts(_), Some(count), None) => match *count.get_ref() {
                count @ 1..=32 => Ok(Kind::NDiffPorts(count)),
                _ => Err((count.span(), "expected 1 to 32 subflows".into())),
            },
            (Kind::Handover(_), None, Some(standby)) => Ok(Kind::Handover(Handover {
                warm: *standby.get_ref() == Standby::Warm,
            })),
            (Kind::NDiffPorts(_), _, Some(standby)) | (_, None, Some(standby)) => {
                Err((standby.span(), "goes with kind = \"handover\" only".into()))
            }
            (_, Some(count), _) => {
                Err((count.span(), "goes with kind = \"ndiffports\" only".into()))
            }
            (kind, None, None) => Ok(kind),
        }
    }
}

impl LimitsTable {
    fn apply(self, policy: &mut Policy) -> Result<(), Wrong> {
        let within = |value: Spanned<u8>| match *value.get_ref() {
            number @ 0..=MAX_LIMIT => Ok(usize::from(number)),
            _ => Err((value.span(), format!("expected 0 to {MAX_LIMIT}"))),
        };
        if let Some(further) = self.subflow {
            policy.limits.subflows = within(further)? + 1;
        }
        if let Some(accepted) = self.add_addr_accepted {
            policy.limits.add_addr_accepted = within(accepted)?;
        }
        if let Some(per_peer) = self.per_peer {
            policy.limits.per_peer = Some(per_peer as usize);
        }
        Ok(())
    }
}

impl RetryTable {
    fn apply(self, policy: &mut Policy) -> Result<(), Wrong> {
        let retry = &mut policy.retry;
        if let Some(first) = &self.first {
            retry.first = positive(first)?;
        }
        if let Some(max) = &self.max {
            retry.max = positive(max)?;
        }
        retry.tries = self.tries.unwrap_or(retry.tries);
        let given = self.max.as_ref().or(self.first.as_ref()).map(Spanned::span);
        if let Some(span) = given.filter(|_| retry.max < retry.first) {
            return Err((span, "retry.max is less than retry.first".into()));
        }
        Ok(())
    }
}

impl DelayTable {
    fn apply(self, policy: &mut Policy) -> Result<(), Wrong> {
        set(&mut policy.delay.time, self.time);
        if let Some(bytes) = self.bytes {
            let Text(Bytes(number)) = *bytes.get_ref();
            if policy.delay.time.is_zero() {
                let reason = "without delay.time nothing waits: give the longest time to wait too";
                return Err((bytes.span(), reason.into()));
            }
            policy.delay.bytes = Some(number);
        }
        Ok(())
    }
}

impl HealthTable {
    fn apply(self, mut health: Health) -> Result<Health, Wrong> {
        if let Some(interval) = &self.interval {
            health.interval = positive(interval)?;
        }
        if let Some(timeout) = &self.timeout {
            health.timeout = positive(timeout)?;
        }
        health.tries = self.tries.unwrap_or(health.tries);
        Ok(health)
    }
}

impl EndpointTable {
    fn endpoint(self) -> Endpoint {
        let flags = self
            .flags
            .iter()
            .fold(Flags::default(), |all, f| all | f.0.0);
        Endpoint {
            id: self.id,
            port: self.port,
            dev: self.dev,
            external: self.external,
            ..Endpoint::new(self.address.0, flags)
        }
    }
}

fn rule(table: Spanned<InterfaceTable>) -> Result<Rule, Wrong> {
    let span = table.span();
    let table = table.into_inner();
    let rule = Rule {
        interface: table.name.map(|Text(name)| name),
        network: table.network.map(|Text(network)| network),
        allow: table.allow,
        metered: table.metered,
        backup: table.backup,
        rank: table.rank,
        subflows: table.subflows,
    };
    let says = |r: &Rule| {
        let flags = r.allow.or(r.metered).or(r.backup).is_some();
        flags || r.rank.is_some() || r.subflows.is_some()
    };
    if !says(&rule) {
        let reason = "says nothing: give allow, metered, backup, rank or subflows";
        return Err((span, reason.into()));
    }
    Ok(rule)
}

fn selection(table: Spanned<ConnectionTable>, base: &Policy) -> Result<Selection, Wrong> {
    let span = table.span();
    let table = table.into_inner();
    let when = When {
        side: table.side.map(|side| match side {
            SideName::Client => Side::Client,
            SideName::Server => Side::Server,
        }),
        listener: table.listener,
        port: table.port,
        peer: table.peer.map(|Text(peer)| peer),
        process: table.process.map(|Text(name)| name),
        cgroup: table.cgroup.map(|Text(path)| path),
    };
    if when == When::default() {
        let reason = "no condition: give side, listener, port, peer, process or cgroup, or use \
                      [policy] for all connections";
        return Err((span, reason.into()));
    }
    let client = when.side == Some(Side::Client) || when.port.is_some();
    let server = when.side == Some(Side::Server) || when.listener.is_some();
    if client && server {
        let reason = "holds for no connection: listener is for those that peers open, port for \
                      those that this host opens";
        return Err((span, reason.into()));
    }
    let policy = Arc::new(table.policy.apply(base.clone())?);
    Ok(Selection { when, policy })
}

fn set(value: &mut Duration, given: Option<Text<Duration>>) {
    if let Some(Text(given)) = given {
        *value = given;
    }
}

fn positive(value: &Spanned<Text<Duration>>) -> Result<Duration, Wrong> {
    let Text(time) = *value.get_ref();
    if time.is_zero() {
        return Err((value.span(), "expected more than 0".into()));
    }
    Ok(time)
}

#[cfg(test)]
mod tests;
