//! What a server tells about itself over its control socket.

use std::collections::BTreeMap;

use anabranch_sockets::{FlowInfo, Host, Instant, Protocol, SubflowInfo};

use crate::control::server::Source;
use crate::control::{Connection, Subflow};
use crate::serve::figures::{figures, micros};

/// A host to be looked at.
#[derive(Debug)]
pub(super) struct Snapshot {
    host: Host,
}

impl Snapshot {
    pub(super) fn new(host: Host) -> Snapshot {
        Snapshot { host }
    }
}

impl Source for Snapshot {
    fn connections(&self) -> Vec<Connection> {
        let mut flows = self.host.connections();
        flows.sort_by_key(|flow| flow.opened);
        let now = self.host.now();
        let shown = |flow| connection(flow, now);
        flows.into_iter().map(shown).collect()
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let counters = self.host.counters();
        let mut counters: BTreeMap<_, _> = counters
            .iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        counters.insert("MemoryBytes".to_owned(), self.host.memory() as u64);
        counters
    }
}

fn connection(flow: FlowInfo, now: Instant) -> Connection {
    let protocol = match flow.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Mptcp(mptcp) if mptcp.fallback => "fallback",
        Protocol::Mptcp(_) => "mptcp",
    };
    Connection {
        protocol: protocol.to_owned(),
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
