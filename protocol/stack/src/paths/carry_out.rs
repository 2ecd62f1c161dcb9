//! What a policy decided, carried out.

use super::time;
use crate::config::Announcement;
use crate::error::{FlowError, JoinError};
use crate::id::{FlowId, SubflowId};
use crate::lifecycle::Handle;
use crate::stack::Stack;
use anabranch_paths::{Command, Ends, Event, Loss, Source};
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::ResetReason;
use std::net::{IpAddr, SocketAddr};

impl Stack {
    /// Carries out what the policy of a connection wants now. A join touches the connection again,
    /// so this is entered once at a time.
    pub(crate) fn run_paths(&mut self, now: Instant, handle: Handle) {
        let Some(paths) = self.policy_of(handle).filter(|paths| paths.is_due(now)) else {
            return;
        };
        (paths.deciding, paths.news) = (true, false);
        if paths.wants_figures(now)
            && let Some(multi) = self.managed(handle)
        {
            multi.show_figures(now);
        }
        while let Some(command) = self.next_command(now, handle) {
            self.carry_out(now, handle, command);
        }
        if let Some(paths) = self.policy_of(handle) {
            (paths.deciding, paths.news) = (false, false);
            paths.due = paths.policy.deadline();
        }
    }

    /// Asks the policy of a connection that something was told, without waking what rests: most of
    /// those that are told of an address have nothing to do with it.
    pub(super) fn consult(&mut self, now: Instant, handle: Handle) {
        let rests = |stack: &Stack| {
            let slot = stack.flows.get(handle);
            slot.is_some_and(|slot| slot.body.resting().is_some())
        };
        if !rests(self) {
            return self.touched(now, handle);
        }
        self.run_paths(now, handle);
        let due = self.policy_of(handle).and_then(|paths| paths.deadline());
        if let Some(due) = due.filter(|_| rests(self))
            && self.wheel.get(handle.0).is_none_or(|set| set > due)
        {
            self.wheel.set(handle.0, Some(due));
        }
    }

    /// The policy of a connection, which may rest.
    fn policy_of(&mut self, handle: Handle) -> Option<&mut super::Managed> {
        self.flows.get_mut(handle)?.body.managed()
    }

    fn next_command(&mut self, now: Instant, handle: Handle) -> Option<Command> {
        let paths = self.flows.get_mut(handle)?.body.managed()?;
        let peers = &mut self.management.peers;
        let peer = paths.facts.remote.ip();
        let mut count = |paths: &mut super::Managed, further: usize| {
            peers.change(peer, paths.counted, further);
            paths.counted = further;
            peers.of(peer)
        };
        // Subflows may have come and gone since.
        let used = count(paths, paths.policy.further_subflows());
        let limit = paths.policy.policy().limits.per_peer;
        let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(used));
        let command = paths.policy.next(time(now), room);
        count(paths, paths.policy.further_subflows());
        command
    }

    /// What cannot be done has become pointless meanwhile, but for a join, of which the policy
    /// hears.
    fn carry_out(&mut self, now: Instant, handle: Handle, command: Command) {
        let flow = handle.into();
        match command {
            Command::Create {
                from, to, backup, ..
            } => self.join_as_told(now, handle, from, to, backup),
            Command::Announce { id, addr, port } => {
                self.announce_as_told(now, flow, id, addr, port)
            }
            Command::Remove { id } => {
                let _ = self.withdraw(now, flow, &[id]);
            }
            Command::Destroy { ends, at_once } => {
                let _ = self.end_subflow(now, flow, &ends, at_once);
            }
            Command::SetPriority { ends, backup } => {
                if let Some(id) = self.subflow_between(handle, &ends) {
                    let _ = self.set_backup(now, flow, id, backup);
                }
            }
            Command::Probe { ends } => {
                let _ = self.probe_subflow(now, flow, &ends);
            }
            Command::SetLimits { subflows, .. } => {
                let most = self.config.limits.subflows;
                if let Some(multi) = self.managed(handle) {
                    let subflows = subflows.min(most).clamp(1, 255);
                    multi.connection.set_max_subflows(subflows as u8);
                }
            }
        }
    }

    fn join_as_told(
        &mut self,
        now: Instant,
        handle: Handle,
        from: Source,
        to: SocketAddr,
        backup: bool,
    ) {
        if let Some(multi) = self.managed(handle) {
            multi.connection.identify(from.addr.ip(), from.id);
        }
        let begun = self.join(now, handle.into(), from.addr, to, backup);
        let loss = match begun {
            Ok(_) => return,
            Err(JoinError::NoSuchFlow | JoinError::NotMptcp) => None,
            Err(JoinError::Denied | JoinError::Address) => Some(Loss::Forbidden),
            Err(JoinError::Limit | JoinError::InUse) => Some(Loss::Passing),
        };
        let ends = Ends {
            local: from.addr,
            remote: to,
        };
        let event = loss.map_or(Event::Closed, |loss| Event::Refused { ends, loss });
        if let Some(multi) = self.managed(handle) {
            multi.tell_policy(now, Some(event));
        }
    }

    /// An address in use has an ID already, and no other may be told of it.
    fn announce_as_told(
        &mut self,
        now: Instant,
        flow: FlowId,
        id: u8,
        addr: IpAddr,
        port: Option<u16>,
    ) {
        let with = |id| Announcement { id, addr, port };
        if self.announce(now, flow, with(id)) != Err(FlowError::AddressId) {
            return;
        }
        let known = self.managed(flow.into()).and_then(|multi| {
            let mut all = multi.connection.subflows();
            let id = all.find(|id| multi.ends(*id).is_some_and(|e| e.local.ip() == addr))?;
            multi.connection.address_ids(id)
        });
        if let Some((id, _)) = known {
            let _ = self.announce(now, flow, with(id));
        }
    }

    fn subflow_between(&mut self, handle: Handle, ends: &Ends) -> Option<SubflowId> {
        let id = self.managed(handle)?.subflow_between(ends)?;
        Some(SubflowId(id.0))
    }

    /// Ends a subflow. One whose address is gone cannot close in order.
    fn end_subflow(
        &mut self,
        now: Instant,
        flow: FlowId,
        ends: &Ends,
        at_once: bool,
    ) -> Result<(), FlowError> {
        let multi = self.owned_multi(flow)?;
        let id = multi
            .subflow_between(ends)
            .filter(|_| multi.connection.is_multipath())
            .ok_or(FlowError::NoSuchSubflow)?;
        if at_once {
            let reason = ResetReason::Unspecified;
            multi.connection.reset_subflow(now, id, reason)?;
        } else {
            multi.connection.close_subflow(now, id)?;
        }
        self.touched(now, flow.into());
        Ok(())
    }

    fn probe_subflow(&mut self, now: Instant, flow: FlowId, ends: &Ends) -> Result<(), FlowError> {
        let multi = self.owned_multi(flow)?;
        let id = multi
            .subflow_between(ends)
            .ok_or(FlowError::NoSuchSubflow)?;
        multi.connection.probe(now, id)?;
        self.touched(now, flow.into());
        Ok(())
    }

    /// A connection is over: its subflows count no more.
    pub(crate) fn no_longer_managed(&mut self, handle: Handle) {
        let slot = self.flows.get_mut(handle);
        if let Some(paths) = slot.and_then(|slot| slot.body.managed()) {
            let peer = paths.facts.remote.ip();
            self.management.peers.change(peer, paths.counted, 0);
            paths.counted = 0;
        }
    }

    /// Tells the policy of a subflow that was begun, by itself or past it.
    pub(crate) fn joined(&mut self, now: Instant, handle: Handle, id: anabranch_mptcp::SubflowId) {
        let Some(multi) = self.managed(handle) else {
            return;
        };
        let local_id = multi.connection.address_ids(id).map(|(local, _)| local);
        let begun = multi.ends(id).map(|ends| Event::Begun { ends, local_id });
        multi.tell_policy(now, begun);
    }

    /// Ends one subflow in order; what it did not deliver is sent on others. A policy leaves its
    /// addresses alone from now on.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn close_subflow(
        &mut self,
        now: Instant,
        id: FlowId,
        subflow: SubflowId,
    ) -> Result<(), FlowError> {
        let subflow = anabranch_mptcp::SubflowId(subflow.0);
        let multi = self.owned_multi(id)?;
        let ends = multi.ends(subflow).ok_or(FlowError::NoSuchSubflow)?;
        multi.connection.close_subflow(now, subflow)?;
        multi.tell_policy(now, Some(Event::Hands { ends, off: true }));
        self.touched(now, id.into());
        Ok(())
    }
}
