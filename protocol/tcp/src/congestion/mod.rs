//! Congestion control behind one small trait.

mod bbr;
mod cubic;
mod drain;
mod hystart;
mod newreno;

use crate::Instant;
use crate::rest::{Pack, Parcel};
use bbr::Bbr;
use cubic::Cubic;
use newreno::NewReno;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Which controller a connection uses.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
#[allow(unpredictable_function_pointer_comparisons)]
pub enum Algorithm {
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// NewReno (RFC 5681).
    NewReno,
    /// BBR version 3 (draft-ietf-ccwg-bbr). It wants selective acknowledgements.
    Bbr,
    /// Another, made at the start of each connection.
    Custom(fn(Init) -> Box<dyn Controller>),
}

impl Pack for Algorithm {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let known = [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr];
        let at = known.iter().position(|kind| kind == self);
        if parcel.is_filled() && at.is_none() {
            return parcel.refuse();
        }
        let mut at = at.unwrap_or(0);
        at.pack(parcel);
        *self = known.get(at).copied().unwrap_or_default();
    }
}

impl Algorithm {
    /// A controller of this kind.
    pub fn start(self, init: Init) -> Box<dyn Controller> {
        match self {
            Algorithm::Cubic => Box::new(Cubic::new(init)),
            Algorithm::NewReno => Box::new(NewReno::new(init)),
            Algorithm::Bbr => Box::new(Bbr::new(init)),
            Algorithm::Custom(make) => make(init),
        }
    }
}

/// As Linux names them, where it has them.
impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Algorithm::Cubic => "cubic",
            Algorithm::NewReno => "reno",
            Algorithm::Bbr => "bbr",
            Algorithm::Custom(_) => "custom",
        })
    }
}

/// A name that is no algorithm's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownAlgorithm(String);

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no congestion control named {:?}: cubic, reno or bbr",
            self.0
        )
    }
}

impl std::error::Error for UnknownAlgorithm {}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Algorithm, UnknownAlgorithm> {
        match name {
            "cubic" => Ok(Algorithm::Cubic),
            "reno" | "newreno" => Ok(Algorithm::NewReno),
            "bbr" => Ok(Algorithm::Bbr),
            _ => Err(UnknownAlgorithm(name.to_owned())),
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
    /// Round-trip time measured by the handshake.
    pub srtt: Option<Duration>,
    /// A mark reduces the window by less than a loss does (RFC 8511).
    pub abe: bool,
    /// Decides all chances.
    pub seed: u64,
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
    /// Sending stopped at the window during the last round.
    pub cwnd_limited: bool,
    /// Selective acknowledgements tell of more than one loss in a round.
    pub sack: bool,
    /// Most bytes that one acknowledgement counts for in slow start (RFC 3465, RFC 9406 §4.2: L).
    pub limit: u64,
}

/// What an acknowledgement says of the delivery rate (draft-ietf-ccwg-bbr §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RateSample {
    /// Bytes per second over `interval`; 0: it gives none.
    pub delivery_rate: u64,
    /// The longer of the times that sending and acknowledging `delivered` took.
    pub interval: Duration,
    /// Bytes delivered since the newest segment acknowledged was sent.
    pub delivered: u64,
    /// Bytes delivered before that segment was sent; `None`: nothing was delivered.
    pub prior_delivered: Option<u64>,
    /// Bytes that had been lost when that segment was sent.
    pub prior_lost: u64,
    /// Bytes in the network when that segment was sent, itself included.
    pub tx_in_flight: u64,
    /// The application, not the network, limited the rate.
    pub app_limited: bool,
    /// Bytes this acknowledgement showed to be delivered.
    pub newly_acked: u64,
    /// Bytes ever delivered.
    pub total_delivered: u64,
    /// Bytes lost since the newest segment acknowledged was sent.
    pub lost: u64,
    /// Bytes this acknowledgement showed to be lost.
    pub newly_lost: u64,
}

/// Something that was found to be lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Its positions.
    pub start: u64,
    /// After its last position.
    pub end: u64,
    /// Bytes lost since it was sent, itself included.
    pub lost: u64,
    /// Bytes in the network when it was sent, itself included.
    pub tx_in_flight: u64,
    /// The application had left the network with room.
    pub app_limited: bool,
    /// Bytes ever delivered.
    pub total_delivered: u64,
}

/// How the owner of several connections weighs the steps of one, so that all of them together take
/// what is fair: NewReno follows it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Steer {
    /// Segments by which the window grows for each window acknowledged in congestion avoidance;
    /// below 0 it shrinks, to two segments at least.
    pub gain: f64,
    /// What is kept of the window at a loss, 0 to 1.
    pub keep: f64,
    /// Slow start ends now.
    pub end_slow_start: bool,
    /// What is kept of the window now, once, 0 to 1.
    pub now: f64,
}

crate::packed!(Steer {
    gain,
    keep,
    end_slow_start,
    now
});

/// As if it were alone.
impl Default for Steer {
    fn default() -> Steer {
        Steer {
            gain: 1.0,
            keep: 0.5,
            end_slow_start: false,
            now: 1.0,
        }
    }
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
    /// Every acknowledgement that delivered something or found something lost, in recovery or
    /// not, before [`Controller::on_ack`].
    fn on_sample(&mut self, ack: &Ack, sample: &RateSample) {
        let _ = (ack, sample);
    }
    /// Something was found to be lost, before the sample of the same acknowledgement.
    fn on_lost(&mut self, lost: &Lost) {
        let _ = lost;
    }
    /// All that was outstanding when a loss was found is acknowledged.
    fn recovered(&mut self) {}
    /// About to send after the application left the network empty.
    fn on_restart(&mut self, now: Instant) {
        let _ = now;
    }
    /// Bytes per second at which to send; `None`: as the window over the round-trip time says.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
    /// During recovery the window follows proportional rate reduction towards `ssthresh`
    /// (RFC 6937), rather than being [`Controller::cwnd`].
    fn reduces_proportionally(&self) -> bool {
        true
    }
    /// What is sent now is held back on purpose: rates measured of it say nothing of the path.
    fn is_probing_rtt(&self) -> bool {
        false
    }
    /// Set the window, as a scheduler may that penalises a slow path.
    fn set_cwnd(&mut self, cwnd: u64);
    /// Weigh steps from now on, see [`Steer`]; a controller with laws of its own ignores it.
    fn steer(&mut self, steer: Steer) {
        let _ = steer;
    }
    /// Take the place of another controller whose slow start ended at `ssthresh`.
    fn take_over(&mut self, ssthresh: u64) {
        let _ = ssthresh;
    }
    /// A name for people.
    fn name(&self) -> &'static str;
    /// Writes itself down, or becomes what was written down of another of its kind (see
    /// [`crate::rest`]); by default it cannot, and its connection stays as large as it is when
    /// idle.
    fn rest(&mut self, parcel: &mut Parcel<'_>) {
        parcel.refuse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of 1000 bytes.
    pub(super) fn init(initial_window: u64) -> Init {
        Init {
            mss: 1000,
            initial_window,
            srtt: None,
            abe: false,
            seed: 1,
        }
    }

    #[test]
    fn algorithms_are_known_by_name() {
        for name in ["cubic", "reno", "bbr"] {
            let algorithm: Algorithm = name.parse().expect(name);
            assert_eq!(algorithm.to_string(), name);
        }
        assert!("vegas".parse::<Algorithm>().is_err());
    }

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
            cwnd_limited: true,
            sack: true,
            limit: u64::MAX,
        }
    }
}
