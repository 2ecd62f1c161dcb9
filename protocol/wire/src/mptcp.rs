//! Multipath TCP options, kind 30 (RFC 8684 §3; RFC 6824 where version 0 differs).
//!
//! Each family of options has a file of its own. Reserved bits that are not kept are read as zero.

mod address;
mod capable;
mod close;
mod dss;
mod fail;
mod join;
mod prio;

use crate::tcp::Class;
use crate::writer::Writer;
use smallvec::SmallVec;

pub use address::AddAddr;
pub use capable::{Capable, CapableData, CapableFlags};
pub use close::{ResetReason, TcpRst};
pub use dss::{Dsn, Dss, DssMapping};
pub use join::Join;
pub use prio::Prio;

/// The TCP option kind of all MPTCP options.
pub const KIND: u8 = 30;

const SUBTYPE_CAPABLE: u8 = 0;
const SUBTYPE_JOIN: u8 = 1;
const SUBTYPE_DSS: u8 = 2;
const SUBTYPE_ADD_ADDR: u8 = 3;
const SUBTYPE_REMOVE_ADDR: u8 = 4;
const SUBTYPE_PRIO: u8 = 5;
const SUBTYPE_FAIL: u8 = 6;
const SUBTYPE_FAST_CLOSE: u8 = 7;
const SUBTYPE_TCP_RST: u8 = 8;

/// MPTCP options of one segment, in wire order.
pub type MptcpOptions = SmallVec<[MptcpOption; 2]>;

/// One option, by subtype; handshake options also by the segment they may stand on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum MptcpOption {
    Capable(Capable),
    Join(Join),
    Dss(Dss),
    AddAddr(AddAddr),
    /// Address IDs that went away; at least one.
    RemoveAddr(SmallVec<[u8; 8]>),
    Prio(Prio),
    /// MP_FAIL: the data sequence number of the failed mapping.
    Fail(u64),
    /// MP_FASTCLOSE: the receiver's key.
    FastClose(u64),
    TcpRst(TcpRst),
}

/// An option of a known subtype whose length or flags are not of any form it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadOption;

impl MptcpOption {
    /// Reads one whole option, from its kind on, as it stood on a segment of this class. `None` is
    /// a subtype that is not known.
    pub fn parse(option: &[u8], class: Class) -> Result<Option<MptcpOption>, BadOption> {
        let &[KIND, len, subtype, ..] = option else {
            return Err(BadOption);
        };
        if usize::from(len) != option.len() {
            return Err(BadOption);
        }
        Ok(Some(match subtype >> 4 {
            SUBTYPE_CAPABLE => MptcpOption::Capable(Capable::parse(option, class)?),
            SUBTYPE_JOIN => MptcpOption::Join(Join::parse(option, class)?),
            SUBTYPE_DSS => MptcpOption::Dss(Dss::parse(option)?),
            SUBTYPE_ADD_ADDR => MptcpOption::AddAddr(AddAddr::parse(option)?),
            SUBTYPE_REMOVE_ADDR => MptcpOption::RemoveAddr(address::parse_remove(option)?),
            SUBTYPE_PRIO => MptcpOption::Prio(Prio::parse(option)?),
            SUBTYPE_FAIL => MptcpOption::Fail(fail::parse(option)?),
            SUBTYPE_FAST_CLOSE => MptcpOption::FastClose(close::parse_fast_close(option)?),
            SUBTYPE_TCP_RST => MptcpOption::TcpRst(TcpRst::parse(option)?),
            _ => return Ok(None),
        }))
    }

    /// Bytes on the wire, without padding.
    #[allow(clippy::len_without_is_empty, reason = "an option is never empty")]
    pub fn len(&self) -> usize {
        match self {
            MptcpOption::Capable(capable) => capable.len(),
            MptcpOption::Join(join) => join.len(),
            MptcpOption::Dss(dss) => dss.len(),
            MptcpOption::AddAddr(add) => add.len(),
            MptcpOption::RemoveAddr(ids) => 3 + ids.len(),
            MptcpOption::Prio(prio) => prio.len(),
            MptcpOption::Fail(_) => fail::LEN,
            MptcpOption::FastClose(_) => close::FAST_CLOSE_LEN,
            MptcpOption::TcpRst(_) => TcpRst::LEN,
        }
    }

    /// Bytes on the wire with its padding to a multiple of four: what it takes of the option space.
    pub fn padded_len(&self) -> usize {
        self.len().next_multiple_of(4)
    }

    /// Whether a peer would read this back from a segment of this class.
    pub fn fits(&self, class: Class) -> bool {
        match self {
            MptcpOption::Capable(capable) => capable.fits(class),
            MptcpOption::Join(join) => join.fits(class),
            MptcpOption::AddAddr(add) => add.fits(),
            MptcpOption::RemoveAddr(ids) => !ids.is_empty(),
            _ => true,
        }
    }

    pub(crate) fn emit(&self, out: &mut Writer) {
        match self {
            MptcpOption::Capable(capable) => capable.emit(out),
            MptcpOption::Join(join) => join.emit(out),
            MptcpOption::Dss(dss) => dss.emit(out),
            MptcpOption::AddAddr(add) => add.emit(out),
            MptcpOption::RemoveAddr(ids) => address::emit_remove(ids, out),
            MptcpOption::Prio(prio) => prio.emit(out),
            MptcpOption::Fail(dsn) => fail::emit(*dsn, out),
            MptcpOption::FastClose(key) => close::emit_fast_close(*key, out),
            MptcpOption::TcpRst(rst) => rst.emit(out),
        }
    }
}

/// What several options take of the option space: each is padded to a multiple of four.
pub fn padded_len(options: &[MptcpOption]) -> usize {
    options.iter().map(MptcpOption::padded_len).sum()
}

/// The three bytes every option starts with; `low` is the nibble beside the subtype.
fn head(out: &mut Writer, len: usize, subtype: u8, low: u8) {
    out.put(&[KIND, len as u8, subtype << 4 | low & 0x0f]);
}

// Fixed-width fields at places that the length check of each option covers.

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) << 32 | u64::from(u32_at(b, at + 4))
}
