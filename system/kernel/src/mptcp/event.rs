//! What the kernel tells of connections: the multicast group `mptcp_pm_events`.

use crate::generic::{Generic, group, read_u32, value};
use crate::netlink::Channel;
use crate::{Error, Result};
use netlink_packet_core::{NLA_TYPE_MASK, NetlinkMessage, NetlinkPayload, Nla};
use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Bytes asked for as receive buffer: a storm of connections must not lose events at once.
const BUFFER: usize = 1 << 20;

/// More than any buffer holds.
const MOST_WAITING: usize = 1 << 16;

/// Something that happened to a connection of the kernel, known by its local token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection is being made: its initial subflow, as we see it.
    Created {
        /// Local token.
        token: u32,
        /// Our end.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// The peer opened it.
        passive: bool,
        /// The peer takes no joins to `remote` (flag C, RFC 8684 §3.1).
        denies_join: bool,
    },
    /// It is fully established: subflows can be opened. Fields as for `Created`.
    Established {
        /// Local token.
        token: u32,
        /// Our end.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
        /// The peer opened it.
        passive: bool,
        /// The peer takes no joins to `remote`.
        denies_join: bool,
    },
    /// It is no more.
    Closed {
        /// Local token.
        token: u32,
    },
    /// The peer announced an address.
    Announced {
        /// Local token.
        token: u32,
        /// The address's number.
        id: u8,
        /// The address; port 0 where none was announced.
        remote: SocketAddr,
    },
    /// The peer withdrew an address.
    Removed {
        /// Local token.
        token: u32,
        /// The address's number.
        id: u8,
    },
    /// A further subflow is established.
    SubflowEstablished(SubflowEvent),
    /// A subflow is closed.
    SubflowClosed(SubflowEvent),
    /// A subflow became a backup, or ceased to be one.
    SubflowPriority(SubflowEvent),
    /// The path manager listens on an address it announces.
    ListenerCreated {
        /// Where.
        local: SocketAddr,
    },
    /// It no longer does.
    ListenerClosed {
        /// Where.
        local: SocketAddr,
    },
    /// The kernel told more than was read in time: what there is now must be asked anew
    /// ([`super::sockets`]).
    Lost,
}

/// A subflow something happened to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubflowEvent {
    /// Local token of its connection.
    pub token: u32,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Number of our address.
    pub local_id: u8,
    /// Number of the peer's address.
    pub remote_id: u8,
    /// Used only when no other is usable.
    pub backup: bool,
    /// Number of the interface it uses, 0 if it is bound to none.
    pub link: u32,
    /// Error number of its socket, if it ended with one.
    pub error: Option<u8>,
    /// Reason of the reset that ended it (RFC 8684 §3.6), if one said so.
    pub reset_reason: Option<u32>,
    /// Flags of that reset.
    pub reset_flags: Option<u32>,
}

/// What the kernel tells, in the namespace of the thread that opened it.
pub struct Events {
    socket: Socket,
    family: u16,
    waiting: VecDeque<Event>,
}

impl Events {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has no path manager, [`Error::Permission`] without
    /// `CAP_NET_ADMIN`.
    pub fn open() -> Result<Events> {
        Events::with_buffer(BUFFER)
    }

    /// Listens from now on; the kernel keeps about so many bytes of events that were not read.
    ///
    /// # Errors
    /// As [`Events::open`].
    pub fn with_buffer(bytes: usize) -> Result<Events> {
        let channel = Channel::open(NETLINK_GENERIC)?;
        let (family, group) = group(&channel, "mptcp_pm", "mptcp_pm_events", "CONFIG_MPTCP")?;
        let open = || {
            let mut socket = Socket::new(NETLINK_GENERIC)?;
            // Bound before it subscribes: a membership of an unbound socket is forgotten.
            socket.bind(&NetlinkAddr::new(0, 0))?;
            // Less than asked for where `net.core.rmem_max` says so.
            let _ = socket.set_rx_buf_sz(bytes as libc::c_int);
            socket.add_membership(group)?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let what = "hear of the kernel's Multipath TCP connections";
        let socket = open().map_err(|error| Error::net(what, error))?;
        Ok(Events {
            socket,
            family,
            waiting: VecDeque::new(),
        })
    }

    /// The next event, or `None` when there is none yet.
    ///
    /// # Errors
    /// Any of the socket's but that it is empty or has overflowed, which is [`Event::Lost`].
    pub fn poll(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(Some(event));
            }
            match self.socket.recv_from_full() {
                Ok((datagram, _)) => self.read(&datagram),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.discard();
                    return Ok(Some(Event::Lost));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let what = "hear of the kernel's Multipath TCP connections";
                    return Err(Error::net(what, error));
                }
            }
        }
    }

    /// Drops what waits: it is older than the answer of whoever now asks what there is, and may tell
    /// of connections whose end is among what was lost.
    fn discard(&mut self) {
        for _ in 0..MOST_WAITING {
            match self.socket.recv_from_full() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }

    fn read(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        while !rest.is_empty() {
            let Ok(message) = NetlinkMessage::<Generic>::deserialize(rest) else {
                return;
            };
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(16)..).unwrap_or_default();
            if let NetlinkPayload::InnerMessage(message) = message.payload
                && message.family == self.family
            {
                self.waiting.extend(Event::decode(&message));
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

// Events and their attributes, `linux/mptcp_pm.h`.
const CREATED: u8 = 1;
const ESTABLISHED: u8 = 2;
const CLOSED: u8 = 3;
const ANNOUNCED: u8 = 6;
const REMOVED: u8 = 7;
const SUB_ESTABLISHED: u8 = 10;
const SUB_CLOSED: u8 = 11;
const SUB_PRIORITY: u8 = 13;
const LISTENER_CREATED: u8 = 15;
const LISTENER_CLOSED: u8 = 16;
const TOKEN: u16 = 1;
const LOC_ID: u16 = 3;
const REM_ID: u16 = 4;
const SADDR4: u16 = 5;
const SADDR6: u16 = 6;
const DADDR4: u16 = 7;
const DADDR6: u16 = 8;
const SPORT: u16 = 9;
const DPORT: u16 = 10;
const BACKUP: u16 = 11;
const ERROR: u16 = 12;
const FLAGS: u16 = 13;
const IF_IDX: u16 = 15;
const RESET_REASON: u16 = 16;
const RESET_FLAGS: u16 = 17;
const SERVER_SIDE: u16 = 18;

/// In `FLAGS`: flag C of the peer; and, from Linux 6.18 on, that the peer opened it.
const DENY_JOIN_ID0: u16 = 1;
const FLAG_SERVER_SIDE: u16 = 2;

/// The attributes of an event.
struct Fields(BTreeMap<u16, Vec<u8>>);

impl Fields {
    fn u8(&self, kind: u16) -> Option<u8> {
        self.0.get(&kind)?.first().copied()
    }

    fn u16(&self, kind: u16) -> Option<u16> {
        let bytes = self.0.get(&kind)?.as_slice().try_into().ok()?;
        Some(u16::from_ne_bytes(bytes))
    }

    fn u32(&self, kind: u16) -> Option<u32> {
        read_u32(self.0.get(&kind)?)
    }

    /// Ports are big-endian here, unlike in commands.
    fn end(&self, v4: u16, v6: u16, port: u16) -> Option<SocketAddr> {
        let port = self
            .0
            .get(&port)
            .and_then(|it| it.as_slice().try_into().ok());
        let port = port.map_or(0, u16::from_be_bytes);
        let address = match (self.0.get(&v4), self.0.get(&v6)) {
            (Some(octets), _) => IpAddr::from(<[u8; 4]>::try_from(&octets[..]).ok()?),
            (None, Some(octets)) => IpAddr::from(<[u8; 16]>::try_from(&octets[..]).ok()?),
            (None, None) => return None,
        };
        Some(SocketAddr::new(address.to_canonical(), port))
    }

    fn local(&self) -> Option<SocketAddr> {
        self.end(SADDR4, SADDR6, SPORT)
    }

    fn remote(&self) -> Option<SocketAddr> {
        self.end(DADDR4, DADDR6, DPORT)
    }

    fn passive(&self) -> bool {
        let flag = self.u16(FLAGS).unwrap_or(0) & FLAG_SERVER_SIDE != 0;
        flag || self.u8(SERVER_SIDE).is_some_and(|it| it != 0)
    }

    fn denies_join(&self) -> bool {
        self.u16(FLAGS).unwrap_or(0) & DENY_JOIN_ID0 != 0
    }

    fn subflow(&self) -> Option<SubflowEvent> {
        Some(SubflowEvent {
            token: self.u32(TOKEN)?,
            local: self.local()?,
            remote: self.remote()?,
            local_id: self.u8(LOC_ID).unwrap_or(0),
            remote_id: self.u8(REM_ID).unwrap_or(0),
            backup: self.u8(BACKUP).is_some_and(|it| it != 0),
            link: self.u32(IF_IDX).unwrap_or(0),
            error: self.u8(ERROR).filter(|it| *it != 0),
            reset_reason: self.u32(RESET_REASON),
            reset_flags: self.u32(RESET_FLAGS),
        })
    }
}

impl Event {
    /// `None` for events that are not known, or lack what they should have.
    fn decode(message: &Generic) -> Option<Event> {
        let attributes = message.attributes.iter();
        let fields = Fields(
            attributes
                .map(|it| (it.kind() & NLA_TYPE_MASK, value(it)))
                .collect(),
        );
        let token = || fields.u32(TOKEN);
        Some(match message.command {
            CREATED => Event::Created {
                token: token()?,
                local: fields.local()?,
                remote: fields.remote()?,
                passive: fields.passive(),
                denies_join: fields.denies_join(),
            },
            ESTABLISHED => Event::Established {
                token: token()?,
                local: fields.local()?,
                remote: fields.remote()?,
                passive: fields.passive(),
                denies_join: fields.denies_join(),
            },
            CLOSED => Event::Closed { token: token()? },
            ANNOUNCED => Event::Announced {
                token: token()?,
                id: fields.u8(REM_ID)?,
                remote: fields.remote()?,
            },
            REMOVED => Event::Removed {
                token: token()?,
                id: fields.u8(REM_ID)?,
            },
            SUB_ESTABLISHED => Event::SubflowEstablished(fields.subflow()?),
            SUB_CLOSED => Event::SubflowClosed(fields.subflow()?),
            SUB_PRIORITY => Event::SubflowPriority(fields.subflow()?),
            LISTENER_CREATED => Event::ListenerCreated {
                local: fields.local()?,
            },
            LISTENER_CLOSED => Event::ListenerClosed {
                local: fields.local()?,
            },
            _ => return None,
        })
    }
}
