//! What was decided, with what was known then.

use super::{Candidate, Purpose, View, Why};
use crate::config::SubflowId;
use anabranch_tcp::Instant;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::time::Duration;

/// The last decisions of a connection.
#[derive(Clone, Debug)]
pub struct Log {
    entries: VecDeque<Entry>,
    capacity: usize,
    number: u64,
}

/// A decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Counts from 1.
    pub number: u64,
    /// When.
    pub at: Instant,
    /// Whose it was.
    pub scheduler: &'static str,
    /// What was to be sent.
    pub purpose: Purpose,
    /// Position of its first byte, and how many were sent; 0: it had to wait.
    pub start: u64,
    /// See `start`.
    pub bytes: u64,
    /// Which subflow took it; `None`: it had to wait.
    pub to: Option<SubflowId>,
    /// Why.
    pub why: Why,
    /// How often in a row it was decided to wait for this reason.
    pub times: u32,
    /// Bytes that waited, and those the peer's window had left.
    pub queued: u64,
    /// See `queued`.
    pub window: u64,
    /// Who could have taken it.
    pub paths: SmallVec<[Seen; 2]>,
}

/// A subflow as the scheduler saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Which.
    pub id: SubflowId,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Duration,
    /// Bytes that could leave at once.
    pub room: u64,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Bytes given to it and not acknowledged.
    pub queued: u64,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// When it would have been there that way ([`Candidate::arrival`]).
    pub arrival: Option<Duration>,
    /// It is a backup.
    pub backup: bool,
}

impl Seen {
    fn new(c: &Candidate, bytes: u64) -> Seen {
        Seen {
            id: c.id,
            srtt: c.srtt,
            rttvar: c.rttvar,
            room: c.room,
            cwnd: c.cwnd,
            queued: c.queued,
            rate: c.rate,
            arrival: c.arrival(bytes),
            backup: c.backup,
        }
    }
}

impl Log {
    /// Keeps the last `capacity` decisions, at least one.
    pub fn new(capacity: usize) -> Log {
        Log {
            entries: VecDeque::new(),
            capacity: capacity.max(1),
            number: 0,
        }
    }

    /// The decisions kept, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Something was decided; its place is told by [`Log::placed`].
    pub(crate) fn note(
        &mut self,
        view: &View<'_>,
        scheduler: &'static str,
        (to, why): (Option<SubflowId>, Why),
    ) {
        self.number += 1;
        if let Some(last) = self.entries.back_mut()
            && to.is_none()
            && (last.to, last.why, last.purpose) == (to, why, view.purpose)
        {
            last.times += 1;
            last.number = self.number;
            return;
        }
        let bytes = view.queued.min(64 << 10);
        self.keep(Entry {
            number: self.number,
            at: view.now,
            scheduler,
            purpose: view.purpose,
            start: 0,
            bytes: 0,
            to,
            why,
            times: 1,
            queued: view.queued,
            window: view.window,
            paths: view
                .candidates
                .iter()
                .map(|c| Seen::new(c, bytes))
                .collect(),
        });
    }

    /// The peer was told something about a subflow.
    pub(crate) fn told(&mut self, now: Instant, to: SubflowId, why: Why, paths: &[Candidate]) {
        self.number += 1;
        self.keep(Entry {
            number: self.number,
            at: now,
            scheduler: "steering",
            purpose: Purpose::Steer,
            start: 0,
            bytes: 0,
            to: Some(to),
            why,
            times: 1,
            queued: 0,
            window: 0,
            paths: paths.iter().map(|c| Seen::new(c, 0)).collect(),
        });
    }

    fn keep(&mut self, entry: Entry) {
        if self.entries.len() >= self.capacity {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// What was decided last became of these bytes.
    pub(crate) fn placed(&mut self, start: u64, bytes: u64) {
        if let Some(last) = self.entries.back_mut() {
            (last.start, last.bytes) = (start, bytes);
        }
    }
}
