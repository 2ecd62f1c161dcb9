//! Steering the peer: carrying out what [`crate::steer`] says.

use super::{Connection, Mode};
use crate::config::SubflowId;
use crate::handshake::Role;
use crate::schedule::Why;
use crate::steer::{Steering, Way, prefer};
use crate::subflow::Subflow;
use anabranch_tcp::{Instant, Segment};
use smallvec::SmallVec;
use std::time::Duration;

/// A peer delays an acknowledgement by no more, but for a few (Linux: 40 ms).
const DELAYED: Duration = Duration::from_millis(45);
/// Nothing is told of a subflow for another reason more often.
const SECOND: Duration = Duration::from_secs(1);
/// MP_PRIO without effect is said again so many times.
const TELLINGS: u8 = 4;

impl Subflow {
    /// Its round trip without what delayed acknowledgements, and queues of ours, add.
    pub(super) fn bare_rtt(&self) -> Option<Duration> {
        let (srtt, least) = (self.tcb.srtt()?, self.tcb.min_rtt()?);
        Some(least.max(srtt.saturating_sub(DELAYED)))
    }
}

/// What an owner may choose.
impl Connection {
    /// Steer the peer so from now on, whoever opened the connection.
    pub fn set_steering(&mut self, now: Instant, steering: Steering) {
        self.steer.own = Some(steering);
        self.update(now);
    }

    /// How the peer is steered: as set for this connection, or as the settings say for those that
    /// peers open.
    pub fn steering(&self) -> Steering {
        let usual = match self.handshake.role {
            Role::Acceptor => self.config.steering,
            Role::Initiator => Steering::OFF,
        };
        self.steer.own.unwrap_or(usual)
    }
}

impl Connection {
    /// Whether there is anything to choose from, or to take back.
    pub(super) fn steers(&self) -> bool {
        let list = &self.paths.list;
        let told = list.iter().any(|s| s.backup.steered) || self.steer.away.is_some();
        (list.len() > 1 || told) && self.mode == Mode::Multipath && !self.closing.is_closed()
    }

    /// A segment of a subflow arrived, and what it brought was put in its place.
    pub(super) fn note_speech(&mut self, now: Instant, i: usize, segment: &Segment) {
        if segment.len == 0 || !self.steers() {
            return;
        }
        let missing = self.rx.out_of_order() > 0;
        let probes = missing && self.steering().probe;
        let steer = &mut self.steer;
        let size = u32::from(segment.gso_size);
        steer.volume.arrived(now, segment.len, size);
        steer.rhythm.arrived(now);
        steer.spoke = self.paths.list[i].id;
        steer.hole = missing.then(|| steer.hole.unwrap_or((now, false)));
        let subflow = &mut self.paths.list[i];
        if probes && self.steer.volume.is_thin(now) {
            // Linux sends again only on a subflow that has nothing under way.
            subflow.tcb.request_ack();
        }
        let watch = &mut subflow.watch;
        let waited = now.since(watch.told) >= SECOND * (1 << watch.tellings.min(TELLINGS));
        if subflow.backup.steered && waited && watch.tellings < TELLINGS {
            // It did not hear, or has nothing else.
            watch.tellings += 1;
            watch.told = now;
            subflow.tell_priority(now);
        }
    }

    /// Tell the peer what follows from all that is known now.
    pub(crate) fn steer(&mut self, now: Instant) {
        if !self.steers() {
            return;
        }
        for s in &mut self.paths.list {
            let (asked, heard) = (&mut s.watch.asked, s.tcb.last_received());
            asked.take_if(|at| heard > *at);
        }
        let settings = self.steering();
        let thin = self.steer.volume.is_thin(now);
        self.tell_preferences(now, settings.slower, thin);
        if thin {
            self.give_up(now, &settings);
        }
        self.give_back(now);
    }

    /// MP_PRIO, where it follows.
    fn tell_preferences(&mut self, now: Instant, slower: u32, thin: bool) {
        let told = self.paths.list.iter().any(|s| s.backup.steered);
        if !told && (slower == 0 || !thin) {
            return;
        }
        let way = |s: &Subflow| Way {
            id: s.id,
            rtt: s.bare_rtt(),
            alive: !s.stale,
            backup: s.backup.any(),
            avoided: s.backup.steered,
            settling: s.watch.told.0 > 0 && now.since(s.watch.told) < SECOND,
        };
        let mut ways: SmallVec<[Way; 4]> = self.paths.active().map(way).collect();
        while let Some((id, avoid, why)) = prefer(slower, thin, &ways) {
            ways.iter_mut()
                .filter(|way| way.id == id)
                .for_each(|way| way.avoided = avoid);
            self.note_told(now, id, why);
            self.counters.avoided += u64::from(avoid);
            if let Some(subflow) = self.paths.get_mut(id) {
                subflow.backup.steered = avoid;
                (subflow.watch.told, subflow.watch.tellings) = (now, 0);
                subflow.tell_priority(now);
            }
        }
    }

    pub(super) fn note_told(&mut self, now: Instant, id: SubflowId, why: Why) {
        if self.scheduling.log().is_some() {
            let mss = |s: &Subflow| u64::from(s.tcb.mss());
            let active = self.paths.active();
            let seen: SmallVec<[_; 4]> = active.map(|s| self.candidate(s, true, mss(s))).collect();
            self.scheduling.told(now, id, why, &seen);
        }
    }
}
