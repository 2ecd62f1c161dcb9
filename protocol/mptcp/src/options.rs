//! What a socket's owner may set: it holds for every subflow, present and future, and for the
//! data level above them.

use crate::config::Config;
use crate::connection::Connection;
use anabranch_tcp::{Instant, OutOfRange, SocketOption};
use std::sync::Arc;

impl Config {
    /// Take over an option, for connections to be opened.
    ///
    /// # Errors
    /// See [`SocketOption::check`].
    pub fn set(&mut self, option: &SocketOption) -> Result<(), OutOfRange> {
        self.tcp.set(option)?;
        match *option {
            SocketOption::SendBuffer(bytes) => {
                self.send_buffer = bytes as usize;
                self.tcp.buffers.send_initial = bytes;
            }
            SocketOption::RecvBuffer(bytes) => self.initial_window = bytes,
            SocketOption::Congestion(_) => self.coupling = None,
            _ => {}
        }
        Ok(())
    }
}

impl Connection {
    /// Set an option; it holds from now on.
    ///
    /// # Errors
    /// See [`SocketOption::check`].
    pub fn set_option(&mut self, now: Instant, option: &SocketOption) -> Result<(), OutOfRange> {
        Arc::make_mut(&mut self.config).set(option)?;
        match *option {
            SocketOption::NoDelay(true) | SocketOption::Cork(false) => self.push(),
            SocketOption::SendBuffer(bytes) => self.tx.size.fix(bytes as usize),
            SocketOption::RecvBuffer(bytes) => self.rx.fix_size(bytes),
            SocketOption::Congestion(_) => self.paths.coupled = None,
            _ => {}
        }
        // Small segments are the data level's business.
        let of_data = matches!(option, SocketOption::NoDelay(_) | SocketOption::Cork(_));
        if !of_data {
            for subflow in self.paths.list.iter_mut().filter(|s| !s.tcb.is_closed()) {
                subflow.tcb.set_option(now, option)?;
            }
        }
        self.update(now);
        Ok(())
    }

    /// What may be chosen for the connection, as it is now.
    pub fn tcp_config(&self) -> &anabranch_tcp::Config {
        &self.config.tcp
    }

    /// More bytes follow soon what was sent last: a segment that is not full waits for them as
    /// with [`SocketOption::Cork`], until this is taken back.
    pub fn set_more(&mut self, more: bool) {
        self.tx.more = more;
    }

    /// What waits to fill a segment waits no longer.
    pub(crate) fn push(&mut self) {
        self.tx.push_all();
        self.timers.cork = None;
        self.dirty = true;
    }

    /// Whether segments that are not full wait.
    pub(crate) fn corked(&self) -> bool {
        self.config.tcp.socket.cork || self.tx.more
    }
}
