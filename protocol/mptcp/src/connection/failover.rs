//! Subflows that may be dead: suspected, relieved of what they have, probed, and used again.

use super::{Connection, Mode};
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use std::time::Duration;

/// Most doublings of the silence that makes a subflow suspect.
const MOST_PATIENCE: u8 = 2;
/// A peer delays an acknowledgement by no more, but for a few (Linux: 40 ms).
const DELAYED: Duration = Duration::from_millis(45);
/// A subflow that was not suspected for so long is as good as one that never was.
const FORGIVEN: Duration = Duration::from_secs(2);

impl Connection {
    /// When a subflow is to be looked at: suspected if nothing comes before, or probed again.
    pub(super) fn watch_deadline(&self, s: &Subflow) -> Option<Instant> {
        if self.mode != Mode::Multipath || self.paths.list.len() < 2 {
            return None;
        }
        match s.stale {
            true => (s.is_active() && s.waits()).then_some(s.watch.probe_at),
            false => self
                .suspect_at(s)
                .into_iter()
                .chain(self.double_at(s))
                .min(),
        }
    }

    /// When silence makes a subflow suspect.
    fn suspect_at(&self, s: &Subflow) -> Option<Instant> {
        let settings = &self.config.failover;
        let live = || self.paths.active().filter(|it| !it.stale && it.id != s.id);
        if settings.round_trips == 0 || !s.waits() || !s.is_active() || live().next().is_none() {
            return None;
        }
        let (tcb, last) = (&s.tcb, s.tcb.last_delivery());
        let silence = tcb.srtt()? * settings.round_trips + 4 * tcb.rttvar()?;
        let mut silence = silence.max(settings.least);
        if s.is_thin() {
            // What is measured of it is mostly how long acknowledgements were delayed.
            let delayed = tcb.min_rtt()? + DELAYED;
            let backups = live().all(|it| it.backup.any());
            silence = if backups {
                delayed
            } else {
                silence.max(delayed)
            };
        }
        Some(last + (silence * s.patience(last)).min(tcb.rto()))
    }

    /// When the little that a subflow has is to go to another as well, though its acknowledgement may
    /// only be a delayed one: it costs next to nothing.
    fn double_at(&self, s: &Subflow) -> Option<Instant> {
        let settings = &self.config.failover;
        let live = |it: &&Subflow| !it.stale && it.id != s.id && !it.backup.any();
        let thin = settings.round_trips > 0 && s.waits() && s.is_active() && s.is_thin();
        // Where one path at a time is wanted, so be it.
        let thin = thin && !self.scheduling.hands_over();
        if !thin || s.tcb.unsent() > 0 || !self.paths.active().any(|it| live(&it)) {
            return None;
        }
        let wait = s.tcb.min_rtt()? * settings.round_trips + settings.least;
        // Once for each thing that is sent.
        let from = s.tcb.last_delivery().max(s.watch.doubled);
        (s.watch.doubled_to < s.tcb.snd_nxt()).then_some(from + wait)
    }

    /// The little that a subflow has goes to another as well.
    fn double(&mut self, now: Instant, i: usize) {
        let subflow = &mut self.paths.list[i];
        subflow.watch.doubled = now;
        subflow.watch.doubled_to = subflow.tcb.snd_nxt();
        let id = subflow.id;
        let mut live = self.paths.live();
        live.retain(|other| *other != id);
        for mapping in self.paths.list[i].tx.iter() {
            self.tx.doubt(mapping.run(), None, &live);
        }
        self.dirty = true;
    }

    /// Look at a subflow.
    pub(super) fn watch(&mut self, now: Instant, i: usize) {
        let subflow = &self.paths.list[i];
        if !subflow.is_active() || self.mode != Mode::Multipath {
            return self.note_timeouts(now, i);
        }
        if subflow.stale {
            if self.watch_deadline(subflow).is_some_and(|at| at <= now) {
                self.probe_stale(now, i);
            }
            return;
        }
        if self.double_at(subflow).is_some_and(|at| at <= now) {
            self.double(now, i);
        }
        let subflow = &self.paths.list[i];
        if self.suspect_at(subflow).is_some_and(|at| at <= now) {
            self.counters.suspicions += 1;
            self.suspect(now, i);
        } else {
            self.note_timeouts(now, i);
        }
    }

    /// A subflow whose retransmission timer ran out without progress leaves what it has to the
    /// others too.
    fn note_timeouts(&mut self, now: Instant, i: usize) {
        let subflow = &self.paths.list[i];
        if !subflow.stale && subflow.tcb.rto_streak() > 0 && subflow.is_active() {
            self.suspect(now, i);
        }
    }

    /// A subflow may not deliver any more: others are preferred, and what it has is sent there
    /// too.
    pub(crate) fn suspect(&mut self, now: Instant, i: usize) {
        let probe = self.config.failover.probe;
        let subflow = &mut self.paths.list[i];
        subflow.stale = true;
        if subflow.tcb.last_delivery().since(subflow.watch.since) > FORGIVEN {
            subflow.watch.patience = 0;
        }
        subflow.watch.since = now;
        subflow.watch.probe_at = now + probe;
        (subflow.watch.probes, subflow.watch.probing) = (0, false);
        self.dirty = true;
        let live = self.paths.live();
        if self.mode != Mode::Multipath || live.is_empty() {
            return;
        }
        for mapping in self.paths.list[i].tx.iter() {
            self.tx.doubt(mapping.run(), None, &live);
        }
    }

    /// A keepalive: a path that carries again answers it, long before the next retransmission.
    fn probe_stale(&mut self, now: Instant, i: usize) {
        let settings = &self.config.failover;
        let watch = &mut self.paths.list[i].watch;
        watch.probes = watch.probes.saturating_add(1);
        watch.probing = true;
        let wait = settings.probe * (1 << u32::from(watch.probes).min(16));
        watch.probe_at = now + wait.min(settings.probe_max);
        self.paths.list[i].tcb.request_probe();
    }

    /// TCP is about to probe the end of what a subflow has (RFC 8985 §7): it goes to another at the
    /// same time.
    pub(super) fn note_tail_probe(&mut self, i: usize) {
        let subflow = &self.paths.list[i];
        if self.mode != Mode::Multipath || subflow.stale || !subflow.tcb.probes_tail() {
            return;
        }
        let mut live = self.paths.live();
        live.retain(|id| *id != subflow.id);
        if let Some(last) = subflow.tx.iter().last()
            && !live.is_empty()
        {
            self.tx.doubt(last.run(), None, &live);
            self.dirty = true;
        }
    }
}

impl Subflow {
    /// Whether it has something in the network.
    fn waits(&self) -> bool {
        self.tcb.snd_nxt() > self.tcb.snd_una()
    }

    /// Whether no more than a segment of it is in the network.
    fn is_thin(&self) -> bool {
        self.tcb.snd_nxt() - self.tcb.snd_una() <= u64::from(self.tcb.mss())
    }

    /// How many times longer than others it may be silent, having delivered last then.
    pub(super) fn patience(&self, last: Instant) -> u32 {
        match last.since(self.watch.since) > FORGIVEN {
            true => 1,
            false => 1 << self.watch.patience,
        }
    }

    /// A segment arrived: whether it shows that a stale subflow delivers again. `timeouts` went by
    /// in a row before it.
    pub(super) fn revive(&mut self, now: Instant, timeouts: u32, bare: bool) -> bool {
        if !self.stale {
            return false;
        }
        // Where nothing is outstanding, any sign of life will do.
        let news = !self.waits() || self.tcb.last_delivery() > self.watch.since;
        let delivers = news && self.tcb.rto_streak() == 0;
        if !delivers {
            if bare && std::mem::take(&mut self.watch.probing) {
                self.tcb.hasten(now);
            }
            return false;
        }
        self.stale = false;
        let watch = &mut self.watch;
        watch.patience = match timeouts {
            0 => (watch.patience + 1).min(MOST_PATIENCE),
            _ => 0,
        };
        true
    }
}
