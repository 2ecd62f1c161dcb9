//! Which subflow takes the next run of bytes.

mod min_rtt;

pub use min_rtt::MinRtt;

use crate::config::SubflowId;
use anabranch_tcp::Instant;
use std::fmt;
use std::time::Duration;

/// A subflow that can be used now.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Which.
    pub id: SubflowId,
    /// Smoothed round-trip time; `None` before the first measurement.
    pub srtt: Option<Duration>,
    /// Bytes that could leave at once; 0 if too few to make a run of.
    pub room: u64,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Bytes in the network.
    pub in_flight: u64,
    /// Payload bytes of a full-sized segment.
    pub mss: u32,
    /// Either side asked for it to be used only when no other is usable.
    pub backup: bool,
}

/// What a scheduler sees.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Now.
    pub now: Instant,
    /// Usable subflows, oldest first: backups only if nothing else is usable, and for data that is
    /// sent again none that has it in flight already.
    pub candidates: &'a [Candidate],
    /// Bytes waiting to be assigned.
    pub queued: u64,
    /// Bytes the peer's window has left.
    pub window: u64,
    /// Whether the run was sent before, on another subflow.
    pub reinjection: bool,
}

/// Chooses the subflow for each run of bytes: up to 64 KB, at least two segments where there is as
/// much.
pub trait Scheduler: fmt::Debug + Send {
    /// The candidate (an index) that takes the next run; `None`, or one without room: wait. Asked
    /// again after every event.
    fn pick(&mut self, view: &View<'_>) -> Option<usize>;

    /// A name for people.
    fn name(&self) -> &'static str;
}

/// The schedulers there are.
#[derive(Clone, Copy, Default, Debug)]
pub enum Kind {
    /// [`MinRtt`].
    #[default]
    MinRtt,
    /// Another, made at the start of each connection.
    Custom(fn() -> Box<dyn Scheduler>),
}

impl Kind {
    /// A new one.
    pub fn build(self) -> Box<dyn Scheduler> {
        match self {
            Kind::MinRtt => Box::new(MinRtt),
            Kind::Custom(make) => make(),
        }
    }
}
