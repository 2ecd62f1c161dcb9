//! Two hosts in namespaces, joined by links.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netns::Netns;
use crate::tool::tool;

/// Which end of the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host that opens connections.
    Client,
    /// The host that serves.
    Server,
}

/// What an address of the client is to the kernel's path manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Open a subflow from it when a connection is up.
    Subflow,
    /// The same, as a backup.
    Backup,
    /// From it to each address the server announces.
    Fullmesh,
}

/// A client and a server, each in its own network namespace, joined by veth pairs `link0`,
/// `link1` and so on. Link `i` has the subnets `10.77.i.0/24` and `fd77:i::/64`; the client is
/// `.1`, the server `.2`. The client sends what comes from its address of a link through that
/// link. Dropping it removes everything.
#[derive(Debug)]
pub struct Topology {
    /// The client's host.
    pub client: Netns,
    /// The server's host.
    pub server: Netns,
    links: usize,
}

impl Topology {
    /// Two hosts with `links` links (up to 200).
    pub fn new(links: usize) -> io::Result<Self> {
        assert!(links <= 200, "a link's number is a byte of its addresses");
        let topology = Self {
            client: Netns::new("client")?,
            server: Netns::new("server")?,
            links,
        };
        for link in 0..links {
            topology.add_link(link)?;
        }
        for side in [Side::Client, Side::Server] {
            // Not so few that a test for many subflows would measure the limit.
            topology
                .host(side)
                .run(|| tool("ip", "mptcp limits set subflows 8 add_addr_accepted 8"))?;
        }
        Ok(topology)
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links
    }

    /// The namespace of one side.
    pub fn host(&self, side: Side) -> &Netns {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// The IPv4 address of one side of a link.
    pub fn v4(&self, side: Side, link: usize) -> IpAddr {
        Ipv4Addr::new(10, 77, link as u8, last(side) as u8).into()
    }

    /// The IPv6 address of one side of a link.
    pub fn v6(&self, side: Side, link: usize) -> IpAddr {
        Ipv6Addr::new(0xfd77, link as u16, 0, 0, 0, 0, 0, last(side)).into()
    }

    /// The name of a link's interface, the same on both sides.
    pub fn interface(&self, link: usize) -> String {
        format!("link{link}")
    }

    /// Tells the client's path manager about one of its addresses.
    pub fn add_endpoint(&self, addr: IpAddr, kind: Endpoint) -> io::Result<()> {
        let flags = match kind {
            Endpoint::Subflow => "subflow",
            Endpoint::Backup => "subflow backup",
            Endpoint::Fullmesh => "subflow fullmesh",
        };
        self.client
            .run(|| tool("ip", &format!("mptcp endpoint add {addr} {flags}")))
    }

    /// Lets the server's kernel announce one of its addresses (when the kernel is the server).
    pub fn announce_by_kernel(&self, addr: IpAddr) -> io::Result<()> {
        self.server
            .run(|| tool("ip", &format!("mptcp endpoint add {addr} signal")))
    }

    /// Takes a link down or up at one side; the other side loses its carrier.
    pub fn set_link(&self, side: Side, link: usize, up: bool) -> io::Result<()> {
        let name = self.interface(link);
        let state = if up { "up" } else { "down" };
        self.host(side)
            .run(|| tool("ip", &format!("link set {name} {state}")))?;
        if up {
            self.configure(side, link)
        } else {
            Ok(())
        }
    }

    /// Limits what either side sends over a link, in Mbit/s.
    pub fn set_rate(&self, link: usize, mbit: u32) -> io::Result<()> {
        let name = self.interface(link);
        let rate =
            format!("qdisc replace dev {name} root tbf rate {mbit}mbit burst 64kb latency 50ms");
        self.client.run(|| tool("tc", &rate))?;
        self.server.run(|| tool("tc", &rate))
    }

    fn add_link(&self, link: usize) -> io::Result<()> {
        let name = self.interface(link);
        let peer = self.server.path();
        self.client.run(|| {
            tool(
                "ip",
                &format!("link add {name} type veth peer name {name} netns {peer}"),
            )
        })?;
        for side in [Side::Client, Side::Server] {
            self.host(side)
                .run(|| tool("ip", &format!("link set {name} up")))?;
            self.configure(side, link)?;
        }
        self.source_rules(link)
    }

    fn source_rules(&self, link: usize) -> io::Result<()> {
        let table = 100 + link;
        for from in [self.v4(Side::Client, link), self.v6(Side::Client, link)] {
            let family = family(from);
            self.client.run(|| {
                tool(
                    "ip",
                    &format!("{family} rule add from {from} lookup {table}"),
                )
            })?;
        }
        Ok(())
    }

    /// Addresses and routes; a link that went down lost its IPv6 address and its routes.
    fn configure(&self, side: Side, link: usize) -> io::Result<()> {
        let (name, table) = (self.interface(link), 100 + link);
        let (v4, v6) = (self.v4(side, link), self.v6(side, link));
        self.host(side).run(|| {
            tool("ip", &format!("addr replace {v4}/24 dev {name}"))?;
            tool("ip", &format!("-6 addr replace {v6}/64 dev {name} nodad"))
        })?;
        if side == Side::Server {
            return Ok(());
        }
        for gateway in [self.v4(Side::Server, link), self.v6(Side::Server, link)] {
            let family = family(gateway);
            let route =
                format!("{family} route replace default via {gateway} dev {name} table {table}");
            self.client.run(|| tool("ip", &route))?;
        }
        Ok(())
    }
}

fn last(side: Side) -> u16 {
    match side {
        Side::Client => 1,
        Side::Server => 2,
    }
}

fn family(addr: IpAddr) -> &'static str {
    if addr.is_ipv4() { "-4" } else { "-6" }
}
