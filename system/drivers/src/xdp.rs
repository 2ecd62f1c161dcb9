//! Addresses of our own on an Ethernet interface of the host, by AF_XDP: packets go past the host's
//! kernel, into and out of memory shared with it.
//!
//! An XDP program gives what is sent to our addresses to our sockets and leaves all else to the
//! kernel. There is no segmentation offload and nobody vouches for checksums: both are done here.

mod bpf;
mod program;
mod ring;

use crate::complaint::Complaint;
use crate::interface::Interface;
use crate::link::{ETHER_LEN, Heard, Hop, Link};
use crate::packet::Membership;
use crate::{Counters, Driver, GSO_MAX, Packet, PacketConfig};
use anabranch_wire::frame::{Frame, Transmit};
use bytes::{Buf, Bytes};
use ring::Ring;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Queues of an interface, at most.
const MAX_QUEUES: u32 = 64;

/// Own addresses on an interface, one receive queue of it. Dropping the last queue leaves nothing
/// behind.
pub struct Xdp {
    ring: Ring,
    interface: Interface,
    link: Arc<Mutex<Link>>,
    mtu: u16,
    /// Packets whose next hop became known, before there was room for them.
    released: VecDeque<Transmit>,
    received: Vec<Bytes>,
    counters: Counters,
    complaints: Complaints,
    /// Of all queues: the program runs until the last one is gone.
    _shared: Arc<Shared>,
}

/// What lives as long as any queue.
struct Shared {
    _sockets: OwnedFd,
    _link: OwnedFd,
    _membership: Membership,
}

#[derive(Default)]
struct Complaints {
    nowhere: Complaint,
    conflict: Complaint,
    size: Complaint,
}

impl Xdp {
    /// Takes the addresses, after asking the link whether they are free: a driver for each receive
    /// queue of the interface, among which its device shares packets.
    ///
    /// # Errors
    /// Those of [`Packet::open`]; `PermissionDenied` without `CAP_NET_ADMIN`, `CAP_NET_RAW` and
    /// `CAP_BPF`; `ResourceBusy`: the interface has an XDP program. All say what was tried.
    pub fn open(config: &PacketConfig) -> io::Result<Vec<Xdp>> {
        // It looks at what was asked for, and asks the link.
        drop(Packet::open(config)?);
        open(config).map_err(|error| {
            let hint = match error.raw_os_error() {
                Some(libc::EBUSY) => "; it has an XDP program, or its queues are in use",
                Some(libc::EPERM) => "; it needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
                Some(libc::ERANGE | libc::EINVAL) => "; its MTU may be too large for XDP",
                _ => "",
            };
            let name = &config.interface;
            let message = format!("cannot use AF_XDP on {name}: {error}{hint}");
            io::Error::new(error.kind(), message)
        })
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// Takes one frame; `None` if it was the link's own business, or is no packet.
    fn read(&mut self, mut data: Bytes) -> Option<Frame> {
        if Link::is_for(&data) {
            let heard = lock(&self.link).hear(Instant::now(), &data);
            self.complain_of(heard);
            return None;
        }
        if data.len() <= ETHER_LEN {
            self.counters.rx_errors += 1;
            return None;
        }
        data.advance(ETHER_LEN);
        Some(Frame::packet(data))
    }

    /// Sends what the link has to say, and packets that have waited for a next hop.
    fn tend_link(&mut self) {
        let (outbox, released) = lock(&self.link).take();
        for frame in outbox {
            // Lost as on the link if there is no room; it is asked again.
            self.ring.push(&[&frame]);
        }
        self.released.extend(released);
        let mut released = std::mem::take(&mut self.released);
        // What there is no room for is kept.
        let _ = self.send_packets(&mut released);
        self.released = released;
        self.ring.kick();
    }

    fn send_packets(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        let now = Instant::now();
        while let Some(transmit) = batch.front() {
            let hop = lock(&self.link).hop(now, transmit);
            let header = match hop {
                Hop::Header(header) => header,
                hop => {
                    if let Some(transmit) = batch.pop_front() {
                        self.hold(hop, transmit);
                    }
                    continue;
                }
            };
            if self.ring.room() < segments(transmit) {
                self.counters.tx_full += 1;
                return Err(ErrorKind::WouldBlock.into());
            }
            self.cut(&header, transmit);
            batch.pop_front();
        }
        Ok(())
    }

    /// Puts a packet, or each of a super-frame, into the ring, which has room for it.
    fn cut(&mut self, header: &[u8; ETHER_LEN], transmit: &Transmit) {
        for packet in transmit.packets() {
            let mut pieces: Vec<&[u8]> = Vec::with_capacity(2 + packet.payload.len());
            pieces.push(header);
            pieces.push(&packet.header);
            pieces.extend(packet.payload.iter().map(|piece| &piece[..]));
            if self.ring.push(&pieces) {
                self.counters.sent(packet.total_len(), &Ok(()));
            } else {
                self.counters.tx_errors += 1;
                let what = "a packet is larger than the memory for one";
                self.complaints.size.say(&self.interface.name, what);
            }
        }
    }

    /// A packet that cannot go now.
    fn hold(&mut self, hop: Hop, transmit: Transmit) {
        let mut link = lock(&self.link);
        match hop {
            Hop::Unknown(next) => {
                let lost = link.wait(next, transmit);
                self.counters.tx_errors += u64::from(lost);
            }
            _ => {
                self.counters.tx_errors += 1;
                let what = "a packet for elsewhere was dropped: there is no gateway";
                self.complaints.nowhere.say(&self.interface.name, what);
            }
        }
        for frame in link.take_outbox() {
            self.ring.push(&[&frame]);
        }
    }

    fn complain_of(&mut self, heard: Heard) {
        if let Some((address, mac)) = heard.conflict {
            let what = format!("{mac} claims {address}, which is ours: one of the two must go");
            self.complaints.conflict.say(&self.interface.name, what);
        }
    }
}

fn open(config: &PacketConfig) -> io::Result<Vec<Xdp>> {
    let interface = Interface::find(&config.interface)?;
    let own: Vec<IpAddr> = config.addresses.iter().map(|own| own.address).collect();
    let mac = config.mac.unwrap_or(interface.mac);
    let link = Link::new(mac, config.addresses.clone(), config.gateways.clone());
    let link = Arc::new(Mutex::new(link));
    let sockets = bpf::socket_map(MAX_QUEUES)?;
    let program = bpf::load(&program::program(&own, &sockets))?;
    let attached = bpf::attach(&program, interface.index)?;
    let rings = rings(&interface, &sockets)?;
    let asked = std::os::unix::net::UnixDatagram::unbound()?;
    let mtu = interface.mtu(&asked)?.min(ring::MAX_PACKET as u16);
    let shared = Arc::new(Shared {
        _sockets: sockets,
        _link: attached,
        _membership: Membership::new(&interface, config.mac, &own)?,
    });
    let open = rings.into_iter().map(|ring| Xdp {
        ring,
        interface: interface.clone(),
        link: Arc::clone(&link),
        mtu,
        released: VecDeque::new(),
        received: Vec::new(),
        counters: Counters::default(),
        complaints: Complaints::default(),
        _shared: Arc::clone(&shared),
    });
    let mut open: Vec<Xdp> = open.collect();
    lock(&link).announce();
    open[0].tend_link();
    Ok(open)
}

/// A socket for each queue among which the device shares packets; one more is refused.
fn rings(interface: &Interface, sockets: &OwnedFd) -> io::Result<Vec<Ring>> {
    let mut rings = Vec::new();
    for queue in 0..MAX_QUEUES {
        match Ring::open(interface.index, queue) {
            Ok(ring) => {
                bpf::set_socket(sockets, queue, ring.as_raw_fd())?;
                rings.push(ring);
            }
            Err(error) if queue > 0 && error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(rings)
}

/// Packets on the wire that a packet or super-frame becomes.
fn segments(transmit: &Transmit) -> usize {
    match usize::from(transmit.gso_size) {
        0 => 1,
        gso_size => transmit.payload_len().div_ceil(gso_size).max(1),
    }
}

impl Driver for Xdp {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let before = into.len();
        self.ring.reclaim();
        while into.len() - before < max {
            let mut received = std::mem::take(&mut self.received);
            let room = max - (into.len() - before);
            let count = self.ring.receive(room, &mut received)?;
            let frames = received.drain(..).filter_map(|data| self.read(data));
            into.extend(frames);
            self.received = received;
            self.tend_link();
            if count == 0 {
                break;
            }
        }
        for frame in &into[before..] {
            self.counters.received(frame.data.len());
        }
        match into.len() - before {
            0 if max > 0 => Err(ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        self.send_all(&mut VecDeque::from([transmit.clone()]))
    }

    fn send_all(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        self.ring.reclaim();
        let mut released = std::mem::take(&mut self.released);
        let sent = self.send_packets(&mut released);
        self.released = released;
        let sent = sent.and_then(|()| self.send_packets(batch));
        self.ring.kick();
        sent
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    /// It cuts them itself, which costs less than as many packets of the stack's.
    fn gso_max(&self) -> u32 {
        GSO_MAX
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ring.fd())
    }

    fn counters(&self) -> Counters {
        Counters {
            rx_dropped: self.ring.dropped(),
            ..self.counters
        }
    }
}

/// Locks; no code panics while it holds the lock.
fn lock(link: &Mutex<Link>) -> MutexGuard<'_, Link> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}
