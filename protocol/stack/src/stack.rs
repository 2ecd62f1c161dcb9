//! The host: public calls.

use crate::config::{Announcement, Config, ConnectConfig, ListenConfig};
use crate::counters::{Counter, Counters};
use crate::error::{ConnectError, FlowError, JoinError, ListenError};
use crate::event::{CloseReason, Event};
use crate::id::{FlowId, ListenerId, SubflowId};
use crate::info::FlowInfo;
use anabranch_tcp::Instant;
use anabranch_wire::frame::{Frame, Transmit};
use bytes::Bytes;
use slab::Slab;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A host: connections, listeners and what they need. See the crate's documentation for the
/// contract that binds its calls.
pub struct Stack {
    config: Config,
    listeners: Slab<Listener>,
    flows: Slab<Slot>,
    events: VecDeque<Event>,
    counters: Counters,
    generation: u32,
}

struct Listener {
    generation: u32,
    config: ListenConfig,
    queue: VecDeque<FlowId>,
}

struct Slot {
    generation: u32,
    flow: Flow,
}

enum Flow {}

/// What [`Stack::recv`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recv {
    /// Bytes, at least one.
    Data(Bytes),
    /// Nothing now; [`Event::Readable`] or another event follows.
    Pending,
    /// The peer finished and everything was read.
    Finished,
    /// The connection ended otherwise, and everything that arrived was read.
    Closed(CloseReason),
}

impl Stack {
    /// A host without listeners and connections. `seed` decides every random choice: keep it
    /// secret outside tests, and never use one twice.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Stack {
        let _ = (seed, now);
        Stack {
            config,
            listeners: Slab::new(),
            flows: Slab::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            generation: 0,
        }
    }

    /// Accepts connections from now on.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(&mut self, config: ListenConfig) -> Result<ListenerId, ListenError> {
        if config.port == 0 {
            return Err(ListenError::NoPort);
        }
        if config.addr.is_some_and(|a| !self.config.local.contains(a)) {
            return Err(ListenError::NotLocal);
        }
        let taken = |l: &Listener| l.config.addr == config.addr && l.config.port == config.port;
        if self.listeners.iter().any(|(_, l)| taken(l)) {
            return Err(ListenError::InUse);
        }
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let listener = Listener {
            generation,
            config,
            queue: VecDeque::new(),
        };
        let index = self.listeners.insert(listener) as u32;
        Ok(ListenerId { index, generation })
    }

    /// Stops accepting. Connections not yet accepted are reset; accepted ones go on, and so do
    /// joins to them. Without effect on an unknown listener.
    pub fn close_listener(&mut self, now: Instant, id: ListenerId) {
        if self.listener(id).is_none() {
            return;
        }
        for flow in self.listeners.remove(id.index as usize).queue {
            self.abort(now, flow);
            self.release(now, flow);
        }
    }

    /// The next connection that a listener's peers opened, if any waits.
    pub fn accept(&mut self, id: ListenerId) -> Option<FlowId> {
        self.listener(id)?.queue.pop_front()
    }

    /// Opens a connection. Port 0 of `local` is replaced by an ephemeral one.
    /// [`Event::Established`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
    ) -> Result<FlowId, ConnectError> {
        let _ = (now, local, remote, config);
        Err(ConnectError::Limit)
    }

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
        match self.flow(id).ok_or(JoinError::NoSuchFlow)?.flow {}
    }

    /// Takes a packet from the device.
    pub fn receive(&mut self, now: Instant, frame: Frame) {
        let _ = (now, frame);
        self.counters.inc(Counter::IpInReceives);
    }

    /// The next packet for the device; `None` when there is nothing more to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        let _ = now;
        None
    }

    /// The next event; `None` when the application knows everything.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Stack::on_deadline`] wants to be called at the latest; `None` when nothing waits for
    /// time to pass.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Lets time pass. Calling it early or late is harmless.
    pub fn on_deadline(&mut self, now: Instant) {
        let _ = now;
    }

    /// Hands bytes over for sending; returns how many were taken from the front. When fewer than
    /// all, [`Event::Writable`] follows once there is room again. The bytes are kept, not copied.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn send(&mut self, now: Instant, id: FlowId, data: Bytes) -> Result<usize, FlowError> {
        let _ = (now, data);
        match self.flow(id).ok_or(FlowError::NoSuchFlow)?.flow {}
    }

    /// Bytes that [`Stack::send`] would take now; 0 for an unknown or ended connection.
    pub fn send_room(&self, id: FlowId) -> usize {
        self.slot(id).map_or(0, |slot| match slot.flow {})
    }

    /// The next bytes received, at most `max`.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`] only.
    pub fn recv(&mut self, now: Instant, id: FlowId, max: usize) -> Result<Recv, FlowError> {
        let _ = (now, max);
        match self.flow(id).ok_or(FlowError::NoSuchFlow)?.flow {}
    }

    /// Finishes sending: the peer reads the end after what was sent. Receiving goes on.
    pub fn shutdown(&mut self, now: Instant, id: FlowId) {
        let _ = now;
        if let Some(slot) = self.flow(id) {
            match slot.flow {}
        }
    }

    /// Resets the connection (RST, MP_FASTCLOSE): unsent and unread bytes are lost.
    pub fn abort(&mut self, now: Instant, id: FlowId) {
        let _ = now;
        if let Some(slot) = self.flow(id) {
            match slot.flow {}
        }
    }

    /// The application drops its handle. What was sent is still delivered and the connection
    /// closed in the background; it is reset if received bytes are left unread (RFC 9293 §3.6.1)
    /// or more arrive.
    pub fn release(&mut self, now: Instant, id: FlowId) {
        let _ = now;
        if let Some(slot) = self.flow(id) {
            match slot.flow {}
        }
    }

    /// What there is to know of a connection; `None` if it is gone.
    pub fn info(&self, id: FlowId) -> Option<FlowInfo> {
        self.slot(id).map(|slot| match slot.flow {})
    }

    /// All connections, half-open and closing ones included, in no particular order.
    pub fn connections(&self) -> impl Iterator<Item = FlowInfo> + '_ {
        self.flows.iter().map(|(_, slot)| match slot.flow {})
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
        match self.flow(id).ok_or(FlowError::NoSuchFlow)?.flow {}
    }

    /// Announces an address to the peer of one connection (ADD_ADDR), beside those of
    /// [`Config::announce`].
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
        match self.flow(id).ok_or(FlowError::NoSuchFlow)?.flow {}
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
        match self.flow(id).ok_or(FlowError::NoSuchFlow)?.flow {}
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes that all buffers hold now.
    pub fn memory(&self) -> usize {
        0
    }

    fn listener(&mut self, id: ListenerId) -> Option<&mut Listener> {
        let listener = self.listeners.get_mut(id.index as usize)?;
        (listener.generation == id.generation).then_some(listener)
    }

    fn slot(&self, id: FlowId) -> Option<&Slot> {
        self.flows
            .get(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
    }

    fn flow(&mut self, id: FlowId) -> Option<&mut Slot> {
        self.flows
            .get_mut(id.index as usize)
            .filter(|slot| slot.generation == id.generation)
    }
}
