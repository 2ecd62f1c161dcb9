//! ADD_ADDR and REMOVE_ADDR (RFC 8684 §3.4, RFC 6824 §3.4).

use super::{BadOption, SUBTYPE_ADD_ADDR, SUBTYPE_REMOVE_ADDR, head, u16_at, u64_at};
use crate::writer::Writer;
use smallvec::SmallVec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// ADD_ADDR (RFC 8684 §3.4.1). One that is no echo and has no HMAC is of version 0
/// (RFC 6824 §3.4.1), and is written with the IP version where version 1 has its flags.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddAddr {
    /// Address ID.
    pub address_id: u8,
    /// Address.
    pub addr: IpAddr,
    /// Port, where it differs from the initial subflow's.
    pub port: Option<u16>,
    /// E: this repeats the peer's announcement. Always false in v0.
    pub echo: bool,
    /// Truncated HMAC (v1, not on an echo).
    pub hmac: Option<u64>,
}

const ECHO: u8 = 0x01;

impl AddAddr {
    pub(super) fn parse(b: &[u8]) -> Result<AddAddr, BadOption> {
        let flags = b[2] & 0x0f;
        let echo = flags & ECHO != 0;
        // The length tells address family, port and HMAC apart.
        let (is_v4, has_port, has_hmac) = match b.len() {
            8 => (true, false, false),
            10 => (true, true, false),
            16 => (true, false, true),
            18 => (true, true, true),
            20 => (false, false, false),
            22 => (false, true, false),
            28 => (false, false, true),
            30 => (false, true, true),
            _ => return Err(BadOption),
        };
        let version_0 = flags == if is_v4 { 4 } else { 6 };
        // An echo has no HMAC; an announcement has one, or is of version 0.
        let known = if has_hmac { !echo } else { echo || version_0 };
        if !known {
            return Err(BadOption);
        }
        let addr = address(b, is_v4);
        let port_at = if is_v4 { 8 } else { 20 };
        Ok(AddAddr {
            address_id: b[3],
            addr,
            port: has_port.then(|| u16_at(b, port_at)),
            echo,
            hmac: has_hmac.then(|| u64_at(b, b.len() - 8)),
        })
    }

    pub(super) fn len(&self) -> usize {
        let address = if self.addr.is_ipv4() { 4 } else { 16 };
        let port = if self.port.is_some() { 2 } else { 0 };
        let hmac = if self.hmac.is_some() { 8 } else { 0 };
        4 + address + port + hmac
    }

    pub(super) fn fits(&self) -> bool {
        !(self.echo && self.hmac.is_some())
    }

    fn flags(&self) -> u8 {
        match (self.echo, self.hmac, self.addr) {
            (true, _, _) => ECHO,
            (false, Some(_), _) => 0,
            (false, None, IpAddr::V4(_)) => 4,
            (false, None, IpAddr::V6(_)) => 6,
        }
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        head(out, self.len(), SUBTYPE_ADD_ADDR, self.flags());
        out.u8(self.address_id);
        match self.addr {
            IpAddr::V4(addr) => out.put(&addr.octets()),
            IpAddr::V6(addr) => out.put(&addr.octets()),
        }
        if let Some(port) = self.port {
            out.u16(port);
        }
        if let Some(hmac) = self.hmac {
            out.u64(hmac);
        }
    }
}

fn address(b: &[u8], is_v4: bool) -> IpAddr {
    if is_v4 {
        return Ipv4Addr::new(b[4], b[5], b[6], b[7]).into();
    }
    let mut octets = [0; 16];
    octets.copy_from_slice(&b[4..20]);
    Ipv6Addr::from(octets).into()
}

/// The address IDs of a REMOVE_ADDR; there is at least one.
pub(super) fn parse_remove(b: &[u8]) -> Result<SmallVec<[u8; 8]>, BadOption> {
    match &b[3..] {
        [] => Err(BadOption),
        ids => Ok(SmallVec::from_slice(ids)),
    }
}

pub(super) fn emit_remove(ids: &[u8], out: &mut Writer) {
    head(out, 3 + ids.len(), SUBTYPE_REMOVE_ADDR, 0);
    out.put(ids);
}
