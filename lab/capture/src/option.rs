//! Multipath TCP's options, TCP option kind 30 (RFC 8684 §3, RFC 6824 §3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of Multipath TCP's TCP option.
pub(crate) const KIND: u8 = 30;

/// A data sequence number as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Number {
    /// All 64 bits, or the low 32.
    pub(crate) value: u64,
    pub(crate) wide: bool,
}

/// The mapping of a DSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) dsn: Number,
    /// The first byte after the SYN is 1; 0 for a lone DATA_FIN.
    pub(crate) ssn: u32,
    /// Bytes, counting a DATA_FIN; 0 is the infinite mapping of a fallback.
    pub(crate) len: u16,
    pub(crate) checksum: Option<u16>,
}

/// A Multipath TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mptcp {
    Capable {
        version: u8,
        flags: u8,
        sender: Option<u64>,
        receiver: Option<u64>,
        /// Length and checksum of the first mapping.
        data: Option<(u16, Option<u16>)>,
    },
    JoinSyn {
        backup: bool,
        id: u8,
        token: u32,
        nonce: u32,
    },
    JoinSynAck {
        backup: bool,
        id: u8,
        hmac: u64,
        nonce: u32,
    },
    JoinAck {
        hmac: [u8; 20],
    },
    Dss {
        ack: Option<Number>,
        map: Option<Map>,
        fin: bool,
    },
    AddAddr(Address),
    RemoveAddr(Vec<u8>),
    Prio {
        backup: bool,
        id: Option<u8>,
    },
    Fail(u64),
    FastClose(u64),
    Reset {
        flags: u8,
        reason: u8,
    },
}

/// ADD_ADDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) id: u8,
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
    pub(crate) echo: bool,
    pub(crate) hmac: Option<u64>,
}

/// Which of the three packets of a handshake an option stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Syn,
    SynAck,
    Other,
}

/// Reads one option, kind and length included; `None` if its length is none that the RFCs know.
pub(crate) fn parse(option: &[u8], class: Class) -> Option<Mptcp> {
    let low = *option.get(2)? & 0xf;
    match option[2] >> 4 {
        0 => capable(option, low, class),
        1 => join(option, low, class),
        2 => dss(option),
        3 => address(option, low),
        4 if option.len() > 3 => Some(Mptcp::RemoveAddr(option[3..].to_vec())),
        5 if matches!(option.len(), 3 | 4) => Some(Mptcp::Prio {
            backup: low & 1 != 0,
            id: option.get(3).copied(),
        }),
        6 if option.len() == 12 => Some(Mptcp::Fail(be64(option, 4)?)),
        7 if option.len() == 12 => Some(Mptcp::FastClose(be64(option, 4)?)),
        8 if option.len() == 4 => Some(Mptcp::Reset {
            flags: low,
            reason: option[3],
        }),
        _ => None,
    }
}

fn capable(option: &[u8], version: u8, class: Class) -> Option<Mptcp> {
    let known = match class {
        Class::Syn => matches!(option.len(), 4 | 12),
        Class::SynAck => option.len() == 12,
        Class::Other => matches!(option.len(), 20 | 22 | 24),
    };
    known.then_some(())?;
    Some(Mptcp::Capable {
        version,
        flags: option[3],
        sender: be64(option, 4),
        receiver: be64(option, 12),
        data: be16(option, 20).map(|len| (len, be16(option, 22))),
    })
}

fn join(option: &[u8], low: u8, class: Class) -> Option<Mptcp> {
    let (backup, id) = (low & 1 != 0, *option.get(3)?);
    match (class, option.len()) {
        (Class::Syn, 12) => Some(Mptcp::JoinSyn {
            backup,
            id,
            token: be32(option, 4)?,
            nonce: be32(option, 8)?,
        }),
        (Class::SynAck, 16) => Some(Mptcp::JoinSynAck {
            backup,
            id,
            hmac: be64(option, 4)?,
            nonce: be32(option, 12)?,
        }),
        (Class::Other, 24) => Some(Mptcp::JoinAck {
            hmac: option[4..24].try_into().ok()?,
        }),
        _ => None,
    }
}

/// Flags F m M a A, then DATA_ACK, then the mapping (RFC 8684 §3.3).
fn dss(option: &[u8]) -> Option<Mptcp> {
    let flags = *option.get(3)?;
    let mut at = 4;
    let mut number = |present: u8, wide: u8| {
        let wide = flags & wide != 0;
        if flags & present == 0 {
            return Some(None);
        }
        let value = if wide {
            be64(option, at)?
        } else {
            be32(option, at)?.into()
        };
        at += if wide { 8 } else { 4 };
        Some(Some(Number { value, wide }))
    };
    let ack = number(0x01, 0x02)?;
    let map = match number(0x04, 0x08)? {
        None => None,
        Some(dsn) => {
            let map = Map {
                dsn,
                ssn: be32(option, at)?,
                len: be16(option, at + 4)?,
                checksum: be16(option, at + 6),
            };
            at += 6 + 2 * usize::from(map.checksum.is_some());
            Some(map)
        }
    };
    let fin = flags & 0x10 != 0;
    (at == option.len()).then_some(Mptcp::Dss { ack, map, fin })
}

/// Version 0 has the version of IP in the low bits, version 1 the echo flag and an HMAC.
fn address(option: &[u8], low: u8) -> Option<Mptcp> {
    let len = option.len();
    let (six, port, hmac) = match (low, len) {
        (4, 8) | (1, 8) => (false, false, false),
        (4, 10) | (1, 10) => (false, true, false),
        (6, 20) | (1, 20) => (true, false, false),
        (6, 22) | (1, 22) => (true, true, false),
        (0, 16) => (false, false, true),
        (0, 18) => (false, true, true),
        (0, 28) => (true, false, true),
        (0, 30) => (true, true, true),
        _ => return None,
    };
    let addr: IpAddr = if six {
        Ipv6Addr::from(<[u8; 16]>::try_from(option.get(4..20)?).ok()?).into()
    } else {
        Ipv4Addr::from(<[u8; 4]>::try_from(option.get(4..8)?).ok()?).into()
    };
    let after = if six { 20 } else { 8 };
    Some(Mptcp::AddAddr(Address {
        id: option[3],
        addr,
        port: if port { be16(option, after) } else { None },
        echo: low == 1,
        hmac: if hmac { be64(option, len - 8) } else { None },
    }))
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
