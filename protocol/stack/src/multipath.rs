//! What is particular to Multipath TCP connections: joins, announcements, priorities.

use crate::config::Announcement;
use crate::error::{FlowError, JoinError};
use crate::flow::{Flow, Slot};
use crate::id::{FlowId, SubflowId};
use crate::stack::Stack;
use anabranch_tcp::Instant;
use std::net::SocketAddr;

impl Stack {
    /// Opens a further subflow of an established Multipath TCP connection. Port 0 of `local` is
    /// replaced by an ephemeral one. [`crate::PathEvent::SubflowUp`] or
    /// [`crate::PathEvent::SubflowGone`] follows.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn join(
        &mut self,
        now: Instant,
        id: FlowId,
        local: SocketAddr,
        remote: SocketAddr,
        backup: bool,
    ) -> Result<SubflowId, JoinError> {
        let _ = (now, local, remote, backup);
        match self.owned(id).ok_or(JoinError::NoSuchFlow)? {
            Slot {
                flow: Flow::Tcp(_), ..
            } => Err(JoinError::NotMptcp),
        }
    }

    /// Sets the priority of a subflow and tells the peer (MP_PRIO).
    ///
    /// # Errors
    /// [`FlowError::NotMptcp`] or [`FlowError::NoSuchFlow`]; an unknown subflow is the latter.
    pub fn set_backup(
        &mut self,
        now: Instant,
        id: FlowId,
        subflow: SubflowId,
        backup: bool,
    ) -> Result<(), FlowError> {
        let _ = (now, subflow, backup);
        match self.owned(id).ok_or(FlowError::NoSuchFlow)? {
            Slot {
                flow: Flow::Tcp(_), ..
            } => Err(FlowError::NotMptcp),
        }
    }

    /// Announces an address to the peer of one connection (ADD_ADDR), beside those of
    /// [`crate::Config::announce`].
    ///
    /// # Errors
    /// [`FlowError::NotMptcp`] or [`FlowError::NoSuchFlow`].
    pub fn announce(
        &mut self,
        now: Instant,
        id: FlowId,
        announcement: Announcement,
    ) -> Result<(), FlowError> {
        let _ = (now, announcement);
        match self.owned(id).ok_or(FlowError::NoSuchFlow)? {
            Slot {
                flow: Flow::Tcp(_), ..
            } => Err(FlowError::NotMptcp),
        }
    }

    /// Withdraws addresses from the peer of one connection (REMOVE_ADDR).
    ///
    /// # Errors
    /// [`FlowError::NotMptcp`] or [`FlowError::NoSuchFlow`].
    pub fn withdraw(
        &mut self,
        now: Instant,
        id: FlowId,
        address_ids: &[u8],
    ) -> Result<(), FlowError> {
        let _ = (now, address_ids);
        match self.owned(id).ok_or(FlowError::NoSuchFlow)? {
            Slot {
                flow: Flow::Tcp(_), ..
            } => Err(FlowError::NotMptcp),
        }
    }
}
