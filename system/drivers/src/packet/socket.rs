//! Packet sockets (`packet(7)`): opening them, and messages in batches.

use crate::buffers::Buffers;
use crate::interface::{Interface, check};
use crate::link::{ETHER_LEN, Mac, solicited_node};
use anabranch_wire::frame::Transmit;
use anabranch_wire::vnet;
use bytes::{Bytes, BytesMut};
use libc::{c_int, sock_filter, socklen_t};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What stands before each IP packet: the virtio-net header, then Ethernet's.
pub(super) const PREFIX: usize = vnet::LEN + ETHER_LEN;

/// Messages of one system call.
pub(super) const BATCH: usize = 64;

/// Pieces of one message that the kernel takes (`UIO_MAXIOV`).
const MAX_PIECES: usize = 1024;

/// Bytes the kernel holds for us in either direction before it drops or says that it is full:
/// some hundred super-frames.
const KERNEL_BUFFER: c_int = 32 << 20;

/// A socket that hears nothing before it is bound.
fn new() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes three integers and touches no memory of ours.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: `fd` was just returned open, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a socket of `interface` that gets what `filter` lets through.
pub(super) fn open(interface: &Interface, filter: &[sock_filter]) -> io::Result<OwnedFd> {
    let socket = new()?;
    attach_filter(socket.as_fd(), filter)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1)?;
    set(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
    for (by_force, politely) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        // Above the limit of the system with CAP_NET_ADMIN, else as far as it goes.
        set(&socket, libc::SOL_SOCKET, by_force, &KERNEL_BUFFER)
            .or_else(|_| set(&socket, libc::SOL_SOCKET, politely, &KERNEL_BUFFER))?;
    }
    let address = address(interface.index);
    // SAFETY: the pointer and the length are those of `address`, which bind only reads.
    check(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as socklen_t,
        )
    })?;
    Ok(socket)
}

/// Shares packets among the sockets of a group, by flow. `None` makes a group; returns its number.
pub(super) fn join_fanout(socket: &OwnedFd, group: Option<u16>) -> io::Result<u16> {
    let ignore_outgoing = libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    let (id, flags) = match group {
        Some(id) => (id, ignore_outgoing),
        None => (0, ignore_outgoing | libc::PACKET_FANOUT_FLAG_UNIQUEID),
    };
    let kind = libc::PACKET_FANOUT_HASH | flags;
    let argument = u32::from(id) | kind << 16;
    set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, &argument)?;
    let joined: u32 = get(socket, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
    Ok(joined as u16)
}

/// What an interface and its network are told so that frames for us arrive, for as long as this
/// lives.
#[derive(Debug)]
pub(crate) struct Membership {
    /// It hears nothing: it holds the interface's own memberships.
    _socket: OwnedFd,
    /// Groups of the host's kernel.
    _groups: Vec<UdpSocket>,
}

impl Membership {
    /// For frames to `mac`, if it is not the interface's, and for questions for `own` addresses.
    pub(crate) fn new(
        interface: &Interface,
        mac: Option<Mac>,
        own: &[IpAddr],
    ) -> io::Result<Membership> {
        let socket = new()?;
        if let Some(mac) = mac {
            hear(&socket, interface, libc::PACKET_MR_UNICAST, mac)?;
        }
        let mut groups = Vec::new();
        for address in own {
            if let IpAddr::V6(address) = address {
                let group = solicited_node(*address);
                hear(
                    &socket,
                    interface,
                    libc::PACKET_MR_MULTICAST,
                    Mac::of_group(group),
                )?;
                groups.extend(join_group(group, interface));
            }
        }
        Ok(Membership {
            _socket: socket,
            _groups: groups,
        })
    }
}

/// Has the interface hear what is sent to `mac`.
fn hear(socket: &OwnedFd, interface: &Interface, kind: c_int, mac: Mac) -> io::Result<()> {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&mac.0);
    let request = libc::packet_mreq {
        mr_ifindex: interface.index,
        mr_type: kind as u16,
        mr_alen: 6,
        mr_address: address,
    };
    let name = libc::PACKET_ADD_MEMBERSHIP;
    set(socket, libc::SOL_PACKET, name, &request)
}

/// Has the host's kernel be a member of a group, where it has IPv6: it tells switches that listen
/// to MLD (RFC 4541), and answers nothing.
fn join_group(group: Ipv6Addr, interface: &Interface) -> Option<UdpSocket> {
    let socket = UdpSocket::bind("[::]:0").ok()?;
    let index = u32::try_from(interface.index).ok()?;
    socket.join_multicast_v6(&group, index).ok()?;
    Some(socket)
}

/// Whether the interface of the socket is gone for good; if it is only down, it may come again.
pub(super) fn is_orphan(socket: &OwnedFd) -> bool {
    let mut address = address(0);
    let mut len = size_of_val(&address) as socklen_t;
    // SAFETY: the pointers are to `address` and its length, and the kernel writes no more than that.
    let done =
        unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    done == 0 && address.sll_ifindex <= 0
}

/// Packets that found no room at the socket since this was asked last.
pub(super) fn dropped(socket: &OwnedFd) -> u32 {
    // `tpacket_stats`: packets, drops.
    let stats: io::Result<[u32; 2]> = get(socket, libc::SOL_PACKET, libc::PACKET_STATISTICS);
    stats.map_or(0, |[_, dropped]| dropped)
}

fn address(index: c_int) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

/// Drops what `program` does not let through before it reaches the socket.
pub(super) fn attach_filter(socket: BorrowedFd<'_>, program: &[sock_filter]) -> io::Result<()> {
    let argument = libc::sock_fprog {
        len: program.len() as u16,
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &argument)
}

fn set<T>(socket: &impl AsRawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which setsockopt only reads; what a
    // `sock_fprog` points to outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as socklen_t,
        )
    })
    .map(drop)
}

/// For `T` of integers, of which any bytes are a value.
fn get<T: Default>(socket: &OwnedFd, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: the pointers are to `value` and its length; the kernel writes no more than that, and
    // the types asked for here are integers.
    check(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

/// A message as it was received.
#[derive(Debug)]
pub(super) struct Received {
    /// From the virtio-net header on.
    pub(super) data: Bytes,
    /// It did not fit the buffer: what is missing is lost.
    pub(super) cut: bool,
}

/// Buffers that the kernel fills.
#[derive(Debug)]
pub(super) struct Receiver {
    buffers: Buffers,
    slots: Vec<BytesMut>,
    /// Slots to offer: as many as were filled lately, and some more.
    offer: usize,
}

/// Slots offered at least.
const LEAST_OFFER: usize = 4;

impl Receiver {
    /// For packets of at most `size` bytes with all before them.
    pub(super) fn new(size: usize) -> Receiver {
        Receiver {
            buffers: Buffers::new(size),
            slots: Vec::new(),
            offer: LEAST_OFFER,
        }
    }

    /// Receives at most `max` messages into `into`.
    pub(super) fn receive(
        &mut self,
        socket: &OwnedFd,
        max: usize,
        into: &mut Vec<Received>,
    ) -> io::Result<()> {
        let offer = self.offer.min(max).min(BATCH);
        while self.slots.len() < offer {
            self.slots.push(self.buffers.take());
        }
        // SAFETY: `iovec` and `mmsghdr` are plain data, for which all zeroes is a value.
        let (mut pieces, mut messages): ([libc::iovec; BATCH], [libc::mmsghdr; BATCH]) =
            unsafe { std::mem::zeroed() };
        for (slot, (piece, message)) in self
            .slots
            .iter_mut()
            .zip(pieces.iter_mut().zip(&mut messages))
            .take(offer)
        {
            let room = self.buffers.room(slot);
            piece.iov_base = room.as_mut_ptr().cast();
            piece.iov_len = room.len();
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `offer` messages point to one piece each, and these to writable memory of
        // the length they tell, of a slot of its own; all outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                offer as u32,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        let received = check(received)? as usize;
        for (slot, message) in self.slots.iter_mut().zip(&messages).take(received) {
            // SAFETY: the kernel has written as many bytes of this slot as it says.
            let data = unsafe { self.buffers.filled(slot, message.msg_len as usize) };
            let cut = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            into.push(Received { data, cut });
        }
        self.offer = next_offer(self.offer, offer, received);
        Ok(())
    }
}

/// How many slots to offer next. The `offer` made may have been less than `wanted`, where the caller
/// had no room for more: it says nothing of how many messages come.
fn next_offer(wanted: usize, offer: usize, received: usize) -> usize {
    let next = match received == offer {
        true => (2 * offer).max(wanted),
        false => 2 * received,
    };
    next.clamp(LEAST_OFFER, BATCH)
}

/// Sends messages, each a prefix before a packet, and returns how many were taken: at least one.
///
/// # Errors
/// Why the first was not taken.
pub(super) fn send<'a>(
    socket: &OwnedFd,
    packets: impl Iterator<Item = (&'a [u8; PREFIX], &'a Transmit)>,
) -> io::Result<usize> {
    let mut pieces: Vec<libc::iovec> = Vec::with_capacity(4 * BATCH);
    let mut counts = [0; BATCH];
    let mut count = 0;
    for ((prefix, transmit), pieces_of) in packets.zip(&mut counts) {
        let before = pieces.len();
        pieces.push(piece(prefix));
        pieces.push(piece(&transmit.header));
        pieces.extend(transmit.payload.iter().map(|slice| piece(slice)));
        *pieces_of = pieces.len() - before;
        count += 1;
    }
    if counts[0] > MAX_PIECES {
        return Err(ErrorKind::InvalidInput.into());
    }
    // SAFETY: `mmsghdr` is plain data, for which all zeroes is a value.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut rest = pieces.as_mut_slice();
    for (message, pieces_of) in messages.iter_mut().zip(counts).take(count) {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(pieces_of);
        message.msg_hdr.msg_iov = own.as_mut_ptr();
        message.msg_hdr.msg_iovlen = own.len();
        rest = others;
    }
    // SAFETY: the first `count` messages point to the pieces counted for them, and these to slices
    // borrowed for the call, which it only reads.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr(),
            count as u32,
            libc::MSG_DONTWAIT as _,
        )
    };
    Ok(check(sent)? as usize)
}

/// Sends one frame from Ethernet's header on, complete as it is.
pub(super) fn send_frame(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    let message = [&[0; vnet::LEN][..], frame].concat();
    // SAFETY: the pointer and the length are those of `message`, which send only reads.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn piece(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_what_comes_whatever_room_there_was() {
        assert_eq!(next_offer(4, 4, 4), 8);
        assert_eq!(next_offer(64, 64, 64), 64);
        assert_eq!(next_offer(64, 64, 10), 20);
        assert_eq!(next_offer(4, 4, 0), 4);
        // Room for one alone.
        assert_eq!(next_offer(4, 1, 1), 4);
        assert_eq!(next_offer(32, 1, 1), 32);
        assert_eq!(next_offer(4, 1, 0), 4);
    }
}
