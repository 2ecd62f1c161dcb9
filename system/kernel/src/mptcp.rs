//! The kernel's own Multipath TCP: its path manager (`linux/mptcp_pm.h`), what it tells, which
//! connections it has, and whether it is there at all.
//!
//! [`PathManager`] has every command of the netlink family: those for endpoints and limits, which
//! the kernel's own policy goes by, and those for single connections, which are for a path manager
//! in userspace (`net.mptcp.path_manager=userspace`). [`Events`] is what the kernel tells of
//! connections, [`sockets`] what there is now.

mod connection;
mod event;
mod message;
pub mod sockets;

pub use connection::LocalEnd;
pub use event::{Event, Events, SubflowEvent};

use crate::generic::{Generic, nested, read_u32, resolve, u32_attribute, value};
use crate::netlink::Channel;
use crate::{Error, Netlink, Result, sysctl};
use message::{ATTR_ADDR, ATTR_RCV_ADD_ADDRS, ATTR_SUBFLOWS, Command};
use netlink_packet_core::{DefaultNla, NLM_F_DUMP, Nla};
use netlink_sys::protocols::NETLINK_GENERIC;
use std::net::IpAddr;
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
    /// Source of one subflow to an address of the peer: from Linux 6.18 on; older kernels ignore it.
    pub const LAMINAR: Flags = Flags(1 << 5);

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
        self.command(Command::AddAddr, vec![endpoint.encode()], &what)
    }

    /// Removes the endpoint of this number.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is none.
    pub fn remove(&self, id: u8) -> Result<()> {
        let address = nested(ATTR_ADDR, &[message::id(id)]);
        self.command(
            Command::DelAddr,
            vec![address],
            &format!("remove Multipath TCP endpoint {id}"),
        )
    }

    /// Removes every endpoint.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn flush(&self) -> Result<()> {
        self.command(
            Command::FlushAddrs,
            vec![],
            "remove the Multipath TCP endpoints",
        )
    }

    /// Removes the endpoint of number 0, which is that of an address: the kernel knows it only by
    /// the connections that began there.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if no connection has it.
    pub fn remove_initial(&self, address: IpAddr) -> Result<()> {
        let endpoint = Endpoint::new(address, Flags::default());
        let what = format!("remove the Multipath TCP endpoint {address} of number 0");
        self.command(Command::DelAddr, vec![endpoint.encode_with_id()], &what)
    }

    /// Makes an endpoint, found by its number or else by its address, a backup or none, full mesh
    /// or none; connections follow.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is none, or for flags that exclude each other.
    pub fn set_flags(&self, endpoint: &Endpoint) -> Result<()> {
        let what = match endpoint.id {
            0 => format!("change the Multipath TCP endpoint {}", endpoint.address),
            id => format!("change Multipath TCP endpoint {id}"),
        };
        self.command(Command::SetFlags, vec![endpoint.encode()], &what)
    }

    /// The endpoint of this number.
    ///
    /// # Errors
    /// [`Error::System`] with `EINVAL` if there is none.
    pub fn endpoint(&self, id: u8) -> Result<Endpoint> {
        let what = format!("read Multipath TCP endpoint {id}");
        let address = nested(ATTR_ADDR, &[message::id(id)]);
        let answers = self
            .channel
            .request(self.message(Command::GetAddr, vec![address]), 0)
            .map_err(|error| Error::net(&what, error))?;
        let found = answers.iter().find_map(Endpoint::decode);
        found.ok_or(Error::Missing {
            kind: "Multipath TCP endpoint",
            name: id.to_string(),
        })
    }

    /// Every endpoint.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let answers = self
            .channel
            .request(self.message(Command::GetAddr, vec![]), NLM_F_DUMP)
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
        self.command(
            Command::SetLimits,
            attributes,
            "set the Multipath TCP limits",
        )
    }

    /// The limits.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn limits(&self) -> Result<Limits> {
        let answers = self
            .channel
            .request(self.message(Command::GetLimits, vec![]), 0)
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

    fn command(&self, command: Command, attributes: Vec<DefaultNla>, what: &str) -> Result<()> {
        self.channel
            .request(self.message(command, attributes), 0)
            .map(drop)
            .map_err(|error| Error::net(what, error))
    }

    fn message(&self, command: Command, attributes: Vec<DefaultNla>) -> Generic {
        Generic {
            family: self.family,
            command: command as u8,
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
