//! Subflows that carry nothing, because the scheduler prefers another: nothing is measured of them, and
//! they could not be returned to. Where it asks for that they get a keepalive now and then, and how long
//! its answer takes is their round-trip time.

use super::{Connection, Mode};
use crate::subflow::Subflow;
use anabranch_tcp::{Instant, Segment};
use std::time::Duration;

/// An idle connection is not kept awake: so many times the interval after the last acknowledgement of
/// anything there are no more.
const GOES_ON: u32 = 3;

impl Connection {
    /// When a subflow is to be asked, where all are each so often.
    pub(super) fn inquiry_due(&self, s: &Subflow, each: Duration) -> Option<Instant> {
        let idle = s.is_active() && !s.stale && s.tcb.snd_nxt() == s.tcb.snd_una();
        let last = self.paths.active().map(|it| it.tcb.last_delivery()).max()?;
        let due = s.tcb.last_delivery().max(s.watch.inquired) + each;
        (idle && due <= last + GOES_ON * each).then_some(due)
    }

    /// How often they are asked; `None`: never.
    pub(super) fn inquiry_interval(&self) -> Option<Duration> {
        let several = self.mode == Mode::Multipath && self.paths.list.len() > 1;
        self.scheduling.inquires().filter(|_| several)
    }

    /// Asks it, if it is time.
    pub(super) fn inquire(&mut self, now: Instant, i: usize) {
        let Some(each) = self.inquiry_interval() else {
            return;
        };
        let subflow = &self.paths.list[i];
        if self.inquiry_due(subflow, each).is_some_and(|at| at <= now) {
            let subflow = &mut self.paths.list[i];
            subflow.watch.inquired = now;
            subflow.watch.inquires = true;
            subflow.tcb.request_probe();
        }
    }
}

impl Subflow {
    /// A segment arrived: it may be the answer. What comes much sooner than anything ever did is not.
    pub(super) fn note_answer(&mut self, now: Instant, segment: &Segment) {
        if !self.watch.inquires || segment.len > 0 {
            return;
        }
        let took = now.since(self.watch.inquired);
        if self.tcb.min_rtt().is_some_and(|least| took < least / 2) {
            return;
        }
        self.watch.inquires = false;
        if self.tcb.snd_nxt() == self.tcb.snd_una() {
            self.tcb.measured(now, took);
        }
    }
}
