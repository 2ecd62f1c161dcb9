//! An application by plan: what it sends, how it reads, how it ends, and a check of every byte.

use crate::pattern;
use anabranch_stack::{
    Announcement, CloseReason, FlowError, FlowId, Instant, JoinError, PathEvent, Recv, Stack,
    SubflowId,
};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What an application does with its connection. It sends the [`pattern`] of `key` and expects
/// that of `key ^ 1`.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides the bytes.
    pub key: u64,
    /// Bytes to send.
    pub send: u64,
    /// When they may be sent.
    pub pace: Pace,
    /// Most bytes for one call of `send`.
    pub write: usize,
    /// How it reads.
    pub reading: Reading,
    /// What follows the last byte sent.
    pub end: End,
    /// What it does besides, so long after the connection is established.
    pub steps: Vec<(Duration, Step)>,
    /// Join every address the peer announces, from this address.
    pub join_from: Option<SocketAddr>,
    /// Keep what is read instead of comparing it with the pattern.
    pub keep: bool,
}

/// When bytes may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As soon as there is room.
    Bulk,
    /// Once the peer has finished.
    AfterEof,
    /// `mine` bytes for every `theirs` received; who starts sends the first `mine` unasked.
    Rounds {
        /// Bytes sent in a round.
        mine: u64,
        /// Bytes received in a round.
        theirs: u64,
        /// Starts the first round.
        first: bool,
    },
}

/// How an application reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Most bytes for one call of `recv`, and in one turn if there are turns.
    pub chunk: usize,
    /// Waits so long after each turn.
    pub every: Duration,
    /// Stops once for so long, having read so many bytes.
    pub pause: Option<(u64, Duration)>,
}

/// What follows the last byte sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Half-close at once.
    Shutdown,
    /// Half-close when the peer has.
    AfterEof,
    /// Reset after so many bytes received.
    Abort(u64),
    /// Never: leaves the end to the peer, and answers its reset.
    Never,
}

/// Something done besides sending and receiving.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Opens a further subflow.
    Join {
        /// From here; port 0 is any.
        local: SocketAddr,
        /// To there.
        remote: SocketAddr,
        /// Asks to be a backup.
        backup: bool,
    },
    /// Changes the priority of a subflow.
    Backup(SubflowId, bool),
    /// Announces an address.
    Announce(Announcement),
    /// Withdraws an address.
    Withdraw(u8),
    /// Uses another scheduler, by name.
    Scheduler(&'static str),
    /// Uses another congestion control, by name.
    Congestion(&'static str),
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            key: 0,
            send: 0,
            pace: Pace::Bulk,
            write: 64 << 10,
            reading: Reading::default(),
            end: End::Shutdown,
            steps: Vec::new(),
            join_from: None,
            keep: false,
        }
    }
}

impl Default for Reading {
    fn default() -> Reading {
        Reading {
            chunk: usize::MAX,
            every: Duration::ZERO,
            pause: None,
        }
    }
}

/// A byte that was not the one sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Position of the first wrong byte.
    pub at: u64,
    /// Where in the stream the bytes delivered there belong, if anywhere near.
    pub found: Option<u64>,
}

/// Bytes that an application read; too many to print.
#[derive(Clone, Default)]
pub struct Kept(
    /// From the first on.
    pub Vec<u8>,
);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// How far an application has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Bytes the stack took.
    pub sent: u64,
    /// Bytes read.
    pub received: u64,
    /// The first wrong byte.
    pub wrong: Option<Wrong>,
    /// What was read, where the plan is to keep it.
    pub kept: Kept,
    /// The end of the peer's bytes was read, at this time.
    pub eof: Option<Instant>,
    /// The connection ended.
    pub closed: Option<(Instant, CloseReason)>,
    /// When it was established.
    pub established: Option<Instant>,
    /// Longest time between two reads that found something, or from the start to the first.
    pub longest_gap: Duration,
    /// When something was read last.
    pub last_read: Instant,
    /// Everything [`anabranch_stack::Event::Path`] told.
    pub paths: Vec<(Instant, PathEvent)>,
    /// Joins that were refused at once.
    pub refused_joins: Vec<JoinError>,
}

/// An application and its connection.
pub(crate) struct App {
    pub(crate) flow: FlowId,
    pub(crate) plan: Plan,
    pub(crate) progress: Progress,
    steps: VecDeque<(Instant, Step)>,
    /// `send` took less than it was given: wait for `Writable`.
    write_blocked: bool,
    /// `recv` found nothing: wait for an event.
    read_blocked: bool,
    next_read: Instant,
    /// Bytes left to read in this turn.
    turn: usize,
    paused: bool,
    shut: bool,
    released: bool,
}

/// How long a join waits before it tries again while the connection is not fully established.
const JOIN_RETRY: Duration = Duration::from_millis(5);

impl App {
    pub(crate) fn new(flow: FlowId, plan: Plan) -> App {
        App {
            flow,
            progress: Progress::default(),
            steps: VecDeque::new(),
            write_blocked: false,
            read_blocked: false,
            next_read: Instant(0),
            turn: plan.reading.chunk,
            paused: false,
            shut: false,
            released: false,
            plan,
        }
    }

    pub(crate) fn established(&mut self, now: Instant) {
        self.progress.established = Some(now);
        self.progress.last_read = now;
        self.steps = self
            .plan
            .steps
            .iter()
            .map(|(t, s)| (now + *t, *s))
            .collect();
        self.steps.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    pub(crate) fn readable(&mut self) {
        self.read_blocked = false;
    }

    pub(crate) fn writable(&mut self) {
        self.write_blocked = false;
    }

    pub(crate) fn closed(&mut self, now: Instant, reason: CloseReason) {
        assert_eq!(
            self.progress.closed, None,
            "Closed is the last event of a flow"
        );
        self.progress.closed = Some((now, reason));
        self.read_blocked = false;
        self.write_blocked = false;
    }

    pub(crate) fn path(&mut self, now: Instant, event: PathEvent) {
        if let (PathEvent::Announced { addr, .. }, Some(local)) = (&event, self.plan.join_from) {
            let join = Step::Join {
                local,
                remote: *addr,
                backup: false,
            };
            self.steps.push_front((now, join));
        }
        self.progress.paths.push((now, event));
    }

    /// When it wants to run next by itself.
    pub(crate) fn wake(&self) -> Option<Instant> {
        if self.released || self.progress.established.is_none() {
            return None;
        }
        let step = self.steps.front().map(|(at, _)| *at);
        let reading = !self.read_blocked && self.progress.eof.is_none();
        let read = reading.then_some(self.next_read);
        [step, read].into_iter().flatten().min()
    }

    /// Whether it has nothing to expect any more.
    pub(crate) fn is_done(&self) -> bool {
        self.released
    }

    pub(crate) fn run(&mut self, now: Instant, stack: &mut Stack) {
        if self.progress.established.is_none() && self.progress.closed.is_none() || self.released {
            return;
        }
        while self.steps.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, step)) = self.steps.pop_front() else {
                break;
            };
            self.step(now, stack, step);
        }
        self.read(now, stack);
        self.write(now, stack);
        self.finish(now, stack);
    }

    fn step(&mut self, now: Instant, stack: &mut Stack, step: Step) {
        let flow = self.flow;
        let result = match step {
            Step::Join {
                local,
                remote,
                backup,
            } => match stack.join(now, flow, local, remote, backup) {
                Err(JoinError::NotMptcp) if self.may_become_joinable(stack) => {
                    self.steps.push_front((now + JOIN_RETRY, step));
                    Ok(())
                }
                Err(error) => {
                    self.progress.refused_joins.push(error);
                    Ok(())
                }
                Ok(_) => Ok(()),
            },
            Step::Backup(subflow, on) => stack.set_backup(now, flow, subflow, on),
            Step::Announce(announcement) => stack.announce(now, flow, announcement),
            Step::Withdraw(id) => stack.withdraw(now, flow, &[id]),
            Step::Scheduler(name) => {
                let kind = name.parse().expect("the plan names a scheduler");
                stack.set_scheduler(now, flow, &kind)
            }
            Step::Congestion(name) => {
                let kind = name.parse().expect("the plan names a congestion control");
                stack.set_congestion(now, flow, kind)
            }
        };
        // A connection that ended or fell back before its step is no fault of the plan.
        debug_assert!(matches!(
            result,
            Ok(()) | Err(FlowError::NotMptcp | FlowError::NoSuchFlow | FlowError::Closed(_))
        ));
    }

    fn may_become_joinable(&self, stack: &Stack) -> bool {
        let Some(info) = stack.info(self.flow) else {
            return false;
        };
        match info.protocol {
            anabranch_stack::Protocol::Tcp => false,
            anabranch_stack::Protocol::Mptcp(mptcp) => {
                !mptcp.fallback && self.progress.closed.is_none()
            }
        }
    }

    fn read(&mut self, now: Instant, stack: &mut Stack) {
        while !self.read_blocked && now >= self.next_read && self.progress.eof.is_none() {
            let max = self.until_pause();
            match stack.recv(now, self.flow, max) {
                Ok(Recv::Data(data)) => {
                    assert!(
                        !data.is_empty() && data.len() <= max,
                        "recv(max {max}) gave {} bytes",
                        data.len()
                    );
                    self.take(now, &data);
                }
                Ok(Recv::Pending) => self.read_blocked = true,
                Ok(Recv::Finished) => self.progress.eof = Some(now),
                Ok(Recv::Closed(_)) | Err(_) => {
                    self.read_blocked = true;
                    if self.progress.closed.is_some() {
                        self.release(now, stack);
                    }
                }
            }
        }
    }

    /// Most bytes to read now: not beyond the place of the pause.
    fn until_pause(&self) -> usize {
        let chunk = self.turn;
        match self.plan.reading.pause {
            Some((at, _)) if !self.paused => {
                let left = at.saturating_sub(self.progress.received).max(1);
                chunk.min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            _ => chunk,
        }
    }

    fn take(&mut self, now: Instant, data: &[u8]) {
        let progress = &mut self.progress;
        let key = self.plan.key ^ 1;
        if self.plan.keep {
            progress.kept.0.extend_from_slice(data);
        } else if progress.wrong.is_none()
            && let Err(at) = pattern::check(key, progress.received, data)
        {
            let rest = &data[(at - progress.received) as usize..];
            let found = pattern::find(key, rest, at + (16 << 20));
            progress.wrong = Some(Wrong { at, found });
        }
        progress.received += data.len() as u64;
        progress.longest_gap = progress.longest_gap.max(now.since(progress.last_read));
        progress.last_read = now;
        self.turn -= data.len();
        if self.turn == 0 || self.plan.reading.every.is_zero() {
            self.turn = self.plan.reading.chunk;
            self.next_read = now + self.plan.reading.every;
        }
        if let Some((at, time)) = self.plan.reading.pause
            && progress.received >= at
            && !self.paused
        {
            self.paused = true;
            self.next_read = now + time;
        }
    }

    /// Position up to which may be sent.
    fn allowed(&self) -> u64 {
        let progress = &self.progress;
        let allowed = match self.plan.pace {
            Pace::Bulk => u64::MAX,
            Pace::AfterEof if progress.eof.is_some() => u64::MAX,
            Pace::AfterEof => 0,
            Pace::Rounds {
                mine,
                theirs,
                first,
            } => (progress.received / theirs + u64::from(first)).saturating_mul(mine),
        };
        allowed.min(self.plan.send)
    }

    fn write(&mut self, now: Instant, stack: &mut Stack) {
        while !self.write_blocked && !self.shut && self.progress.sent < self.allowed() {
            let left = self.allowed() - self.progress.sent;
            let len = self
                .plan
                .write
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let data = pattern::bytes(self.plan.key, self.progress.sent, len);
            match stack.send(now, self.flow, data) {
                Ok(taken) => {
                    assert!(taken <= len, "send took {taken} of {len} bytes");
                    self.progress.sent += taken as u64;
                    self.write_blocked = taken < len;
                }
                Err(_) => self.write_blocked = true,
            }
        }
    }

    fn finish(&mut self, now: Instant, stack: &mut Stack) {
        let all_sent = self.progress.sent == self.plan.send;
        let over = match self.plan.end {
            End::Shutdown => all_sent,
            End::AfterEof => all_sent && self.progress.eof.is_some(),
            End::Abort(received) => {
                if self.progress.received >= received && !self.shut {
                    self.shut = true;
                    stack.abort(now, self.flow);
                }
                false
            }
            End::Never => false,
        };
        if over && !self.shut {
            self.shut = true;
            stack.shutdown(now, self.flow);
        }
        if self.progress.closed.is_some() && (self.progress.eof.is_some() || self.read_blocked) {
            self.release(now, stack);
        }
    }

    fn release(&mut self, now: Instant, stack: &mut Stack) {
        if !self.released {
            self.released = true;
            stack.release(now, self.flow);
        }
    }
}
