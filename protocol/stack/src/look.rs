//! What there is to see of connections, without waking those that rest.

use crate::demux::Tuple;
use crate::flow::Slot;
use crate::id::{FlowId, SubflowId};
use crate::info::FlowInfo;
use crate::rest::TcbRef;
use crate::stack::Stack;
use anabranch_tcp::State;
use std::net::SocketAddr;

/// Slots looked at for one page of [`Stack::connections_from`].
const PAGE: usize = 256;

impl Stack {
    /// What there is to know of a connection; `None` if it is gone.
    pub fn info(&self, id: FlowId) -> Option<FlowInfo> {
        self.flows.get(id.into()).map(|slot| slot.info(id))
    }

    /// The control block of a connection's initial subflow, or of a plain connection; `None` if
    /// it is gone.
    pub fn tcb(&self, id: FlowId) -> Option<TcbRef<'_>> {
        TcbRef::of(self.flows.get(id.into())?.look())
    }

    /// All connections, half-open and closing ones included, in no particular order.
    pub fn connections(&self) -> impl Iterator<Item = FlowInfo> + '_ {
        let flows = self.flows.iter();
        let known = flows.map(|(handle, slot)| slot.info(handle.into()));
        known.chain(self.opening())
    }

    /// Some of [`Stack::connections`], and where to go on, if there are more; from 0 on. What comes
    /// or goes between two calls may be missing or be there. For hosts with so many that looking
    /// at all of them at once would keep packets waiting.
    pub fn connections_from(&self, from: usize) -> (Vec<FlowInfo>, Option<usize>) {
        let (end, next) = (self.flows.end(), from + PAGE);
        let slots = (from..end.min(next)).filter_map(|index| {
            let handle = self.flows.handle(index as u32)?;
            Some(self.flows.get(handle)?.info(handle.into()))
        });
        let mut page: Vec<FlowInfo> = slots.collect();
        if next < end {
            return (page, Some(next));
        }
        page.extend(self.opening());
        (page, None)
    }

    /// Whether no peer is owed anything: what there still is of connections is closed, in
    /// TIME-WAIT, or not proven yet.
    pub fn is_quiet(&self) -> bool {
        !self.flows.iter().any(|(_, slot)| slot.is_open())
    }

    /// The connection, and the subflow of it, that a segment between these ends belongs to.
    pub fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<(FlowId, SubflowId)> {
        let target = self.demux.get(&Tuple::new(local, remote))?;
        if target.as_request().is_some() {
            return None;
        }
        let handle = self.flows.handle(target.index)?;
        Some((handle.into(), SubflowId(target.subflow)))
    }

    /// The connection that a token names: peers join by it (RFC 8684 §3.2).
    pub fn find_token(&self, token: u32) -> Option<FlowId> {
        let handle = self.flows.handle(self.tokens.get(token)?)?;
        Some(handle.into())
    }
}

impl Slot {
    /// Whether its peer is owed something.
    pub(crate) fn is_open(&self) -> bool {
        // At rest it is idle, not over.
        let idle = self.body.resting().is_some();
        !self.resting && (idle || !is_gone(self.look().state()))
    }
}

fn is_gone(state: State) -> bool {
    matches!(state, State::TimeWait | State::Closed | State::SynReceived)
}
