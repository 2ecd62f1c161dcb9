//! What may be chosen for a connection.

use crate::coupled;
use crate::schedule;
use crate::steer::Steering;
use crate::version::Versions;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::packed;
use anabranch_tcp::rest::{Pack, Parcel};
use anabranch_wire::Seq;
use std::net::SocketAddr;
use std::time::Duration;

/// Parameters of a [`crate::Connection`]; shared by all connections of a kind.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of each subflow's Tcb. `recv_buffer` is the largest data-level window. `shared_window` and
    /// `nagle` are set by the connection: Nagle's algorithm runs at data level.
    pub tcp: anabranch_tcp::Config,
    /// Versions of the protocol: the highest is offered, and a peer's offer is answered with the
    /// highest that it includes.
    pub versions: Versions,
    /// Require DSS checksums (flag A); they are used if either side requires them.
    pub checksum: bool,
    /// Ask the peer for no joins to the initial address and port (flag C). Version 0 cannot say
    /// so, and takes them.
    pub deny_join: bool,
    /// Subflows at once, those that we are opening included; 1 to 255.
    pub max_subflows: u8,
    /// Joins of the peer at once whose third ACK has not come. They do not count as subflows, so
    /// that who only knows the token keeps nobody out.
    pub half_open_joins: u8,
    /// How long such a join may take.
    pub join_timeout: Duration,
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
    /// How long an MP_FAIL on the only subflow may go without an answer before the subflow is
    /// reset; it is repeated meanwhile.
    pub fail_timeout: Duration,
    /// Where options vanish in the middle of a connection that never had a second subflow, go on as
    /// plain TCP, for peers that are known to be of our kind; otherwise the subflow is reset, as
    /// RFC 8684 §3.7 wants it, which knows no signal that would surely reach the peer. We tell it
    /// by MP_FAIL. One that this does not reach, because nothing passes either way, must not send
    /// again as new bytes of the subflow what it takes for lost: ours does not, Linux's does, and
    /// the stream would have them twice.
    pub plain_midway: bool,
    /// Close fast (MP_FASTCLOSE) by an ACK on one subflow, which is repeated until the peer answers
    /// with a RST, and not by a RST on each (RFC 8684 §3.5). Version 0 has the ACK alone.
    pub fastclose_on_ack: bool,
    /// Send data sequence numbers of 32 bits where they cannot be mistaken (RFC 8684 §3.3.1).
    pub short_dsn: bool,
    /// When an ADD_ADDR without an echo is sent again first; doubles each time.
    pub add_addr_retry: Duration,
    /// It is sent again after so long at most.
    pub add_addr_retry_max: Duration,
    /// ADD_ADDRs sent without an echo before giving up.
    pub add_addr_tries: u8,
    /// Several addresses are announced at once, and in one segment as they fit (RFC 8684 §3.4.1).
    /// Otherwise the next waits for the echo of the one before: Linux drops what is announced
    /// while it works on another.
    pub add_addr_together: bool,
    /// How often REMOVE_ADDR and MP_PRIO, which nothing answers, are sent again: after a
    /// retransmission timeout, and each time after twice as long.
    pub signal_repeats: u8,
    /// Which scheduler.
    pub scheduler: schedule::Kind,
    /// How the congestion control of subflows is coupled; see [`Config::set_congestion`].
    pub coupling: Option<coupled::Kind>,
    /// When a subflow is taken for dead, and how it is found alive again.
    pub failover: Failover,
    /// What the peer's window is kept from by a slow subflow is sent again on a faster one, and the
    /// slow one's congestion window is halved, once a round trip at most (Raiciu et al., "How hard
    /// can it be?", NSDI 2012).
    pub penalise: bool,
    /// What a peer that opened the connection is told about where it should send.
    pub steering: Steering,
}

/// When a subflow is taken for dead while others are there, and how it is found alive again. It is
/// suspected when nothing that it has in the network was acknowledged for a while: then what it has
/// goes to the others as well, backups take over, and it gets nothing new. An acknowledgement
/// clears it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failover {
    /// After so many smoothed round-trip times and four times their variation; 0: only once the
    /// retransmission timer has expired.
    pub round_trips: u32,
    /// But not before so long; nor later than a retransmission timeout.
    pub least: Duration,
    /// A suspected subflow is probed after so long, then after twice as long each time.
    pub probe: Duration,
    /// The longest time between two such probes.
    pub probe_max: Duration,
}

impl Default for Failover {
    fn default() -> Failover {
        Failover {
            round_trips: 2,
            least: Duration::from_millis(10),
            probe: Duration::from_millis(50),
            probe_max: Duration::from_millis(500),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            tcp: anabranch_tcp::Config::default(),
            versions: Versions::ALL,
            checksum: false,
            deny_join: false,
            max_subflows: 8,
            half_open_joins: 64,
            join_timeout: Duration::from_secs(15),
            gso_max: 0,
            send_buffer: 4 << 20,
            initial_window: 256 << 10,
            budget: Budget::unlimited(),
            capable_syns: 3,
            no_subflow_wait: Duration::from_secs(60),
            close_timeout: Duration::from_secs(60),
            fail_timeout: Duration::from_secs(120),
            plain_midway: false,
            fastclose_on_ack: false,
            short_dsn: false,
            add_addr_retry: Duration::from_secs(2),
            add_addr_retry_max: Duration::from_secs(120),
            add_addr_tries: 6,
            add_addr_together: false,
            signal_repeats: 2,
            scheduler: schedule::Kind::default(),
            coupling: None,
            failover: Failover::default(),
            penalise: true,
            steering: Steering::default(),
        }
    }
}

/// A subflow of one connection, in order of creation; the initial one is 0. Never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SubflowId(pub u32);

impl Pack for SubflowId {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        self.0.pack(parcel);
    }
}

/// Both ends of a subflow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
}

packed!(Path { local, remote });

impl Path {
    /// Before it is known.
    pub(crate) fn nowhere() -> Path {
        let nowhere = SocketAddr::from(([0; 4], 0));
        Path {
            local: nowhere,
            remote: nowhere,
        }
    }
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
