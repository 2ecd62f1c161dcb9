//! Whether subflows that stand by would work: nothing is sent on them that would tell.

use super::{Connection, Subflow};
use crate::{Command, Health, Kind, Loss, Time};
use std::time::Duration;

/// How often figures of subflows are looked at where paths are chosen by them.
const LOOK_EACH: Duration = Duration::from_millis(200);

impl Connection {
    /// Whether the policy goes by [`crate::Event::Quality`]: the engine should give it of each
    /// subflow before [`Connection::next`] is asked at a [`Connection::deadline`].
    pub fn watches(&self) -> bool {
        self.is_choosing() || self.policy.health.is_some()
    }

    /// Paths are chosen by how they do.
    fn is_choosing(&self) -> bool {
        matches!(self.policy.kind, Kind::Handover(_)) && self.subflows.len() > 1
            || matches!(self.policy.kind, Kind::Handover(h) if !h.warm)
    }

    /// When there is something to look at.
    pub(super) fn look_at(&self) -> Option<Time> {
        let choosing = self.is_choosing().then(|| self.looked + LOOK_EACH);
        let health = self.policy.health;
        let checks = health.iter().flat_map(|health| {
            let standing = self.subflows.iter().filter(|s| stands_by(s));
            standing.map(|s| due(s, health))
        });
        choosing.into_iter().chain(checks).min()
    }

    /// Asks a subflow that stands by for a sign of life, or gives it up.
    pub(super) fn check(&mut self, now: Time) -> Option<Command> {
        if self.is_choosing() && now >= self.looked + LOOK_EACH {
            self.looked = now;
        }
        let health = self.policy.health?;
        let is_due = |s: &Subflow| stands_by(s) && due(s, &health) <= now;
        let at = self.subflows.iter().position(is_due)?;
        let subflow = &mut self.subflows[at];
        let ends = subflow.ends;
        if is_waiting(subflow) && subflow.quality.heard.is_some() {
            subflow.check.missed += 1;
        }
        if subflow.check.missed < health.tries.max(1) {
            subflow.check.asked = Some(now);
            return Some(Command::Probe { ends });
        }
        self.down(now, &ends, Loss::Passing);
        let at_once = true;
        Some(Command::Destroy { ends, at_once })
    }
}

/// Checked are backups: others show what they are worth.
fn stands_by(subflow: &Subflow) -> bool {
    subflow.is_up() && subflow.backup
}

/// It was asked, and has not answered. An engine that never tells when a subflow was heard cannot
/// ask either.
fn is_waiting(subflow: &Subflow) -> bool {
    subflow.check.asked > subflow.quality.heard
}

/// When to ask, or to ask again.
fn due(subflow: &Subflow, health: &Health) -> Time {
    let asked = subflow.check.asked;
    match is_waiting(subflow) {
        true if subflow.quality.heard.is_some() => asked.unwrap_or_default() + health.timeout,
        _ => subflow.quality.heard.max(asked).unwrap_or(subflow.since) + health.interval,
    }
}
