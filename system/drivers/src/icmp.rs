//! ICMP errors about segments of ours, from the raw sockets of the host's kernel.
//!
//! Where a stack serves some ports of the host's own addresses, ICMP has no ports to be routed by:
//! errors about the stack's connections reach the kernel, which knows of no such connection. Raw
//! sockets get a copy of them.

use anabranch_wire::frame::Frame;
use anabranch_wire::icmp::{self, Message};
use anabranch_wire::ip::{IpPacket, V6_LEN, protocol};
use bytes::Bytes;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// No router quotes so much that an error is larger (RFC 1812 §4.3.2.3: 576 bytes; RFC 4443 §2.4:
/// 1280). What is cut off fails its checksum.
const MAX_ERROR: usize = 2048;

/// Where an ICMPv6 error has the source of the packet it quotes.
const QUOTED_SOURCE: Range<usize> = 8 + 8..8 + 24;

/// `ICMP_FILTER` of `linux/icmp.h`.
const ICMP_FILTER: libc::c_int = 1;

/// `ICMPV6_FILTER` of `linux/icmpv6.h`.
const ICMPV6_FILTER: libc::c_int = 1;

/// `IPV6_CHECKSUM` of `linux/in6.h`.
const IPV6_CHECKSUM: libc::c_int = 7;

/// Destination unreachable, "fragmentation needed" included, and time exceeded (RFC 792).
const V4_TYPES: [u32; 2] = [3, 11];

/// Destination unreachable, packet too big and time exceeded (RFC 4443).
const V6_TYPES: [u32; 3] = [1, 2, 3];

/// The ICMP errors of one address family that arrive at the host and quote a TCP segment from one
/// of some ports.
#[derive(Debug)]
pub struct IcmpErrors {
    socket: OwnedFd,
    ipv6: bool,
    /// In order.
    ports: Vec<u16>,
    buffer: Box<[u8; V6_LEN + MAX_ERROR]>,
}

impl IcmpErrors {
    /// Errors of IPv4, or else IPv6, about segments sent from `ports`, in the network namespace of
    /// the current thread.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`; the kernel's own, such as for a family that it
    /// does not have.
    pub fn open(ipv6: bool, ports: impl IntoIterator<Item = u16>) -> io::Result<IcmpErrors> {
        let socket = if ipv6 { open_v6()? } else { open_v4()? };
        let mut ports: Vec<u16> = ports.into_iter().collect();
        ports.sort_unstable();
        Ok(IcmpErrors {
            socket,
            ipv6,
            ports,
            buffer: Box::new([0; V6_LEN + MAX_ERROR]),
        })
    }

    /// What to poll for reading.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes one ICMP message: the packet, if it is an error about a segment from one of the ports.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; any other is the socket's.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        let len = if self.ipv6 {
            self.receive_v6()?
        } else {
            receive_from(&self.socket, &mut self.buffer[..], None)?
        };
        Ok(self.about_us(len).then(|| {
            let packet = Bytes::copy_from_slice(&self.buffer[..len]);
            Frame::packet(packet)
        }))
    }

    /// The kernel gives the message without its IPv6 header, of which the stack needs the
    /// addresses. An error goes to the source of the packet that it quotes (RFC 4443 §2.2), and the
    /// checksum covers both addresses: it fails if that is not so.
    fn receive_v6(&mut self) -> io::Result<usize> {
        let mut sender = [0; 16];
        let (header, message) = self.buffer.split_at_mut(V6_LEN);
        let len = receive_from(&self.socket, message, Some(&mut sender))?;
        header.fill(0);
        header[0] = 6 << 4;
        header[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        header[6] = protocol::ICMPV6;
        header[7] = u8::MAX;
        header[8..24].copy_from_slice(&sender);
        header[24..40].copy_from_slice(&message[QUOTED_SOURCE]);
        Ok(V6_LEN + len)
    }

    fn about_us(&self, len: usize) -> bool {
        let packet = &self.buffer[..len];
        let parsed = IpPacket::parse(packet).and_then(|ip| icmp::parse(&ip, packet));
        let quoted = match parsed {
            Ok(Message::Unreachable { quoted, .. })
            | Ok(Message::PacketTooBig { quoted, .. })
            | Ok(Message::TimeExceeded { quoted }) => quoted,
            _ => return false,
        };
        self.ports.binary_search(&quoted.src.port()).is_ok()
    }
}

fn open_v4() -> io::Result<OwnedFd> {
    let socket = open_raw(libc::AF_INET, libc::IPPROTO_ICMP)?;
    // A bit for each type that is not wanted.
    let unwanted = V4_TYPES
        .iter()
        .fold(u32::MAX, |mask, kind| mask & !(1 << kind));
    set_option(&socket, libc::SOL_RAW, ICMP_FILTER, &[unwanted])?;
    Ok(socket)
}

fn open_v6() -> io::Result<OwnedFd> {
    let socket = open_raw(libc::AF_INET6, libc::IPPROTO_ICMPV6)?;
    let mut unwanted = [u32::MAX; 8];
    unwanted[0] = V6_TYPES
        .iter()
        .fold(u32::MAX, |mask, kind| mask & !(1 << kind));
    set_option(&socket, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &unwanted)?;
    // The stack verifies checksums. The kernel would say of a message with a wrong one that nothing
    // is there, and what waits behind it would go on waiting.
    set_option(&socket, libc::SOL_RAW, IPV6_CHECKSUM, &[u32::MAX])?;
    Ok(socket)
}

fn open_raw(family: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes three integers and touches no memory of ours.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just returned open, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn set_option(
    socket: &OwnedFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &[u32],
) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of `value`, which setsockopt only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            size_of_val(value) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives one message, and the IPv6 address it came from if `sender` is given.
fn receive_from(
    socket: &OwnedFd,
    into: &mut [u8],
    sender: Option<&mut [u8; 16]>,
) -> io::Result<usize> {
    let mut from = libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };
    let mut from_len = size_of_val(&from) as libc::socklen_t;
    // SAFETY: the pointers and lengths are those of `into` and `from`, which outlive the call; the
    // kernel writes no more than these lengths, and any bytes are valid values of both.
    let len = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            into.as_mut_ptr().cast(),
            into.len(),
            0,
            (&raw mut from).cast(),
            &raw mut from_len,
        )
    };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    if let Some(sender) = sender {
        if libc::c_int::from(from.sin6_family) != libc::AF_INET6 {
            return Err(ErrorKind::InvalidData.into());
        }
        *sender = from.sin6_addr.s6_addr;
    }
    Ok(len)
}
