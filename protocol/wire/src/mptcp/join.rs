//! MP_JOIN (RFC 8684 §3.2).

use super::{BadOption, SUBTYPE_JOIN, head, u32_at, u64_at};
use crate::tcp::Class;
use crate::writer::Writer;

/// MP_JOIN (RFC 8684 §3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Join {
    Syn {
        backup: bool,
        address_id: u8,
        token: u32,
        nonce: u32,
    },
    SynAck {
        backup: bool,
        address_id: u8,
        hmac: u64,
        nonce: u32,
    },
    Ack {
        hmac: [u8; 20],
    },
}

impl Join {
    pub(super) fn parse(b: &[u8], class: Class) -> Result<Join, BadOption> {
        let backup = b[2] & 1 != 0;
        let address_id = *b.get(3).ok_or(BadOption)?;
        match (class, b.len()) {
            (Class::Syn, 12) => Ok(Join::Syn {
                backup,
                address_id,
                token: u32_at(b, 4),
                nonce: u32_at(b, 8),
            }),
            (Class::SynAck, 16) => Ok(Join::SynAck {
                backup,
                address_id,
                hmac: u64_at(b, 4),
                nonce: u32_at(b, 12),
            }),
            (Class::Segment, 24) => {
                let mut hmac = [0; 20];
                hmac.copy_from_slice(&b[4..24]);
                Ok(Join::Ack { hmac })
            }
            _ => Err(BadOption),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Join::Syn { .. } => 12,
            Join::SynAck { .. } => 16,
            Join::Ack { .. } => 24,
        }
    }

    pub(super) fn fits(&self, class: Class) -> bool {
        class
            == match self {
                Join::Syn { .. } => Class::Syn,
                Join::SynAck { .. } => Class::SynAck,
                Join::Ack { .. } => Class::Segment,
            }
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        let (backup, address_id) = match *self {
            Join::Syn {
                backup, address_id, ..
            }
            | Join::SynAck {
                backup, address_id, ..
            } => (backup, address_id),
            Join::Ack { .. } => (false, 0),
        };
        head(out, self.len(), SUBTYPE_JOIN, u8::from(backup));
        out.u8(address_id);
        match self {
            Join::Syn { token, nonce, .. } => {
                out.u32(*token);
                out.u32(*nonce);
            }
            Join::SynAck { hmac, nonce, .. } => {
                out.u64(*hmac);
                out.u32(*nonce);
            }
            Join::Ack { hmac } => out.put(hmac),
        }
    }
}
