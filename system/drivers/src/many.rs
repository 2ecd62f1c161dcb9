//! Several devices as one driver: a host with several interfaces, each with addresses of its own.

use crate::interface::check;
use crate::link;
use crate::{Counters, Driver};
use anabranch_wire::frame::{Frame, Transmit};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Packets kept for a device that is full; beyond, they are lost as in a router's queue, so that
/// one device that is stuck does not hold up the others.
const QUEUE: usize = 256;

/// Readiness events taken by one system call.
const EVENTS: usize = 16;

/// Devices, each with its addresses: a packet leaves by the device that has its source address.
pub struct Many {
    members: Vec<Member>,
    /// Readable when something happened to any of them.
    epoll: OwnedFd,
    /// Counters of devices that are gone.
    gone: Counters,
    /// Packets from no address of any device.
    strays: u64,
}

struct Member {
    device: Box<dyn Driver>,
    addresses: Vec<IpAddr>,
    queue: VecDeque<Transmit>,
    /// It may have frames for us, or room again.
    ready: bool,
    /// It was full: its room is waited for too. Otherwise it is not, for sockets tell of room
    /// whenever a packet has left.
    full: bool,
    /// Packets that found no room in the queue.
    dropped: u64,
}

impl Many {
    /// Joins devices that can all be waited for.
    ///
    /// # Errors
    /// `InvalidInput`: no device, or one without a descriptor; those of `epoll(7)`.
    pub fn new(
        devices: impl IntoIterator<Item = (Vec<IpAddr>, Box<dyn Driver>)>,
    ) -> io::Result<Many> {
        // SAFETY: epoll_create1 takes an integer and touches no memory of ours.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let mut many = Many {
            members: Vec::new(),
            // SAFETY: it was just returned open, and nothing else owns it.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            gone: Counters::default(),
            strays: 0,
        };
        for (addresses, device) in devices {
            let member = Member {
                device,
                addresses,
                queue: VecDeque::new(),
                ready: true,
                full: false,
                dropped: 0,
            };
            member.watch(&many.epoll, libc::EPOLL_CTL_ADD)?;
            many.members.push(member);
        }
        if many.members.is_empty() {
            return Err(ErrorKind::InvalidInput.into());
        }
        Ok(many)
    }

    /// Marks the devices to which something happened.
    fn look(&mut self) {
        // SAFETY: `epoll_event` is plain data, for which all zeroes is a value.
        let mut events: [libc::epoll_event; EVENTS] = unsafe { std::mem::zeroed() };
        loop {
            // SAFETY: the pointer and the count are those of `events`.
            let count = unsafe {
                let room = EVENTS as libc::c_int;
                libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), room, 0)
            };
            let count = usize::try_from(count).unwrap_or(0);
            for event in &events[..count] {
                let fd = event.u64;
                let is_it = |member: &&mut Member| member.fd() == Some(fd);
                if let Some(member) = self.members.iter_mut().find(is_it) {
                    member.ready = true;
                }
            }
            if count < EVENTS {
                return;
            }
        }
    }

    /// Lets a device go that does not work any more; the others go on.
    fn lose(&mut self, position: usize, error: io::Error) -> io::Result<()> {
        let member = self.members.remove(position);
        self.gone = sum(self.gone, member.counters());
        if self.members.is_empty() {
            return Err(error);
        }
        let addresses = &member.addresses;
        tracing::warn!("the device of {addresses:?} does not work any more: {error}");
        Ok(())
    }

    /// Sends what is queued, by all devices that take it.
    fn flush(&mut self) -> io::Result<()> {
        let mut position = 0;
        while let Some(member) = self.members.get_mut(position) {
            let full = match member.device.send_all(&mut member.queue) {
                Ok(()) => false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                Err(error) => {
                    self.lose(position, error)?;
                    continue;
                }
            };
            if std::mem::replace(&mut member.full, full) != full {
                member.watch(&self.epoll, libc::EPOLL_CTL_MOD)?;
            }
            position += 1;
        }
        Ok(())
    }
}

impl Member {
    fn fd(&self) -> Option<u64> {
        self.device.fd().map(|fd| fd.as_raw_fd() as u64)
    }

    /// Has its readiness told under its descriptor's number.
    fn watch(&self, epoll: &OwnedFd, operation: libc::c_int) -> io::Result<()> {
        let fd = self.fd().ok_or(ErrorKind::InvalidInput)?;
        let room = if self.full { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET | room) as u32,
            u64: fd,
        };
        // SAFETY: `event` is one event, which the call only reads.
        let done =
            unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd as libc::c_int, &mut event) };
        check(done).map(drop)
    }

    fn push(&mut self, transmit: Transmit) {
        if self.queue.len() < QUEUE {
            self.queue.push_back(transmit);
        } else {
            self.dropped += 1;
        }
    }

    fn counters(&self) -> Counters {
        let mut counters = self.device.counters();
        counters.tx_errors += self.dropped;
        counters
    }
}

impl Driver for Many {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        self.look();
        self.flush()?;
        let before = into.len();
        let mut position = 0;
        while let Some(member) = self.members.get_mut(position) {
            let room = max - (into.len() - before);
            if room == 0 {
                // The others have their turn first.
                self.members.rotate_left(position);
                break;
            }
            if !member.ready && !member.device.is_waiting() {
                position += 1;
                continue;
            }
            match member.device.receive(into, room) {
                // There may be more.
                Ok(_) => position += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    member.ready = false;
                    position += 1;
                }
                Err(error) => self.lose(position, error)?,
            }
        }
        let count = into.len() - before;
        if count == 0 && max > 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(count)
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        self.send_all(&mut VecDeque::from([transmit.clone()]))
    }

    fn send_all(&mut self, batch: &mut VecDeque<Transmit>) -> io::Result<()> {
        for transmit in batch.drain(..) {
            let from = link::addresses(&transmit.header).map(|(src, _)| src);
            let has_it =
                |member: &&mut Member| from.is_some_and(|from| member.addresses.contains(&from));
            match self.members.iter_mut().find(has_it) {
                Some(member) => member.push(transmit),
                None => self.strays += 1,
            }
        }
        self.flush()
    }

    fn mtu(&self) -> u16 {
        let mtus = self.members.iter().map(|member| member.device.mtu());
        mtus.min().unwrap_or(0)
    }

    fn gso_max(&self) -> u32 {
        let sizes = self.members.iter().map(|member| member.device.gso_max());
        sizes.min().unwrap_or(0)
    }

    fn is_waiting(&self) -> bool {
        self.members.iter().any(|member| member.device.is_waiting())
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    fn counters(&self) -> Counters {
        let all = self.members.iter().map(Member::counters);
        let mut counters = all.fold(self.gone, sum);
        counters.tx_errors += self.strays;
        counters
    }
}

fn sum(a: Counters, b: Counters) -> Counters {
    Counters {
        rx_packets: a.rx_packets + b.rx_packets,
        rx_bytes: a.rx_bytes + b.rx_bytes,
        rx_errors: a.rx_errors + b.rx_errors,
        rx_dropped: a.rx_dropped + b.rx_dropped,
        tx_packets: a.tx_packets + b.tx_packets,
        tx_bytes: a.tx_bytes + b.tx_bytes,
        tx_errors: a.tx_errors + b.tx_errors,
        tx_full: a.tx_full + b.tx_full,
    }
}
