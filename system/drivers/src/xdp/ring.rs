//! Memory shared with the kernel, and the rings that pass its parts to and fro.

use ::xdp::nic::NicIndex;
use ::xdp::slab::{HeapSlab, Slab};
use ::xdp::socket::{SocketError, XdpSocket, XdpSocketBuilder};
use ::xdp::umem::UmemCfgBuilder;
use ::xdp::{Packet, Umem};
use ::xdp::{RingConfigBuilder, WakableRings};
use bytes::Bytes;
use libc::c_int;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Parts of the memory, of 4 KB each: half for packets received, half for packets sent.
const FRAMES: u32 = 8192;
const ENTRIES: u32 = FRAMES / 2;

/// What the kernel keeps of each part (`XDP_PACKET_HEADROOM`).
const HEADROOM: usize = 256;

/// Largest IP packet that a part of the memory takes.
pub(super) const MAX_PACKET: usize = 4096 - HEADROOM - crate::link::ETHER_LEN;

/// Packets taken from the ring before others have their turn.
const BATCH: usize = 64;

/// System calls to send what is in the ring: the kernel takes 32 packets at each.
const KICKS: usize = ENTRIES as usize / 32;

/// A socket and its memory.
pub(super) struct Ring {
    // First, so that it is dropped first: the kernel is done with the memory before it goes.
    socket: XdpSocket,
    rings: WakableRings,
    /// Packets of the memory that are on their way out of a ring, or into it.
    incoming: HeapSlab,
    outgoing: HeapSlab,
    /// The kernel has not been told of all that is in the ring.
    unsent: bool,
    umem: Umem,
}

// SAFETY: the pointers in it are into memory that it owns and that nobody else uses but the kernel,
// by way of rings that are not bound to a thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Binds a socket to a queue; without copies where the device can.
    pub(super) fn open(interface: c_int, queue: u32) -> io::Result<Ring> {
        let umem = UmemCfgBuilder {
            frame_count: FRAMES,
            ..UmemCfgBuilder::default()
        };
        let mut umem = Umem::map(umem.build().map_err(io::Error::other)?)?;
        let config = RingConfigBuilder {
            rx_count: ENTRIES,
            tx_count: ENTRIES,
            fill_count: ENTRIES,
            completion_count: ENTRIES,
        };
        let config = config.build().map_err(io::Error::other)?;
        let mut builder = XdpSocketBuilder::new().map_err(told)?;
        let (mut rings, flags) = builder.build_wakable_rings(&umem, config).map_err(told)?;
        // SAFETY: the memory lives as long as the socket: both are of the same `Ring`.
        unsafe { rings.fill_ring.enqueue(&mut umem, ENTRIES as usize, false) }?;
        let socket = builder.bind(NicIndex(interface as u32), queue, flags);
        Ok(Ring {
            socket: socket.map_err(told)?,
            rings,
            incoming: HeapSlab::with_capacity(BATCH),
            outgoing: HeapSlab::with_capacity(ENTRIES as usize),
            unsent: false,
            umem,
        })
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open for as long as `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    /// Copies at most `max` frames out of the memory, and gives their parts back to the kernel.
    pub(super) fn receive(&mut self, max: usize, into: &mut Vec<Bytes>) -> io::Result<usize> {
        let Some(ring) = &mut self.rings.rx_ring else {
            return Ok(0);
        };
        if self.incoming.is_empty() {
            // SAFETY: packets stay in `incoming`, which does not outlive the memory.
            unsafe { ring.recv(&self.umem, &mut self.incoming) };
        }
        let mut count = 0;
        while count < max
            && let Some(packet) = self.incoming.pop_back()
        {
            into.push(Bytes::copy_from_slice(&packet));
            self.umem.free_packet(packet);
            count += 1;
        }
        if count > 0 {
            // SAFETY: the memory lives as long as the socket.
            let told = unsafe { self.rings.fill_ring.enqueue(&mut self.umem, count, true) };
            match told {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
        Ok(count)
    }

    /// Packets that can be pushed.
    pub(super) fn room(&mut self) -> usize {
        self.umem.allocatable().min(self.outgoing.available())
    }

    /// Copies a frame into the memory, to be sent by [`Ring::kick`]; false if there is no room, or
    /// it is too large.
    pub(super) fn push(&mut self, pieces: &[&[u8]]) -> bool {
        if self.outgoing.available() == 0 {
            return false;
        }
        // SAFETY: the packet goes into `outgoing` or back; neither outlives the memory.
        let Some(mut packet) = (unsafe { self.umem.alloc() }) else {
            return false;
        };
        if !fill(&mut packet, pieces) {
            self.umem.free_packet(packet);
            return false;
        }
        self.outgoing.push_front(packet);
        true
    }

    /// Takes back the memory of packets that have been sent.
    pub(super) fn reclaim(&mut self) {
        let ring = &mut self.rings.completion_ring;
        while ring.dequeue(&mut self.umem, ENTRIES as usize) > 0 {}
    }

    /// Has the kernel send what was pushed; what it does not take now, it takes at the next call.
    pub(super) fn kick(&mut self) {
        if let Some(ring) = &mut self.rings.tx_ring
            && !self.outgoing.is_empty()
        {
            // SAFETY: the memory lives as long as the socket. Without waking there is no error.
            let queued = unsafe { ring.send(&mut self.outgoing, false) };
            self.unsent |= queued.is_ok_and(|queued| queued > 0);
        }
        for _ in 0..KICKS {
            if !self.unsent {
                return;
            }
            let (nothing, flags) = (std::ptr::null(), libc::MSG_DONTWAIT);
            // SAFETY: there is no message, and no address: it tells the kernel to look at the ring.
            let sent = unsafe {
                let fd = self.socket.as_raw_fd();
                libc::sendto(fd, nothing, 0, flags, std::ptr::null(), 0)
            };
            // More is left, or the device is busy.
            self.unsent = sent < 0 && io::Error::last_os_error().kind() == ErrorKind::WouldBlock;
        }
    }

    /// Frames for which there was no room.
    pub(super) fn dropped(&self) -> u64 {
        let statistics = self.socket.statistics();
        statistics.map_or(0, |it| it.rx_dropped + it.rx_ring_full)
    }
}

/// Copies the pieces one behind the other; false if they do not fit.
fn fill(packet: &mut Packet, pieces: &[&[u8]]) -> bool {
    pieces.iter().all(|piece| packet.append(piece).is_ok())
}

fn told(error: SocketError) -> io::Error {
    use SocketError as E;
    match error {
        E::SocketCreation(inner)
        | E::SetSockOpt { inner, .. }
        | E::GetSockOpt { inner, .. }
        | E::RingMap { inner, .. }
        | E::Bind(inner) => inner,
    }
}
