//! MP_FASTCLOSE (RFC 8684 §3.5) and MP_TCPRST (§3.6).

use super::{BadOption, SUBTYPE_FAST_CLOSE, SUBTYPE_TCP_RST, head, u64_at};
use crate::writer::Writer;

/// MP_TCPRST (RFC 8684 §3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpRst {
    /// T: the condition is transient.
    pub transient: bool,
    /// U, V, W: reserved, kept to round-trip (three bits).
    pub reserved: u8,
    /// Why.
    pub reason: ResetReason,
}

/// Reasons of MP_TCPRST.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum ResetReason {
    Unspecified,
    MptcpError,
    LackOfResources,
    Prohibited,
    TooMuchOutstanding,
    UnacceptablePerformance,
    Middlebox,
    Other(u8),
}

impl ResetReason {
    /// The reason as it stands on the wire.
    pub fn code(self) -> u8 {
        match self {
            ResetReason::Unspecified => 0,
            ResetReason::MptcpError => 1,
            ResetReason::LackOfResources => 2,
            ResetReason::Prohibited => 3,
            ResetReason::TooMuchOutstanding => 4,
            ResetReason::UnacceptablePerformance => 5,
            ResetReason::Middlebox => 6,
            ResetReason::Other(code) => code,
        }
    }

    /// The reason with this code.
    pub fn from_code(code: u8) -> ResetReason {
        match code {
            0 => ResetReason::Unspecified,
            1 => ResetReason::MptcpError,
            2 => ResetReason::LackOfResources,
            3 => ResetReason::Prohibited,
            4 => ResetReason::TooMuchOutstanding,
            5 => ResetReason::UnacceptablePerformance,
            6 => ResetReason::Middlebox,
            code => ResetReason::Other(code),
        }
    }
}

impl TcpRst {
    pub(super) const LEN: usize = 4;

    pub(super) fn parse(b: &[u8]) -> Result<TcpRst, BadOption> {
        if b.len() != Self::LEN {
            return Err(BadOption);
        }
        Ok(TcpRst {
            transient: b[2] & 1 != 0,
            reserved: b[2] >> 1 & 7,
            reason: ResetReason::from_code(b[3]),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        let flags = (self.reserved & 7) << 1 | u8::from(self.transient);
        head(out, Self::LEN, SUBTYPE_TCP_RST, flags);
        out.u8(self.reason.code());
    }
}

pub(super) const FAST_CLOSE_LEN: usize = 12;

/// The receiver's key, which proves the right to close.
pub(super) fn parse_fast_close(b: &[u8]) -> Result<u64, BadOption> {
    if b.len() == FAST_CLOSE_LEN {
        Ok(u64_at(b, 4))
    } else {
        Err(BadOption)
    }
}

pub(super) fn emit_fast_close(key: u64, out: &mut Writer) {
    head(out, FAST_CLOSE_LEN, SUBTYPE_FAST_CLOSE, 0);
    out.u8(0);
    out.u64(key);
}
