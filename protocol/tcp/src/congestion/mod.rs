//! Congestion control behind one small trait.

mod cubic;
mod hystart;
mod newreno;

use crate::Instant;
use cubic::Cubic;
use newreno::NewReno;
use std::fmt;
use std::time::Duration;

/// Which controller a connection uses.
#[derive(Clone, Copy, Debug, Default)]
pub enum Algorithm {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// NewReno (RFC 5681).
    NewReno,
    /// Another, made at the start of each connection.
    Custom(fn(Init) -> Box<dyn Controller>),
}

impl Algorithm {
    /// A controller of this kind.
    pub fn start(self, init: Init) -> Box<dyn Controller> {
        match self {
            Algorithm::Cubic => Box::new(Cubic::new(init)),
            Algorithm::NewReno => Box::new(NewReno::new(init)),
            Algorithm::Custom(make) => make(init),
        }
    }
}

/// What a controller starts from.
#[derive(Clone, Copy, Debug)]
pub struct Init {
    /// Payload bytes of a full-sized segment.
    pub mss: u32,
    /// Initial window, bytes.
    pub initial_window: u64,
}

/// An acknowledgement that delivered something new, as a controller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// Now.
    pub now: Instant,
    /// Bytes it showed to be delivered.
    pub acked: u64,
    /// Bytes in the network after it.
    pub pipe: u64,
    /// Payload bytes of a full-sized segment.
    pub mss: u32,
    /// Round-trip time measured by it, if it was unambiguous.
    pub rtt: Option<Duration>,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// The window (not the application or the peer) limited sending.
    pub limited: bool,
    /// Position up to which everything is acknowledged.
    pub snd_una: u64,
    /// Next position to be sent for the first time: marks a round.
    pub snd_nxt: u64,
}

/// A congestion controller: windows in bytes.
///
/// Recovery itself (what to send again and when) is not its business: it is told of events and
/// answers with `cwnd` and `ssthresh`.
pub trait Controller: fmt::Debug + Send {
    /// Congestion window, bytes.
    fn cwnd(&self) -> u64;
    /// Slow start threshold, bytes; `u64::MAX` until the first loss.
    fn ssthresh(&self) -> u64;
    /// New data was acknowledged outside of recovery.
    fn on_ack(&mut self, ack: &Ack);
    /// A loss was found by acknowledgements, at most once for each window: set `ssthresh`
    /// (`flight` bytes were outstanding), and the window for after recovery.
    fn on_loss(&mut self, now: Instant, flight: u64, mss: u32);
    /// The peer reported packets that the network marked instead of dropping them, at most once
    /// for each window: by default as a loss (RFC 3168 §5).
    fn on_ecn(&mut self, now: Instant, flight: u64, mss: u32) {
        self.on_loss(now, flight, mss);
    }
    /// The retransmission timer expired: set `ssthresh` (only when `first` of a series), and the
    /// window to one segment.
    fn on_rto(&mut self, now: Instant, flight: u64, mss: u32, first: bool);
    /// The last reduction was spurious: back to what was before it.
    fn undo(&mut self);
    /// Nothing was sent for a while: start again from the window `restart` if that is less.
    fn on_idle(&mut self, restart: u64);
    /// Set the window, as a scheduler may that penalises a slow path.
    fn set_cwnd(&mut self, cwnd: u64);
    /// A name for people.
    fn name(&self) -> &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `acked` bytes delivered at `now` nanoseconds, with segments of 1000 bytes.
    pub(super) fn ack(now: u64, acked: u64) -> Ack {
        Ack {
            now: Instant(now),
            acked,
            pipe: 0,
            mss: 1000,
            rtt: None,
            srtt: Duration::from_millis(10),
            limited: true,
            snd_una: 0,
            snd_nxt: 0,
        }
    }
}
