//! Interfaces and their addresses.

use crate::netns::Netns;
use crate::{Error, Netlink, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number in this namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Up, and with carrier.
    pub running: bool,
    /// The loopback interface.
    pub loopback: bool,
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    /// The interface's number.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of its network prefix, bits.
    pub prefix: u8,
    /// Reachable from other hosts beyond the link: neither of host nor of link scope.
    pub global: bool,
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    }
}

impl Netlink {
    /// Every interface.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn links(&self) -> Result<Vec<Link>> {
        let answers = self
            .dump(Message::GetLink(LinkMessage::default()))
            .map_err(|error| Error::net("list the interfaces", error))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Message::NewLink(message) => Some(describe(&message)),
                _ => None,
            })
            .collect())
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none.
    pub fn link(&self, name: &str) -> Result<Link> {
        self.links()?
            .into_iter()
            .find(|link| link.name == name)
            .ok_or_else(|| Error::Missing {
                kind: "interface",
                name: name.into(),
            })
    }

    /// Creates a virtual cable; its second end may lie in another namespace.
    ///
    /// # Errors
    /// [`Error::System`] with `EEXIST` if a name is taken.
    pub fn add_veth(&self, name: &str, peer: &str, peer_netns: Option<&Netns>) -> Result<()> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.into()));
        if let Some(netns) = peer_netns {
            other
                .attributes
                .push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.change(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|error| Error::net(format!("create the veth pair {name}, {peer}"), error))
    }

    /// Removes an interface (of a veth pair, both ends).
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of this name.
    pub fn delete_link(&self, name: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.link(name)?.index;
        self.change(Message::DelLink(message), 0)
            .map_err(|error| Error::net(format!("delete interface {name}"), error))
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of this name.
    pub fn set_up(&self, name: &str) -> Result<()> {
        self.set_flags(name, LinkFlags::Up)
            .map_err(|error| error.context(format!("bring interface {name} up")))
    }

    /// Takes an interface down; its routes and IPv6 addresses go with it.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of this name.
    pub fn set_down(&self, name: &str) -> Result<()> {
        self.set_flags(name, LinkFlags::empty())
            .map_err(|error| error.context(format!("take interface {name} down")))
    }

    fn set_flags(&self, name: &str, flags: LinkFlags) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.link(name)?.index;
        message.header.flags = flags;
        message.header.change_mask = LinkFlags::Up;
        self.change(Message::SetLink(message), 0)
            .map_err(|error| Error::net("", error))
    }

    /// Sets the largest IP packet, bytes.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of this name.
    pub fn set_mtu(&self, name: &str, mtu: u32) -> Result<()> {
        self.set(
            name,
            LinkAttribute::Mtu(mtu),
            &format!("set the MTU of {name} to {mtu}"),
        )
    }

    /// Moves an interface into another namespace, where it arrives down and without addresses.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none of this name.
    pub fn move_link(&self, name: &str, netns: &Netns) -> Result<()> {
        let attribute = LinkAttribute::NetNsFd(netns.as_raw_fd());
        self.set(
            name,
            attribute,
            &format!("move interface {name} to {netns}"),
        )
    }

    fn set(&self, name: &str, attribute: LinkAttribute, what: &str) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = self.link(name)?.index;
        message.attributes.push(attribute);
        self.change(Message::SetLink(message), 0)
            .map_err(|error| Error::net(what, error))
    }

    /// Every address of every interface.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn addresses(&self) -> Result<Vec<Address>> {
        let answers = self
            .dump(Message::GetAddress(AddressMessage::default()))
            .map_err(|error| Error::net("list the addresses", error))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                Message::NewAddress(message) => describe_address(&message),
                _ => None,
            })
            .collect())
    }

    /// The least MTU, bytes, of the interfaces that other hosts are reached by: what a device whose
    /// packets are forwarded to any of them should have. `None` if there are none.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn uplink_mtu(&self) -> Result<Option<u32>> {
        let addresses = self.addresses()?;
        let is_uplink = |link: &Link| {
            let has_address = addresses
                .iter()
                .any(|it| it.link == link.index && it.global);
            link.up && !link.loopback && has_address
        };
        Ok(self
            .links()?
            .iter()
            .filter(|link| is_uplink(link))
            .map(|link| link.mtu)
            .min())
    }

    /// Gives an interface an address; an IPv6 one without duplicate detection, see
    /// [`Netlink::settle`].
    ///
    /// # Errors
    /// [`Error::System`] with `EEXIST` if it has it already.
    pub fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let mut message = self.address_message(name, address, prefix)?;
        if address.is_ipv6() {
            message
                .attributes
                .push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.change(Message::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|error| Error::net(format!("add {address}/{prefix} to {name}"), error))
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// [`Error::System`] with `EADDRNOTAVAIL` if it does not have it.
    pub fn delete_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<()> {
        let message = self.address_message(name, address, prefix)?;
        self.change(Message::DelAddress(message), 0)
            .map_err(|error| Error::net(format!("remove {address}/{prefix} from {name}"), error))
    }

    /// Waits until every IPv6 address of an interface that is up accepts packets: the kernel
    /// completes them of its own time, also those without duplicate detection.
    ///
    /// # Errors
    /// [`Error::System`] with `TimedOut` after five seconds.
    pub fn settle(&self) -> Result<()> {
        let patience = Duration::from_secs(5);
        let started = Instant::now();
        loop {
            let links = self.links()?;
            let is_up = |it: &Address| links.iter().any(|link| link.index == it.link && link.up);
            let local = self.local_ipv6()?;
            let addresses = self.addresses()?;
            let mut global = addresses
                .iter()
                .filter(|it| it.global && it.address.is_ipv6());
            let Some(missing) = global.find(|it| is_up(it) && !local.contains(&it.address)) else {
                return Ok(());
            };
            if started.elapsed() > patience {
                let what = format!("use {}", missing.address);
                return Err(Error::net(what, ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn address_message(&self, name: &str, address: IpAddr, prefix: u8) -> Result<AddressMessage> {
        let mut message = AddressMessage::default();
        message.header.index = self.link(name)?.index;
        message.header.family = family(address);
        message.header.prefix_len = prefix;
        message.header.scope = AddressScope::Universe;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        Ok(message)
    }
}

fn describe(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        running: flags.contains(LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            _ => {}
        }
    }
    link
}

fn describe_address(message: &AddressMessage) -> Option<Address> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the peer's and `Local` ours; IPv6 without a
            // peer has `Address` alone.
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) => address = address.or(Some(*other)),
            _ => {}
        }
    }
    Some(Address {
        link: message.header.index,
        address: address?,
        prefix: message.header.prefix_len,
        global: !matches!(
            message.header.scope,
            AddressScope::Host | AddressScope::Link
        ),
    })
}
