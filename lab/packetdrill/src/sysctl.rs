//! What scripts set in `/proc/sys/net` of their namespace, and what it means to the stack.

use anabranch_stack::Config;
use anabranch_tcp::Ecn;
use anabranch_tcp::config::{Congestion, Keepalive, Pacing, Retransmit};
use anabranch_tcp::congestion::Algorithm;
use std::fs;
use std::time::Duration;

/// Settings of the namespace, as they are now.
#[derive(Clone, Debug)]
pub(crate) struct Sysctl {
    /// Receive buffer: least, at first, most.
    pub(crate) rmem: [u32; 3],
    /// Send buffer: the same.
    pub(crate) wmem: [u32; 3],
    /// Name of the congestion control.
    pub(crate) congestion: String,
    /// `tcp_notsent_lowat`.
    pub(crate) notsent_lowat: u32,
    /// Segments in the smallest super-frame.
    pub(crate) min_tso_segs: u32,
    pub(crate) timestamps: bool,
    /// Multipath TCP may be used.
    pub(crate) mptcp: bool,
    pub(crate) fast_open: FastOpen,
    /// `tcp_fastopen_key`: the first makes cookies.
    pub(crate) fast_open_keys: Option<([u8; 16], Option<[u8; 16]>)>,
}

/// `tcp_fastopen`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastOpen(u32);

impl FastOpen {
    const CLIENT: u32 = 1;
    const SERVER: u32 = 2;
    const CLIENT_WITHOUT_COOKIE: u32 = 4;
    const SERVER_WITHOUT_COOKIE: u32 = 0x200;
    const EVERY_LISTENER: u32 = 0x400;

    fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    pub(crate) fn client(self) -> bool {
        self.has(Self::CLIENT)
    }

    /// Of clients.
    pub(crate) fn cookie_not_needed(self) -> bool {
        self.has(Self::CLIENT_WITHOUT_COOKIE)
    }

    /// Of servers.
    fn without_cookie(self) -> bool {
        self.has(Self::SERVER_WITHOUT_COOKIE)
    }

    /// How many connections of a listener may be read before their handshake is complete, if it
    /// asked for `asked`.
    pub(crate) fn queue(self, asked: i32) -> Option<usize> {
        match usize::try_from(asked) {
            _ if !self.has(Self::SERVER) => None,
            Ok(asked) if asked > 0 => Some(asked),
            _ if self.has(Self::EVERY_LISTENER) => Some(128),
            _ => None,
        }
    }
}

fn text(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()
}

fn number(name: &str, otherwise: u32) -> u32 {
    text(name)
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(otherwise)
}

/// One key or two, each four words in hexadecimal.
fn keys(text: &str) -> Option<([u8; 16], Option<[u8; 16]>)> {
    let mut keys = text.trim().split(',').map(key);
    let first = keys.next()??;
    Some((first, keys.next().flatten()))
}

fn key(text: &str) -> Option<[u8; 16]> {
    let mut key = [0; 16];
    let mut words = text.split('-');
    for place in key.chunks_mut(4) {
        let word = u32::from_str_radix(words.next()?, 16).ok()?;
        place.copy_from_slice(&word.to_le_bytes());
    }
    Some(key)
}

fn flag(name: &str) -> bool {
    number(name, 1) != 0
}

fn seconds(name: &str, otherwise: u32) -> Duration {
    Duration::from_secs(number(name, otherwise).into())
}

fn three(name: &str, otherwise: [u32; 3]) -> [u32; 3] {
    let Some(text) = text(name) else {
        return otherwise;
    };
    let mut found = otherwise;
    for (place, word) in found.iter_mut().zip(text.split_whitespace()) {
        *place = word.parse().unwrap_or(*place);
    }
    found
}

impl Sysctl {
    /// Reads them; what is not there is as Linux has it.
    pub(crate) fn read() -> Sysctl {
        let congestion = text("tcp_congestion_control").unwrap_or_default();
        Sysctl {
            rmem: three("tcp_rmem", [4096, 131_072, 6 << 20]),
            wmem: three("tcp_wmem", [4096, 16_384, 4 << 20]),
            congestion: congestion.trim().to_string(),
            notsent_lowat: number("tcp_notsent_lowat", u32::MAX),
            min_tso_segs: number("tcp_min_tso_segs", 2).max(1),
            timestamps: flag("tcp_timestamps"),
            mptcp: number("../mptcp/enabled", 1) != 0,
            fast_open: FastOpen(number("tcp_fastopen", 1)),
            fast_open_keys: keys(&text("tcp_fastopen_key").unwrap_or_default()),
        }
    }

    /// Carries them, and Linux's own constants, over into the settings of a stack.
    pub(crate) fn apply(&self, config: &mut Config) {
        config.limits.recv_buffer = self.rmem[2] as usize;
        config.time_wait = Duration::from_secs(60);
        config.fast_open_without_cookie = self.fast_open.without_cookie();
        apply_mptcp(&mut config.mptcp);
        config.fast_open_avoid = seconds("tcp_fastopen_blackhole_timeout_sec", 0);
        let tcp = &mut config.tcp;
        tcp.ecn = match number("tcp_ecn", 2) {
            0 => Ecn::Off,
            1 => Ecn::Classic,
            _ => Ecn::Passive,
        };
        // What Linux advertises at first, whatever the buffer.
        tcp.buffers.recv_initial = 65_536;
        tcp.window_scaling = flag("tcp_window_scaling");
        tcp.sack = flag("tcp_sack");
        tcp.timestamps = self.timestamps;
        tcp.fin_wait_2 = seconds("tcp_fin_timeout", 60);
        tcp.soft_errors_abort = true;
        tcp.fast_open_without_cookie = self.fast_open.cookie_not_needed();
        tcp.delayed_ack = Duration::from_millis(40);
        tcp.congestion = Congestion {
            algorithm: algorithm(&self.congestion),
            idle_restart: flag("tcp_slow_start_after_idle"),
            // Without the queueing discipline that does it, Linux paces BBR alone.
            pacing: Pacing {
                window_based: false,
                unpaced_limit: None,
                ..tcp.congestion.pacing
            },
            ..tcp.congestion
        };
        tcp.retransmit = Retransmit {
            syn_retries: number("tcp_syn_retries", 6) as u8,
            synack_retries: number("tcp_synack_retries", 5) as u8,
            data_retries: number("tcp_retries2", 15) as u8,
            tail_loss_probe: number("tcp_early_retrans", 3) >= 3,
            ..tcp.retransmit
        };
    }
}

/// `/proc/sys/net/mptcp`.
fn apply_mptcp(config: &mut anabranch_mptcp::Config) {
    let close = seconds("../mptcp/close_timeout", 60);
    // What Linux advertises at first, as of TCP.
    config.initial_window = 65_536;
    config.checksum = number("../mptcp/checksum_enabled", 0) != 0;
    config.deny_join = number("../mptcp/allow_join_initial_addr_port", 1) == 0;
    config.add_addr_retry = seconds("../mptcp/add_addr_timeout", 120);
    config.add_addr_retry_max = config.add_addr_retry;
    config.no_subflow_wait = close;
    config.close_timeout = close;
    let syns = number("../mptcp/syn_retrans_before_tcp_fallback", 2) + 1;
    config.capable_syns = syns.min(u8::MAX.into()) as u8;
}

/// Keepalive as the namespace has it.
pub(crate) fn keepalive() -> Keepalive {
    Keepalive {
        time: seconds("tcp_keepalive_time", 7200),
        interval: seconds("tcp_keepalive_intvl", 75),
        probes: number("tcp_keepalive_probes", 9) as u8,
    }
}

/// The controller of this name; CUBIC where we have none.
pub(crate) fn algorithm(name: &str) -> Algorithm {
    match name {
        "reno" => Algorithm::NewReno,
        _ => Algorithm::Cubic,
    }
}
