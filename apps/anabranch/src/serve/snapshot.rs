//! What a server tells about itself over its control socket.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use anabranch_mptcp::schedule::{Entry, Purpose, Seen};
use anabranch_sockets::{
    FlowInfo, Instant, Protocol, SchedulingCounters, Shard, Shards, SubflowInfo,
};

use crate::control::server::{News, Source, Wanted};
use crate::control::{Answer, Choice, Connection, Decision, Request, Subflow};
use crate::paths::{Own, own};
use crate::serve::figures::{figures, micros};

/// Decisions of a scheduler that are kept.
const DECISIONS: usize = 256;

/// Where the number of the shard begins in what says where to go on.
const SHARD: u32 = usize::BITS - 8;

/// A host to be looked at.
#[derive(Debug)]
pub(crate) struct Snapshot {
    host: Shards,
    paths: Arc<Own>,
}

impl Snapshot {
    pub(crate) fn new(host: Shards, paths: Arc<Own>) -> Snapshot {
        Snapshot { host, paths }
    }
}

impl Source for Snapshot {
    fn connections(&self) -> Vec<Connection> {
        let mut flows: Vec<_> = self.all().collect();
        flows.sort_by_key(|(_, flow)| flow.opened);
        let now = self.host.now();
        let shown = |(shard, flow)| connection(self.name(shard, &flow), flow, now);
        flows.into_iter().map(shown).collect()
    }

    fn connections_from(&self, from: usize) -> (Vec<Connection>, Option<usize>) {
        let (shard, from) = (from >> SHARD, from & ((1 << SHARD) - 1));
        let Some(host) = self.host.iter().nth(shard) else {
            return (Vec::new(), None);
        };
        let (mut flows, next) = host.connections_from(from);
        flows.sort_by_key(|flow| flow.opened);
        let now = self.host.now();
        let shown = |flow| connection(self.name(shard, &flow), flow, now);
        let page = flows.into_iter().map(shown).collect();
        let further = shard + 1 < self.host.iter().len();
        let next = match next {
            Some(next) => Some(shard << SHARD | next),
            None => further.then_some((shard + 1) << SHARD),
        };
        (page, next)
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let counters = self.host.counters();
        let mut counters: BTreeMap<_, _> = counters
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        counters.insert("MemoryBytes".to_owned(), self.host.memory() as u64);
        counters
    }

    fn set(&self, connection: &str, wanted: Wanted<'_>) -> Result<(), String> {
        let (shard, flow) = self.find(connection)?;
        let id = flow.id;
        // All is understood before anything holds.
        let scheduler = read(wanted.scheduler)?;
        let congestion = read(wanted.congestion)?;
        let steering = read(wanted.steer)?;
        if let Some(scheduler) = scheduler {
            shard.set_scheduler(id, &scheduler).map_err(one_line)?;
        }
        if let Some(steering) = steering {
            shard.set_steering(id, steering).map_err(one_line)?;
        }
        if let Some(congestion) = congestion {
            shard.set_congestion(id, congestion).map_err(one_line)?;
        }
        Ok(())
    }

    fn paths(&self, request: Request) -> Result<Vec<Answer>, String> {
        self.paths.request(request)
    }

    fn monitor(&self) -> Result<News, String> {
        Ok(self.paths.monitor())
    }

    fn why(&self, connection: &str, stop: bool) -> Result<Vec<Decision>, String> {
        let (shard, flow) = self.find(connection)?;
        let id = flow.id;
        let log = shard.decision_log(id).map_err(one_line)?;
        if stop || log.is_none() {
            let capacity = (!stop).then_some(DECISIONS);
            shard.set_decision_log(id, capacity).map_err(one_line)?;
        }
        let now = self.host.now();
        let entries = log.iter().flat_map(|log| log.entries());
        let told = entries.map(|entry| decision(entry, &flow.subflows, now));
        Ok(told.collect())
    }
}

impl Snapshot {
    /// Every connection, with the number of its shard.
    fn all(&self) -> impl Iterator<Item = (usize, FlowInfo)> + '_ {
        let shards = self.host.iter().enumerate();
        shards.flat_map(|(number, shard)| {
            let flows = shard.connections().into_iter();
            flows.map(move |flow| (number, flow))
        })
    }

    /// What a connection is called; where there are several shards, its own comes first.
    fn name(&self, shard: usize, flow: &FlowInfo) -> String {
        match self.host.iter().len() {
            1 => flow.id.to_string(),
            _ => format!("{shard}:{}", flow.id),
        }
    }

    fn find(&self, connection: &str) -> Result<(&Shard, FlowInfo), String> {
        let shards = self.host.iter().len();
        let on = |(number, shard): (usize, _)| -> Option<(&Shard, FlowInfo)> {
            let shard: &Shard = shard;
            Some((shard, shard.info(own::id(shards, number, connection)?)?))
        };
        let mut found = self.host.iter().enumerate().filter_map(on);
        found
            .next()
            .ok_or_else(|| format!("no connection has the id {connection:?}: see anabranch ss"))
    }
}

/// What is written, if it is.
fn read<T: FromStr<Err: std::fmt::Display>>(text: Option<&str>) -> Result<Option<T>, String> {
    text.map(|text| text.parse().map_err(one_line)).transpose()
}

fn one_line(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn decision(entry: &Entry, paths: &[SubflowInfo], now: Instant) -> Decision {
    let purpose = match entry.purpose {
        Purpose::New => "new",
        Purpose::Again => "again",
        Purpose::Copy => "copy",
        Purpose::Steer => "steer",
    };
    Decision {
        number: entry.number,
        ago_us: micros(now.since(entry.at)),
        scheduler: entry.scheduler.to_owned(),
        purpose: purpose.to_owned(),
        start: entry.start,
        bytes: entry.bytes,
        path: entry.to.map(|id| id.0),
        why: entry.why.to_owned(),
        times: entry.times,
        queued: entry.queued,
        window: entry.window,
        paths: entry.paths.iter().map(|seen| choice(seen, paths)).collect(),
    }
}

fn choice(seen: &Seen, paths: &[SubflowInfo]) -> Choice {
    let known = paths.iter().find(|path| path.id.0 == seen.id.0);
    Choice {
        path: seen.id.0,
        local: known.map(|path| path.local),
        peer: known.map(|path| path.remote),
        backup: seen.backup,
        srtt_us: seen.srtt.map(micros),
        rttvar_us: micros(seen.rttvar),
        room: seen.room,
        cwnd: seen.cwnd,
        queued: seen.queued,
        rate: seen.rate,
        arrival_us: seen.arrival.map(micros),
    }
}

/// What is not 0, by name.
fn scheduling(counters: &SchedulingCounters) -> BTreeMap<String, u64> {
    let all = [
        ("bytes_reinjected", counters.bytes_reinjected),
        ("bytes_copied", counters.bytes_copied),
        ("refused", counters.refused),
        ("suspicions", counters.suspicions),
        ("avoided", counters.avoided),
        ("silence_probes", counters.silence_probes),
        ("given_up", counters.given_up),
        ("given_back", counters.given_back),
        ("window_blocked", counters.window_blocked),
        ("opportunistic", counters.opportunistic),
        ("penalties", counters.penalties),
    ];
    let some = all.into_iter().filter(|(_, value)| *value > 0);
    some.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn connection(id: String, flow: FlowInfo, now: Instant) -> Connection {
    let (protocol, version) = match flow.protocol {
        Protocol::Tcp => ("tcp", None),
        Protocol::Mptcp(mptcp) if mptcp.fallback => ("fallback", None),
        Protocol::Mptcp(mptcp) => ("mptcp", Some(mptcp.version)),
    };
    let mptcp = match flow.protocol {
        Protocol::Tcp => None,
        Protocol::Mptcp(mptcp) => Some(mptcp),
    };
    let alone = flow.subflows.first().map_or("", |s| s.tcp.algorithm);
    Connection {
        id,
        token: mptcp.map(|it| it.local_token),
        scheduler: mptcp.map(|it| it.scheduler.to_owned()),
        congestion: mptcp.map_or(alone, |it| it.congestion).to_owned(),
        stuck: mptcp.and_then(|it| it.stuck).map(str::to_owned),
        scheduling: mptcp.map_or_else(BTreeMap::new, |it| scheduling(&it.scheduling)),
        protocol: protocol.to_owned(),
        version,
        state: flow.state.to_string(),
        local: flow.local,
        peer: flow.remote,
        recv_queue: flow.recv_queue as u64,
        send_queue: flow.send_queue as u64,
        bytes_received: flow.bytes_received,
        bytes_acked: flow.bytes_sent,
        subflows: flow.subflows.iter().map(|s| subflow(s, now)).collect(),
    }
}

fn subflow(subflow: &SubflowInfo, now: Instant) -> Subflow {
    let tcp = &subflow.tcp;
    Subflow {
        state: tcp.state.to_string(),
        local: subflow.local,
        peer: subflow.remote,
        backup: subflow.backup,
        srtt_us: tcp.timing.srtt.map(micros),
        cwnd: tcp.windows.cwnd,
        in_flight: tcp.flight.in_flight,
        bytes_sent: tcp.stats.bytes_out,
        bytes_received: tcp.stats.bytes_in,
        retransmissions: tcp.stats.retransmits,
        tcp: Box::new(figures(subflow, now)),
    }
}
