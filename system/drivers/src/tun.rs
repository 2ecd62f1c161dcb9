//! A TUN device, with the virtio-net header and segmentation offload where the kernel has them.
//!
//! The layout of the header is virtio's (Virtual I/O Device 1.2, §5.1.6); the ioctls are those of
//! the kernel's `Documentation/networking/tuntap.rst`.

mod device;
#[cfg(test)]
mod tests;

use crate::buffers::Buffers;
use crate::complaint::Complaint;
use crate::{Counters, Driver, GSO_MAX, MAX_PACKET, is_of_device};
use anabranch_wire::frame::{Frame, Transmit, segment};
use anabranch_wire::vnet::{self, VnetHdr};
use bytes::{Buf, Bytes, BytesMut};
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

/// Most queues of one device (`MAX_TAP_QUEUES` of the kernel).
pub const MAX_QUEUES: usize = 256;

/// An open TUN device, up, or one queue of it. Dropping the last queue removes the interface.
#[derive(Debug)]
pub struct Tun {
    file: File,
    name: String,
    mtu: u16,
    offload: Offload,
    buffers: Buffers,
    /// The one that is read into.
    current: BytesMut,
    /// The rest of a super-frame cut in software, when the device filled up in the middle of it.
    unsent: VecDeque<Transmit>,
    counters: Counters,
    complaints: Complaints,
}

#[derive(Debug, Default)]
struct Complaints {
    /// Frames that are malformed, or cut.
    frame: Complaint,
    /// Packets that the kernel does not take.
    refused: Complaint,
}

impl Tun {
    /// Creates the interface in the current network namespace and brings it up.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_ADMIN`, `NotFound` without `/dev/net/tun`,
    /// `ResourceBusy` where there is an interface of that name, `InvalidInput` for a name that is
    /// none; all say what was tried.
    pub fn open(config: &TunConfig) -> io::Result<Tun> {
        let mut queues = Tun::open_queues(config, 1)?;
        Ok(queues.remove(0))
    }

    /// [`Tun::open`] with so many queues, 1 to [`MAX_QUEUES`], each a driver of its own.
    ///
    /// The kernel sends the packets of a flow to the queue that last wrote a packet of it, and
    /// otherwise to one by a hash that nobody else knows: before the first write is done (so the
    /// third packet of a handshake may go astray), three seconds after the last, and of all but
    /// 4096 flows. Queues share nothing but the interface: each has its own buffers and counters.
    ///
    /// # Errors
    /// Those of [`Tun::open`]; `InvalidInput` for a number of queues that no device has.
    pub fn open_queues(config: &TunConfig, queues: usize) -> io::Result<Vec<Tun>> {
        if !(1..=MAX_QUEUES).contains(&queues) {
            let message = format!("{queues} queues: a TUN device has 1 to {MAX_QUEUES}");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let mut device = Device::create(&config.name, queues, config.offload)?;
        device.set_mtu(config.mtu)?;
        device.set_txqueuelen(config.txqueuelen)?;
        device.set_up()?;
        let header = if device.offload > Offload::None {
            vnet::LEN
        } else {
            0
        };
        let queues = std::mem::take(&mut device.queues);
        let open = queues.into_iter().map(|file| {
            // One byte more than any packet has: what fills it was cut.
            let mut buffers = Buffers::new(header + MAX_PACKET + 1);
            Tun {
                file,
                name: device.name.clone(),
                mtu: config.mtu,
                offload: device.offload,
                current: buffers.take(),
                buffers,
                unsent: VecDeque::new(),
                counters: Counters::default(),
                complaints: Complaints::default(),
            }
        });
        Ok(open.collect())
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
        let packet = self
            .buffers
            .read(self.file.as_fd(), &mut self.current)
            .map_err(|error| self.told(error))?;
        let frame = self.frame(packet);
        if frame.is_none() {
            self.counters.rx_errors += 1;
            let what = "a malformed frame was dropped";
            self.complaints.frame.say(&self.name, what);
        }
        Ok(frame)
    }

    fn frame(&self, mut packet: Bytes) -> Option<Frame> {
        let mut header = VnetHdr::default();
        if self.offload > Offload::None {
            header = VnetHdr::decode(packet.first_chunk()?).ok()?;
            packet.advance(vnet::LEN);
        }
        if packet.is_empty() || packet.len() > MAX_PACKET {
            return None;
        }
        header.frame(packet).ok()
    }

    /// An error of the device, which may be gone for good.
    fn told(&self, error: io::Error) -> io::Error {
        match error.raw_os_error() {
            Some(libc::EBADFD | libc::ENODEV) => {
                let message = format!("the TUN device {} is gone", self.name);
                io::Error::new(ErrorKind::BrokenPipe, message)
            }
            _ => error,
        }
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
            Err(error) => Err(self.told(error)),
        };
        self.counters.sent(transmit.total_len(), &done);
        if let Err(error) = &done
            && !is_of_device(error)
        {
            let what = format!("a packet was not taken: {error}");
            self.complaints.refused.say(&self.name, what);
        }
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
                Ok(None) => {}
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
