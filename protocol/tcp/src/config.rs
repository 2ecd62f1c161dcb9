//! What may be chosen for a connection.

use crate::congestion::Algorithm;
use crate::ecn::Ecn;
use crate::packed;
use crate::rest::{Pack, Parcel};
use std::time::Duration;

/// Parameters of a [`crate::Tcb`]. The defaults suit an Ethernet path over IPv4.
#[derive(Clone, Debug)]
pub struct Config {
    /// Maximum segment size announced to the peer and never exceeded when sending, bytes of
    /// payload and TCP options (RFC 9293 §3.7.1): MTU − IP header − 20.
    pub mss: u16,
    /// Most bytes the owner will ever grant in [`crate::Grant::rcv_room`]: decides the window
    /// scale (RFC 7323 §2) and the step of window updates.
    pub recv_buffer: u32,
    /// What buffers start with.
    pub buffers: Buffers,
    /// The window field is exactly [`crate::Grant::rcv_room`]: it counts in a space the owner
    /// shares between several Tcbs, and the owner keeps its right edge from shrinking there.
    pub shared_window: bool,
    /// Offer and accept window scaling (RFC 7323 §2).
    pub window_scaling: bool,
    /// Offer and accept selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Offer and accept timestamps (RFC 7323 §3).
    pub timestamps: bool,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// Hold a small segment back while an earlier small one is unacknowledged (RFC 9293 §3.7.4
    /// with Minshall's refinement).
    pub nagle: bool,
    /// Longest delay of an acknowledgement (RFC 9293 §3.8.6.3; at most 500 ms).
    pub delayed_ack: Duration,
    /// What applications most often set for one socket.
    pub socket: Socket,
    /// Congestion control.
    pub congestion: Congestion,
    /// Retransmission.
    pub retransmit: Retransmit,
    /// Finding out what the path carries.
    pub path_mtu: PathMtu,
    /// Probing of an idle peer; `None`: never.
    pub keepalive: Option<Keepalive>,
    /// Length of TIME-WAIT (RFC 9293 §3.6.1: 2 MSL).
    pub time_wait: Duration,
    /// How long FIN-WAIT-2 lasts once the owner reads no more ([`crate::Tcb::orphan`]).
    pub fin_wait_2: Duration,
    /// ICMP errors that may pass, as network or host unreachable, abort a handshake too, so that
    /// whoever waits tries another address at once (RFC 5461 §4.1).
    pub soft_errors_abort: bool,
    /// Fast Open of clients sends payload to any server, without a cookie or the option. Only to
    /// servers known to take it, for it may come twice, and to where nothing on the way minds.
    pub fast_open_without_cookie: bool,
    /// Acknowledgements of unacceptable segments allowed in each [`CHALLENGE_PERIOD`]
    /// (RFC 5961 §7).
    pub challenge_acks: u8,
}

/// What the buffers of an application start with, bytes. They grow with what the connection can
/// use ([`crate::autotune`]) to their limits; one whose limit is not larger is fixed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffers {
    /// Receive buffer; its limit is [`Config::recv_buffer`].
    pub recv_initial: u32,
    /// Send buffer; its limit is the owner's.
    pub send_initial: u32,
}

/// What applications most often set for one socket; see [`crate::SocketOption`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Socket {
    /// Hold segments that are not full back, 200 ms at most.
    pub cork: bool,
    /// Take bytes from the application only while fewer than so many were never sent.
    pub not_sent_lowat: Option<u32>,
    /// Largest segment, bytes of payload and TCP options, whatever the path takes.
    pub max_segment: Option<u16>,
    /// Most bytes ever advertised as window.
    pub window_clamp: Option<u32>,
    /// Abort when nothing comes of what is to be delivered for so long (RFC 5482).
    pub user_timeout: Option<Duration>,
    /// Letting go waits so long, or, if it is zero, resets.
    pub linger: Option<Duration>,
}

/// What differs from what connections are usually set to.
impl Pack for Config {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let usual = parcel.settings();
        macro_rules! settings {
            ($($field:ident)*) => {
                let Config { $($field),* } = self;
                $(parcel.setting($field, &usual.$field);)*
            };
        }
        settings! {
            mss recv_buffer buffers shared_window window_scaling sack timestamps ecn nagle
            delayed_ack socket congestion retransmit path_mtu keepalive time_wait fin_wait_2
            soft_errors_abort fast_open_without_cookie challenge_acks
        }
    }
}

packed!(Buffers {
    recv_initial,
    send_initial
});
packed!(Socket {
    cork,
    not_sent_lowat,
    max_segment,
    window_clamp,
    user_timeout,
    linger
});
packed!(Congestion {
    algorithm,
    initial_window,
    idle_restart,
    abe,
    pacing
});
packed!(Pacing {
    window_based,
    slow_start,
    avoidance,
    unpaced_limit,
    max_rate
});
packed!(Retransmit {
    initial_rto,
    min_rto,
    max_rto,
    syn_retries,
    synack_retries,
    data_retries,
    tail_loss_probe,
    rack,
    frto
});
packed!(PathMtu {
    probing,
    base_mss,
    known_mss,
    black_hole_rtos,
    retry
});
packed!(
    enum MtuProbing {
        Off,
        OnBlackHole,
        Always,
    }
);
packed!(Keepalive {
    time,
    interval,
    probes
});

/// Period over which [`Config::challenge_acks`] counts.
pub const CHALLENGE_PERIOD: Duration = Duration::from_secs(5);

/// Congestion control parameters.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Congestion {
    /// The controller.
    pub algorithm: Algorithm,
    /// Initial window in segments (RFC 6928: 10).
    pub initial_window: u8,
    /// Fall back to the initial window after an idle time of one RTO (RFC 5681 §4.1).
    pub idle_restart: bool,
    /// A mark reduces the window of CUBIC to 85 % and that of NewReno to 80 %, which is less than a
    /// loss does: queues that mark are kept short (RFC 8511, which is experimental).
    pub abe: bool,
    /// When segments leave.
    pub pacing: Pacing,
}

/// Pacing: segments leave spread over the round-trip time rather than in bursts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pacing {
    /// Pace controllers that have no rate of their own (CUBIC, NewReno) at a rate of window over
    /// round-trip time. BBR is always paced.
    pub window_based: bool,
    /// Percent of that rate in slow start, until half of the threshold.
    pub slow_start: u16,
    /// Percent of that rate afterwards.
    pub avoidance: u16,
    /// Segments that one acknowledgement counts for at most in slow start when nothing is paced
    /// (RFC 9406 §4.2: 8); `None`: any number. With pacing there is no such limit.
    pub unpaced_limit: Option<u8>,
    /// Most bytes per second, whatever the controller; `None`: any. See
    /// [`crate::Tcb::set_max_pacing_rate`].
    pub max_rate: Option<u64>,
}

/// Retransmission parameters (RFC 6298).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Retransmit {
    /// RTO before the first measurement.
    pub initial_rto: Duration,
    /// Least time added to the smoothed round-trip time to form the RTO.
    pub min_rto: Duration,
    /// Largest RTO, backoff included.
    pub max_rto: Duration,
    /// Retransmissions of a SYN before giving up.
    pub syn_retries: u8,
    /// Retransmissions of a SYN+ACK before giving up.
    pub synack_retries: u8,
    /// Successive retransmission timeouts (or unanswered window probes) before giving up.
    pub data_retries: u8,
    /// Use tail-loss probes (RFC 8985 §7).
    pub tail_loss_probe: bool,
    /// Find losses by time (RFC 8985 §6) where selective acknowledgements were agreed; otherwise
    /// by counting what was sacked beyond (RFC 6675).
    pub rack: bool,
    /// Look whether a retransmission timeout was needed before sending everything again (F-RTO,
    /// RFC 5682).
    pub frto: bool,
}

/// Path MTU discovery. Sizes are of payload and TCP options, as an MSS counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathMtu {
    /// Whether to probe with larger segments of data (RFC 4821).
    pub probing: MtuProbing,
    /// Size that is believed to pass anywhere (RFC 4821 §7.2): where probing starts, and what is
    /// used where larger segments seem to vanish. 1024 suits IPv4; IPv6 guarantees 1220.
    pub base_mss: u16,
    /// Largest size that the path takes, where a router has told an earlier connection: used from
    /// the start.
    pub known_mss: Option<u16>,
    /// Retransmission timeouts in a row that make a path that swallows large segments suspected.
    pub black_hole_rtos: u8,
    /// After this long a size that was given up is tried again (RFC 1191 §6.3, RFC 8201 §4: ten
    /// minutes).
    pub retry: Duration,
}

/// When to probe for a larger path MTU.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum MtuProbing {
    /// Never: routers tell, or nobody does. What they told is forgotten after
    /// [`PathMtu::retry`].
    Off,
    /// After large segments seemed to vanish, and [`PathMtu::retry`] after a router told a smaller
    /// size.
    #[default]
    OnBlackHole,
    /// From the start, upwards from [`PathMtu::base_mss`].
    Always,
}

/// Keepalive parameters (RFC 9293 §3.8.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes before giving up.
    pub probes: u8,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mss: 1460,
            recv_buffer: 4 << 20,
            buffers: Buffers::default(),
            shared_window: false,
            window_scaling: true,
            sack: true,
            timestamps: true,
            ecn: Ecn::default(),
            nagle: true,
            delayed_ack: Duration::from_millis(40),
            socket: Socket::default(),
            congestion: Congestion::default(),
            retransmit: Retransmit::default(),
            path_mtu: PathMtu::default(),
            keepalive: None,
            time_wait: Duration::from_secs(60),
            fin_wait_2: Duration::from_secs(60),
            soft_errors_abort: false,
            fast_open_without_cookie: false,
            challenge_acks: 10,
        }
    }
}

impl Default for Buffers {
    fn default() -> Buffers {
        Buffers {
            recv_initial: 128 << 10,
            send_initial: 128 << 10,
        }
    }
}

impl Default for Congestion {
    fn default() -> Congestion {
        Congestion {
            algorithm: Algorithm::Cubic,
            initial_window: 10,
            idle_restart: true,
            abe: false,
            pacing: Pacing::default(),
        }
    }
}

/// Twice the window a round trip. At 1.2 of it, which is Linux's once slow start is over, a sender
/// loses less than its share at a full queue beside those that do not pace at all, as Linux's own
/// without the queueing discipline `fq`.
impl Default for Pacing {
    fn default() -> Pacing {
        Pacing {
            window_based: true,
            slow_start: 200,
            avoidance: 200,
            unpaced_limit: Some(8),
            max_rate: None,
        }
    }
}

impl Default for Retransmit {
    fn default() -> Retransmit {
        Retransmit {
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(200),
            max_rto: Duration::from_secs(120),
            syn_retries: 6,
            synack_retries: 5,
            data_retries: 15,
            tail_loss_probe: true,
            rack: true,
            frto: true,
        }
    }
}

impl Default for PathMtu {
    fn default() -> PathMtu {
        PathMtu {
            probing: MtuProbing::default(),
            base_mss: 1024,
            known_mss: None,
            black_hole_rtos: 3,
            retry: Duration::from_secs(600),
        }
    }
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive {
            time: Duration::from_secs(7200),
            interval: Duration::from_secs(75),
            probes: 9,
        }
    }
}
