//! The kernel's own Multipath TCP: endpoints and limits of its path manager (`linux/mptcp_pm.h`),
//! and whether it is there at all.

use crate::generic::{Generic, nested, parse_attributes, read_u32, resolve, u32_attribute, value};
use crate::netlink::Channel;
use crate::{Error, Netlink, Result, sysctl};
use netlink_packet_core::{DefaultNla, NLA_TYPE_MASK, NLM_F_DUMP, Nla};
use netlink_sys::protocols::NETLINK_GENERIC;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::BitOr;

/// How the path manager uses an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u32);

impl Flags {
    /// Announced to the peer.
    pub const SIGNAL: Flags = Flags(1);
    /// Source of further subflows.
    pub const SUBFLOW: Flags = Flags(1 << 1);
    /// Its subflows are backup.
    pub const BACKUP: Flags = Flags(1 << 2);
    /// One subflow to each address of the peer.
    pub const FULLMESH: Flags = Flags(1 << 3);
    /// Made by the kernel for an address in use.
    pub const IMPLICIT: Flags = Flags(1 << 4);

    /// Whether every one of `other` is set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// An address the path manager may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// Its number towards peers; 0 lets the kernel choose.
    pub id: u8,
    /// Port to announce; 0 for that of the connection.
    pub port: u16,
    /// How it is used.
    pub flags: Flags,
    /// Number of the interface its subflows leave by; 0 for any.
    pub link: u32,
}

impl Endpoint {
    /// An endpoint of any interface, number and port.
    pub fn new(address: IpAddr, flags: Flags) -> Endpoint {
        Endpoint {
            address,
            id: 0,
            port: 0,
            flags,
            link: 0,
        }
    }
}

/// How much of what peers and endpoints offer is taken, for each connection; each at most 8.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Further subflows.
    pub subflows: u32,
    /// Addresses accepted from the peer.
    pub add_addr_accepted: u32,
}

/// Whether Multipath TCP sockets can be made in the current namespace; if not, why.
///
/// # Errors
/// [`Error::Unsupported`] if the kernel was built without, [`Error::Invalid`] if it is turned off.
pub fn available() -> Result<()> {
    let what = "use the kernel's Multipath TCP";
    match sysctl::read("net/mptcp/enabled") {
        Ok(value) if value == "1" => {}
        Ok(_) => {
            let message = "the kernel's Multipath TCP is turned off; `sysctl net.mptcp.enabled=1`";
            return Err(Error::Invalid(message.into()));
        }
        Err(Error::Missing { .. }) => {
            return Err(Error::Unsupported {
                what: what.into(),
                feature: "CONFIG_MPTCP",
            });
        }
        Err(error) => return Err(error),
    }
    // SAFETY: socket takes three integers; the descriptor it may return is closed below.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP) };
    if fd < 0 {
        return Err(Error::net(what, std::io::Error::last_os_error()));
    }
    // SAFETY: `fd` was just opened and nothing else knows it.
    unsafe { libc::close(fd) };
    Ok(())
}

/// The kernel's path manager in the namespace of the thread that opened it.
pub struct PathManager {
    channel: Channel,
    family: u16,
}

impl PathManager {
    /// Finds it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the kernel has none.
    pub fn open() -> Result<PathManager> {
        let channel = Channel::open(NETLINK_GENERIC)?;
        let family = resolve(&channel, "mptcp_pm", "CONFIG_MPTCP")?;
        Ok(PathManager { channel, family })
    }

    /// Adds an endpoint.
    ///
    /// # Errors
    /// [`Error::System`] with `EEXIST` if the address has one, `EINVAL` for flags that exclude each
    /// other.
    pub fn add(&self, endpoint: &Endpoint) -> Result<()> {
        let what = format!("add the Multipath TCP endpoint {}", endpoint.address);
        self.command(ADD_ADDR, vec![endpoint.encode()], &what)
    }

    /// Removes the endpoint of this number.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is none.
    pub fn remove(&self, id: u8) -> Result<()> {
        let address = nested(ATTR_ADDR, &[DefaultNla::new(ADDR_ID, vec![id])]);
        self.command(
            DEL_ADDR,
            vec![address],
            &format!("remove Multipath TCP endpoint {id}"),
        )
    }

    /// Removes every endpoint.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn flush(&self) -> Result<()> {
        self.command(FLUSH_ADDRS, vec![], "remove the Multipath TCP endpoints")
    }

    /// Every endpoint.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let answers = self
            .channel
            .request(self.message(GET_ADDR, vec![]), NLM_F_DUMP)
            .map_err(|error| Error::net("list the Multipath TCP endpoints", error))?;
        Ok(answers.iter().filter_map(Endpoint::decode).collect())
    }

    /// Sets the limits.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` above 8.
    pub fn set_limits(&self, limits: Limits) -> Result<()> {
        let attributes = vec![
            u32_attribute(ATTR_RCV_ADD_ADDRS, limits.add_addr_accepted),
            u32_attribute(ATTR_SUBFLOWS, limits.subflows),
        ];
        self.command(SET_LIMITS, attributes, "set the Multipath TCP limits")
    }

    /// The limits.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn limits(&self) -> Result<Limits> {
        let answers = self
            .channel
            .request(self.message(GET_LIMITS, vec![]), 0)
            .map_err(|error| Error::net("read the Multipath TCP limits", error))?;
        let mut limits = Limits::default();
        for attribute in answers.iter().flat_map(|answer| &answer.attributes) {
            match (attribute.kind(), read_u32(&value(attribute))) {
                (ATTR_RCV_ADD_ADDRS, Some(count)) => limits.add_addr_accepted = count,
                (ATTR_SUBFLOWS, Some(count)) => limits.subflows = count,
                _ => {}
            }
        }
        Ok(limits)
    }

    fn command(&self, command: u8, attributes: Vec<DefaultNla>, what: &str) -> Result<()> {
        self.channel
            .request(self.message(command, attributes), 0)
            .map(drop)
            .map_err(|error| Error::net(what, error))
    }

    fn message(&self, command: u8, attributes: Vec<DefaultNla>) -> Generic {
        Generic {
            family: self.family,
            command,
            version: 1,
            attributes,
        }
    }
}

/// Number of the interface named, for [`Endpoint::link`].
///
/// # Errors
/// [`Error::Missing`] if there is none.
pub fn link_index(name: &str) -> Result<u32> {
    Ok(Netlink::open()?.link(name)?.index)
}

// Commands and attributes of `linux/mptcp_pm.h`.
const ADD_ADDR: u8 = 1;
const DEL_ADDR: u8 = 2;
const GET_ADDR: u8 = 3;
const FLUSH_ADDRS: u8 = 4;
const SET_LIMITS: u8 = 5;
const GET_LIMITS: u8 = 6;
const ATTR_ADDR: u16 = 1;
const ATTR_RCV_ADD_ADDRS: u16 = 2;
const ATTR_SUBFLOWS: u16 = 3;
const ADDR_FAMILY: u16 = 1;
const ADDR_ID: u16 = 2;
const ADDR_ADDR4: u16 = 3;
const ADDR_ADDR6: u16 = 4;
const ADDR_PORT: u16 = 5;
const ADDR_FLAGS: u16 = 6;
const ADDR_IF_IDX: u16 = 7;

impl Endpoint {
    fn encode(&self) -> DefaultNla {
        let (family, kind, octets) = match self.address {
            IpAddr::V4(address) => (libc::AF_INET, ADDR_ADDR4, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, ADDR_ADDR6, address.octets().to_vec()),
        };
        let mut attributes = vec![
            DefaultNla::new(ADDR_FAMILY, (family as u16).to_ne_bytes().to_vec()),
            DefaultNla::new(kind, octets),
            u32_attribute(ADDR_FLAGS, self.flags.0),
        ];
        if self.id != 0 {
            attributes.push(DefaultNla::new(ADDR_ID, vec![self.id]));
        }
        if self.port != 0 {
            attributes.push(DefaultNla::new(ADDR_PORT, self.port.to_ne_bytes().to_vec()));
        }
        if self.link != 0 {
            attributes.push(u32_attribute(ADDR_IF_IDX, self.link));
        }
        nested(ATTR_ADDR, &attributes)
    }

    fn decode(answer: &Generic) -> Option<Endpoint> {
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
