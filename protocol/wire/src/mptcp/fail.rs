//! MP_FAIL (RFC 8684 §3.7).

use super::{BadOption, SUBTYPE_FAIL, head, u64_at};
use crate::writer::Writer;

pub(super) const LEN: usize = 12;

/// The data sequence number at which mapping or checksum failed.
pub(super) fn parse(b: &[u8]) -> Result<u64, BadOption> {
    if b.len() == LEN {
        Ok(u64_at(b, 4))
    } else {
        Err(BadOption)
    }
}

pub(super) fn emit(dsn: u64, out: &mut Writer) {
    head(out, LEN, SUBTYPE_FAIL, 0);
    out.u8(0);
    out.u64(dsn);
}
