//! How much a stream takes from both sides, and what its owner may set.

use super::{Stream, StreamConfig};
use crate::segment::Grant;
use crate::{Config, Instant, OutOfRange, SocketOption};
use std::time::Duration;

/// A round trip before any was measured.
const UNKNOWN_ROUND: Duration = Duration::from_millis(100);

impl StreamConfig {
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
            SocketOption::RecvBuffer(bytes) => self.tcp.buffers.recv_initial = bytes,
            _ => {}
        }
        Ok(())
    }
}

impl Stream {
    /// Set an option; it holds from now on.
    ///
    /// # Errors
    /// See [`SocketOption::check`].
    pub fn set_option(&mut self, now: Instant, option: &SocketOption) -> Result<(), OutOfRange> {
        self.tcb.set_option(now, option)?;
        match *option {
            SocketOption::SendBuffer(bytes) => self.send_size.fix(bytes as usize),
            SocketOption::RecvBuffer(bytes) => self.recv_size.fix(bytes),
            _ => {}
        }
        self.note_room();
        Ok(())
    }

    /// What may be chosen for the connection, as it is now.
    pub fn config(&self) -> &Config {
        self.tcb.config()
    }

    /// Bytes the send buffer holds at most now.
    pub fn send_buffer(&self) -> usize {
        self.send_size.get(self.tcb.cwnd(), self.tcb.sacked())
    }

    /// Bytes the receive buffer holds at most now.
    pub fn recv_buffer(&self) -> u32 {
        self.recv_size.get()
    }

    /// Bytes the application read in the last round trip.
    pub fn recv_space(&self) -> u32 {
        self.recv_size.space()
    }

    /// Bytes that [`Stream::send`] would take now.
    pub fn send_room(&self) -> usize {
        let free = self.send_buffer().saturating_sub(self.send.len() as usize);
        let room = free.min(self.budget.share());
        match self.tcb.config().socket.not_sent_lowat {
            Some(lowat) => room.min((lowat as usize).saturating_sub(self.tcb.unsent() as usize)),
            None => room,
        }
    }

    /// Whether there is so much room that it is worth waking a writer: a third of the buffer, and
    /// half of what may wait unsent.
    pub(super) fn is_writable(&self) -> bool {
        let free = self.send_buffer().saturating_sub(self.send.len() as usize);
        let lowat = self.tcb.config().socket.not_sent_lowat;
        let few = lowat.is_none_or(|lowat| 2 * self.tcb.unsent() < u64::from(lowat).max(1));
        few && 3 * free >= self.send_buffer() && self.send_room() > 0
    }

    /// The application has read.
    pub(super) fn note_read(&mut self, now: Instant) {
        let read = self.recv.next() - self.recv.readable();
        let round = self.tcb.rcv_rtt().max(self.tcb.srtt());
        self.recv_size
            .on_read(now, read, round.unwrap_or(UNKNOWN_ROUND));
    }

    pub(super) fn grant(&self) -> Grant {
        // What waits out of order lies within the window already: only what is in order uses it
        // up. Scarce memory makes the window small, without taking back what was promised.
        let room = u64::from(self.recv_size.get()).saturating_sub(self.recv.readable());
        let room = room.min(self.budget.share() as u64) as u32;
        Grant {
            rcv_room: room,
            data_options: 0,
            ack_options: 0,
            gso_max: self.gso_max,
        }
    }
}
