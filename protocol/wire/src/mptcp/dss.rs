//! DSS: data sequence mapping and DATA_ACK (RFC 8684 §3.3).

use super::{BadOption, SUBTYPE_DSS, head, u16_at, u32_at, u64_at};
use crate::writer::Writer;

/// A data sequence number or DATA_ACK as it stood on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dsn {
    /// Four bytes: the low half, to be expanded against 64-bit state.
    Short(u32),
    /// Eight bytes.
    Long(u64),
}

impl Dsn {
    /// The 64-bit number nearest to `near` that has these bits (across wrap-around too).
    pub fn expand(self, near: u64) -> u64 {
        match self {
            Dsn::Long(n) => n,
            Dsn::Short(n) => near.wrapping_add((n.wrapping_sub(near as u32) as i32) as u64),
        }
    }
}

/// Data sequence signal (RFC 8684 §3.3).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dss {
    /// DATA_ACK: the next data sequence number expected.
    pub data_ack: Option<Dsn>,
    /// Mapping.
    pub mapping: Option<DssMapping>,
    /// DATA_FIN: the mapping's length counts it.
    pub data_fin: bool,
}

/// The mapping part of a DSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DssMapping {
    /// Data sequence number of the first byte.
    pub dsn: Dsn,
    /// Subflow sequence number relative to the ISN; the first byte after the SYN is 1.
    pub ssn: u32,
    /// Length in bytes, DATA_FIN included; 0 is the infinite mapping.
    pub len: u16,
    /// Checksum, where agreed.
    pub checksum: Option<u16>,
}

const DATA_FIN: u8 = 0x10;
const DSN_LONG: u8 = 0x08;
const MAPPING: u8 = 0x04;
const ACK_LONG: u8 = 0x02;
const DATA_ACK: u8 = 0x01;

impl Dsn {
    /// The number as one of four (`long == false`) or eight bytes.
    pub fn new(n: u64, long: bool) -> Dsn {
        if long {
            Dsn::Long(n)
        } else {
            Dsn::Short(n as u32)
        }
    }

    /// Whether it takes eight bytes.
    pub fn is_long(self) -> bool {
        matches!(self, Dsn::Long(_))
    }

    fn len(self) -> usize {
        if self.is_long() { 8 } else { 4 }
    }

    fn read(b: &[u8], at: usize, long: bool) -> Dsn {
        if long {
            Dsn::Long(u64_at(b, at))
        } else {
            Dsn::Short(u32_at(b, at))
        }
    }

    fn emit(self, out: &mut Writer) {
        match self {
            Dsn::Short(n) => out.u32(n),
            Dsn::Long(n) => out.u64(n),
        }
    }
}

impl Dss {
    pub(super) fn parse(b: &[u8]) -> Result<Dss, BadOption> {
        let flags = *b.get(3).ok_or(BadOption)?;
        let ack_len = match flags & (DATA_ACK | ACK_LONG) {
            DATA_ACK => 4,
            both if both & DATA_ACK != 0 => 8,
            _ => 0,
        };
        let map_len = match flags & (MAPPING | DSN_LONG) {
            MAPPING => 10,
            both if both & MAPPING != 0 => 14,
            _ => 0,
        };
        let plain = 4 + ack_len + map_len;
        let has_checksum = map_len != 0 && b.len() == plain + 2;
        if b.len() != plain && !has_checksum {
            return Err(BadOption);
        }
        let mapping = 4 + ack_len..plain;
        Ok(Dss {
            data_ack: (ack_len != 0).then(|| Dsn::read(b, 4, ack_len == 8)),
            mapping: (map_len != 0)
                .then(|| DssMapping::read(&b[mapping.start..], map_len == 14, has_checksum)),
            data_fin: flags & DATA_FIN != 0,
        })
    }

    pub(super) fn len(&self) -> usize {
        let data_ack = self.data_ack.map_or(0, Dsn::len);
        let mapping = self.mapping.map_or(0, DssMapping::len);
        4 + data_ack + mapping
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        let mut flags = if self.data_fin { DATA_FIN } else { 0 };
        if let Some(data_ack) = self.data_ack {
            flags |= DATA_ACK | if data_ack.is_long() { ACK_LONG } else { 0 };
        }
        if let Some(mapping) = self.mapping {
            flags |= MAPPING | if mapping.dsn.is_long() { DSN_LONG } else { 0 };
        }
        head(out, self.len(), SUBTYPE_DSS, 0);
        out.u8(flags);
        if let Some(data_ack) = self.data_ack {
            data_ack.emit(out);
        }
        if let Some(mapping) = self.mapping {
            mapping.emit(out);
        }
    }
}

impl DssMapping {
    fn len(self) -> usize {
        self.dsn.len() + 6 + if self.checksum.is_some() { 2 } else { 0 }
    }

    fn read(b: &[u8], long: bool, has_checksum: bool) -> DssMapping {
        let dsn = Dsn::read(b, 0, long);
        let at = dsn.len();
        DssMapping {
            dsn,
            ssn: u32_at(b, at),
            len: u16_at(b, at + 4),
            checksum: has_checksum.then(|| u16_at(b, at + 6)),
        }
    }

    fn emit(self, out: &mut Writer) {
        self.dsn.emit(out);
        out.u32(self.ssn);
        out.u16(self.len);
        if let Some(checksum) = self.checksum {
            out.u16(checksum);
        }
    }
}
