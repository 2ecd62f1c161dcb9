//! Two drivers joined back to back in memory, for tests and for stacks in one process.

use crate::{Counters, Driver, GSO_MAX};
use anabranch_wire::frame::{Frame, Transmit};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

/// What both ends of a pipe agree upon.
#[derive(Clone, Copy, Debug)]
pub struct PipeConfig {
    /// Largest IP packet, bytes.
    pub mtu: u16,
    /// Frames that may wait in each direction; a super-frame cut in software may overstep it by
    /// its packets.
    pub capacity: usize,
    /// Super-frames pass whole and checksums are vouched for; without it every frame is a single
    /// packet with its checksum complete, as on a wire.
    pub offload: bool,
}

impl Default for PipeConfig {
    fn default() -> PipeConfig {
        PipeConfig {
            mtu: 1500,
            capacity: 256,
            offload: true,
        }
    }
}

/// One end of a pipe. Dropping it closes both directions; what waits can still be received.
#[derive(Debug)]
pub struct Pipe {
    config: PipeConfig,
    incoming: Arc<Lane>,
    outgoing: Arc<Lane>,
    counters: Counters,
}

/// Two ends: what one sends, the other receives.
///
/// # Errors
/// Those of `eventfd(2)`: no descriptors left.
pub fn pipe(config: PipeConfig) -> io::Result<(Pipe, Pipe)> {
    let (a, b) = (Arc::new(EventFd::new()?), Arc::new(EventFd::new()?));
    let there = Arc::new(Lane::new(a.clone(), b.clone()));
    let back = Arc::new(Lane::new(b, a));
    let end = |incoming: &Arc<Lane>, outgoing: &Arc<Lane>| Pipe {
        config,
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        counters: Counters::default(),
    };
    Ok((end(&back, &there), end(&there, &back)))
}

/// One direction.
#[derive(Debug)]
struct Lane {
    queue: Mutex<Queue>,
    sender: Arc<EventFd>,
    receiver: Arc<EventFd>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// The sender was refused and waits for room.
    refused: bool,
    closed: bool,
}

impl Lane {
    fn new(sender: Arc<EventFd>, receiver: Arc<EventFd>) -> Lane {
        Lane {
            queue: Mutex::default(),
            sender,
            receiver,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock, and a queue is whole between any two calls.
        self.queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn push(&self, frames: impl Iterator<Item = Frame>, capacity: usize) -> io::Result<()> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if queue.frames.len() >= capacity {
            queue.refused = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        let idle = queue.frames.is_empty();
        queue.frames.extend(frames);
        drop(queue);
        if idle {
            self.receiver.raise();
        }
        Ok(())
    }

    fn close(&self) {
        self.lock().closed = true;
        self.sender.raise();
        self.receiver.raise();
    }
}

impl Driver for Pipe {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let mut queue = self.incoming.lock();
        let count = queue.frames.len().min(max);
        if count == 0 && max > 0 {
            // Cleared under the lock: a frame pushed from now on raises it again.
            self.incoming.receiver.clear();
            let kind = if queue.closed {
                ErrorKind::BrokenPipe
            } else {
                ErrorKind::WouldBlock
            };
            return Err(kind.into());
        }
        for frame in queue.frames.drain(..count) {
            self.counters.received(frame.data.len());
            into.push(frame);
        }
        let wake_sender = count > 0 && std::mem::take(&mut queue.refused);
        drop(queue);
        if wake_sender {
            self.incoming.sender.raise();
        }
        Ok(count)
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        let sent = if self.config.offload {
            self.outgoing.push(
                std::iter::once_with(|| transmit.to_frame()),
                self.config.capacity,
            )
        } else {
            let packets = transmit
                .packets()
                .map(|packet| Frame::packet(packet.to_bytes()));
            self.outgoing.push(packets, self.config.capacity)
        };
        self.counters.sent(transmit.total_len(), &sent);
        sent
    }

    fn mtu(&self) -> u16 {
        self.config.mtu
    }

    fn gso_max(&self) -> u32 {
        if self.config.offload { GSO_MAX } else { 0 }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.incoming.receiver.0.as_fd())
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.incoming.close();
        self.outgoing.close();
    }
}

/// A descriptor that is readable from a [`raise`](EventFd::raise) until the next
/// [`clear`](EventFd::clear).
#[derive(Debug)]
struct EventFd(File);

impl EventFd {
    fn new() -> io::Result<EventFd> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just returned open, and nothing else owns it.
        Ok(EventFd(File::from(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    fn raise(&self) {
        // Fails only when the count is at its maximum, and then it is readable already.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    fn clear(&self) {
        // Fails only when it is clear already.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}
