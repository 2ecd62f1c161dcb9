//! What happened, taken down.

use super::attempts::{Again, MAX_TROUBLES, Trouble};
use super::{Connection, Phase, Remote, State, Subflow};
use crate::{Command, Ends, Event, Kind, Loss, MAX_ADDRESSES, Policy, Side, Source, Time};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Subflows known, those that the peer opened included; an engine that has more is told to end
/// the further ones.
const MAX_SUBFLOWS: usize = 4 * MAX_ADDRESSES;

/// For so long a connection's first ACK may still be on its way, lost once or twice.
const YOUNG: Time = Time::from_secs(5);

impl Connection {
    /// Takes down what happened; [`Connection::next`] says what to do about it.
    pub fn on_event(&mut self, now: Time, event: Event) {
        if self.phase == Phase::Over {
            return;
        }
        match event {
            Event::Established { deny_join } => self.established(now, deny_join),
            Event::Closed => self.over(),
            Event::Announced { id, addr, port } => self.announced(id, addr, port),
            Event::Removed { id } => self.removed(id),
            Event::Begun { ends, local_id } => self.begun(now, ends, local_id),
            Event::Refused { ends, loss } | Event::SubflowDown { ends, loss } => {
                self.down(now, &ends, loss);
            }
            Event::SubflowUp {
                ends,
                local_id,
                ours,
                backup,
            } => self.up(now, ends, local_id, ours, backup),
            Event::PeerPriority { .. } => {}
            Event::Quality { ends, quality } => {
                let limits = self.policy.thresholds;
                if let Some(subflow) = self.find(&ends) {
                    subflow.judge(now, quality, &limits);
                }
            }
            Event::Carried(bytes) => {
                if self
                    .policy
                    .delay
                    .bytes
                    .is_some_and(|enough| bytes >= enough)
                {
                    self.hold = None;
                }
            }
            Event::LocalUp(source) => {
                self.local_up(source);
                let ip = source.addr.ip();
                self.troubles
                    .retain(|t| t.local != ip || t.again == Again::ByHand);
            }
            Event::LocalDown(addr) => self.local_down(addr, true),
            Event::Hands { ends, off } => self.hands(&ends, off),
        }
    }

    /// Puts another policy in force; `sources` are the addresses that it allows. Subflows from
    /// others end in order.
    pub fn set_policy(&mut self, policy: Arc<Policy>, sources: &[Source]) {
        let old = std::mem::replace(&mut self.policy, policy);
        if self.policy.limits != old.limits {
            self.tell_limits();
        }
        self.leave_endpoints(&old);
        self.troubles.retain(|t| t.again == Again::ByHand);
        self.set_sources(sources, false);
    }

    /// Puts other addresses in place of those that may be used. Subflows from one that is not
    /// there any more end `at_once`, or in order where it still carries them.
    pub fn set_sources(&mut self, sources: &[Source], at_once: bool) {
        // One that leads to the peer no more is as good as gone.
        let stays = |old: &Source| {
            let mut all = sources.iter().filter(|s| s.addr.ip() == old.addr.ip());
            all.any(|s| s.routed || !old.routed)
        };
        let gone = self.present().filter(|old| !stays(old));
        let gone: Vec<IpAddr> = gone.map(|s| s.addr.ip()).collect();
        gone.into_iter().for_each(|ip| self.local_down(ip, at_once));
        for source in sources {
            let ip = source.addr.ip();
            if self.present().find(|s| s.addr.ip() == ip) != Some(*source) {
                self.local_up(*source);
                self.troubles
                    .retain(|t| t.local != ip || t.again == Again::ByHand);
            }
        }
        // In the order given, those that are away last.
        let place = |ip: IpAddr| sources.iter().position(|s| s.addr.ip() == ip);
        let last = sources.len();
        self.locals
            .sort_by_key(|l| place(l.source.addr.ip()).unwrap_or(last));
    }

    fn established(&mut self, now: Time, deny_join: bool) {
        if self.phase == Phase::Running {
            return;
        }
        (self.phase, self.established) = (Phase::Running, now);
        let delay = self.policy.delay.time;
        self.hold = (delay > Time::ZERO).then(|| now + delay);
        let (id, addr, proven) = (0, self.first.remote, true);
        let joinable = self.side == Side::Client && !deny_join;
        self.initial = joinable.then_some(Remote { id, addr, proven });
        let mut first = Subflow::new(self.first, State::Up(now), false);
        (first.local_id, first.ours) = (Some(0), self.side == Side::Client);
        self.subflows.push(first);
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.commands.clear();
        // Nothing is asked any more.
        (self.locals, self.announced, self.troubles) = Default::default();
        (self.subflows, self.told) = Default::default();
    }

    fn begun(&mut self, now: Time, ends: Ends, local_id: Option<u8>) {
        if let Some(subflow) = self.find(&ends) {
            (subflow.ends, subflow.local_id) = (ends, local_id);
        } else if self.subflows.len() < MAX_SUBFLOWS {
            let mut subflow = Subflow::new(ends, State::Opening(now), false);
            subflow.local_id = local_id;
            self.subflows.push(subflow);
        }
    }

    fn up(&mut self, now: Time, ends: Ends, local_id: u8, ours: bool, backup: bool) {
        let tried = self.troubles.iter_mut();
        tried
            .filter(|t| t.is_between(ends.local.ip(), ends.remote))
            .for_each(Trouble::succeeded);
        let there = self.announced.iter_mut().filter(|r| r.addr == ends.remote);
        there.for_each(|r| r.proven = true);
        if let Some(subflow) = self.find(&ends) {
            subflow.ends = ends;
            subflow.local_id = Some(local_id);
            if !subflow.is_up() {
                (subflow.state, subflow.since) = (State::Up(now), now);
            }
        } else if self.subflows.len() < MAX_SUBFLOWS {
            let mut subflow = Subflow::new(ends, State::Up(now), backup && ours);
            (subflow.local_id, subflow.ours) = (Some(local_id), ours);
            self.subflows.push(subflow);
        } else {
            let at_once = true;
            self.commands.push_back(Command::Destroy { ends, at_once });
        }
    }

    pub(super) fn down(&mut self, now: Time, ends: &Ends, loss: Loss) {
        let Some(at) = self.position(ends) else {
            return;
        };
        let subflow = self.subflows.remove(at);
        let (local, remote) = (subflow.ends.local.ip(), subflow.ends.remote);
        let known = self.source(local).is_some() && self.remotes().any(|r| r.addr == remote);
        if subflow.lasted(now, self.policy.retry.max) {
            self.troubles
                .retain(|t| !t.is_between(local, remote) || t.again == Again::ByHand);
        }
        if subflow.ours && known {
            self.trouble(now, local, remote, self.believed(now, loss));
        }
        if self.subflows.is_empty() {
            self.hold = None;
            let retry = self.policy.retry;
            self.troubles
                .iter_mut()
                .for_each(|t| t.last_resort(now, &retry));
        }
    }

    /// What a refusal is worth. Linux resets a join that overtakes the third ACK of the first
    /// subflow, and says that this is for good (RFC 8684 §3.6): a young connection tries again.
    fn believed(&self, now: Time, loss: Loss) -> Loss {
        match loss {
            Loss::Reset | Loss::Forbidden if now < self.established + YOUNG => Loss::Passing,
            loss => loss,
        }
    }

    fn trouble(&mut self, now: Time, local: IpAddr, remote: SocketAddr, loss: Loss) {
        let retry = self.policy.retry;
        let known = self
            .troubles
            .iter_mut()
            .find(|t| t.is_between(local, remote));
        if let Some(trouble) = known {
            return trouble.failed(now, loss, &retry);
        }
        if self.troubles.len() >= MAX_TROUBLES {
            self.troubles.remove(0);
        }
        let (tries, again) = (0, Again::Now);
        let mut trouble = Trouble {
            local,
            remote,
            tries,
            again,
        };
        trouble.failed(now, loss, &retry);
        self.troubles.push(trouble);
    }

    fn announced(&mut self, id: u8, addr: IpAddr, port: Option<u16>) {
        let implied = Some(self.first.remote.port()).filter(|_| self.side == Side::Client);
        let Some(port) = port.or(implied) else {
            return;
        };
        let addr = SocketAddr::new(addr, port);
        let used = self
            .subflows
            .iter()
            .any(|s| s.is_up() && s.ends.remote == addr);
        let proven = used || self.announced.iter().any(|r| r.addr == addr && r.proven);
        self.announced.retain(|r| r.id != id);
        if self.announced.len() < MAX_ADDRESSES {
            self.announced.push(Remote { id, addr, proven });
        }
        self.troubles
            .retain(|t| t.remote != addr || t.again == Again::ByHand);
    }

    fn removed(&mut self, id: u8) {
        self.announced.retain(|r| r.id != id);
        if id == 0 {
            self.initial = None;
        }
    }

    /// An address is not to be used any more.
    fn local_down(&mut self, addr: IpAddr, at_once: bool) {
        let mut here = self
            .locals
            .iter_mut()
            .filter(|l| l.source.addr.ip() == addr);
        let Some(local) = here.find(|l| l.present) else {
            return;
        };
        local.present = false;
        let own = local.source.id;
        self.troubles
            .retain(|t| t.local != addr || t.again == Again::ByHand);
        self.leave(addr, own, at_once);
    }

    /// The peer is told that an address is gone, if it knew it, and subflows from there end.
    fn leave(&mut self, addr: IpAddr, own: u8, at_once: bool) {
        if self.phase != Phase::Running {
            return;
        }
        let (leaving, staying) = self
            .subflows
            .drain(..)
            .partition::<Vec<_>, _>(|s| s.ends.local.ip() == addr);
        self.subflows = staying;
        let mut ids: Vec<u8> = self.ids_of(addr, own, &leaving);
        ids.dedup();
        let remove = ids.into_iter().map(|id| Command::Remove { id });
        self.commands.extend(remove);
        self.told.retain(|t| t.addr != addr);
        let ends = leaving.iter().map(|s| s.ends);
        let destroy = ends.map(|ends| Command::Destroy { ends, at_once });
        self.commands.extend(destroy);
    }

    /// Where endpoints are all there is, what was opened from one that is no more ends, but the
    /// last subflow does not.
    fn leave_endpoints(&mut self, old: &Policy) {
        if self.policy.kind != Kind::Endpoints {
            return;
        }
        for endpoint in old.endpoints.iter().filter(|e| e.port.is_none()) {
            let (addr, id) = (endpoint.addr, endpoint.id);
            let stays = self.policy.endpoints.iter().any(|e| e.addr == addr);
            let others = self.subflows.iter().any(|s| s.ends.local.ip() != addr);
            if !stays && others && self.count_from(addr) > 0 {
                self.leave(addr, id, false);
            }
        }
    }

    /// The IDs by which the peer knows an address: as it was told, and as subflows have it.
    fn ids_of(&self, addr: IpAddr, own: u8, leaving: &[Subflow]) -> Vec<u8> {
        let told = self.told.iter().filter(|t| t.addr == addr).map(|t| t.id);
        let is_first = addr == self.first.local.ip();
        let used = leaving.iter().filter_map(|s| match s.local_id {
            None if is_first => Some(0),
            None => Some(own).filter(|own| *own != 0),
            known => known,
        });
        let mut ids: Vec<u8> = told.chain(used).collect();
        ids.sort_unstable();
        ids
    }

    fn hands(&mut self, ends: &Ends, off: bool) {
        let (local, remote) = (ends.local.ip(), ends.remote);
        self.troubles.retain(|t| !t.is_between(local, remote));
        if !off {
            return;
        }
        if self.troubles.len() >= MAX_TROUBLES {
            self.troubles.remove(0);
        }
        let (tries, again) = (0, Again::ByHand);
        self.troubles.push(Trouble {
            local,
            remote,
            tries,
            again,
        });
    }

    fn position(&self, ends: &Ends) -> Option<usize> {
        let exact = self.subflows.iter().position(|s| s.ends == *ends);
        exact.or_else(|| self.subflows.iter().position(|s| s.is(ends)))
    }

    fn find(&mut self, ends: &Ends) -> Option<&mut Subflow> {
        let at = self.position(ends)?;
        self.subflows.get_mut(at)
    }
}
