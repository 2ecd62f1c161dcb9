//! Packet devices: what moves IP packets and super-frames between a stack and the world.
//!
//! A [`Driver`] is neither blocking nor asynchronous: its owner calls it until it says
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock), then waits for [`Driver::fd`].

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod buffers;
mod complaint;
mod counters;
pub mod icmp;
mod interface;
pub mod link;
mod many;
pub mod packet;
pub mod pipe;
pub mod tun;
pub mod xdp;

pub use counters::Counters;
pub use icmp::IcmpErrors;
pub use link::{Mac, Own};
pub use many::Many;
pub use packet::{Packet, PacketConfig};
pub use pipe::{Pipe, pipe};
pub use tun::Tun;
pub use xdp::Xdp;

use anabranch_wire::frame::{Frame, Transmit};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;

/// A device that carries IP packets; a super-frame where it offloads segmentation.
pub trait Driver: Send {
    /// Appends at most `max` waiting frames to `into` and returns how many (at least 1 unless
    /// `max` is 0).
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits. `BrokenPipe` when nothing ever will again. Any other is the
    /// device's; frames appended before it stay in `into` (the error is told by the next call).
    /// Malformed frames are counted in [`Counters::rx_errors`], not told.
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize>;

    /// Hands one packet or super-frame to the device.
    ///
    /// # Errors
    /// `WouldBlock` when the device is full: it has taken nothing, and the caller keeps the packet
    /// for after the next readiness event. `BrokenPipe` when it is gone for good. Any other error
    /// concerns this packet (`InvalidInput`: it is not one the device can carry): the packet is
    /// gone, counted in [`Counters::tx_errors`], and loss recovery may replace it.
    fn send(&mut self, transmit: &Transmit) -> io::Result<()>;

    /// Hands packets to the device from the front of `batch`, which is empty when all have gone.
    /// A device with a system call for many packets does better here than with [`Driver::send`].
    ///
    /// # Errors
    /// `WouldBlock` when the device is full, `BrokenPipe` when it is gone for good: what is left
    /// in `batch` it has not taken. A packet that it refuses for another reason is gone, counted in
    /// [`Counters::tx_errors`] and not told: those behind it have nothing to do with it.
    fn send_all(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        while let Some(transmit) = batch.front() {
            match self.send(transmit) {
                Err(error) if is_of_device(&error) => return Err(error),
                Ok(()) | Err(_) => drop(batch.pop_front()),
            }
        }
        Ok(())
    }

    /// Largest IP packet on the wire, bytes.
    fn mtu(&self) -> u16;

    /// Largest payload of a super-frame, bytes; 0 when the device wants single packets.
    ///
    /// A super-frame sent nevertheless is segmented in software.
    fn gso_max(&self) -> u32;

    /// Whether frames wait that [`Driver::fd`] does not tell of: whoever has sent asks this, and
    /// receives again.
    fn is_waiting(&self) -> bool {
        false
    }

    /// What to poll; `None` for a device that cannot be waited for.
    ///
    /// Register it edge-triggered for reading and writing (as tokio's `AsyncFd` does). Readable
    /// means that frames may wait, or that room may have come back after `WouldBlock`: whoever
    /// polls level-triggered waits for readability alone, receives until `WouldBlock`, and only
    /// then sends what it kept.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// What has passed so far.
    fn counters(&self) -> Counters;
}

/// Whether an error of sending says something of the device, not of the packet.
fn is_of_device(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe)
}

impl<D: Driver + ?Sized> Driver for Box<D> {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        (**self).receive(into, max)
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        (**self).send(transmit)
    }

    fn send_all(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        (**self).send_all(batch)
    }

    fn mtu(&self) -> u16 {
        (**self).mtu()
    }

    fn gso_max(&self) -> u32 {
        (**self).gso_max()
    }

    fn is_waiting(&self) -> bool {
        (**self).is_waiting()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).fd()
    }

    fn counters(&self) -> Counters {
        (**self).counters()
    }
}

/// Largest IP packet: the length fields of IPv4 count 16 bits (RFC 791 §3.1).
pub const MAX_PACKET: usize = 65_535;

/// Room for headers in a super-frame: IPv6 and a TCP header with all its options.
const MAX_HEADERS: usize = 40 + 60;

/// Largest payload of a super-frame that fits an IP packet under any header, bytes.
pub const GSO_MAX: u32 = (MAX_PACKET - MAX_HEADERS) as u32;
