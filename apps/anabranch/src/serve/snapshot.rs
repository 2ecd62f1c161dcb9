//! What a server tells about itself over its control socket.

use std::collections::BTreeMap;

use anabranch_sockets::{FlowInfo, Host, Protocol, SubflowInfo};

use crate::control::server::Source;
use crate::control::{Connection, Subflow};

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
        flows.into_iter().map(connection).collect()
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

fn connection(flow: FlowInfo) -> Connection {
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
        subflows: flow.subflows.iter().map(subflow).collect(),
    }
}

fn subflow(subflow: &SubflowInfo) -> Subflow {
    let srtt = u64::try_from(subflow.srtt.as_micros()).unwrap_or(u64::MAX);
    Subflow {
        state: subflow.state.to_string(),
        local: subflow.local,
        peer: subflow.remote,
        backup: subflow.backup,
        srtt_us: (srtt > 0).then_some(srtt),
        cwnd: subflow.cwnd,
        in_flight: subflow.in_flight,
        bytes_sent: subflow.bytes_sent,
        bytes_received: subflow.bytes_received,
        retransmissions: subflow.retransmissions,
    }
}
