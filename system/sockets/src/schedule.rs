//! Scheduler and congestion control of any connection of a host, and why data went where it went.

use crate::error;
use crate::host::Host;
use crate::shared::Inner;
use anabranch_stack::{Congestion, DecisionLog, FlowError, FlowId, Scheduler, Steering};
use std::io;

impl Host {
    /// Uses another scheduler for a connection from now on, whoever has it.
    ///
    /// # Errors
    /// `NotConnected`: there is no such connection. `Unsupported`: it is plain TCP. As for writing,
    /// where it has ended.
    pub fn set_scheduler(&self, id: FlowId, scheduler: &Scheduler) -> io::Result<()> {
        self.shared.lock().set_scheduler(id, scheduler)
    }

    /// Uses another congestion control for a connection from now on, whoever has it.
    ///
    /// # Errors
    /// Those of [`Host::set_scheduler`]; plain TCP is refused a coupled one only.
    pub fn set_congestion(&self, id: FlowId, congestion: Congestion) -> io::Result<()> {
        self.shared.lock().set_congestion(id, congestion)
    }

    /// Tells the peer of a connection so much about its paths from now on, whoever has it.
    ///
    /// # Errors
    /// Those of [`Host::set_scheduler`].
    pub fn set_steering(&self, id: FlowId, steering: Steering) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let now = inner.now();
        let set = inner.stack.set_steering(now, id, steering);
        inner.wake_driver();
        set.map_err(error::flow)
    }

    /// Keeps the last so many decisions of a connection's scheduler from now on; `None`: none,
    /// which costs nothing.
    ///
    /// # Errors
    /// Those of [`Host::set_scheduler`].
    pub fn set_decision_log(&self, id: FlowId, capacity: Option<usize>) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let set = inner.stack.set_decision_log(id, capacity);
        set.map_err(error::flow)
    }

    /// The decisions kept; `None` if none are.
    ///
    /// # Errors
    /// `NotConnected`: there is no such connection.
    pub fn decision_log(&self, id: FlowId) -> io::Result<Option<DecisionLog>> {
        let inner = self.shared.lock();
        match inner.stack.info(id) {
            Some(_) => Ok(inner.stack.decision_log(id).cloned()),
            None => Err(error::flow(FlowError::NoSuchFlow)),
        }
    }
}

impl Inner {
    pub(crate) fn set_scheduler(&mut self, id: FlowId, scheduler: &Scheduler) -> io::Result<()> {
        let now = self.now();
        let set = self.stack.set_scheduler(now, id, scheduler);
        self.wake_driver();
        set.map_err(error::flow)
    }

    pub(crate) fn set_congestion(&mut self, id: FlowId, congestion: Congestion) -> io::Result<()> {
        let now = self.now();
        let set = self.stack.set_congestion(now, id, congestion);
        self.wake_driver();
        set.map_err(error::flow)
    }
}
