//! Two drivers joined back to back in memory, for tests and for stacks in one process; and
//! [`mesh`], a device of several queues in memory.

mod mesh;

pub use mesh::{MeshConfig, MeshEnd, Steering, mesh};

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
    let (there, back) = (Arc::new(Lane::new(1)?), Arc::new(Lane::new(1)?));
    let end = |incoming: &Arc<Lane>, outgoing: &Arc<Lane>| Pipe {
        config,
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
        counters: Counters::default(),
    };
    Ok((end(&back, &there), end(&there, &back)))
}

/// One direction: what several may send, and one receives.
#[derive(Debug)]
struct Lane {
    queue: Mutex<Queue>,
    receiver: Arc<EventFd>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each with the number of who sent it.
    frames: VecDeque<(usize, Frame)>,
    /// Senders that were refused and wait for room.
    refused: Vec<Arc<EventFd>>,
    /// Senders that there are.
    senders: usize,
    /// Nobody receives any more.
    closed: bool,
}

/// Who sends: its number, and what wakes it.
struct Sender<'a> {
    number: usize,
    ready: &'a Arc<EventFd>,
}

impl Lane {
    fn new(senders: usize) -> io::Result<Lane> {
        Ok(Lane {
            queue: Mutex::new(Queue {
                senders,
                ..Queue::default()
            }),
            receiver: Arc::new(EventFd::new()?),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds the lock, and a queue is whole between any two calls.
        self.queue
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sends a packet as `config` has it.
    fn send(&self, transmit: &Transmit, config: &PipeConfig, from: Sender<'_>) -> io::Result<()> {
        if config.offload {
            let whole = std::iter::once_with(|| transmit.to_frame());
            return self.push(whole, config.capacity, from);
        }
        let packets = transmit
            .packets()
            .map(|packet| Frame::packet(packet.to_bytes()));
        self.push(packets, config.capacity, from)
    }

    fn push(
        &self,
        frames: impl Iterator<Item = Frame>,
        capacity: usize,
        from: Sender<'_>,
    ) -> io::Result<()> {
        let mut queue = self.lock();
        if queue.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if queue.frames.len() >= capacity {
            if !queue.refused.iter().any(|it| Arc::ptr_eq(it, from.ready)) {
                queue.refused.push(from.ready.clone());
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        let idle = queue.frames.is_empty();
        queue
            .frames
            .extend(frames.map(|frame| (from.number, frame)));
        drop(queue);
        if idle {
            self.receiver.raise();
        }
        Ok(())
    }

    /// Takes at most `max` frames, with who sent them.
    fn pull(&self, max: usize, mut each: impl FnMut(usize, Frame)) -> io::Result<usize> {
        let mut queue = self.lock();
        let count = queue.frames.len().min(max);
        if count == 0 && max > 0 {
            // Cleared under the lock: a frame pushed from now on raises it again.
            self.receiver.clear();
            let kind = match queue.senders {
                0 => ErrorKind::BrokenPipe,
                _ => ErrorKind::WouldBlock,
            };
            return Err(kind.into());
        }
        for (sender, frame) in queue.frames.drain(..count) {
            each(sender, frame);
        }
        let refused = match count {
            0 => Vec::new(),
            _ => std::mem::take(&mut queue.refused),
        };
        drop(queue);
        refused.iter().for_each(|sender| sender.raise());
        Ok(count)
    }

    /// A sender is gone.
    fn leave(&self) {
        self.lock().senders -= 1;
        self.receiver.raise();
    }

    /// The receiver is gone.
    fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let refused = std::mem::take(&mut queue.refused);
        drop(queue);
        refused.iter().for_each(|sender| sender.raise());
    }
}

impl Driver for Pipe {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let Pipe {
            incoming, counters, ..
        } = self;
        incoming.pull(max, |_, frame| {
            counters.received(frame.data.len());
            into.push(frame);
        })
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        let from = Sender {
            number: 0,
            ready: &self.incoming.receiver,
        };
        let sent = self.outgoing.send(transmit, &self.config, from);
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
        self.outgoing.leave();
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
