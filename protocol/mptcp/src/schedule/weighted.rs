//! Shares, costs, quotas and rates of paths.

use super::view::time;
use super::{Candidate, Decision, PathRule, Purpose, Scheduler, View};
use crate::config::SubflowId;
use anabranch_tcp::Instant;
use std::time::Duration;

/// A pause earns so much time of a capped rate.
const CREDIT: Duration = Duration::from_millis(10);
/// A subflow that was full catches up so many bytes at most, at a weight of 1.
const CATCH_UP: u64 = 1 << 20;
/// Subflows remembered.
const MOST: usize = 16;

/// Subflows share by weight within the cheapest class that has one to offer. Rules are tried in
/// order, and the first that fits a subflow holds; where none does, it has a weight of 1. Whoever
/// is full is passed over.
#[derive(Clone, Debug)]
pub struct Weighted {
    /// The last one fits all.
    rules: Vec<(PathRule, Usage)>,
    turns: Vec<Turn>,
    wake: Option<Instant>,
}

/// What was sent by a rule; a subflow that comes again finds it used.
#[derive(Clone, Copy, Default, Debug)]
struct Usage {
    sent: u64,
    /// When its rate allows more.
    next: Instant,
}

/// Bytes over weight: who has the least is next.
#[derive(Clone, Copy, Debug)]
struct Turn {
    id: SubflowId,
    rule: usize,
    had: u64,
}

impl Default for Weighted {
    fn default() -> Weighted {
        Weighted::new(Vec::new())
    }
}

impl Weighted {
    /// With these rules.
    pub fn new(mut rules: Vec<PathRule>) -> Weighted {
        rules.push(PathRule::default());
        let rules = rules.into_iter().map(|rule| (rule, Usage::default()));
        Weighted {
            rules: rules.collect(),
            turns: Vec::new(),
            wake: None,
        }
    }

    /// `ADDR weight=3 class=1 quota=1G rate=5M; …`, with `*` for any address.
    pub(super) fn parse(text: &str) -> Result<Vec<PathRule>, String> {
        let rules = text.split(';').map(str::trim);
        rules
            .filter(|rule| !rule.is_empty())
            .map(PathRule::parse)
            .collect()
    }

    /// The turn of a subflow; a new one starts where the furthest is.
    fn turn(&mut self, c: &Candidate) -> Turn {
        if let Some(known) = self.turns.iter().find(|turn| turn.id == c.id) {
            return *known;
        }
        let ends = [c.path.local.ip(), c.path.remote.ip()];
        let fits = |rule: &PathRule| rule.addr.is_none_or(|addr| ends.contains(&addr));
        let rule = self.rules.iter().position(|(rule, _)| fits(rule));
        let turn = Turn {
            id: c.id,
            rule: rule.unwrap_or(self.rules.len() - 1),
            had: self.furthest(),
        };
        if self.turns.len() >= MOST {
            self.turns.remove(0);
        }
        self.turns.push(turn);
        turn
    }

    fn furthest(&self) -> u64 {
        self.turns.iter().map(|turn| turn.had).max().unwrap_or(0)
    }
}

impl Scheduler for Weighted {
    fn name(&self) -> &'static str {
        "weighted"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let turns: Vec<_> = view.candidates.iter().map(|c| (c, self.turn(c))).collect();
        let rules = &self.rules;
        let may = |turn: &Turn| {
            let (rule, usage) = &rules[turn.rule];
            rule.weight > 0 && rule.quota.is_none_or(|quota| usage.sent < quota)
        };
        let allowed = || turns.iter().filter(|(_, turn)| may(turn));
        let class = allowed().map(|(_, turn)| rules[turn.rule].0.class).min();
        let Some(class) = class else {
            return Decision::Never("weights of zero or used-up quotas leave no path");
        };
        let cheapest = || allowed().filter(|(_, turn)| rules[turn.rule].0.class == class);
        let due = |turn: &Turn| rules[turn.rule].1.next <= view.now;
        let ready = cheapest().filter(|(c, turn)| c.room > 0 && due(turn));
        if let Some((c, _)) = ready.min_by_key(|(_, turn)| turn.had) {
            return Decision::Send(c.id, "it has had least of its share");
        }
        let early = cheapest().filter(|(_, turn)| !due(turn));
        self.wake = early.map(|(_, turn)| rules[turn.rule].1.next).min();
        match self.wake {
            Some(_) => Decision::Wait("rates are used up for now"),
            None => Decision::Wait("no path of the cheapest class has room"),
        }
    }

    fn sent(&mut self, now: Instant, to: SubflowId, bytes: u64, _: Purpose) {
        self.wake = None;
        let furthest = self.furthest();
        let Some(turn) = self.turns.iter_mut().find(|turn| turn.id == to) else {
            return;
        };
        let (rule, usage) = &mut self.rules[turn.rule];
        let weight = u64::from(rule.weight.max(1));
        // Scaled, so that large weights tell small runs apart.
        let scaled = |bytes: u64| (bytes << 10) / weight;
        turn.had = turn.had.max(furthest.saturating_sub(scaled(CATCH_UP))) + scaled(bytes);
        usage.sent += bytes;
        if let Some(rate) = rule.rate {
            usage.next = usage.next.max(now - CREDIT) + time(bytes, rate);
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.wake
    }
}
