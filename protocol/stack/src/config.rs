//! How a stack behaves.

use crate::schedule::Rule;
use crate::shard::Shard;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

/// Settings of a [`crate::Stack`]; the default suits a server behind a TUN device.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which destination addresses are ours.
    pub local: LocalAddrs,
    /// Largest IP packet the device takes, bytes, 1280 or more.
    pub mtu: u16,
    /// Largest payload of one [`anabranch_wire::frame::Transmit`], bytes; 0 when the device does
    /// not segment. At most 65,000: an IP packet's length field has to hold the headers too.
    pub gso_max: u32,
    /// Which of the host's stacks this is, if it has several. Limits are each one's own.
    pub shard: Shard,
    /// Bounds on memory and numbers.
    pub limits: Limits,
    /// TCP parameters of every connection and subflow. What follows from other settings is set from
    /// them: `mss`, `recv_buffer`, `time_wait`.
    pub tcp: anabranch_tcp::Config,
    /// Parameters of every Multipath TCP connection. What follows from other settings is set from
    /// them: `tcp`, `max_subflows`, `gso_max`, `send_buffer`, `budget`.
    pub mptcp: anabranch_mptcp::Config,
    /// Ports for connections that name none (RFC 6056).
    pub ephemeral: RangeInclusive<u16>,
    /// Further addresses of this host, announced (ADD_ADDR) on each Multipath TCP connection.
    pub announce: Vec<Announcement>,
    /// How long TIME-WAIT lasts: twice the maximum segment lifetime (RFC 9293 §3.4.2).
    pub time_wait: Duration,
    /// Answer ICMP echo requests. Leave it off where another host has the same address.
    pub icmp_echo: bool,
    /// Largest segment to announce and to send, bytes of payload and TCP options; the path's MTU
    /// decides if it is less. `None`: it decides alone.
    pub max_segment: Option<u16>,
    /// Listeners with Fast Open take the payload of SYNs without a cookie. Only where no source address can be forged (RFC 7413 §5.1).
    pub fast_open_without_cookie: bool,
    /// Where SYNs with a Fast Open option seem to vanish, none is sent for so long, doubled each
    /// time up to six times (RFC 7413 §4.1.3.1); zero: they are sent again at once.
    pub fast_open_avoid: Duration,
    /// Where SYNs with MP_CAPABLE seem to vanish, none is sent for so long, doubled each time up to
    /// six times; zero: they are sent again at once.
    pub mptcp_avoid: Duration,
    /// How long a host that answered with an older version of Multipath TCP is offered that one;
    /// zero: never.
    pub older_version_for: Duration,
    /// When SYNs are answered without keeping anything of them.
    pub syn_cookies: SynCookies,
    /// Scheduler, congestion control and steering of connections to come; of the rules that fit one,
    /// the first that names a scheduler decides that, and so of the others.
    pub rules: Vec<Rule>,
    /// Resets and ICMP replies sent to strangers, at most so many a second.
    pub reply_rate: u32,
}

/// Bounds of a stack.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes for all buffers together. When seven eighths are taken, new connections are refused;
    /// when all are, payload is dropped but for what continues a stream, up to a quarter more.
    pub memory: usize,
    /// Bytes of received and not yet read data per connection, out-of-order data included.
    pub recv_buffer: usize,
    /// Bytes of data per connection waiting to be sent or acknowledged.
    pub send_buffer: usize,
    /// Connections, half-open ones included.
    pub flows: usize,
    /// Subflows per Multipath TCP connection.
    pub subflows: usize,
    /// Joins from one peer address (one /64 of IPv6) at once whose third ACK has not come, of all
    /// connections; more are reset for now. See also [`anabranch_mptcp::Config::half_open_joins`].
    pub half_open_joins: usize,
    /// Connections remembered in TIME-WAIT; beyond, the oldest is forgotten.
    pub time_wait: usize,
}

/// When a listener answers a SYN by a cookie (RFC 4987 §3.6): nothing is kept, so a flood of SYNs
/// fills nothing. Such a connection knows the peer's segment size only roughly, and has window
/// scaling, SACK and ECN only with timestamps. Multipath TCP stays possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SynCookies {
    /// Never: SYNs beyond the backlog are dropped.
    Never,
    /// When the backlog of half-open connections is full.
    #[default]
    UnderPressure,
    /// Always.
    Always,
}

/// Which destination addresses are ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocalAddrs {
    /// Whatever the device delivers.
    Any,
    /// These; other packets are dropped.
    List(Vec<IpAddr>),
}

/// An address of this host that peers may join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// Address ID, 1–255, unique.
    pub id: u8,
    /// Address.
    pub addr: IpAddr,
    /// Port; `None` is the port of the initial subflow.
    pub port: Option<u16>,
}

/// What [`crate::Stack::listen`] listens for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenConfig {
    /// Local address; `None` is every one.
    pub addr: Option<IpAddr>,
    /// Local port, not 0.
    pub port: u16,
    /// At most so many half-open connections, and as many waiting to be accepted.
    pub backlog: usize,
    /// Answer MP_CAPABLE; otherwise every connection is plain TCP.
    pub mptcp: bool,
    /// Fast Open (RFC 7413), for Multipath TCP from version 1 on: cookies are given, and the payload of a SYN with one is
    /// read before the handshake is complete, by at most so many connections at a time. Such
    /// payload may come twice: for applications that can bear it. `None`: no Fast Open.
    pub fast_open: Option<usize>,
}

/// How [`crate::Stack::connect`] connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectConfig {
    /// Offer Multipath TCP.
    pub mptcp: bool,
    /// Use Fast Open (RFC 7413), where version 0 of Multipath TCP is not what is offered: what is sent before the first
    /// [`crate::Stack::poll_transmit`] goes with the SYN, if the server gave a cookie before. It
    /// may arrive twice.
    pub fast_open: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            local: LocalAddrs::Any,
            mtu: 1500,
            gso_max: 0,
            shard: Shard::ONLY,
            limits: Limits::default(),
            tcp: anabranch_tcp::Config::default(),
            mptcp: anabranch_mptcp::Config::default(),
            // RFC 6335 §6: dynamic ports.
            ephemeral: 49152..=65535,
            announce: Vec::new(),
            time_wait: Duration::from_secs(60),
            icmp_echo: false,
            max_segment: None,
            fast_open_without_cookie: false,
            fast_open_avoid: Duration::from_secs(3600),
            mptcp_avoid: Duration::from_secs(3600),
            older_version_for: Duration::from_secs(3600),
            syn_cookies: SynCookies::default(),
            rules: Vec::new(),
            reply_rate: 1000,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 1 << 30,
            recv_buffer: 8 << 20,
            send_buffer: 8 << 20,
            flows: 100_000,
            subflows: 8,
            half_open_joins: 32,
            time_wait: 32_768,
        }
    }
}

impl LocalAddrs {
    /// Whether packets to `addr` are for us.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match self {
            LocalAddrs::Any => true,
            LocalAddrs::List(list) => list.contains(&addr),
        }
    }
}

impl ListenConfig {
    /// Every local address, backlog 1024, Multipath TCP.
    pub fn port(port: u16) -> Self {
        ListenConfig {
            addr: None,
            port,
            backlog: 1024,
            mptcp: true,
            fast_open: None,
        }
    }

    /// This address only.
    pub fn at(addr: SocketAddr) -> Self {
        ListenConfig {
            addr: Some(addr.ip()),
            ..ListenConfig::port(addr.port())
        }
    }
}

impl Default for ConnectConfig {
    fn default() -> Self {
        ConnectConfig {
            mptcp: true,
            fast_open: false,
        }
    }
}
