//! The paths of one connection: what happens to them, and what an application does with them.

use crate::error;
use crate::shared::{Inner, Shared};
use anabranch_stack::{
    Announcement, FlowError, FlowId, FlowInfo, Instant, PathEvent, Stack, SubflowId,
};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

/// Events kept for an application that sleeps; beyond, the oldest are lost.
const MAX_EVENTS: usize = 256;

/// The paths of a [`Stream`](crate::Stream), apart from its bytes: a handle that may outlive it and
/// be used while it is read and written.
pub struct Paths {
    shared: Shared,
    id: FlowId,
}

/// Events that wait for [`Paths::next`], and who waits for them.
#[derive(Default)]
pub(crate) struct PathQueue {
    events: VecDeque<PathEvent>,
    waker: Option<Waker>,
}

impl PathQueue {
    pub(crate) fn push(&mut self, event: PathEvent) -> Option<Waker> {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
        self.waker.take()
    }

    pub(crate) fn wake(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl Paths {
    pub(crate) fn new(shared: Shared, id: FlowId) -> Paths {
        shared.lock().watch_paths(id);
        Paths { shared, id }
    }

    /// Without an eye on what happens to them.
    pub(crate) fn of(shared: Shared, id: FlowId) -> Paths {
        Paths { shared, id }
    }

    /// The next thing that happens to a path; `None` once the connection has ended or was dropped.
    /// Events are kept from the first call of [`Stream::paths`](crate::Stream::paths) on, or from
    /// the start of a connection of [`Host::connect_from`](crate::Host::connect_from), so many that
    /// only a burst beyond 256 loses the oldest. With several handles each event goes to one.
    pub async fn next(&self) -> Option<PathEvent> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<PathEvent>> {
        let mut inner = self.shared.lock();
        let over = inner.has_ended() || inner.close_reason(self.id).is_some();
        let Some(queue) = inner.path_queue(self.id) else {
            return Poll::Ready(None);
        };
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if over => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Opens a subflow (MP_JOIN); port 0 of `local` is any free one. [`PathEvent::SubflowUp`] or
    /// [`PathEvent::SubflowGone`] follows.
    ///
    /// # Errors
    /// `Unsupported`: plain TCP, fallen back, or not fully established yet. `PermissionDenied`: the
    /// peer wants no joins there. `QuotaExceeded`: as many subflows as allowed exist.
    /// `AddrNotAvailable`, `AddrInUse`.
    pub fn join(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
        backup: bool,
    ) -> io::Result<SubflowId> {
        self.act(|stack, now| {
            let joined = stack.join(now, self.id, local, remote, backup);
            joined.map_err(error::join)
        })
    }

    /// Makes a subflow a backup, or a normal one again, and tells the peer (MP_PRIO).
    ///
    /// # Errors
    /// `Unsupported` for what is not Multipath TCP, `InvalidInput` for an unknown subflow.
    pub fn set_backup(&self, subflow: SubflowId, backup: bool) -> io::Result<()> {
        self.signal(|stack, now| stack.set_backup(now, self.id, subflow, backup))
    }

    /// Tells the peer of an address of this host (ADD_ADDR).
    ///
    /// # Errors
    /// `Unsupported` for what is not Multipath TCP; `InvalidInput`: ID 0, or that of another
    /// address; `QuotaExceeded`: too many are announced.
    pub fn announce(&self, announcement: Announcement) -> io::Result<()> {
        self.signal(|stack, now| stack.announce(now, self.id, announcement))
    }

    /// Tells the peer that addresses are gone (REMOVE_ADDR), by their IDs, and closes the subflows
    /// from them.
    ///
    /// # Errors
    /// `Unsupported` for what is not Multipath TCP.
    pub fn withdraw(&self, address_ids: &[u8]) -> io::Result<()> {
        self.signal(|stack, now| stack.withdraw(now, self.id, address_ids))
    }

    /// Closes one subflow in order; the connection goes on with the others.
    ///
    /// # Errors
    /// `Unsupported` for what is not Multipath TCP, `InvalidInput` for an unknown subflow.
    pub fn close_subflow(&self, subflow: SubflowId) -> io::Result<()> {
        self.signal(|stack, now| stack.close_subflow(now, self.id, subflow))
    }

    /// See [`Stream::info`](crate::Stream::info).
    ///
    /// # Errors
    /// `NotConnected` when the connection is gone.
    pub fn info(&self) -> io::Result<FlowInfo> {
        let info = self.shared.lock().stack.info(self.id);
        info.ok_or_else(|| error::flow(FlowError::NoSuchFlow))
    }

    fn signal(
        &self,
        call: impl FnOnce(&mut Stack, Instant) -> Result<(), FlowError>,
    ) -> io::Result<()> {
        self.act(|stack, now| call(stack, now).map_err(error::flow))
    }

    /// Changes the stack and has it send.
    fn act<T>(&self, call: impl FnOnce(&mut Stack, Instant) -> io::Result<T>) -> io::Result<T> {
        let inner: &mut Inner = &mut self.shared.lock();
        inner.check_flow(self.id)?;
        let now = inner.now();
        let result = call(&mut inner.stack, now)?;
        inner.wake_driver();
        Ok(result)
    }
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths").field("id", &self.id).finish()
    }
}
