//! Routes of any table.

use crate::link::family;
use crate::{Error, Netlink, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The table ordinary routes stand in.
pub const MAIN: u32 = 254;

/// The table of the host's own addresses.
pub const LOCAL: u32 = 255;

/// Who made a route or a rule, as in `/etc/iproute2/rt_protos`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Protocol(pub u8);

impl Protocol {
    /// The kernel itself.
    pub const KERNEL: Protocol = Protocol(2);
    /// An administrator.
    pub const STATIC: Protocol = Protocol(4);
    /// This project: what bears it may be removed once nobody holds it.
    pub const ANABRANCH: Protocol = Protocol(171);
}

/// A unicast route.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route {
    /// Network and prefix length; the unspecified address with 0 for a default route.
    pub destination: (IpAddr, u8),
    /// Next hop; none for neighbours on the link.
    pub gateway: Option<IpAddr>,
    /// Number of the outgoing interface.
    pub link: Option<u32>,
    /// Source address to prefer.
    pub source: Option<IpAddr>,
    /// Table, [`MAIN`] by default.
    pub table: u32,
    /// The lesser the better; 0 leaves it to the kernel.
    pub metric: u32,
    /// Who made it.
    pub protocol: Protocol,
}

impl Route {
    /// To a network, in table [`MAIN`].
    pub fn to(network: IpAddr, prefix: u8) -> Route {
        Route {
            destination: (network, prefix),
            gateway: None,
            link: None,
            source: None,
            table: MAIN,
            metric: 0,
            protocol: Protocol::STATIC,
        }
    }

    /// The default route of a family through `gateway`.
    pub fn default_through(gateway: IpAddr) -> Route {
        Route {
            gateway: Some(gateway),
            ..Route::to(unspecified(gateway.is_ipv4()), 0)
        }
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.destination.0.is_ipv4()
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route to {}/{}", self.destination.0, self.destination.1)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(link) = self.link {
            write!(f, " on interface {link}")?;
        }
        write!(f, " in table {}", self.table)
    }
}

fn unspecified(ipv4: bool) -> IpAddr {
    if ipv4 {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

impl Netlink {
    /// Adds a route.
    ///
    /// # Errors
    /// [`Error::System`] with `EEXIST` if there is one of the same destination and metric.
    pub fn add_route(&self, route: &Route) -> Result<()> {
        self.change(Message::NewRoute(encode(route)), NLM_F_CREATE | NLM_F_EXCL)
            .map_err(|error| Error::net(format!("add {route}"), error))
    }

    /// Removes a route.
    ///
    /// # Errors
    /// [`Error::System`] with `ESRCH` if there is none such.
    pub fn delete_route(&self, route: &Route) -> Result<()> {
        self.change(Message::DelRoute(encode(route)), 0)
            .map_err(|error| Error::net(format!("remove {route}"), error))
    }

    /// The unicast routes with one next hop, of both families and every table.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            routes.extend(self.dump_routes(family)?.iter().filter_map(decode));
        }
        Ok(routes)
    }

    /// The IPv6 addresses that packets are accepted for.
    pub(crate) fn local_ipv6(&self) -> Result<Vec<IpAddr>> {
        let messages = self.dump_routes(AddressFamily::Inet6)?;
        let local = messages
            .iter()
            .filter(|message| message.header.kind == RouteType::Local);
        let destination = |message: &RouteMessage| {
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    RouteAttribute::Destination(to) => ip(to),
                    _ => None,
                })
        };
        Ok(local.filter_map(destination).collect())
    }

    fn dump_routes(&self, family: AddressFamily) -> Result<Vec<RouteMessage>> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answers = self.dump(Message::GetRoute(message));
        let answers = answers.map_err(|error| Error::net("list the routes", error))?;
        let routes = answers.into_iter().filter_map(|answer| match answer {
            Message::NewRoute(message) => Some(message),
            _ => None,
        });
        Ok(routes.collect())
    }
}

fn encode(route: &Route) -> RouteMessage {
    let (network, prefix) = route.destination;
    let mut message = RouteMessage::default();
    message.header.address_family = family(network);
    message.header.destination_prefix_length = prefix;
    message.header.protocol = RouteProtocol::from(route.protocol.0);
    message.header.kind = RouteType::Unicast;
    message.header.scope = match route.gateway {
        None if route.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(route.table));
    if prefix > 0 {
        attributes.push(RouteAttribute::Destination(network.into()));
    }
    if let Some(gateway) = route.gateway {
        attributes.push(RouteAttribute::Gateway(gateway.into()));
    }
    if let Some(link) = route.link {
        attributes.push(RouteAttribute::Oif(link));
    }
    if let Some(source) = route.source {
        attributes.push(RouteAttribute::PrefSource(source.into()));
    }
    if route.metric > 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    message
}

/// `None` for what is no unicast route, or has several next hops.
fn decode(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    // The kernel lists cached exceptions of IPv6 too; those are no one's routes.
    if header.kind != RouteType::Unicast || header.flags.bits() & libc::RTM_F_CLONED != 0 {
        return None;
    }
    let unspecified = unspecified(header.address_family == AddressFamily::Inet);
    let mut route = Route::to(unspecified, header.destination_prefix_length);
    route.table = u32::from(header.table);
    route.protocol = Protocol(header.protocol.into());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => route.destination.0 = ip(to)?,
            RouteAttribute::Gateway(gateway) => route.gateway = ip(gateway),
            RouteAttribute::PrefSource(source) => route.source = ip(source),
            RouteAttribute::Oif(link) => route.link = Some(*link),
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::MultiPath(_) | RouteAttribute::NhId(_) => return None,
            _ => {}
        }
    }
    Some(route)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
