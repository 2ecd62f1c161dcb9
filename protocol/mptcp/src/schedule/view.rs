//! What a scheduler sees.

use crate::config::{Path, SubflowId};
use crate::send::Run;
use anabranch_tcp::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// A subflow that can be used now: established, not ending, and not suspected to be dead.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which.
    pub id: SubflowId,
    /// Its addresses.
    pub path: Path,
    /// Smoothed round-trip time; `None` before the first measurement.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Duration,
    /// Retransmission timeout, backoff included.
    pub rto: Duration,
    /// Bytes that could leave at once; 0 if too few to make a run of.
    pub room: u64,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Bytes in the network.
    pub in_flight: u64,
    /// Bytes given to it and not acknowledged: in the network or waiting to leave.
    pub queued: u64,
    /// Bytes per second at which it sends; `None` before the first measurement.
    pub rate: Option<u64>,
    /// Payload bytes ever sent.
    pub sent: u64,
    /// Payload bytes ever sent again.
    pub lost: u64,
    /// Payload bytes of a full-sized segment.
    pub mss: u32,
    /// Either side asked for it to be used only when no other is usable.
    pub backup: bool,
}

impl Candidate {
    /// When `bytes` given to it now would have arrived, from now on: what is queued before it at
    /// its rate, and half a round trip. `None` before the first measurement.
    pub fn arrival(&self, bytes: u64) -> Option<Duration> {
        let (srtt, rate) = (self.srtt?, self.rate?);
        // What is in the network leaves its queue as fast as it is acknowledged.
        let ahead = (self.queued + bytes).saturating_sub(self.cwnd);
        let wait = if self.room >= bytes.min(u64::from(self.mss)) {
            0
        } else {
            ahead.max(bytes)
        };
        Some(time(wait, rate) + srtt / 2)
    }
}

/// How long `bytes` take at `rate` bytes per second.
pub(crate) fn time(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Why a run is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It never was.
    New,
    /// The subflow that has it may not deliver it.
    Again,
    /// The scheduler wants it twice.
    Copy,
    /// Nothing is: the peer is told where it should send, or not. No scheduler is asked about that.
    Steer,
}

/// What a scheduler sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Now.
    pub now: Instant,
    /// Usable subflows, oldest first: backups only if nothing else is usable (see
    /// [`super::Scheduler::handles_backups`]), and for data that is sent again none that has it.
    pub candidates: &'a [Candidate],
    /// Bytes waiting to be assigned; of a run to be sent again, its bytes.
    pub queued: u64,
    /// Bytes the peer's window has left.
    pub window: u64,
    /// Bytes sent and not acknowledged at data level.
    pub unacked: u64,
    /// Bytes ever assigned for the first time.
    pub assigned: u64,
    /// How often the peer's window held everything up so far.
    pub blocked: u64,
    /// What is to be sent.
    pub purpose: Purpose,
    /// What is under way.
    pub runs: Runs<'a>,
}

impl<'a> View<'a> {
    /// The candidate with this ID.
    pub fn get(&self, id: SubflowId) -> Option<&'a Candidate> {
        self.candidates.iter().find(|c| c.id == id)
    }

    /// Those that could take a run at once.
    pub fn with_room(&self) -> impl Iterator<Item = &'a Candidate> + use<'a> {
        self.candidates.iter().filter(|c| c.room > 0)
    }

    /// The one with the lowest round-trip time, with room or not.
    pub fn fastest(&self) -> Option<&'a Candidate> {
        self.candidates.iter().min_by_key(|c| srtt(c))
    }

    /// Whether `fast` would stand still if `slow` took a run now: what `fast` sends until the run
    /// has arrived and is known to have, by an acknowledgement on `fast`, does not fit the peer's
    /// window beside what `slow` has.
    pub fn would_block(&self, fast: &Candidate, slow: &Candidate) -> bool {
        let (Some(rate), Some(_)) = (fast.rate, slow.srtt) else {
            return false;
        };
        if srtt(slow) <= srtt(fast) || fast.queued == 0 {
            return false;
        }
        let time = (srtt(slow) + srtt(fast)) / 2 + slow.rttvar;
        let meanwhile = u128::from(rate) * time.as_nanos() / 1_000_000_000;
        let slow_has = slow.queued + u64::from(slow.mss);
        let left = (self.window + self.unacked).saturating_sub(slow_has);
        meanwhile > u128::from(left)
    }

    /// The one with the lowest round-trip time of those with room.
    pub fn fastest_with_room(&self) -> Option<&'a Candidate> {
        self.with_room().min_by_key(|c| srtt(c))
    }
}

/// The round-trip time to reckon with. One that was not measured yet comes last. Before anything sent
/// there came back, the path's rate is not known: it is taken to be a segment a round trip.
pub(crate) fn srtt(candidate: &Candidate) -> Duration {
    let Some(srtt) = candidate.srtt else {
        return Duration::MAX;
    };
    let unknown = candidate.queued >= candidate.sent;
    let segments = candidate.queued / u64::from(candidate.mss.max(1));
    let rounds = if unknown { 1 + segments } else { 1 };
    srtt.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
}

/// A run that was sent and is not acknowledged at data level.
#[derive(Clone, Copy, Debug)]
pub struct RunView<'a> {
    /// Position of its first byte.
    pub start: u64,
    /// After its last byte; names it.
    pub end: u64,
    /// When it was first given to a subflow.
    pub at: Instant,
    /// Subflows that still have to deliver it; none: all that had it did.
    pub holders: &'a [SubflowId],
    /// Given to more than one subflow so far.
    pub again: bool,
}

impl RunView<'_> {
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }

    /// Given to one subflow only, which still has to deliver it.
    pub fn is_single(&self) -> bool {
        !self.again && self.holders.len() == 1
    }
}

/// What is under way, oldest first.
pub trait Outstanding: std::fmt::Debug {
    /// The first run that ends after `position`.
    fn after(&self, position: u64) -> Option<RunView<'_>>;
    /// The last run that ends before `position`; `u64::MAX`: the last of all.
    fn before(&self, position: u64) -> Option<RunView<'_>>;
}

/// What is under way: see [`Outstanding`].
pub type Runs<'a> = &'a dyn Outstanding;

impl Outstanding for VecDeque<Run> {
    fn after(&self, position: u64) -> Option<RunView<'_>> {
        let first = self.partition_point(|run| run.end <= position);
        self.get(first).map(Run::view)
    }

    fn before(&self, position: u64) -> Option<RunView<'_>> {
        let first = self.partition_point(|run| run.end < position);
        self.get(first.checked_sub(1)?).map(Run::view)
    }
}
