//! MP_CAPABLE (RFC 8684 §3.1, RFC 6824 §3.1).

use super::{BadOption, SUBTYPE_CAPABLE, head, u16_at, u64_at};
use crate::tcp::Class;
use crate::writer::Writer;

/// Flags of MP_CAPABLE (RFC 8684 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CapableFlags {
    /// A: checksums required.
    pub checksum: bool,
    /// B: extensibility; set by a peer, it means "do not use MPTCP unless understood".
    pub extensibility: bool,
    /// C (v1): the sender accepts no joins to this address and port.
    pub deny_join: bool,
    /// H: HMAC-SHA256 (v1) or HMAC-SHA1 (v0).
    pub hmac: bool,
    /// D–G, kept to round-trip.
    pub reserved: u8,
}

/// MP_CAPABLE.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Capable {
    /// On a SYN. v0 carries the sender's key, v1 none.
    Syn {
        version: u8,
        flags: CapableFlags,
        key: Option<u64>,
    },
    /// On a SYN+ACK: the acceptor's key.
    SynAck {
        version: u8,
        flags: CapableFlags,
        key: u64,
    },
    /// On the third ACK (`data` is `None`) or, v1, on the first data.
    Ack {
        version: u8,
        flags: CapableFlags,
        sender_key: u64,
        receiver_key: u64,
        data: Option<CapableData>,
    },
}

/// The implicit first mapping that MP_CAPABLE carries (v1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapableData {
    /// Data-level length, bytes.
    pub len: u16,
    /// Checksum, where agreed.
    pub checksum: Option<u16>,
}

impl CapableFlags {
    const RESERVED: u8 = 0x1e;

    fn read(byte: u8) -> CapableFlags {
        CapableFlags {
            checksum: byte & 0x80 != 0,
            extensibility: byte & 0x40 != 0,
            deny_join: byte & 0x20 != 0,
            hmac: byte & 0x01 != 0,
            reserved: byte & Self::RESERVED,
        }
    }

    fn byte(self) -> u8 {
        u8::from(self.checksum) << 7
            | u8::from(self.extensibility) << 6
            | u8::from(self.deny_join) << 5
            | self.reserved & Self::RESERVED
            | u8::from(self.hmac)
    }
}

impl Capable {
    /// The version nibble: 0 is RFC 6824, 1 is RFC 8684.
    pub fn version(&self) -> u8 {
        match *self {
            Capable::Syn { version, .. }
            | Capable::SynAck { version, .. }
            | Capable::Ack { version, .. } => version,
        }
    }

    /// The flags byte.
    pub fn flags(&self) -> CapableFlags {
        match *self {
            Capable::Syn { flags, .. }
            | Capable::SynAck { flags, .. }
            | Capable::Ack { flags, .. } => flags,
        }
    }

    pub(super) fn parse(b: &[u8], class: Class) -> Result<Capable, BadOption> {
        let version = b[2] & 0x0f;
        let flags = CapableFlags::read(*b.get(3).ok_or(BadOption)?);
        match (class, b.len(), version) {
            // Versions to come may have either form: they are answered with a lower version.
            (Class::Syn, 4, 1..) => Ok(Capable::Syn {
                version,
                flags,
                key: None,
            }),
            (Class::Syn, 12, 0 | 2..) => Ok(Capable::Syn {
                version,
                flags,
                key: Some(u64_at(b, 4)),
            }),
            (Class::SynAck, 12, _) => Ok(Capable::SynAck {
                version,
                flags,
                key: u64_at(b, 4),
            }),
            (Class::Segment, 20, _) | (Class::Segment, 22 | 24, 1..) => Ok(Capable::Ack {
                version,
                flags,
                sender_key: u64_at(b, 4),
                receiver_key: u64_at(b, 12),
                data: CapableData::parse(b),
            }),
            _ => Err(BadOption),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Capable::Syn { key: None, .. } => 4,
            Capable::Syn { key: Some(_), .. } | Capable::SynAck { .. } => 12,
            Capable::Ack { data: None, .. } => 20,
            Capable::Ack {
                data: Some(CapableData { checksum: None, .. }),
                ..
            } => 22,
            Capable::Ack { data: Some(_), .. } => 24,
        }
    }

    pub(super) fn fits(&self, class: Class) -> bool {
        match *self {
            Capable::Syn { version, key, .. } => {
                let form = if key.is_some() {
                    version != 1
                } else {
                    version != 0
                };
                class == Class::Syn && form
            }
            Capable::SynAck { .. } => class == Class::SynAck,
            Capable::Ack { version, data, .. } => {
                class == Class::Segment && (version != 0 || data.is_none())
            }
        }
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        head(out, self.len(), SUBTYPE_CAPABLE, self.version());
        out.u8(self.flags().byte());
        match self {
            Capable::Syn { key, .. } => {
                if let Some(key) = key {
                    out.u64(*key);
                }
            }
            Capable::SynAck { key, .. } => out.u64(*key),
            Capable::Ack {
                sender_key,
                receiver_key,
                data,
                ..
            } => {
                out.u64(*sender_key);
                out.u64(*receiver_key);
                if let Some(data) = data {
                    data.emit(out);
                }
            }
        }
    }
}

impl CapableData {
    fn parse(b: &[u8]) -> Option<CapableData> {
        let len = (b.len() >= 22).then(|| u16_at(b, 20))?;
        let checksum = (b.len() >= 24).then(|| u16_at(b, 22));
        Some(CapableData { len, checksum })
    }

    fn emit(&self, out: &mut Writer) {
        out.u16(self.len);
        if let Some(checksum) = self.checksum {
            out.u16(checksum);
        }
    }
}
