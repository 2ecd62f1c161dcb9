//! MP_PRIO (RFC 8684 §3.3.8, RFC 6824 §3.3.8).

use super::Signals;
use crate::config::SubflowId;
use crate::connection::Connection;
use crate::event::{Event, SignalError};
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::Prio;

/// A priority the peer is being told. Nothing answers MP_PRIO, so it is sent several times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Priority {
    /// When it is to be sent next.
    due: Instant,
    /// An ACK was asked for to carry it.
    asked: bool,
    /// Times it was sent.
    tries: u8,
}

impl Signals {
    /// Whether the next ACK of a subflow is to have MP_PRIO.
    pub(crate) fn prio_due(&self, subflow: &Subflow) -> bool {
        subflow.pending.prio.is_some_and(|p| p.due <= self.now)
    }

    /// Whether an ACK of a subflow was asked for that has MP_PRIO.
    pub(super) fn asks_prio(&self, subflow: &Subflow) -> bool {
        subflow.pending.prio.is_some_and(|p| p.asked)
    }

    /// When MP_PRIO is to be sent on a subflow, if that is not now.
    pub(crate) fn prio_deadline(&self, subflow: &Subflow) -> Option<Instant> {
        let due = subflow.pending.prio.map(|p| p.due);
        due.filter(|due| *due > self.now && subflow.is_active())
    }
}

impl Subflow {
    /// MP_PRIO follows, as often as it is sent.
    pub(crate) fn tell_priority(&mut self, now: Instant) {
        self.pending.prio = Some(Priority {
            due: now,
            asked: false,
            tries: 0,
        });
    }
}

impl Connection {
    /// Ask the peer to use a subflow only when no other is usable, or normally again (MP_PRIO);
    /// we do the same.
    ///
    /// # Errors
    /// [`SignalError::NotMultipath`], [`SignalError::NoSuchSubflow`].
    pub fn set_backup(
        &mut self,
        now: Instant,
        id: SubflowId,
        backup: bool,
    ) -> Result<(), SignalError> {
        self.multipath()?;
        let subflow = self.paths.get_mut(id).ok_or(SignalError::NoSuchSubflow)?;
        subflow.backup.ours = backup;
        subflow.tell_priority(now);
        self.update(now);
        Ok(())
    }

    /// Ask subflows for the ACKs that carry MP_PRIO.
    pub(super) fn pump_priorities(&mut self, now: Instant) {
        for subflow in self.paths.list.iter_mut().filter(|s| s.is_active()) {
            let full = self
                .signals
                .full_until(subflow, self.signals.carried_by(subflow.id));
            if let Some(prio) = &mut subflow.pending.prio
                && prio.due <= now
                && !prio.asked
            {
                if let Some(until) = full {
                    self.signals.hold(until);
                    continue;
                }
                prio.asked = true;
                subflow.tcb.request_bare_ack();
            }
        }
    }

    /// MP_PRIO for the next ACK of a subflow, if it is due.
    pub(crate) fn take_prio(&mut self, i: usize) -> Option<Prio> {
        let (now, repeats) = (self.signals.now, self.config.signal_repeats);
        let subflow = &mut self.paths.list[i];
        let prio = subflow.pending.prio.as_mut().filter(|p| p.due <= now)?;
        prio.due = now + subflow.tcb.rto() * (1 << prio.tries.min(6));
        prio.asked = false;
        prio.tries += 1;
        if prio.tries > repeats {
            subflow.pending.prio = None;
        }
        self.counters.prio_out += 1;
        Some(Prio {
            backup: subflow.backup.told(),
            address_id: None,
        })
    }

    /// It means the subflow it came on; in version 0 it may name an address of the peer instead,
    /// and means all subflows from there.
    pub(super) fn on_prio(&mut self, i: usize, prio: &Prio) {
        if !self.handshake.version.has_form(prio) {
            self.counters.bad_options += 1;
            return;
        }
        self.counters.prio_in += 1;
        let this = self.paths.list[i].id;
        let meant = |s: &&mut Subflow| match prio.address_id {
            Some(id) => s.ids.remote == id,
            None => s.id == this,
        };
        for subflow in self.paths.list.iter_mut().filter(meant) {
            if subflow.backup.theirs != prio.backup {
                subflow.backup.theirs = prio.backup;
                self.events.push(Event::PeerBackup(subflow.id, prio.backup));
            }
        }
    }
}
