//! Subflows as the server sees them.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anabranch_interop::topology::Topology;
use anabranch_kernel::mptcp::sockets;
use serde_json::Value;

/// A subflow that works, or did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// What its connection is called.
    pub(crate) connection: String,
    /// The client's address, and its ID where that is known.
    pub(crate) client: IpAddr,
    pub(crate) id: Option<u8>,
    /// How long nothing was heard on it.
    pub(crate) silent: Duration,
}

/// Who tells.
pub(crate) enum View<'a> {
    /// The server is Linux.
    Kernel(&'a Topology),
    /// It is ours.
    Own(BufReader<UnixStream>),
}

impl View<'_> {
    pub(crate) fn own(control: &Path) -> View<'static> {
        let socket = UnixStream::connect(control).unwrap();
        View::Own(BufReader::new(socket))
    }

    pub(crate) fn subflows(&mut self) -> Vec<Seen> {
        match self {
            View::Kernel(topology) => {
                let all = topology.server.run(|| sockets::subflows().unwrap());
                all.iter().map(by_kernel).collect()
            }
            View::Own(socket) => by_own(socket),
        }
    }
}

fn by_kernel(subflow: &sockets::Subflow) -> Seen {
    Seen {
        connection: format!("{:08x}", subflow.token),
        client: subflow.remote.ip(),
        id: Some(subflow.remote_id),
        silent: subflow.figures.silent_for,
    }
}

fn by_own(socket: &mut BufReader<UnixStream>) -> Vec<Seen> {
    let question = b"{\"ask\":\"connections\"}\n";
    socket.get_mut().write_all(question).unwrap();
    let mut seen = Vec::new();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let Some(connection) = answer.get("connection") else {
            assert!(answer.get("end").is_some(), "{line}");
            return seen;
        };
        let subflows = connection["subflows"].as_array().unwrap().iter();
        seen.extend(subflows.filter_map(|it| by_json(connection, it)));
    }
}

fn by_json(connection: &Value, subflow: &Value) -> Option<Seen> {
    if subflow["state"] != "ESTAB" {
        return None;
    }
    let peer: SocketAddr = subflow["peer"].as_str()?.parse().ok()?;
    let since = |name: &str| subflow["tcp"][name].as_u64();
    let silent = since("last_data_recv_us")?.min(since("last_ack_recv_us")?);
    Some(Seen {
        connection: connection["id"].as_str()?.to_owned(),
        client: peer.ip(),
        id: None,
        silent: Duration::from_micros(silent),
    })
}
