//! Asking the scheduler, and holding its answers against what can be.

use super::Connection;
use super::assign::least_run;
use crate::config::SubflowId;
use crate::event::Event;
use crate::schedule::{
    Candidate, Copy, Decision, Log, MinRtt, Purpose, RunView, Scheduler, View, Why,
};
use crate::send::Run;
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use smallvec::SmallVec;
use std::time::Duration;

/// Subflows that may take something.
type Candidates = SmallVec<[Candidate; 4]>;

/// The scheduler, and what is remembered of its answers.
#[derive(Debug)]
pub(crate) struct Scheduling {
    scheduler: Box<dyn Scheduler>,
    /// Where decisions are kept, if anybody wants to know.
    log: Option<Box<Log>>,
    /// Why nothing may be sent at all.
    stuck: Option<Why>,
    /// When it was last asked.
    asked: Instant,
    /// The peer's window holds everything up.
    pub(super) window_blocked: bool,
}

/// What an answer comes to.
enum Verdict {
    Send(SubflowId),
    Wait,
    /// Told for the first time.
    Stuck(Why),
}

impl Scheduling {
    pub(crate) fn new(scheduler: Box<dyn Scheduler>) -> Scheduling {
        Scheduling {
            scheduler,
            log: None,
            stuck: None,
            asked: Instant::default(),
            window_blocked: false,
        }
    }

    pub(crate) fn log(&self) -> Option<&Log> {
        self.log.as_deref()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.scheduler.name()
    }

    pub(super) fn copies(&self) -> bool {
        self.scheduler.copies()
    }

    /// It alone decides which path has what.
    pub(super) fn hands_over(&self) -> bool {
        self.scheduler.handles_backups()
    }

    /// The peer was told something about a subflow.
    pub(super) fn told(&mut self, now: Instant, id: SubflowId, why: Why, seen: &[Candidate]) {
        if let Some(log) = &mut self.log {
            log.told(now, id, why, seen);
        }
    }

    pub(super) fn asked(&mut self, now: Instant) {
        self.asked = now;
    }

    /// How often subflows that carry nothing are to be asked how they do.
    pub(super) fn inquires(&self) -> Option<Duration> {
        self.scheduler.inquires()
    }

    /// When to ask again though nothing happened. What was due when it was last asked is past.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.scheduler.wake().filter(|at| *at > self.asked)
    }

    /// What was decided last was done.
    pub(super) fn sent(&mut self, now: Instant, to: SubflowId, run: &Run, purpose: Purpose) {
        self.stuck = None;
        self.scheduler.sent(now, to, run.len(), purpose);
        if let Some(log) = &mut self.log {
            log.placed(run.start, run.len());
        }
    }

    /// Ask, and let [`MinRtt`] decide where the answer cannot be followed.
    fn decide(&mut self, view: &View<'_>, refused: &mut u64) -> Verdict {
        let mut decision = self.scheduler.pick(view);
        let mut name = self.scheduler.name();
        let possible = match decision {
            Decision::Send(id, _) => view.get(id).is_some_and(|c| c.room > 0),
            Decision::Wait(_) => self.will_be_asked(view),
            Decision::Never(_) => true,
        };
        if !possible {
            *refused += 1;
            (decision, name) = (MinRtt.pick(view), "minrtt");
        }
        if let Some(log) = &mut self.log {
            let entry = match decision {
                Decision::Send(id, why) => (Some(id), why),
                Decision::Wait(why) | Decision::Never(why) => (None, why),
            };
            log.note(view, name, entry);
        }
        match decision {
            Decision::Send(id, _) => Verdict::Send(id),
            Decision::Never(why) if self.stuck != Some(why) => {
                self.stuck = Some(why);
                Verdict::Stuck(why)
            }
            Decision::Wait(_) | Decision::Never(_) => Verdict::Wait,
        }
    }

    /// Whether something will happen that lets it be asked again: an acknowledgement, or its own
    /// time.
    fn will_be_asked(&self, view: &View<'_>) -> bool {
        let full = view.candidates.iter().all(|c| c.room == 0);
        full || self.wake().is_some() || view.candidates.iter().any(|c| c.queued > 0)
    }

    /// Ask for a copy; one that cannot be made ends the asking for now.
    fn decide_copy(&mut self, view: &View<'_>, refused: &mut u64) -> Option<Copy> {
        let copy = self.scheduler.copy(view)?;
        let free = view.get(copy.to).is_some_and(|c| c.room > 0);
        let run = view.runs.after(copy.run.saturating_sub(1));
        let names = |run: &RunView<'_>| run.end == copy.run && !run.holders.contains(&copy.to);
        if !(free && run.as_ref().is_some_and(names)) {
            *refused += 1;
            return None;
        }
        if let Some(log) = &mut self.log {
            log.note(view, self.scheduler.name(), (Some(copy.to), copy.why));
        }
        Some(copy)
    }
}

/// What an owner may choose and look at.
impl Connection {
    /// Use another scheduler from now on. What was given to subflows stays there.
    pub fn set_scheduler(&mut self, scheduler: Box<dyn Scheduler>) {
        self.scheduling.scheduler = scheduler;
        self.scheduling.stuck = None;
        self.dirty = true;
    }

    /// Why the scheduler lets nothing be sent on any subflow, if that is so.
    pub fn stuck(&self) -> Option<Why> {
        self.scheduling.stuck
    }

    /// Keep the last so many decisions of the scheduler, from now on; `None`: none, which costs
    /// nothing.
    pub fn set_decision_log(&mut self, capacity: Option<usize>) {
        self.scheduling.log = capacity.map(|capacity| Box::new(Log::new(capacity)));
    }

    /// The decisions kept since [`Connection::set_decision_log`]; `None`: none are.
    pub fn decision_log(&self) -> Option<&Log> {
        self.scheduling.log()
    }
}

/// Asking.
impl Connection {
    /// Subflows that may take a run now; `again` if it was sent before.
    pub(super) fn candidates(&self, again: Option<&Run>, queued: u64) -> Candidates {
        let all = self.scheduling.scheduler.handles_backups();
        let usable = |s: &&Subflow| self.usable(s);
        let list = || self.paths.list.iter().filter(usable);
        let regular = !all && list().any(|s| !s.backup.any());
        let list = list().filter(|s| !(regular && s.backup.any()));
        let list = list.filter(|s| again.is_none_or(|run| !run.held_by(s.id)));
        list.map(|s| self.candidate(s, again.is_some(), queued))
            .collect()
    }

    /// Subflows that may take a copy of something.
    pub(super) fn candidates_for_copies(&self) -> Candidates {
        let list = self.paths.list.iter().filter(|s| self.usable(s));
        let all = self.scheduling.scheduler.handles_backups();
        let list = list.filter(|s| all || !s.backup.any());
        list.map(|s| self.candidate(s, true, u64::from(s.tcb.mss())))
            .collect()
    }

    /// Whether a subflow may be given data: it is active and delivers, or none does.
    fn usable(&self, s: &Subflow) -> bool {
        s.is_active() && (!s.stale || self.paths.active().all(|s| s.stale))
    }

    pub(super) fn candidate(&self, s: &Subflow, again: bool, queued: u64) -> Candidate {
        let room = s.tcb.room();
        let enough = if again {
            room > 0 && room >= queued.min(least_run(s))
        } else {
            self.tx.fit(&self.fit_of(s)).is_some()
        };
        let stats = s.tcb.stats();
        Candidate {
            id: s.id,
            path: s.path,
            srtt: s.tcb.srtt(),
            rttvar: s.tcb.rttvar().unwrap_or_default(),
            rto: s.tcb.rto(),
            room: if enough { room } else { 0 },
            cwnd: s.tcb.cwnd(),
            in_flight: s.tcb.in_flight(),
            queued: s.tcb.snd_end() - s.tcb.snd_una(),
            rate: s.tcb.srtt().map(|srtt| rate(s, srtt)),
            sent: stats.bytes_out,
            lost: stats.bytes_retransmitted,
            mss: s.tcb.mss(),
            backup: s.backup.any(),
        }
    }

    /// Who takes the next run.
    pub(super) fn pick(
        &mut self,
        now: Instant,
        candidates: &[Candidate],
        queued: u64,
        purpose: Purpose,
    ) -> Option<SubflowId> {
        if candidates.is_empty() {
            return None;
        }
        let view = view(now, &self.tx, (candidates, queued), purpose, &self.counters);
        let mut refused = 0;
        let verdict = self.scheduling.decide(&view, &mut refused);
        self.counters.schedule_refused += refused;
        match verdict {
            Verdict::Send(id) => Some(id),
            Verdict::Wait => None,
            Verdict::Stuck(why) => {
                self.events.push(Event::Stuck(why));
                None
            }
        }
    }

    /// A copy to be made now.
    pub(super) fn pick_copy(&mut self, now: Instant, candidates: &[Candidate]) -> Option<Copy> {
        let (queued, purpose) = (self.tx.unassigned(), Purpose::Copy);
        let view = view(now, &self.tx, (candidates, queued), purpose, &self.counters);
        let mut refused = 0;
        let copy = self.scheduling.decide_copy(&view, &mut refused);
        self.counters.schedule_refused += refused;
        copy
    }
}

fn view<'a>(
    now: Instant,
    tx: &'a crate::send::SendQueue,
    (candidates, queued): (&'a [Candidate], u64),
    purpose: Purpose,
    counters: &crate::Counters,
) -> View<'a> {
    View {
        now,
        candidates,
        queued,
        window: tx.window(),
        unacked: tx.next() - tx.una(),
        assigned: tx.next(),
        blocked: counters.window_blocked,
        purpose,
        runs: tx.runs(),
    }
}

/// Bytes per second: a window a round trip, or less where the controller says so.
fn rate(s: &Subflow, srtt: Duration) -> u64 {
    let window = u128::from(s.tcb.cwnd()) * 1_000_000_000 / srtt.as_nanos().max(1);
    let window = u64::try_from(window).unwrap_or(u64::MAX);
    s.tcb
        .pacing_rate()
        .map_or(window, |paced| paced.min(window))
}
