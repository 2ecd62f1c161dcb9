//! A subflow as the policy sees it.

use crate::{Ends, Quality, Thresholds, Time};

/// How far a subflow is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Being opened, since then.
    Opening(Time),
    /// Established, since then.
    Up(Time),
}

/// A subflow: up, or on its way.
#[derive(Clone, Debug)]
pub(crate) struct Subflow {
    pub(crate) ends: Ends,
    /// Our address ID, once known.
    pub(crate) local_id: Option<u8>,
    pub(crate) state: State,
    /// We opened it.
    pub(crate) ours: bool,
    /// What the peer was told last.
    pub(crate) backup: bool,
    pub(crate) quality: Quality,
    /// Since when it has been good, or bad.
    pub(crate) good: bool,
    pub(crate) since: Time,
    pub(crate) check: Check,
}

/// Where the check of a subflow that stands by is.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Check {
    /// When it was asked last.
    pub(crate) asked: Option<Time>,
    /// Answers missed since it was heard last.
    pub(crate) missed: u32,
}

/// A subflow as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubflowState {
    /// Its ends; the local port is 0 while it is not known.
    pub ends: Ends,
    /// How far it is.
    pub state: State,
    /// We opened it.
    pub ours: bool,
    /// It is a backup of ours.
    pub backup: bool,
    /// It does well, as far as is known.
    pub good: bool,
}

impl From<&Subflow> for SubflowState {
    fn from(s: &Subflow) -> SubflowState {
        SubflowState {
            ends: s.ends,
            state: s.state,
            ours: s.ours,
            backup: s.backup,
            good: s.good,
        }
    }
}

impl Subflow {
    pub(crate) fn new(ends: Ends, state: State, backup: bool) -> Subflow {
        let (State::Opening(since) | State::Up(since)) = state;
        Subflow {
            ends,
            local_id: None,
            state,
            ours: true,
            backup,
            quality: Quality::default(),
            good: true,
            since,
            check: Check::default(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether it has been up for so long.
    pub(crate) fn lasted(&self, now: Time, long: Time) -> bool {
        matches!(self.state, State::Up(since) if now >= since + long)
    }

    /// The same, or one that is being opened and whose local port was not known yet.
    pub(crate) fn is(&self, ends: &Ends) -> bool {
        let port = |p: u16| p == 0 || p == ends.local.port() || ends.local.port() == 0;
        self.ends.local.ip() == ends.local.ip()
            && self.ends.remote == ends.remote
            && (self.ends.local.port() == ends.local.port()
                || !self.is_up() && port(self.ends.local.port()))
    }

    /// Takes figures; a path that makes no progress is bad whatever they say.
    pub(crate) fn judge(&mut self, now: Time, quality: Quality, limits: &Thresholds) {
        if quality.heard > self.quality.heard {
            self.check.missed = 0;
        }
        self.quality = Quality {
            heard: quality.heard.max(self.quality.heard),
            ..quality
        };
        let slow = quality.srtt.is_some_and(|srtt| srtt >= limits.srtt);
        let late = quality.rto.is_some_and(|rto| rto >= limits.rto);
        let good = !(quality.stale || slow || late);
        if good != self.good {
            (self.good, self.since) = (good, now);
        }
    }

    /// Whether it has done well for so long.
    pub(crate) fn has_been_good(&self, now: Time, long: Time) -> bool {
        self.is_up() && self.good && now >= self.since + long
    }
}
