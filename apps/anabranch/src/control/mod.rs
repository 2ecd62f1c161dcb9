//! What `serve` and `ss` say to each other: one JSON object a line, over a unix socket.
//!
//! The protocol is described for other programs in `docs/control.md`.

pub mod client;
mod decision;
mod figures;
mod paths;
pub mod server;

pub use decision::{Choice, Decision};
pub use figures::Figures;
pub use paths::{Endpoint, Limits, PathNews, Would};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// A request: one line from the client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Every connection, an [`Answer::Connection`] each, then [`Answer::End`].
    Connections,
    /// One [`Answer::Counters`], then [`Answer::End`].
    Counters,
    /// Change a connection, from now on; then [`Answer::End`].
    Set {
        /// [`Connection::id`].
        connection: String,
        /// Scheduler, as `serve --scheduler` takes it.
        #[serde(default)]
        scheduler: Option<String>,
        /// Congestion control, as `serve --congestion` takes it.
        #[serde(default)]
        congestion: Option<String>,
        /// What the peer is told about paths, as `serve --steer` takes it.
        #[serde(default)]
        steer: Option<String>,
    },
    /// The last decisions of a connection's scheduler, an [`Answer::Decision`] each, then
    /// [`Answer::End`]. They are kept from the first question on.
    Why {
        /// [`Connection::id`].
        connection: String,
        /// Keep none from now on.
        #[serde(default)]
        stop: bool,
    },
    /// Every endpoint, an [`Answer::Endpoint`] each, then [`Answer::End`].
    Endpoints,
    /// Add an endpoint; [`Answer::Endpoint`] tells the ID it has, then [`Answer::End`].
    EndpointAdd {
        /// It, with ID 0 unless it is to have a certain one.
        endpoint: Endpoint,
    },
    /// Change the flags of an endpoint; then [`Answer::End`].
    EndpointChange {
        /// Its ID, or 0.
        #[serde(default)]
        id: u8,
        /// Its address, if the ID is 0.
        #[serde(default)]
        address: Option<IpAddr>,
        /// Flags that it gets: `backup`, `fullmesh`.
        #[serde(default)]
        set: Vec<String>,
        /// Flags that it loses.
        #[serde(default)]
        clear: Vec<String>,
    },
    /// Delete an endpoint; then [`Answer::End`].
    EndpointDelete {
        /// Its ID.
        id: u8,
    },
    /// Delete every endpoint; then [`Answer::End`].
    EndpointFlush,
    /// One [`Answer::Limits`], then [`Answer::End`].
    Limits,
    /// Change the limits; then [`Answer::End`].
    LimitsSet {
        /// Further subflows of a connection.
        #[serde(default)]
        subflows: Option<u8>,
        /// Addresses that the peer may announce to some effect.
        #[serde(default)]
        add_addr_accepted: Option<u8>,
    },
    /// Open a subflow; then [`Answer::End`].
    SubflowAdd {
        /// [`Connection::id`], or its token.
        connection: String,
        /// From here; port 0 is any free one.
        local: SocketAddr,
        /// To there.
        remote: SocketAddr,
        /// As a backup.
        #[serde(default)]
        backup: bool,
    },
    /// Close a subflow, which the policy does not open again; then [`Answer::End`].
    SubflowRemove {
        /// [`Connection::id`], or its token.
        connection: String,
        /// Our end.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
    /// Change the priority of a subflow; then [`Answer::End`].
    SubflowPrio {
        /// [`Connection::id`], or its token.
        connection: String,
        /// Our end.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// As a backup.
        backup: bool,
    },
    /// An [`Answer::Event`] for whatever happens from now on, without end.
    Monitor,
    /// Read the file that says what is wanted of paths again; [`Answer::Done`] tells what it comes
    /// to, then [`Answer::End`].
    Reload,
    /// What another such file would do to the connections there are: an [`Answer::Would`] for each
    /// of them, then [`Answer::End`].
    Preview {
        /// The text of the file.
        text: String,
    },
}

/// A line from the server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// One connection.
    Connection(Box<Connection>),
    /// What the stack has counted, by the kernel's MIB names where one exists.
    Counters(BTreeMap<String, u64>),
    /// A decision of a scheduler.
    Decision(Box<Decision>),
    /// An endpoint.
    Endpoint(Endpoint),
    /// The limits.
    Limits(Limits),
    /// Something happened to paths.
    Event(PathNews),
    /// What would be done with a connection.
    Would(Would),
    /// What was done, in words.
    Done(String),
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
    /// Names it in other requests; no other connection of this server ever has the same.
    #[serde(default)]
    pub id: String,
    /// Token by which its peer joins; absent for plain TCP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<u32>,
    /// `mptcp`, `fallback` (began as Multipath TCP, goes on as plain TCP) or `tcp`.
    pub protocol: String,
    /// Version of Multipath TCP; absent for the others.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<u8>,
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
    /// Its scheduler; absent for plain TCP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub scheduler: Option<String>,
    /// Its congestion control, coupled or of each subflow for itself.
    #[serde(default)]
    pub congestion: String,
    /// Why the scheduler lets nothing be sent on any path, if that is so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stuck: Option<String>,
    /// What scheduling and failover came to, by name; without those that are 0.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub scheduling: BTreeMap<String, u64>,
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
