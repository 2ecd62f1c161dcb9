//! What happened to a connection, in the words of its policy.

use super::{Managed, time};
use crate::multi::Multi;
use anabranch_mptcp::{GoneReason, SubflowId};
use anabranch_paths::{Ends, Event, Loss, Quality};
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::ResetReason;

impl Multi {
    /// Tells the policy what happened.
    pub(crate) fn inform(&mut self, now: Instant, event: &anabranch_mptcp::Event) {
        use anabranch_mptcp::Event as Mptcp;
        if self.paths.is_none() {
            return;
        }
        let event = match event {
            Mptcp::Established if self.connection.is_multipath() => Some(Event::Established {
                deny_join: self.connection.peer_denies_join(),
            }),
            Mptcp::Closed(_) | Mptcp::Fallback(_) => Some(Event::Closed),
            Mptcp::SubflowUp(id) => self.subflow_up(*id),
            Mptcp::SubflowGone(info, reason) => Some(Event::SubflowDown {
                ends: ends(info.path),
                loss: loss(*reason),
            }),
            Mptcp::Announced(remote) => Some(Event::Announced {
                id: remote.id,
                addr: remote.addr,
                port: remote.port,
            }),
            Mptcp::Withdrawn(id) => Some(Event::Removed { id: *id }),
            Mptcp::PeerBackup(id, backup) => self.ends(*id).map(|ends| Event::PeerPriority {
                ends,
                backup: *backup,
            }),
            _ => None,
        };
        self.tell_policy(now, event);
    }

    /// Tells the policy of all there is already.
    pub(super) fn catch_up(&mut self, now: Instant) {
        let deny_join = self.connection.peer_denies_join();
        self.tell_policy(now, Some(Event::Established { deny_join }));
        let known = self.connection.remote_addrs().to_vec();
        for remote in known {
            self.inform(now, &anabranch_mptcp::Event::Announced(remote));
        }
        let subflows: Vec<SubflowId> = self.connection.subflows().collect();
        for id in subflows.into_iter().filter(|id| id.0 != 0) {
            let up = self.subflow_up(id);
            self.tell_policy(now, up);
        }
    }

    pub(super) fn tell_policy(&mut self, now: Instant, event: Option<Event>) {
        if let (Some(managed), Some(event)) = (self.paths.as_deref_mut(), event) {
            managed.tell().on_event(time(now), event);
        }
    }

    pub(super) fn ends(&self, id: SubflowId) -> Option<Ends> {
        self.connection.path(id).map(ends)
    }

    /// The subflow between the two.
    pub(super) fn subflow_between(&self, wanted: &Ends) -> Option<SubflowId> {
        let mut all = self.connection.subflows();
        all.find(|id| self.ends(*id).as_ref() == Some(wanted))
    }

    fn subflow_up(&self, id: SubflowId) -> Option<Event> {
        let (local_id, _) = self.connection.address_ids(id)?;
        Some(Event::SubflowUp {
            ends: self.ends(id)?,
            local_id,
            // Its own the policy knows.
            ours: false,
            backup: false,
        })
    }

    /// Gives the policy the figures it goes by, when it is due to look at them.
    pub(super) fn show_figures(&mut self, now: Instant) {
        let Some(Managed { policy, .. }) = self.paths.as_deref() else {
            return;
        };
        if policy.counts_bytes() {
            let counters = self.connection.counters();
            let bytes = counters.bytes_in + counters.bytes_acked;
            self.tell_policy(now, Some(Event::Carried(bytes)));
        }
        let Some(Managed { policy, .. }) = self.paths.as_deref() else {
            return;
        };
        if !policy.watches() || policy.deadline().is_none_or(|at| at > time(now)) {
            return;
        }
        let ids: Vec<SubflowId> = self.connection.subflows().collect();
        for id in ids {
            let figures = self.figures(id);
            self.tell_policy(now, figures);
        }
    }

    fn figures(&self, id: SubflowId) -> Option<Event> {
        let tcb = self.connection.tcb(id)?;
        let quality = Quality {
            srtt: tcb.srtt(),
            rto: Some(tcb.rto()),
            heard: Some(time(tcb.last_received())),
            stale: self.connection.is_stale(id),
        };
        let ends = self.ends(id)?;
        Some(Event::Quality { ends, quality })
    }
}

fn ends(path: anabranch_mptcp::Path) -> Ends {
    Ends {
        local: path.local,
        remote: path.remote,
    }
}

/// Whether a subflow that ended so is worth another attempt (RFC 8684 §3.6).
fn loss(reason: GoneReason) -> Loss {
    match reason {
        GoneReason::PeerReset(reset) => Loss::of_reset(reset.reason.code(), reset.transient),
        // By the peer, or it would not be known any more. Linux does so as well to what comes anew from
        // an address whose REMOVE_ADDR it has not yet acted upon.
        GoneReason::Closed | GoneReason::TimedOut => Loss::Passing,
        GoneReason::Withdrawn => Loss::Lasting,
        GoneReason::Reset(ResetReason::MptcpError | ResetReason::Middlebox) => Loss::Lasting,
        GoneReason::Reset(_) | GoneReason::Tcp(_) => Loss::Passing,
    }
}
