//! The Multipath TCP connections that the kernel has now, and their subflows: what `ss -M` and
//! `ss -ti` ask for (`sock_diag(7)`, `linux/inet_diag.h`).

use crate::generic::{parse_attributes, read_u32, value};
use crate::netlink::Channel;
use crate::{Error, Result};
use netlink_packet_core::{
    DecodeError, DefaultNla, NLA_TYPE_MASK, NLM_F_DUMP, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, Nla,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A connection of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Local token.
    pub token: u32,
    /// Our end of the initial subflow.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// It goes on as plain TCP.
    pub fallback: bool,
    /// User that has the socket.
    pub uid: u32,
    /// Inode of the socket: it stands in `/proc/PID/fd` of the process that has it. 0: none has.
    pub inode: u32,
    /// Payload bytes sent and received so far; 0 from kernels before 6.5, which do not tell.
    pub bytes: u64,
}

/// A subflow of a connection of the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subflow {
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
    /// It joined, rather than being the initial one.
    pub joined: bool,
    /// The peer opened it.
    pub passive: bool,
    /// Used only when no other is usable: at the peer's wish or ours.
    pub backup: bool,
    /// How it does.
    pub figures: Figures,
}

/// How a subflow does, from its `struct tcp_info`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Figures {
    /// Smoothed round-trip time; zero before the first measurement.
    pub srtt: Duration,
    /// Retransmission timeout, doubled by those that went by.
    pub rto: Duration,
    /// Timeouts since the peer last acknowledged something.
    pub timeouts: u8,
    /// How long ago an acknowledgement or data came last.
    pub silent_for: Duration,
}

/// The established connections of the namespace of the current thread.
///
/// # Errors
/// [`Error::Unsupported`] without `CONFIG_INET_MPTCP_DIAG`; any other of the kernel's.
pub fn connections() -> Result<Vec<Connection>> {
    let answers = ask(IPPROTO_MPTCP)?;
    Ok(answers.iter().filter_map(Connection::decode).collect())
}

/// The subflows of these connections. Needs `CAP_NET_ADMIN`.
///
/// # Errors
/// As [`connections`].
pub fn subflows() -> Result<Vec<Subflow>> {
    let answers = ask(libc::IPPROTO_TCP as u32)?;
    Ok(answers.iter().filter_map(Subflow::decode).collect())
}

fn ask(protocol: u32) -> Result<Vec<Diag>> {
    let channel = Channel::open(NETLINK_SOCK_DIAG)?;
    let mut answers = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = Diag::Request {
            family: family as u8,
            protocol,
        };
        let some = channel.request(request, NLM_F_DUMP);
        answers.extend(some.map_err(|error| {
            let what = "list the kernel's Multipath TCP connections";
            match error.raw_os_error() {
                Some(libc::ENOENT) => Error::Unsupported {
                    what: what.into(),
                    feature: "CONFIG_INET_MPTCP_DIAG",
                },
                _ => Error::net(what, error),
            }
        })?);
    }
    Ok(answers)
}

const IPPROTO_MPTCP: u32 = libc::IPPROTO_MPTCP as u32;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const TCP_ESTABLISHED: u8 = 1;
/// `1 << (INET_DIAG_INFO - 1)`.
const WITH_INFO: u8 = 1 << 1;
const REQ_PROTOCOL: u16 = 3;
const DIAG_INFO: u16 = 2;
const DIAG_ULP_INFO: u16 = 19;
const ULP_INFO_MPTCP: u16 = 3;
// Attributes of a subflow, `linux/mptcp.h`.
const SUBFLOW_TOKEN_LOC: u16 = 2;
const SUBFLOW_FLAGS: u16 = 8;
const SUBFLOW_ID_REM: u16 = 9;
const SUBFLOW_ID_LOC: u16 = 10;
// Flags of a subflow.
const JOIN_REM: u32 = 1 << 2;
const JOIN_LOC: u32 = 1 << 3;
const MCAP_LOC: u32 = 1 << 1;
const BACKUP: u32 = 1 << 4 | 1 << 5;
/// In `mptcpi_flags` of `struct mptcp_info`.
const INFO_FALLBACK: u32 = 1;

/// `struct inet_diag_req_v2` and `struct inet_diag_msg` without what follows.
const REQUEST_LEN: usize = 56;
const ANSWER_LEN: usize = 72;

/// Either side of the exchange.
#[derive(Clone, Debug)]
enum Diag {
    Request {
        family: u8,
        protocol: u32,
    },
    Answer {
        head: Box<[u8; ANSWER_LEN]>,
        attributes: BTreeMap<u16, Vec<u8>>,
    },
}

impl NetlinkSerializable for Diag {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        // The protocol has an attribute of its own: it may need more than the header's 8 bits.
        REQUEST_LEN + 8
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let Diag::Request { family, protocol } = self else {
            return;
        };
        buffer.fill(0);
        buffer[..4].copy_from_slice(&[*family, *protocol as u8, WITH_INFO, 0]);
        buffer[4..8].copy_from_slice(&(1u32 << TCP_ESTABLISHED).to_ne_bytes());
        let attribute = &mut buffer[REQUEST_LEN..];
        attribute[..2].copy_from_slice(&8u16.to_ne_bytes());
        attribute[2..4].copy_from_slice(&REQ_PROTOCOL.to_ne_bytes());
        attribute[4..8].copy_from_slice(&protocol.to_ne_bytes());
    }
}

impl NetlinkDeserializable for Diag {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> std::result::Result<Self, DecodeError> {
        let Some((head, rest)) = payload.split_first_chunk() else {
            return Err("socket description without a header".into());
        };
        let head: &[u8; ANSWER_LEN] = head;
        Ok(Diag::Answer {
            head: Box::new(*head),
            attributes: by_kind(&parse_attributes(rest)?),
        })
    }
}

fn by_kind(attributes: &[DefaultNla]) -> BTreeMap<u16, Vec<u8>> {
    let pair = |it: &DefaultNla| (it.kind() & NLA_TYPE_MASK, value(it));
    attributes.iter().map(pair).collect()
}

/// The attributes in an attribute.
fn inside(attributes: &BTreeMap<u16, Vec<u8>>, kind: u16) -> Option<BTreeMap<u16, Vec<u8>>> {
    Some(by_kind(&parse_attributes(attributes.get(&kind)?).ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    read_u32(bytes.get(at..at + 4)?)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Both ends, from a `struct inet_diag_msg`.
fn ends(head: &[u8; ANSWER_LEN]) -> Option<(SocketAddr, SocketAddr)> {
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let address = |at: usize| -> Option<IpAddr> {
        Some(match i32::from(head[0]) {
            libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(&head[at..at + 4]).ok()?),
            libc::AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(&head[at..at + 16]).ok()?),
            _ => return None,
        })
    };
    let local = SocketAddr::new(address(8)?.to_canonical(), port(4));
    let remote = SocketAddr::new(address(24)?.to_canonical(), port(6));
    Some((local, remote))
}

impl Connection {
    fn decode(answer: &Diag) -> Option<Connection> {
        let Diag::Answer { head, attributes } = answer else {
            return None;
        };
        let (local, remote) = ends(head)?;
        let info = attributes.get(&DIAG_INFO)?;
        Some(Connection {
            token: u32_at(info, 12)?,
            local,
            remote,
            fallback: u32_at(info, 8)? & INFO_FALLBACK != 0,
            uid: u32_at(&head[..], 64)?,
            inode: u32_at(&head[..], 68)?,
            bytes: u64_at(info, 56)
                .zip(u64_at(info, 64))
                .map_or(0, |(sent, received)| sent.saturating_add(received)),
        })
    }
}

impl Subflow {
    /// `None` for plain TCP.
    fn decode(answer: &Diag) -> Option<Subflow> {
        let Diag::Answer { head, attributes } = answer else {
            return None;
        };
        let (local, remote) = ends(head)?;
        let subflow = inside(&inside(attributes, DIAG_ULP_INFO)?, ULP_INFO_MPTCP)?;
        let byte = |kind| subflow.get(&kind).and_then(|it| it.first().copied());
        let flags = read_u32(subflow.get(&SUBFLOW_FLAGS)?)?;
        Some(Subflow {
            token: read_u32(subflow.get(&SUBFLOW_TOKEN_LOC)?)?,
            local,
            remote,
            local_id: byte(SUBFLOW_ID_LOC).unwrap_or(0),
            remote_id: byte(SUBFLOW_ID_REM).unwrap_or(0),
            joined: flags & (JOIN_REM | JOIN_LOC) != 0,
            // What we asked for is marked on either side of what was agreed.
            passive: flags & (JOIN_LOC | MCAP_LOC) == 0,
            backup: flags & BACKUP != 0,
            figures: attributes
                .get(&DIAG_INFO)
                .and_then(|info| Figures::decode(info))
                .unwrap_or_default(),
        })
    }
}

impl Figures {
    /// From a `struct tcp_info` (`linux/tcp.h`).
    fn decode(info: &[u8]) -> Option<Figures> {
        let micros = |at| Some(Duration::from_micros(u32_at(info, at)?.into()));
        let data = u32_at(info, 52)?;
        let ack = u32_at(info, 56)?;
        Some(Figures {
            srtt: micros(68)?,
            rto: micros(8)?,
            timeouts: *info.get(2)?,
            silent_for: Duration::from_millis(data.min(ack).into()),
        })
    }
}
