//! What is to be done.

use super::attempts::Again;
use super::{Announcement, Connection, Phase, State, Subflow};
use crate::policy::Join;
use crate::{Command, Ends, Loss, Time};
use std::time::Duration;

/// A subflow of which nothing was heard for so long after it was begun will not come any more, and
/// word of its end was lost.
const OPENING_MAX: Duration = Duration::from_secs(180);

impl Connection {
    /// The next thing to do, if any. `room` is how many further subflows limits outside of the
    /// connection leave it.
    ///
    /// Of a [`Command::Create`], [`crate::Event::SubflowUp`], [`crate::Event::SubflowDown`] or
    /// [`crate::Event::Refused`] is to follow, the last one before the next call.
    pub fn next(&mut self, now: Time, room: usize) -> Option<Command> {
        if let Some(command) = self.commands.pop_front() {
            return Some(command);
        }
        if self.phase != Phase::Running {
            return None;
        }
        self.expire(now);
        let command = self.announcement().or_else(|| self.priority(now));
        let command = command.or_else(|| self.check(now));
        let command = command.or_else(|| self.unwanted(now));
        command.or_else(|| self.join(now, room))
    }

    /// When to ask again, if nothing happens before.
    pub fn deadline(&self) -> Option<Time> {
        if self.phase != Phase::Running {
            return None;
        }
        let again = self.troubles.iter().filter_map(|t| match t.again {
            Again::At(at) => Some(at),
            _ => None,
        });
        let opening = self.subflows.iter().filter_map(|s| match s.state {
            State::Opening(since) => Some(since + OPENING_MAX),
            State::Up(_) => None,
        });
        let all = again.chain(opening).chain(self.look_at());
        all.chain(self.hold).chain(self.attempts.blocked).min()
    }

    /// Whether [`crate::Event::Carried`] makes a difference.
    pub fn counts_bytes(&self) -> bool {
        self.hold.is_some() && self.policy.delay.bytes.is_some()
    }

    /// What has come due.
    fn expire(&mut self, now: Time) {
        self.hold = self.hold.filter(|at| *at > now);
        self.attempts.blocked = None;
        for trouble in &mut self.troubles {
            if matches!(trouble.again, Again::At(at) if at <= now) {
                trouble.again = Again::Now;
            }
        }
        let late = |s: &&Subflow| matches!(s.state, State::Opening(at) if at + OPENING_MAX <= now);
        let lost: Vec<Ends> = self.subflows.iter().filter(late).map(|s| s.ends).collect();
        for ends in lost {
            let loss = Loss::Passing;
            self.on_event(now, crate::Event::SubflowDown { ends, loss });
        }
    }

    /// Makes what the peer was told what it should know.
    fn announcement(&mut self) -> Option<Command> {
        let wanted = self.policy.announced(self);
        let old = self.told.iter().position(|t| !wanted.contains(t));
        if let Some(old) = old {
            let id = self.told.remove(old).id;
            return Some(Command::Remove { id });
        }
        let new = wanted.into_iter().find(|w| !self.told.contains(w))?;
        self.told.push(new);
        let Announcement { id, addr, port } = new;
        Some(Command::Announce { id, addr, port })
    }

    /// Makes a subflow a backup, or not, as it should be; first those that are none any more, so
    /// that there always is one.
    fn priority(&mut self, now: Time) -> Option<Command> {
        let wrong =
            |s: &&Subflow| s.is_up() && s.ours && self.policy.backup(self, now, s) != s.backup;
        let all = self.subflows.iter().filter(wrong);
        let ends = all.min_by_key(|s| !s.backup)?.ends;
        let at = self.subflows.iter().position(|s| s.ends == ends)?;
        let subflow = &mut self.subflows[at];
        subflow.backup = !subflow.backup;
        let (ends, backup) = (subflow.ends, subflow.backup);
        Some(Command::SetPriority { ends, backup })
    }

    /// Ends a subflow that is too many.
    fn unwanted(&mut self, now: Time) -> Option<Command> {
        let up = self.subflows.iter().filter(|s| s.is_up()).count();
        let excess = (up > self.policy.limits.subflows)
            .then(|| {
                self.subflows
                    .iter()
                    .rposition(|s| s.is_up() && s.ends != self.first)
            })
            .flatten();
        let at = excess.or_else(|| {
            let ends = self.policy.unwanted(self, now)?;
            self.subflows.iter().position(|s| s.ends == ends)
        })?;
        let (ends, at_once) = (self.subflows.remove(at).ends, false);
        Some(Command::Destroy { ends, at_once })
    }

    fn join(&mut self, now: Time, room: usize) -> Option<Command> {
        let full = self.subflows.len() >= self.policy.limits.subflows || room == 0;
        if full || self.hold.is_some() {
            return None;
        }
        let Join { from, to, backup } = self.policy.wanted(self, now)?;
        if !to.proven && !self.attempts.spend(now) {
            return None;
        }
        let ends = Ends {
            local: from.addr,
            remote: to.addr,
        };
        self.subflows
            .push(Subflow::new(ends, State::Opening(now), backup));
        Some(Command::Create {
            from,
            remote_id: to.id,
            to: to.addr,
            backup,
        })
    }
}
