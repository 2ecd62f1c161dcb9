//! Is a subflow alive whose address the peer withdrew? REMOVE_ADDR has no proof of who sent it: a
//! path is given up only when it does not answer a keepalive (RFC 8684 §3.4.2). One that answers
//! is the peer's to close.

use crate::config::SubflowId;
use crate::connection::Connection;
use crate::event::GoneReason;
use crate::subflow::Subflow;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::ResetReason;
use std::time::Duration;

/// Keepalives without an answer before a path is given up.
const PROBES: u8 = 3;

/// A subflow that has to show that it is alive.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathProbe {
    subflow: SubflowId,
    /// What arrives after this is an answer: it cannot have been on its way before.
    since: Instant,
    /// When to look again.
    pub(super) next: Instant,
    left: u8,
}

impl Subflow {
    /// The peer withdrew its address, and nobody answers there.
    pub(super) fn withdrawn(&mut self) {
        self.gone.get_or_insert(GoneReason::Withdrawn);
        self.reset(ResetReason::Unspecified);
    }
}

impl Connection {
    /// Ask a subflow for a sign of life. Until then others are preferred, and what it has is sent
    /// there too.
    pub(super) fn probe_path(&mut self, now: Instant, i: usize) {
        let subflow = &mut self.paths.list[i];
        let id = subflow.id;
        let probes = &mut self.signals.theirs.probes;
        if probes.iter().any(|p| p.subflow == id) || !subflow.is_active() {
            return;
        }
        subflow.tcb.request_probe();
        let rtt = subflow.tcb.min_rtt().unwrap_or_default();
        probes.push(PathProbe {
            subflow: id,
            since: now + rtt.saturating_sub(Duration::from_nanos(1)),
            next: now + subflow.tcb.rto(),
            left: PROBES - 1,
        });
        self.suspect(now, i);
    }

    /// Look at the probes that should have been answered.
    pub(super) fn probe_timers(&mut self, now: Instant) {
        let mut probes = std::mem::take(&mut self.signals.theirs.probes);
        probes.retain_mut(|probe| probe.next > now || self.probe_again(now, probe));
        self.signals.theirs.probes = probes;
    }

    /// `false`: no more.
    fn probe_again(&mut self, now: Instant, probe: &mut PathProbe) -> bool {
        let subflow = self.paths.get_mut(probe.subflow);
        let Some(subflow) = subflow.filter(|s| !s.is_ending()) else {
            return false;
        };
        if subflow.tcb.last_received() > probe.since {
            return false;
        }
        if probe.left == 0 {
            subflow.withdrawn();
            return false;
        }
        probe.next = now + subflow.tcb.rto() * (1 << (PROBES - probe.left));
        probe.left -= 1;
        subflow.tcb.request_probe();
        true
    }
}
