//! What can be seen of a connection: at least what Linux's `struct tcp_info` tells.
//!
//! Sizes are bytes of payload and times are [`Duration`]s or [`Instant`]s, whatever unit a system's
//! own interface has. A connection is asked without being told the time, so what goes on since some
//! moment is given as that moment.

pub use crate::limited::{Limit, Limited};

use crate::recovery::Phase;
use crate::{Instant, State, Stats, Tcb};
use std::time::Duration;

/// Figures of one connection.
#[derive(Clone, Debug)]
pub struct Info {
    /// State (RFC 9293 §3.3.2).
    pub state: State,
    /// Where loss recovery stands.
    pub recovery: Recovery,
    /// Name of the congestion controller.
    pub algorithm: &'static str,
    /// What the handshake agreed.
    pub agreed: Agreed,
    /// Sizes of segments.
    pub sizes: Sizes,
    /// Round-trip times, timeouts, and how often they expired.
    pub timing: Timing,
    /// What was sent and not acknowledged.
    pub flight: Flight,
    /// Windows.
    pub windows: Windows,
    /// How fast.
    pub rates: Rates,
    /// When things last happened.
    pub seen: Seen,
    /// What sending waited for, and how long.
    pub limited: Limited,
    /// Counters.
    pub stats: Stats,
}

/// Where loss recovery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// Nothing is known to be missing.
    Open,
    /// Something is selectively acknowledged, nothing known to be lost.
    Disorder,
    /// Acknowledgements showed a loss.
    Recovery,
    /// The retransmission timer expired.
    Loss,
}

/// What the handshake agreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Agreed {
    /// Timestamps (RFC 7323).
    pub timestamps: bool,
    /// Selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Shifts of the peer's window field and of ours (RFC 7323), if scaling was agreed.
    pub window_scales: Option<(u8, u8)>,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: bool,
    /// The peer opened the connection.
    pub passive: bool,
}

/// Sizes of segments, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Payload of a full-sized segment that we send.
    pub snd_mss: u32,
    /// Payload of the largest segment received; a guess before the first.
    pub rcv_mss: u32,
    /// Payload of the largest segment that our MSS option lets the peer send.
    pub advmss: u32,
    /// Payload and TCP options of the largest segment that peer and path take: with the TCP and IP
    /// headers it is the path MTU.
    pub path_mss: u32,
}

/// Round-trip times, timeouts, and how often they expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Smoothed round-trip time; `None` before the first measurement.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Option<Duration>,
    /// Least round-trip time of the last minutes.
    pub min_rtt: Option<Duration>,
    /// Round-trip time as the receiver of data knows it; `None` before there was any.
    pub rcv_rtt: Option<Duration>,
    /// Retransmission timeout, backoff included.
    pub rto: Duration,
    /// Longest delay of an acknowledgement.
    pub ato: Duration,
    /// Doublings of the timeout that runs: of retransmission, or of window probes.
    pub backoff: u32,
    /// Timeouts in a row since something new was acknowledged.
    pub retransmits: u32,
    /// Unanswered probes of a closed window or an idle peer.
    pub probes: u32,
}

/// What was sent and not acknowledged, bytes; [`Info::segments`] counts it in segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flight {
    /// Sent and not acknowledged cumulatively.
    pub unacked: u64,
    /// Of those, acknowledged selectively.
    pub sacked: u64,
    /// Of those, taken for lost and not sent again.
    pub lost: u64,
    /// Of those, sent again.
    pub retrans: u64,
    /// Of those, believed to be in the network (RFC 6675 pipe).
    pub in_flight: u64,
    /// Given by the owner and never sent.
    pub notsent: u64,
    /// The farthest that the network ever reordered: from something that came late to the end of
    /// what had overtaken it.
    pub reordering: u64,
    /// How often something arrived that had been overtaken.
    pub reorderings: u32,
}

/// How fast data leaves and arrives, bytes per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Segments leave no faster; `None`: as the windows allow.
    pub pacing: Option<u64>,
    /// The application's own limit ([`Tcb::set_max_pacing_rate`]).
    pub max_pacing: Option<u64>,
    /// The latest measurement of how fast the network delivers; `None` before the first.
    pub delivery: Option<u64>,
    /// The application limited that measurement.
    pub delivery_app_limited: bool,
    /// Bytes ever acknowledged, selectively or not.
    pub delivered: u64,
}

/// Windows, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Windows {
    /// Congestion window.
    pub cwnd: u64,
    /// Slow start threshold; `u64::MAX` before the first loss.
    pub ssthresh: u64,
    /// The peer's window as last heard.
    pub snd_wnd: u64,
    /// What the peer may still send of what we advertised.
    pub rcv_wnd: u64,
}

/// When things last happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Payload was sent; before the first, when the connection began. So for the others.
    pub data_sent: Instant,
    /// A segment with payload arrived; before the first, when the connection was established.
    pub data_received: Instant,
    /// A segment with an acknowledgement arrived.
    pub ack_received: Instant,
}

impl Info {
    /// `bytes` in full-sized segments, rounded up: for interfaces that count packets.
    pub fn segments(&self, bytes: u64) -> u32 {
        let segments = bytes.div_ceil(u64::from(self.sizes.snd_mss.max(1)));
        u32::try_from(segments).unwrap_or(u32::MAX)
    }
}

impl Tcb {
    /// Figures.
    pub fn info(&self) -> Info {
        Info {
            state: self.state,
            recovery: self.recovery_info(),
            algorithm: self.control.cc.name(),
            agreed: self.agreed_info(),
            sizes: self.size_info(),
            timing: self.timing_info(),
            flight: self.flight_info(),
            windows: Windows {
                cwnd: self.cwnd(),
                ssthresh: self.ssthresh(),
                snd_wnd: u64::from(self.snd.wnd.size),
                rcv_wnd: self.rcv.adv.saturating_sub(self.rcv.nxt),
            },
            rates: self.rates(),
            seen: Seen {
                data_sent: self.seen.sent,
                data_received: self.seen.data,
                ack_received: self.seen.received,
            },
            limited: self.limited,
            stats: self.stats,
        }
    }

    fn recovery_info(&self) -> Recovery {
        let disorder = !self.recovery.board.sacked().is_empty() || self.recovery.reno.dup_acks > 0;
        match self.recovery.phase {
            Phase::Open if disorder => Recovery::Disorder,
            Phase::Open => Recovery::Open,
            Phase::Recovery => Recovery::Recovery,
            Phase::Loss => Recovery::Loss,
        }
    }

    fn agreed_info(&self) -> Agreed {
        let scales = (self.snd.wnd.scale, self.rcv.scale);
        Agreed {
            timestamps: self.stamps.on,
            sack: self.agreed.sack,
            window_scales: self.agreed.scaling.then_some(scales),
            ecn: self.ecn(),
            passive: self.agreed.passive,
        }
    }

    fn size_info(&self) -> Sizes {
        Sizes {
            snd_mss: self.mss(),
            rcv_mss: self.acks.segment(),
            advmss: u32::from(self.config.mss).saturating_sub(self.stamps.option_len()),
            path_mss: self.agreed.mss,
        }
    }

    fn timing_info(&self) -> Timing {
        let pending = &self.pending;
        Timing {
            srtt: self.srtt(),
            rttvar: self.rttvar(),
            min_rtt: self.min_rtt(),
            rcv_rtt: self.rcv_rtt(),
            rto: self.rto(),
            ato: self.config.delayed_ack,
            backoff: self.rtt.backoff().max(u32::from(pending.window_backoff)),
            retransmits: self.rtt.streak(),
            probes: u32::from(pending.window_probes) + u32::from(pending.alive_probes),
        }
    }

    fn flight_info(&self) -> Flight {
        let board = &self.recovery.board;
        Flight {
            unacked: self.snd.rel(self.snd.nxt) - self.snd.rel(self.snd.una),
            sacked: board.sacked().bytes().max(self.recovery.reno.sacked),
            lost: board.lost().bytes(),
            retrans: board.sent_again_bytes(),
            in_flight: self.in_flight(),
            notsent: self.unsent(),
            reordering: self.recovery.rack.reordering,
            reorderings: self.recovery.rack.reorderings,
        }
    }
}
