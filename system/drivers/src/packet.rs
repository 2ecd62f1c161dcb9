//! Addresses of our own on an Ethernet interface of the host, by packet sockets (`packet(7)`) with
//! the virtio-net header: super-frames and partial checksums both ways, with any device.
//!
//! The host's kernel does not have these addresses, so it answers nothing that is sent to them; who
//! asks the link for them (ARP, neighbour discovery) gets our answer.

mod filter;
mod setup;
mod socket;
#[cfg(test)]
mod tests;

pub use setup::PacketConfig;
pub(crate) use socket::Membership;

use crate::complaint::Complaint;
use crate::interface::Interface;
use crate::link::{ETHER_LEN, Heard, Hop, Link};
use crate::{Counters, Driver, GSO_MAX};
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::icmp;
use anabranch_wire::ip::IpPacket;
use anabranch_wire::vnet::{self, VnetHdr};
use bytes::Buf;
use socket::{BATCH, PREFIX, Received, Receiver};
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the MTU of the interface is looked at while packets are sent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Own addresses on an interface, or one queue of several that share them. Dropping it leaves
/// nothing behind.
#[derive(Debug)]
pub struct Packet {
    socket: OwnedFd,
    interface: Interface,
    link: Arc<Mutex<Link>>,
    receiver: Receiver,
    received: Vec<Received>,
    /// Packets whose next hop became known, before the device had room for them.
    released: VecDeque<Transmit>,
    /// What we tell ourselves: packets that are larger than the interface takes.
    told: Vec<Frame>,
    mtu: Mtu,
    counters: Counters,
    dropped: Cell<u64>,
    complaints: Complaints,
    /// That the interface is down: all queues hear of it at once, and one of them says it.
    down: Arc<Mutex<Complaint>>,
    _membership: Arc<Membership>,
}

/// What stands before the packets of one system call.
type Prefixes = Vec<[u8; PREFIX]>;

/// The size of packets: at the start, which the stack was told, and now.
#[derive(Debug)]
struct Mtu {
    first: u16,
    now: u16,
    looked: Instant,
}

#[derive(Debug, Default)]
struct Complaints {
    /// Frames that are malformed, or cut.
    frame: Complaint,
    /// Packets that the kernel does not take.
    refused: Complaint,
    /// Packets without a next hop.
    nowhere: Complaint,
    conflict: Complaint,
}

impl Packet {
    /// Takes the addresses, after asking the link whether they are free.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; `NotFound`: no such interface; `AddrInUse`:
    /// another station has an address; `InvalidInput` for addresses that cannot be ours, or an
    /// interface that is not Ethernet; all say what was tried.
    pub fn open(config: &PacketConfig) -> io::Result<Packet> {
        let mut queues = Packet::open_queues(config, 1)?;
        Ok(queues.remove(0))
    }

    /// [`Packet::open`] with so many queues, each a driver of its own, for a thread each: all
    /// packets of a flow come to the same one (`PACKET_FANOUT` by a hash that is the same both
    /// ways). They share what is known of neighbours.
    ///
    /// # Errors
    /// Those of [`Packet::open`]; `InvalidInput` for no queue, or more than 256.
    pub fn open_queues(config: &PacketConfig, queues: usize) -> io::Result<Vec<Packet>> {
        setup::open(config, queues)
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// Reads one frame; `None` if it was the link's own business, or malformed.
    fn read(&mut self, received: Received) -> Option<Frame> {
        if received.cut {
            self.complain_of_frame(
                "a frame is larger than 64 KB (`ip link set .. gro_max_size 65536`)",
            );
            return None;
        }
        let mut data = received.data;
        let header: Option<&[u8; vnet::LEN]> = data.first_chunk();
        let header = header.and_then(|header| VnetHdr::decode(header).ok());
        let (Some(mut header), true) = (header, data.len() > PREFIX) else {
            self.complain_of_frame("a malformed frame was dropped");
            return None;
        };
        data.advance(vnet::LEN);
        if Link::is_for(&data) {
            let heard = self.link().hear(Instant::now(), &data);
            self.complain_of(heard);
            return None;
        }
        data.advance(ETHER_LEN);
        if header.needs_csum {
            // Counted from Ethernet's header on.
            header.csum_start = header.csum_start.wrapping_sub(ETHER_LEN as u16);
        }
        match header.frame(data) {
            Ok(frame) => Some(frame),
            Err(_) => {
                self.complain_of_frame("a frame with a wrong virtio-net header was dropped");
                None
            }
        }
    }

    /// Sends what the link has to say, and packets that have waited for a next hop.
    fn tend_link(&mut self) {
        let (outbox, released) = self.link().take();
        for frame in outbox {
            // Lost as on the link; it is asked again.
            let _ = socket::send_frame(&self.socket, &frame);
        }
        self.released.extend(released);
        if self.released.is_empty() {
            return;
        }
        let mut released = std::mem::take(&mut self.released);
        // What the device has no room for is kept.
        let _ = self.send_packets(&mut released);
        self.released = released;
    }

    /// Sends from the front of `batch` until it is empty or the device is full.
    fn send_packets(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        let now = Instant::now();
        self.look_at_mtu(now);
        while !batch.is_empty() {
            let prefixes = self.prepare(now, batch);
            if prefixes.is_empty() {
                continue;
            }
            match socket::send(&self.socket, prefixes.iter().zip(batch.iter())) {
                Ok(sent) => {
                    for transmit in batch.drain(..sent) {
                        self.counters.sent(transmit.total_len(), &Ok(()));
                    }
                }
                Err(error) => self.refuse(error, batch)?,
            }
        }
        Ok(())
    }

    /// What stands before each packet at the front of `batch`, as far as they can go. If the first
    /// cannot, it is taken out.
    fn prepare(&mut self, now: Instant, batch: &mut VecDeque<Transmit>) -> Prefixes {
        let mut prefixes = Prefixes::new();
        let shared = Arc::clone(&self.link);
        let mut link = lock(&shared);
        for transmit in batch.iter().take(BATCH) {
            let fits = wire_len(transmit) <= self.mtu.now.into();
            match link.hop(now, transmit) {
                Hop::Header(ethernet) if fits => prefixes.push(prefix(transmit, ethernet)),
                // Those before it go first.
                _ if !prefixes.is_empty() => break,
                hop => {
                    if let Some(transmit) = batch.pop_front() {
                        self.hold(hop, transmit, &mut link);
                    }
                    break;
                }
            }
        }
        for frame in link.take_outbox() {
            // Lost as on the link; it is asked again.
            let _ = socket::send_frame(&self.socket, &frame);
        }
        prefixes
    }

    /// A packet that cannot go now.
    fn hold(&mut self, hop: Hop, transmit: Transmit, link: &mut Link) {
        match hop {
            Hop::Header(_) => self.too_large(&transmit),
            Hop::Unknown(next) => {
                let lost = link.wait(next, transmit);
                self.counters.tx_errors += u64::from(lost);
            }
            Hop::Unreachable => {
                self.counters.tx_errors += 1;
                let what = "a packet for elsewhere was dropped: there is no gateway";
                self.complaints.nowhere.say(&self.interface.name, what);
            }
        }
    }

    /// What the kernel's refusal of the first packet means: of the packet, or of the device.
    fn refuse(&mut self, error: io::Error, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EINTR) => return Ok(()),
            Some(libc::EAGAIN) => {
                self.counters.tx_full += 1;
                return Err(error);
            }
            Some(libc::ENXIO | libc::ENODEV) => return Err(self.gone()),
            Some(libc::ENETDOWN) => self.is_down()?,
            _ => {
                let what = format!("a packet was not taken: {error}");
                self.complaints.refused.say(&self.interface.name, what);
            }
        }
        self.counters.tx_errors += 1;
        batch.pop_front();
        Ok(())
    }

    fn gone(&self) -> io::Error {
        let message = format!("the interface {} is gone", self.interface.name);
        io::Error::new(ErrorKind::BrokenPipe, message)
    }

    /// What the kernel's refusal to give packets means.
    fn not_received(&mut self, error: io::Error) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(()),
            Some(libc::ENETDOWN) => self.is_down(),
            _ => Err(error),
        }
    }

    /// The interface is down: it may come up again, and the socket with it, or it is gone.
    fn is_down(&mut self) -> io::Result<()> {
        if socket::is_orphan(&self.socket) {
            return Err(self.gone());
        }
        let what = "the interface is down: nothing passes";
        lock(&self.down).say(&self.interface.name, what);
        Ok(())
    }

    fn look_at_mtu(&mut self, now: Instant) {
        if now.duration_since(self.mtu.looked) < LOOK_EVERY {
            return;
        }
        self.mtu.looked = now;
        if let Ok(mtu) = self.interface.mtu(&self.socket) {
            self.mtu.now = mtu;
        }
    }

    /// The interface takes smaller packets than the stack knows: it hears of that as from a router.
    fn too_large(&mut self, transmit: &Transmit) {
        self.counters.tx_errors += 1;
        if self.told.len() >= BATCH {
            return;
        }
        let packet = transmit.to_bytes();
        let mtu = u32::from(self.mtu.now);
        let from = IpPacket::parse(&packet).map(|ip| ip.src);
        let error = from
            .ok()
            .and_then(|from| icmp::packet_too_big(from, &packet, mtu));
        self.told.extend(error.map(|error| error.to_frame()));
    }

    fn complain_of_frame(&mut self, what: &str) {
        self.counters.rx_errors += 1;
        self.complaints.frame.say(&self.interface.name, what);
    }

    fn complain_of(&mut self, heard: Heard) {
        if let Some((address, mac)) = heard.conflict {
            let what = format!("{mac} claims {address}, which is ours: one of the two must go");
            self.complaints.conflict.say(&self.interface.name, what);
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }
}

impl Driver for Packet {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let before = into.len();
        let told = self.told.len().min(max);
        into.extend(self.told.drain(..told));
        while into.len() - before < max {
            let room = max - (into.len() - before);
            let mut received = std::mem::take(&mut self.received);
            let outcome = self.receiver.receive(&self.socket, room, &mut received);
            let frames = received
                .drain(..)
                .filter_map(|received| self.read(received));
            into.extend(frames);
            self.received = received;
            self.tend_link();
            match outcome {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && into.len() > before => break,
                Err(error) => self.not_received(error)?,
            }
        }
        for frame in &into[before..] {
            self.counters.received(frame.data.len());
        }
        Ok(into.len() - before)
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        let mut batch = VecDeque::from([transmit.clone()]);
        self.send_all(&mut batch)
    }

    fn send_all(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        if !self.released.is_empty() {
            let mut released = std::mem::take(&mut self.released);
            let sent = self.send_packets(&mut released);
            self.released = released;
            sent?;
        }
        self.send_packets(batch)
    }

    fn mtu(&self) -> u16 {
        self.mtu.first
    }

    fn gso_max(&self) -> u32 {
        GSO_MAX
    }

    fn is_waiting(&self) -> bool {
        !self.told.is_empty()
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn counters(&self) -> Counters {
        let dropped = u64::from(socket::dropped(&self.socket));
        self.dropped.set(self.dropped.get() + dropped);
        Counters {
            rx_dropped: self.dropped.get(),
            ..self.counters
        }
    }
}

/// Largest IP packet on the wire that a packet or super-frame becomes.
fn wire_len(transmit: &Transmit) -> usize {
    match usize::from(transmit.gso_size) {
        0 => transmit.total_len(),
        gso_size => transmit.header.len() + gso_size.min(transmit.payload_len()),
    }
}

/// The virtio-net header, which counts from Ethernet's header on, and that.
fn prefix(transmit: &Transmit, ethernet: [u8; ETHER_LEN]) -> [u8; PREFIX] {
    let mut header = VnetHdr::for_transmit(transmit);
    if header.needs_csum {
        header.hdr_len += ETHER_LEN as u16;
        header.csum_start += ETHER_LEN as u16;
    }
    let mut prefix = [0; PREFIX];
    prefix[..vnet::LEN].copy_from_slice(&header.encode());
    prefix[vnet::LEN..].copy_from_slice(&ethernet);
    prefix
}

/// Locks; no code panics while it holds the lock.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
