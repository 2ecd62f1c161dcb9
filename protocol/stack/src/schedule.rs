//! Scheduler, congestion control and steering of each connection: by rule when it comes, by hand later.

use crate::error::FlowError;
use crate::flow::Flow;
use crate::id::FlowId;
use crate::lifecycle::Handle;
use crate::stack::Stack;
use anabranch_mptcp::Steering;
use anabranch_mptcp::coupled::Congestion;
use anabranch_mptcp::schedule::{Kind, Log};
use anabranch_tcp::{Instant, SocketOption};
use std::net::IpAddr;

/// What connections of a kind get, from their start on.
#[derive(Clone, Default, Debug)]
pub struct Rule {
    /// Which connections.
    pub which: Which,
    /// Their scheduler, if they speak Multipath TCP.
    pub scheduler: Option<Kind>,
    /// Their congestion control; plain TCP is not coupled, but has the algorithm.
    pub congestion: Option<Congestion>,
    /// What their peers are told about paths, if they speak Multipath TCP.
    pub steering: Option<Steering>,
}

/// Which connections a [`Rule`] is for: those for which all of this holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Which {
    /// Our address.
    pub local: Option<IpAddr>,
    /// Our port.
    pub port: Option<u16>,
    /// The peer's address has the first so many bits of this one.
    pub peer: Option<(IpAddr, u8)>,
    /// The peer's port.
    pub peer_port: Option<u16>,
    /// Differentiated services code point of the peer's SYN; connections of ours have 0.
    pub dscp: Option<u8>,
}

impl Which {
    fn fits(&self, local: (IpAddr, u16), peer: (IpAddr, u16), dscp: u8) -> bool {
        self.local.is_none_or(|addr| addr == local.0)
            && self.port.is_none_or(|port| port == local.1)
            && self.peer.is_none_or(|prefix| has_prefix(peer.0, prefix))
            && self.peer_port.is_none_or(|port| port == peer.1)
            && self.dscp.is_none_or(|wanted| wanted == dscp)
    }
}

fn has_prefix(addr: IpAddr, (prefix, len): (IpAddr, u8)) -> bool {
    let bits = |addr| match addr {
        IpAddr::V4(addr) => (u128::from(u32::from(addr)) << 96, 32),
        IpAddr::V6(addr) => (u128::from(addr), 128),
    };
    let ((addr, width), (prefix, of)) = (bits(addr), bits(prefix));
    let differs = (addr ^ prefix).leading_zeros();
    width == of && differs >= u32::from(len).min(of)
}

impl Stack {
    /// Gives a new connection what rules say.
    pub(crate) fn apply_rules(&mut self, now: Instant, handle: Handle, dscp: u8) {
        if self.config.rules.is_empty() {
            return;
        }
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        let tuple = match &*slot.look() {
            Flow::Tcp(plain) => plain.tuple,
            Flow::Mptcp(multi) => multi.initial,
        };
        let ends = [tuple.local, tuple.remote].map(|end| (end.ip(), end.port()));
        let rules = &self.config.rules;
        let fitting = || {
            rules
                .iter()
                .filter(|rule| rule.which.fits(ends[0], ends[1], dscp))
        };
        if let Some(kind) = fitting().find_map(|rule| rule.scheduler.as_ref())
            && let Flow::Mptcp(multi) = slot.flow()
        {
            multi.connection.set_scheduler(kind.build());
        }
        if let Some(steering) = fitting().find_map(|rule| rule.steering)
            && let Flow::Mptcp(multi) = slot.flow()
        {
            multi.connection.set_steering(now, steering);
        }
        if let Some(congestion) = fitting().find_map(|rule| rule.congestion) {
            set_congestion(now, slot.flow(), congestion);
        }
    }

    /// Use another scheduler for a connection, from now on. Nothing is lost or reordered by that.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`], [`FlowError::NotMptcp`], [`FlowError::Closed`].
    pub fn set_scheduler(
        &mut self,
        now: Instant,
        id: FlowId,
        kind: &Kind,
    ) -> Result<(), FlowError> {
        let multi = self.owned_multi(id)?;
        multi.connection.set_scheduler(kind.build());
        self.touched(now, id.into());
        Ok(())
    }

    /// Use another congestion control for a connection, from now on. Plain TCP is not coupled.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`], [`FlowError::NotMptcp`], [`FlowError::Closed`].
    pub fn set_congestion(
        &mut self,
        now: Instant,
        id: FlowId,
        congestion: Congestion,
    ) -> Result<(), FlowError> {
        let slot = self.owned(id).ok_or(FlowError::NoSuchFlow)?;
        if let Some(reason) = slot.closed {
            return Err(FlowError::Closed(reason));
        }
        if matches!(
            (slot.flow(), congestion),
            (Flow::Tcp(_), Congestion::Coupled(_))
        ) {
            return Err(FlowError::NotMptcp);
        }
        set_congestion(now, slot.flow(), congestion);
        self.touched(now, id.into());
        Ok(())
    }

    /// Tell a connection's peer so much about its paths, from now on.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`], [`FlowError::NotMptcp`], [`FlowError::Closed`].
    pub fn set_steering(
        &mut self,
        now: Instant,
        id: FlowId,
        steering: Steering,
    ) -> Result<(), FlowError> {
        self.owned_multi(id)?.connection.set_steering(now, steering);
        self.touched(now, id.into());
        Ok(())
    }

    /// Keep the last so many decisions of a connection's scheduler; `None`: none.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`], [`FlowError::NotMptcp`], [`FlowError::Closed`].
    pub fn set_decision_log(
        &mut self,
        id: FlowId,
        capacity: Option<usize>,
    ) -> Result<(), FlowError> {
        self.owned_multi(id)?.connection.set_decision_log(capacity);
        Ok(())
    }

    /// The decisions kept; `None`: the connection is gone, or none are.
    pub fn decision_log(&self, id: FlowId) -> Option<&Log> {
        self.flows.get(id.into())?.body.decision_log()
    }
}

fn set_congestion(now: Instant, flow: &mut Flow, congestion: Congestion) {
    match (flow, congestion) {
        (Flow::Mptcp(multi), congestion) => multi.connection.set_congestion(now, congestion),
        (Flow::Tcp(plain), Congestion::Alone(algorithm)) => {
            // An algorithm is never out of range.
            let _ = plain
                .stream
                .set_option(now, &SocketOption::Congestion(algorithm));
        }
        (Flow::Tcp(_), Congestion::Coupled(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_what_begins_with_them() {
        let addr = |text: &str| text.parse::<IpAddr>().expect("an address");
        let covers = |prefix: &str, len, it: &str| has_prefix(addr(it), (addr(prefix), len));
        assert!(covers("10.0.0.0", 8, "10.255.0.1"));
        assert!(!covers("10.0.0.0", 8, "11.0.0.1"));
        assert!(covers("0.0.0.0", 0, "192.0.2.1"));
        assert!(!covers("0.0.0.0", 0, "::1"));
        assert!(covers("2001:db8::", 32, "2001:db8:1::1"));
        assert!(!covers("2001:db8::1", 128, "2001:db8::2"));
    }
}
