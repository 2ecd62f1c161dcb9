//! MP_PRIO (RFC 8684 §3.3.8).

use super::{BadOption, SUBTYPE_PRIO, head};
use crate::writer::Writer;

/// MP_PRIO (RFC 8684 §3.3.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prio {
    /// B: use this subflow as a backup.
    pub backup: bool,
    /// Address ID meant, v0 only; v1 means the subflow it is on.
    pub address_id: Option<u8>,
}

impl Prio {
    pub(super) fn parse(b: &[u8]) -> Result<Prio, BadOption> {
        let address_id = match b.len() {
            3 => None,
            4 => Some(b[3]),
            _ => return Err(BadOption),
        };
        Ok(Prio {
            backup: b[2] & 1 != 0,
            address_id,
        })
    }

    pub(super) fn len(&self) -> usize {
        if self.address_id.is_some() { 4 } else { 3 }
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        head(out, self.len(), SUBTYPE_PRIO, u8::from(self.backup));
        if let Some(id) = self.address_id {
            out.u8(id);
        }
    }
}
