//! Which subflow takes the next run of bytes.
//!
//! A [`Scheduler`] is asked whenever there is something to send and some subflow might take it. It
//! sees a [`View`]: the subflows that can be used now ([`Candidate`]), how much waits, how much the
//! peer takes, and what is under way. It answers with a [`Decision`]. It never sees bytes, cannot
//! lose or reorder any, and can be exchanged at any time: what was decided before stands.
//!
//! To write another, implement [`Scheduler::pick`] and [`Scheduler::name`]; the other methods have
//! defaults that do nothing. Make it known by [`Kind::Custom`]. [`MinRtt`] is the smallest example,
//! [`RoundRobin`] one with memory, [`Redundant`] one that sends things twice.
//!
//! What the owner sees to, so that no scheduler has to:
//!
//! * A run sent again keeps its boundaries, and goes to no subflow that still has it.
//! * Backups are shown only while nothing else is usable, unless the scheduler
//!   [handles them itself](Scheduler::handles_backups).
//! * An answer that cannot be (a subflow that is closed, unknown or full, a copy of a run that is
//!   not there, waiting for something that will never come) is refused and counted
//!   ([`crate::Counters::schedule_refused`]), and [`MinRtt`] decides instead.

mod adaptive;
mod backup;
mod blest;
mod ecf;
mod kind;
mod log;
mod min_rtt;
mod path_rule;
mod redundant;
mod round_robin;
pub(crate) mod settings;
mod thresholds;
mod view;
mod weighted;

pub use adaptive::Adaptive;
pub use backup::Backup;
pub use blest::Blest;
pub use ecf::Ecf;
pub use kind::{Kind, UnknownScheduler};
pub use log::{Entry, Log, Seen};
pub use min_rtt::MinRtt;
pub use path_rule::PathRule;
pub use redundant::Redundant;
pub use round_robin::RoundRobin;
pub use thresholds::Thresholds;
pub use view::{Candidate, Outstanding, Purpose, RunView, Runs, View};
pub use weighted::Weighted;

use crate::config::SubflowId;
use anabranch_tcp::Instant;
use std::fmt;
use std::time::Duration;

/// Why, in a few words for people: `lowest round-trip time`.
pub type Why = &'static str;

/// What becomes of the next run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// This subflow takes it.
    Send(SubflowId, Why),
    /// None now. It is asked again after every event: an acknowledgement, new bytes, the time of
    /// [`Scheduler::wake`].
    Wait(Why),
    /// None of these, for as long as nothing is changed by hand: the application is told
    /// ([`crate::Event::Stuck`]) rather than left waiting.
    Never(Why),
}

/// Send a run that is under way elsewhere once more, before its subflow failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The position after its last byte names it ([`RunView::end`]).
    pub run: u64,
    /// Which subflow takes the copy.
    pub to: SubflowId,
    /// Why.
    pub why: Why,
}

/// Chooses the subflow for each run of bytes: up to 64 KB, at least two segments where there is as
/// much.
pub trait Scheduler: fmt::Debug + Send {
    /// A name for people, as [`Kind`] parses it.
    fn name(&self) -> &'static str;

    /// Who takes the next run, of new bytes or of bytes sent before ([`View::purpose`]). There is
    /// at least one candidate. Those without [`Candidate::room`] are there to be waited for.
    fn pick(&mut self, view: &View<'_>) -> Decision;

    /// It makes copies: otherwise [`Scheduler::copy`] is not asked.
    fn copies(&self) -> bool {
        false
    }

    /// A copy to be made now of something that is under way; asked before [`Scheduler::pick`],
    /// again and again until `None`, where there is more than one subflow.
    fn copy(&mut self, view: &View<'_>) -> Option<Copy> {
        let _ = view;
        None
    }

    /// What was decided was done: `bytes` of a run were given to a subflow. The length of a run of
    /// new bytes is known only now.
    fn sent(&mut self, now: Instant, to: SubflowId, bytes: u64, purpose: Purpose) {
        let _ = (now, to, bytes, purpose);
    }

    /// When to ask again though nothing happened; `None`: there is no need.
    fn wake(&self) -> Option<Instant> {
        None
    }

    /// How often subflows that carry nothing are to be asked for their round-trip time, at least a
    /// second (Linux answers no more often than twice in one); `None`: nothing depends on it.
    fn inquires(&self) -> Option<Duration> {
        None
    }

    /// It is shown backups at all times, and decides when to use them.
    fn handles_backups(&self) -> bool {
        false
    }
}
