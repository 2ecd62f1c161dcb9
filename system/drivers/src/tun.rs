//! A TUN device, with the virtio-net header and segmentation offload where the kernel has them.
//!
//! The layout of the header is virtio's (Virtual I/O Device 1.2, §5.1.6); the ioctls are those of
//! the kernel's `Documentation/networking/tuntap.rst`.

mod buffers;
mod device;
mod vnet;

use crate::{Counters, Driver, GSO_MAX, MAX_PACKET};
use anabranch_wire::frame::{Frame, Transmit};
use buffers::Buffers;
use device::Device;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};

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
        let packet = self.buffers.read(self.file.as_fd())?;
        let frame = match self.offload {
            Offload::None => Some(Frame {
                data: packet,
                checksum_ok: false,
                gso_size: 0,
            }),
            Offload::Checksum | Offload::Segmentation => vnet::decode(packet),
        };
        Ok(frame.filter(|frame| !frame.data.is_empty()))
    }

    fn write(&mut self, transmit: &Transmit) -> io::Result<()> {
        let vnet = vnet::encode(transmit);
        let mut slices = Vec::with_capacity(2 + transmit.payload.len());
        if self.offload > Offload::None {
            slices.push(IoSlice::new(&vnet));
        }
        slices.push(IoSlice::new(&transmit.header));
        slices.extend(transmit.payload.iter().map(|slice| IoSlice::new(slice)));
        let written = (&self.file).write_vectored(&slices)?;
        let expected: usize = slices.iter().map(|slice| slice.len()).sum();
        if written == expected {
            Ok(())
        } else {
            Err(ErrorKind::WriteZero.into())
        }
    }
}

impl Driver for Tun {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let before = into.len();
        while into.len() - before < max {
            match self.read() {
                Ok(Some(frame)) => {
                    self.counters.rx_packets += 1;
                    self.counters.rx_bytes += frame.data.len() as u64;
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
        let sent = self.write(transmit);
        match &sent {
            Ok(()) => {
                self.counters.tx_packets += 1;
                self.counters.tx_bytes += transmit.header.len() as u64
                    + transmit
                        .payload
                        .iter()
                        .map(|slice| slice.len() as u64)
                        .sum::<u64>();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.counters.tx_full += 1,
            Err(_) => self.counters.tx_errors += 1,
        }
        sent
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
