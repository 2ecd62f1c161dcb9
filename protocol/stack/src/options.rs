//! What an application sets for its connections, and for those that a listener accepts.

use crate::config::ConnectConfig;
use crate::error::{ConnectError, FlowError};
use crate::flow::Flow;
use crate::id::{FlowId, ListenerId};
use crate::lifecycle::Handle;
use crate::settings::Settings;
use crate::stack::Stack;
use anabranch_tcp::{Instant, OutOfRange, SocketOption};
use std::net::SocketAddr;
use std::time::Duration;

impl Stack {
    /// Sets an option of a connection; of Multipath TCP, for all its subflows, present and future.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`], [`FlowError::Closed`], [`FlowError::OutOfRange`].
    pub fn set_option(
        &mut self,
        now: Instant,
        id: FlowId,
        option: &SocketOption,
    ) -> Result<(), FlowError> {
        let slot = self.owned(id).ok_or(FlowError::NoSuchFlow)?;
        if let Some(reason) = slot.closed {
            return Err(FlowError::Closed(reason));
        }
        slot.flow().set_option(now, option)?;
        self.touched(now, id.into());
        Ok(())
    }

    /// The options of a connection as they are now, in the form they have in a configuration;
    /// `None` if it is gone.
    pub fn options(&self, id: FlowId) -> Option<anabranch_tcp::Config> {
        let slot = self.flows.get(id.into())?;
        Some(slot.look().options().clone())
    }

    /// Sets an option of all connections that a listener accepts from now on: of those whose SYN
    /// arrives later. Without effect on an unknown listener.
    ///
    /// # Errors
    /// The value is out of range.
    pub fn set_listener_option(
        &mut self,
        id: ListenerId,
        option: &SocketOption,
    ) -> Result<(), OutOfRange> {
        option.check()?;
        if let Some(listener) = self.listeners.get_mut(id) {
            let same = |known: &SocketOption| {
                std::mem::discriminant(known) == std::mem::discriminant(option)
            };
            listener.options.retain(|known| !same(known));
            listener.options.push(*option);
            listener.settle(&self.settings);
        }
        Ok(())
    }

    /// Has a listener give out plain TCP connections only once something arrived on them, or they
    /// were established for so long; `None`: at once.
    pub fn set_defer_accept(&mut self, id: ListenerId, limit: Option<Duration>) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.defer = limit;
        }
    }

    /// [`Stack::connect`] with options that hold from the first SYN on.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect_with(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        options: &[SocketOption],
    ) -> Result<FlowId, ConnectError> {
        for option in options {
            option.check().map_err(|OutOfRange| ConnectError::Option)?;
        }
        self.open(now, local, remote, config, options)
    }

    /// What was sent so far ends a record: no segment of plain TCP holds bytes of it and of what
    /// is sent next.
    pub fn end_record(&mut self, id: FlowId) {
        if let Some(Flow::Tcp(plain)) = self.owned(id).map(|slot| slot.flow()) {
            plain.stream.end_record();
        }
    }

    /// The application's own send buffer, in front of that of a plain TCP connection, is full: for
    /// the figures of what sending waits for.
    pub fn set_starved(&mut self, now: Instant, id: FlowId, starved: bool) {
        if let Some(Flow::Tcp(plain)) = self.owned(id).map(|slot| slot.flow()) {
            plain.stream.set_starved(starved);
            self.touched(now, id.into());
        }
    }

    /// What the connections of a listener are set to.
    pub(crate) fn settings_of(&self, id: ListenerId) -> Settings {
        self.listeners.settings(id, &self.settings)
    }

    /// How long a new connection waits for something to arrive before it is given out.
    pub(crate) fn defers(&self, handle: Handle, id: ListenerId) -> Option<Duration> {
        let limit = self.listeners.get(id)?.defer?;
        let slot = self.flows.get(handle)?;
        slot.look().is_silent().then_some(limit)
    }
}
