//! A TUN device, with the virtio-net header and segmentation offload where the kernel has them.
//!
//! The layout of the header is virtio's (Virtual I/O Device 1.2, §5.1.6); the ioctls are those of
//! the kernel's `Documentation/networking/tuntap.rst`.

mod buffers;
mod device;

use crate::{Counters, Driver, GSO_MAX, MAX_PACKET};
use anabranch_wire::frame::{Frame, Transmit, segment};
use anabranch_wire::vnet::{self, VnetHdr};
use buffers::Buffers;
use bytes::Buf;
use device::Device;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How much of a packet's work the kernel does; each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Offload {
    /// Plain IP packets, no header before them.
    None,
    /// Checksums are left partial between us and the kernel.
    Checksum,
    /// Super-frames of up to 64 KB both ways.
    Segmentation,
}

/// What to ask of a TUN device.
#[derive(Clone, Debug)]
pub struct TunConfig {
    /// Interface name, at most 15 bytes; a `%d` in it is replaced by the first free number.
    pub name: String,
    /// Largest IP packet on the wire, bytes.
    pub mtu: u16,
    /// Packets (or super-frames) the kernel queues for us before it drops.
    pub txqueuelen: u32,
    /// The most to ask for; the kernel may refuse some, see [`Tun::offload`].
    pub offload: Offload,
}

impl Default for TunConfig {
    fn default() -> TunConfig {
        TunConfig {
            name: "anabranch%d".into(),
            mtu: 1500,
            // 500 super-frames are 32 MB; plain packets need the window divided by their size.
            txqueuelen: 4096,
            offload: Offload::Segmentation,
        }
    }
}

/// An open TUN device, up. Dropping it removes the interface.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    mtu: u16,
    offload: Offload,
    buffers: Buffers,
    /// The rest of a super-frame cut in software, when the device filled up in the middle of it.
    unsent: VecDeque<Transmit>,
    counters: Counters,
}

impl Tun {
    /// Creates the interface in the current network namespace and brings it up.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_ADMIN`, `NotFound` without `/dev/net/tun`,
    /// `InvalidInput` for a name that is none; all say what was tried.
    pub fn open(config: &TunConfig) -> io::Result<Tun> {
        let device = Device::create(&config.name, config.offload)?;
        device.set_mtu(config.mtu)?;
        device.set_txqueuelen(config.txqueuelen)?;
        device.set_up()?;
        let header = if device.offload > Offload::None {
            vnet::LEN
        } else {
            0
        };
        Ok(Tun {
            file: device.file,
            name: device.name,
            mtu: config.mtu,
            offload: device.offload,
            buffers: Buffers::new(header + MAX_PACKET),
            unsent: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel granted.
    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Reads one frame; `None` if it was malformed.
    fn read(&mut self) -> io::Result<Option<Frame>> {
        let mut packet = self.buffers.read(self.file.as_fd())?;
        if self.offload == Offload::None {
            return Ok(Some(Frame::packet(packet)).filter(|frame| !frame.data.is_empty()));
        }
        let Some(header) = packet.first_chunk() else {
            return Ok(None);
        };
        let Ok(header) = VnetHdr::decode(header) else {
            return Ok(None);
        };
        packet.advance(vnet::LEN);
        Ok(header
            .frame(packet)
            .ok()
            .filter(|frame| !frame.data.is_empty()))
    }

    /// Writes what the device can take as it is.
    fn write(&mut self, transmit: &Transmit) -> io::Result<()> {
        let header = VnetHdr::for_transmit(transmit).encode();
        let mut slices = Vec::with_capacity(2 + transmit.payload.len());
        if self.offload > Offload::None {
            slices.push(IoSlice::new(&header));
        }
        slices.push(IoSlice::new(&transmit.header));
        slices.extend(transmit.payload.iter().map(|slice| IoSlice::new(slice)));
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let written = loop {
            match (&self.file).write_vectored(&slices) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => break written,
            }
        };
        let done = match written {
            Ok(written) if written == length => Ok(()),
            Ok(_) => Err(ErrorKind::WriteZero.into()),
            Err(error) => Err(error),
        };
        self.counters.sent(transmit.total_len(), &done);
        done
    }

    /// Writes a packet at a time what the device would not take as it is.
    fn write_packets(&mut self, packets: impl Iterator<Item = Transmit>) -> io::Result<()> {
        let mut outcome = Ok(());
        for (position, packet) in packets.enumerate() {
            if !self.unsent.is_empty() {
                self.unsent.push_back(packet);
                continue;
            }
            match self.write(&packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && position == 0 => {
                    return Err(error);
                }
                // The device has part of it already: the rest is ours to send.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent.push_back(packet);
                }
                Err(error) => outcome = Err(error),
                Ok(()) => {}
            }
        }
        outcome
    }

    /// Sends what is left of a super-frame.
    fn flush(&mut self) -> io::Result<()> {
        while let Some(packet) = self.unsent.pop_front() {
            match self.write(&packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.unsent.push_front(packet);
                    return Err(error);
                }
                // Counted; it concerns that packet, not those behind it.
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The device itself, to read and write without [`Driver`]: one packet a call, behind a virtio-net
/// header unless it was opened with [`Offload::None`]. Closing it removes the interface.
impl From<Tun> for OwnedFd {
    fn from(tun: Tun) -> OwnedFd {
        tun.file.into()
    }
}

impl Driver for Tun {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        // Whoever waits for the device waits for this too.
        let _ = self.flush();
        let before = into.len();
        while into.len() - before < max {
            match self.read() {
                Ok(Some(frame)) => {
                    self.counters.received(frame.data.len());
                    into.push(frame);
                }
                Ok(None) => self.counters.rx_errors += 1,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) if into.len() > before => break,
                Err(error) => return Err(error),
            }
        }
        Ok(into.len() - before)
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        self.flush()?;
        let is_super = transmit.payload_len() > usize::from(transmit.gso_size);
        let is_super = is_super && transmit.gso_size > 0;
        match self.offload {
            Offload::Segmentation => self.write(transmit),
            Offload::Checksum if !is_super => self.write(transmit),
            Offload::Checksum => self.write_packets(segment(transmit)),
            Offload::None => self.write_packets(transmit.packets()),
        }
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn gso_max(&self) -> u32 {
        if self.offload == Offload::Segmentation {
            GSO_MAX
        } else {
            0
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
