//! Messages of the family `mptcp_pm`: commands, attributes, addresses (`linux/mptcp_pm.h`).

use super::{Endpoint, Flags};
use crate::generic::{Generic, nested, parse_attributes, read_u32, u32_attribute, value};
use netlink_packet_core::{DefaultNla, NLA_TYPE_MASK, Nla};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked of the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    AddAddr = 1,
    DelAddr = 2,
    GetAddr = 3,
    FlushAddrs = 4,
    SetLimits = 5,
    GetLimits = 6,
    SetFlags = 7,
    Announce = 8,
    Remove = 9,
    SubflowCreate = 10,
    SubflowDestroy = 11,
}

// Attributes of a command.
pub(super) const ATTR_ADDR: u16 = 1;
pub(super) const ATTR_RCV_ADD_ADDRS: u16 = 2;
pub(super) const ATTR_SUBFLOWS: u16 = 3;
pub(super) const ATTR_TOKEN: u16 = 4;
pub(super) const ATTR_LOC_ID: u16 = 5;
pub(super) const ATTR_ADDR_REMOTE: u16 = 6;

// Attributes of an address.
const ADDR_FAMILY: u16 = 1;
const ADDR_ID: u16 = 2;
const ADDR_ADDR4: u16 = 3;
const ADDR_ADDR6: u16 = 4;
const ADDR_PORT: u16 = 5;
const ADDR_FLAGS: u16 = 6;
const ADDR_IF_IDX: u16 = 7;

/// The number of an address.
pub(super) fn id(id: u8) -> DefaultNla {
    DefaultNla::new(ADDR_ID, vec![id])
}

/// A port: in host order here, unlike in events.
pub(super) fn port(port: u16) -> DefaultNla {
    DefaultNla::new(ADDR_PORT, port.to_ne_bytes().to_vec())
}

/// Family and octets.
pub(super) fn address(address: IpAddr) -> Vec<DefaultNla> {
    let (family, kind, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, ADDR_ADDR4, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, ADDR_ADDR6, address.octets().to_vec()),
    };
    vec![
        DefaultNla::new(ADDR_FAMILY, (family as u16).to_ne_bytes().to_vec()),
        DefaultNla::new(kind, octets),
    ]
}

impl Endpoint {
    pub(super) fn encode(&self) -> DefaultNla {
        let mut attributes = self.attributes();
        if self.id != 0 {
            attributes.push(id(self.id));
        }
        nested(ATTR_ADDR, &attributes)
    }

    /// With its number even if that is 0.
    pub(super) fn encode_with_id(&self) -> DefaultNla {
        let mut attributes = self.attributes();
        attributes.push(id(self.id));
        nested(ATTR_ADDR, &attributes)
    }

    fn attributes(&self) -> Vec<DefaultNla> {
        let mut attributes = address(self.address);
        attributes.push(u32_attribute(ADDR_FLAGS, self.flags.0));
        if self.port != 0 {
            attributes.push(port(self.port));
        }
        if self.link != 0 {
            attributes.push(u32_attribute(ADDR_IF_IDX, self.link));
        }
        attributes
    }

    pub(super) fn decode(answer: &Generic) -> Option<Endpoint> {
        let is_address = |it: &&DefaultNla| it.kind() & NLA_TYPE_MASK == ATTR_ADDR;
        let nest = answer.attributes.iter().find(is_address)?;
        let bytes = value(nest);
        let mut endpoint = Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), Flags::default());
        for attribute in parse_attributes(&bytes).ok()? {
            let bytes = value(&attribute);
            match attribute.kind() {
                ADDR_ID => endpoint.id = *bytes.first()?,
                ADDR_ADDR4 => {
                    endpoint.address = Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into();
                }
                ADDR_ADDR6 => {
                    endpoint.address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into();
                }
                ADDR_PORT => endpoint.port = u16::from_ne_bytes(bytes.try_into().ok()?),
                ADDR_FLAGS => endpoint.flags = Flags(read_u32(&bytes)?),
                ADDR_IF_IDX => endpoint.link = read_u32(&bytes)?,
                _ => {}
            }
        }
        Some(endpoint)
    }
}
