//! What a socket's owner may set, before the connection is opened and while it lasts.

use crate::config::{Config, Keepalive};
use crate::congestion::Algorithm;
use crate::timers::Timer;
use crate::{Instant, Tcb};
use std::fmt;
use std::time::Duration;

/// Least and largest segment size that may be asked for.
const MSS: std::ops::RangeInclusive<u16> = 88..=32_767;
/// Largest number of probes, or of SYNs sent again.
const MOST_TRIES: u8 = 127;
/// Bounds of the idle time and of the interval of keepalive.
const KEEPALIVE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(32_767);

/// A setting of one connection, with its value. `docs/sockets.md` has the names that Linux knows
/// them by, and the defaults.
#[derive(Clone, Copy, Debug)]
pub enum SocketOption {
    /// Send small segments at once (Nagle's algorithm off), and what waits now.
    NoDelay(bool),
    /// Hold a segment that is not full back until it is, the option is taken away, or 200 ms have
    /// passed.
    Cork(bool),
    /// Acknowledge at once for a while, and what is not acknowledged now; or delay
    /// acknowledgements from now on. Not permanent: the engine goes on to decide.
    QuickAck(bool),
    /// Probe an idle peer; `None`: never. Times of 1 ms to 32,767 s, 1 to 127 probes.
    Keepalive(Option<Keepalive>),
    /// Abort when something sent is not acknowledged, or cannot be sent for the peer's window, for
    /// so long (RFC 5482); `None`: after the configured number of retransmissions. It replaces the
    /// number of probes of keepalive too.
    UserTimeout(Option<Duration>),
    /// What becomes of a connection that its application lets go. `None`: it is closed in the
    /// background. Zero: it is reset, and what was not delivered is lost. Otherwise as `None`, and
    /// whoever can wait for the end waits so long.
    Linger(Option<Duration>),
    /// How long FIN-WAIT-2 lasts once nobody reads any more.
    FinWait2(Duration),
    /// Largest segment to send and, before the handshake, to be announced: bytes of payload and
    /// TCP options, 88 to 32,767. Does not raise what the path allows.
    MaxSegment(u16),
    /// Most bytes ever advertised as window; `None`: as the buffer says. Not 0.
    WindowClamp(Option<u32>),
    /// Take bytes from the application only while fewer than so many wait to be sent for the first
    /// time; `None`: the send buffer decides alone. Not 0.
    NotSentLowat(Option<u32>),
    /// Most bytes per second that leave; `None`: any number.
    MaxPacingRate(Option<u64>),
    /// Size of the send buffer, bytes, not 0: it is not adapted from then on.
    SendBuffer(u32),
    /// Size of the receive buffer, bytes, not 0: it is not adapted from then on. What was
    /// advertised before stays good.
    RecvBuffer(u32),
    /// The congestion controller; another than before starts from the windows as they are.
    Congestion(Algorithm),
    /// Least time added to the smoothed round-trip time to form the retransmission timeout.
    RtoMin(Duration),
    /// Largest retransmission timeout, 1 to 120 s.
    RtoMax(Duration),
    /// Retransmissions of a SYN before giving up, at most 127.
    SynRetries(u8),
}

/// A value outside the range that [`SocketOption`] documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange;

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("socket option out of range")
    }
}

impl std::error::Error for OutOfRange {}

impl SocketOption {
    /// Whether the value is within its range.
    ///
    /// # Errors
    /// It is not.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let long = Duration::from_secs(1)..=Duration::from_secs(120);
        let good = match *self {
            SocketOption::Keepalive(Some(k)) => {
                KEEPALIVE.contains(&k.time)
                    && KEEPALIVE.contains(&k.interval)
                    && (1..=MOST_TRIES).contains(&k.probes)
            }
            SocketOption::UserTimeout(Some(limit)) => !limit.is_zero(),
            SocketOption::MaxSegment(mss) => MSS.contains(&mss),
            SocketOption::WindowClamp(Some(bytes)) | SocketOption::NotSentLowat(Some(bytes)) => {
                bytes > 0
            }
            SocketOption::SendBuffer(bytes) | SocketOption::RecvBuffer(bytes) => bytes > 0,
            SocketOption::MaxPacingRate(Some(rate)) => rate > 0,
            SocketOption::RtoMin(least) => !least.is_zero() && least <= *long.end(),
            SocketOption::RtoMax(most) => long.contains(&most),
            SocketOption::SynRetries(tries) => tries <= MOST_TRIES,
            _ => true,
        };
        if good { Ok(()) } else { Err(OutOfRange) }
    }
}

impl Config {
    /// Take over an option, for connections to be opened. What concerns the application's buffers
    /// is for their owner.
    ///
    /// # Errors
    /// See [`SocketOption::check`].
    pub fn set(&mut self, option: &SocketOption) -> Result<(), OutOfRange> {
        option.check()?;
        match *option {
            SocketOption::NoDelay(on) => self.nagle = !on,
            SocketOption::Cork(on) => self.socket.cork = on,
            SocketOption::Keepalive(keepalive) => self.keepalive = keepalive,
            SocketOption::UserTimeout(limit) => self.socket.user_timeout = limit,
            SocketOption::Linger(linger) => self.socket.linger = linger,
            SocketOption::FinWait2(limit) => self.fin_wait_2 = limit,
            SocketOption::MaxSegment(mss) => {
                self.mss = self.mss.min(mss);
                self.socket.max_segment = Some(mss);
            }
            SocketOption::WindowClamp(clamp) => self.socket.window_clamp = clamp,
            SocketOption::NotSentLowat(lowat) => self.socket.not_sent_lowat = lowat,
            SocketOption::RecvBuffer(bytes) => self.recv_buffer = bytes,
            SocketOption::Congestion(algorithm) => self.congestion.algorithm = algorithm,
            SocketOption::RtoMin(least) => self.retransmit.min_rto = least,
            SocketOption::RtoMax(most) => self.retransmit.max_rto = most,
            SocketOption::SynRetries(tries) => self.retransmit.syn_retries = tries,
            SocketOption::MaxPacingRate(rate) => self.congestion.pacing.max_rate = rate,
            SocketOption::QuickAck(_) | SocketOption::SendBuffer(_) => {}
        }
        Ok(())
    }
}

impl Tcb {
    /// Set an option while the connection lasts. What concerns the application's buffers, and
    /// lingering, is for their owner.
    ///
    /// # Errors
    /// See [`SocketOption::check`].
    pub fn set_option(&mut self, now: Instant, option: &SocketOption) -> Result<(), OutOfRange> {
        self.config.set(option)?;
        match *option {
            SocketOption::NoDelay(true) | SocketOption::Cork(false) => self.push(),
            SocketOption::QuickAck(on) => self.acks.set_quick(on),
            SocketOption::Keepalive(keepalive) => self.restart_keepalive(now, keepalive),
            // Set again by the next poll.
            SocketOption::UserTimeout(_) => self.timers.stop(Timer::User),
            SocketOption::FinWait2(_) if self.timers.is_set(Timer::Linger) => {
                self.timers.stop(Timer::Linger);
                self.limit_fin_wait_2(now);
            }
            SocketOption::MaxPacingRate(rate) => self.set_max_pacing_rate(rate),
            SocketOption::Congestion(algorithm) => self.switch_controller(algorithm),
            SocketOption::MaxSegment(mss) => {
                self.agreed.mss = self.agreed.mss.min(u32::from(mss));
            }
            _ => {}
        }
        Ok(())
    }

    fn restart_keepalive(&mut self, now: Instant, keepalive: Option<Keepalive>) {
        self.pending.alive_probes = 0;
        match keepalive.filter(|_| self.is_synchronized()) {
            Some(keepalive) => {
                let due = self.seen.received + keepalive.time;
                self.timers.set(Timer::Keepalive, due.max(now));
            }
            None => self.timers.stop(Timer::Keepalive),
        }
    }

    /// What may be chosen for the connection, as it is now.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
