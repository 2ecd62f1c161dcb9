//! What may be chosen for a connection.

use crate::schedule;
use anabranch_tcp::budget::Budget;
use anabranch_wire::Seq;
use std::net::SocketAddr;
use std::time::Duration;

/// Parameters of a [`crate::Connection`]; shared by all connections of a kind.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of each subflow's Tcb. `recv_buffer` is the largest data-level window. `shared_window` and
    /// `nagle` are set by the connection: Nagle's algorithm runs at data level.
    pub tcp: anabranch_tcp::Config,
    /// Require DSS checksums (flag A); they are used if either side requires them.
    pub checksum: bool,
    /// Ask the peer for no joins to the initial address and port (flag C).
    pub deny_join: bool,
    /// Subflows at once, half-open ones included; 1 to 255.
    pub max_subflows: u8,
    /// Largest payload of one [`crate::Outgoing`], bytes; 0 when the device does not segment.
    pub gso_max: u32,
    /// Most bytes taken from the application and not acknowledged at data level.
    pub send_buffer: usize,
    /// Data-level window before it has grown with what the application reads, bytes.
    pub initial_window: u32,
    /// Where payload held is charged.
    pub budget: Budget,
    /// SYNs sent with MP_CAPABLE before the option is left out.
    pub capable_syns: u8,
    /// How long a connection without a subflow waits for a join.
    pub no_subflow_wait: Duration,
    /// How long a subflow, or a connection its application let go, may take to close.
    pub close_timeout: Duration,
    /// When an ADD_ADDR without an echo is sent again first; doubles each time.
    pub add_addr_retry: Duration,
    /// ADD_ADDRs sent without an echo before giving up.
    pub add_addr_tries: u8,
    /// Which scheduler.
    pub scheduler: schedule::Kind,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            tcp: anabranch_tcp::Config::default(),
            checksum: false,
            deny_join: false,
            max_subflows: 8,
            gso_max: 0,
            send_buffer: 4 << 20,
            initial_window: 256 << 10,
            budget: Budget::unlimited(),
            capable_syns: 3,
            no_subflow_wait: Duration::from_secs(60),
            close_timeout: Duration::from_secs(60),
            add_addr_retry: Duration::from_secs(2),
            add_addr_tries: 6,
            scheduler: schedule::Kind::default(),
        }
    }
}

/// A subflow of one connection, in order of creation; the initial one is 0. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SubflowId(pub u32);

/// Both ends of a subflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

/// What the Tcb of a new subflow starts from.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Initial sequence number (RFC 6528).
    pub iss: Seq,
    /// Offset of the clock of timestamps (RFC 7323 §5.4).
    pub ts_offset: u32,
    /// Largest segment on this path, bytes of payload and TCP options: MTU − IP header − 20.
    pub mss: u16,
    /// Less, where a router has told so before.
    pub known_mss: Option<u16>,
}
