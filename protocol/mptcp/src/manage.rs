//! What a path manager asks and sets beside signals and joins.

use crate::config::SubflowId;
use crate::connection::Connection;
use crate::event::SignalError;
use crate::handshake::Role;
use anabranch_tcp::Instant;
use std::net::IpAddr;

impl Connection {
    /// Whether the peer opened it.
    pub fn is_accepted(&self) -> bool {
        self.handshake.role == Role::Acceptor
    }

    /// Address IDs of a subflow: ours and the peer's.
    pub fn address_ids(&self, id: SubflowId) -> Option<(u8, u8)> {
        let subflow = self.paths.list.iter().find(|s| s.id == id)?;
        Some((subflow.ids.local, subflow.ids.remote))
    }

    /// Whether a subflow makes no progress (see [`crate::SubflowInfo::stale`]).
    pub fn is_stale(&self, id: SubflowId) -> bool {
        let mut all = self.paths.list.iter();
        all.any(|s| s.id == id && s.stale)
    }

    /// Gives one of our addresses an ID for subflows to come, 1 to 255. Nothing changes if the
    /// address has one, or another has this or had it just now.
    pub fn identify(&mut self, addr: IpAddr, id: u8) {
        self.signals.identify(addr, id);
    }

    /// Asks the peer for a sign of life on a subflow: a segment that it has to acknowledge.
    ///
    /// # Errors
    /// [`SignalError::NoSuchSubflow`]: none of this ID is established.
    pub fn probe(&mut self, now: Instant, id: SubflowId) -> Result<(), SignalError> {
        let subflow = self.paths.get_mut(id).filter(|s| s.is_active());
        subflow
            .ok_or(SignalError::NoSuchSubflow)?
            .tcb
            .request_probe();
        self.update(now);
        Ok(())
    }

    /// Subflows at once from now on, instead of [`crate::Config::max_subflows`]; those there are
    /// stay.
    pub fn set_max_subflows(&mut self, subflows: u8) {
        self.paths.max = subflows;
    }
}
