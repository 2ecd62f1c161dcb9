//! What `serve` and `ss` say to each other: one JSON object a line, over a unix socket.
//!
//! The protocol is described for other programs in `docs/control.md`.

pub mod client;
mod figures;
pub mod server;

pub use figures::Figures;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A request: one line from the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Every connection, an [`Answer::Connection`] each, then [`Answer::End`].
    Connections,
    /// One [`Answer::Counters`], then [`Answer::End`].
    Counters,
}

/// A line from the server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One connection.
    Connection(Box<Connection>),
    /// What the stack has counted, by the kernel's MIB names where one exists.
    Counters(BTreeMap<String, u64>),
    /// The answer is complete.
    End {
        /// How many lines came before this one.
        lines: u64,
    },
    /// The request was not understood; why.
    Error(String),
}

/// A connection as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// `mptcp`, `fallback` (began as Multipath TCP, goes on as plain TCP) or `tcp`.
    pub protocol: String,
    /// State, in the words of RFC 9293.
    pub state: String,
    /// Our address, that of the first subflow.
    pub local: SocketAddr,
    /// The peer's address, that of the first subflow.
    pub peer: SocketAddr,
    /// Bytes received and not yet read by the application.
    pub recv_queue: u64,
    /// Bytes written by the application and not yet acknowledged.
    pub send_queue: u64,
    /// Payload bytes received so far, each counted once.
    pub bytes_received: u64,
    /// Payload bytes sent so far and acknowledged, each counted once.
    pub bytes_acked: u64,
    /// Its subflows; exactly one for plain TCP.
    pub subflows: Vec<Subflow>,
}

/// One TCP connection that carries a share of a [`Connection`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Subflow {
    /// State, in the words of RFC 9293.
    pub state: String,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Used only while no other subflow works.
    pub backup: bool,
    /// Smoothed round-trip time, microseconds; absent before the first measurement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub srtt_us: Option<u64>,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Bytes sent and not yet acknowledged.
    pub in_flight: u64,
    /// Payload bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// Everything else that TCP knows.
    #[serde(default)]
    pub tcp: Box<Figures>,
}
