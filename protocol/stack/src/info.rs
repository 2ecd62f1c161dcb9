//! What `ss` and applications can see of a connection.

use crate::event::SubflowEnd;
use crate::id::{FlowId, SubflowId};
use anabranch_tcp::{Instant, State};
use anabranch_wire::ip::{V4_LEN, V6_LEN};
use anabranch_wire::tcp::HEADER_LEN;
use std::net::SocketAddr;

/// A connection as it is now.
#[derive(Clone, Debug)]
pub struct FlowInfo {
    /// Its handle.
    pub id: FlowId,
    /// Plain TCP or Multipath TCP.
    pub protocol: Protocol,
    /// State as the application sees it; of Multipath TCP, at the data level.
    pub state: State,
    /// Local address and port of the initial subflow.
    pub local: SocketAddr,
    /// Remote address and port of the initial subflow.
    pub remote: SocketAddr,
    /// When the first SYN was received or sent.
    pub opened: Instant,
    /// Bytes handed to [`crate::Stack::send`] and acknowledged by the peer.
    pub bytes_sent: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes waiting to be sent or acknowledged.
    pub send_queue: usize,
    /// Bytes waiting for the application.
    pub recv_queue: usize,
    /// Bytes the send buffer holds at most now.
    pub send_buffer: usize,
    /// Bytes the receive buffer holds at most now.
    pub recv_buffer: usize,
    /// Bytes the application read in the last round trip.
    pub recv_space: usize,
    /// The TCP connections it consists of; exactly one for plain TCP.
    pub subflows: Vec<SubflowInfo>,
    /// Subflows that ended before the connection, as they were last: the latest eight.
    pub gone: Vec<(SubflowInfo, SubflowEnd)>,
}

/// Which protocol a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// Plain TCP from the start.
    Tcp,
    /// Multipath TCP.
    Mptcp(MptcpInfo),
}

/// What is particular to a Multipath TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MptcpInfo {
    /// Version of the protocol: 0 or 1.
    pub version: u8,
    /// Token by which the peer joins.
    pub local_token: u32,
    /// Token by which we join; `None` until the peer's key is known.
    pub remote_token: Option<u32>,
    /// Checksums are in use.
    pub checksum: bool,
    /// The connection went on as plain TCP.
    pub fallback: bool,
    /// Name of the scheduler.
    pub scheduler: &'static str,
    /// Name of the congestion control, coupled or not.
    pub congestion: &'static str,
    /// Why the scheduler lets nothing be sent on any path, if that is so.
    pub stuck: Option<&'static str>,
    /// What scheduling and failover came to.
    pub scheduling: SchedulingCounters,
}

/// What scheduling and failover came to, since the connection was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SchedulingCounters {
    /// Bytes sent again on another path.
    pub bytes_reinjected: u64,
    /// Bytes that the scheduler sent twice of its own accord.
    pub bytes_copied: u64,
    /// Answers of the scheduler that could not be followed.
    pub refused: u64,
    /// Times a path was suspected to be dead.
    pub suspicions: u64,
    /// Times the peer was told to leave a path alone (MP_PRIO).
    pub avoided: u64,
    /// Paths probed because the peer was silent, or because bytes were missing.
    pub silence_probes: u64,
    /// Paths that the peer was told to give up (REMOVE_ADDR).
    pub given_up: u64,
    /// Addresses announced again after that.
    pub given_back: u64,
    /// Times the peer's window held everything up because of a slower path.
    pub window_blocked: u64,
    /// Runs sent again on a faster path because of that.
    pub opportunistic: u64,
    /// Times a path's window was halved because of that.
    pub penalties: u64,
}

/// One TCP connection.
#[derive(Clone, Debug)]
pub struct SubflowInfo {
    /// Which.
    pub id: SubflowId,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// Our address ID; 0 for the initial subflow's address.
    pub local_id: u8,
    /// The peer's address ID.
    pub remote_id: u8,
    /// Used only when no other subflow is usable (either side asked for it).
    pub backup: bool,
    /// Retransmission timeouts went by without progress: not used while another is usable.
    pub stale: bool,
    /// What TCP knows of it.
    pub tcp: anabranch_tcp::Info,
}

impl SubflowInfo {
    /// Largest IP packet that the path takes, as far as is known, bytes.
    pub fn path_mtu(&self) -> u32 {
        let ip_len = if self.remote.is_ipv6() {
            V6_LEN
        } else {
            V4_LEN
        };
        self.tcp.sizes.path_mss + (ip_len + HEADER_LEN) as u32
    }
}
