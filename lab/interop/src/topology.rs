//! Two hosts in namespaces, joined by links.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_kernel::mptcp::{self, Flags, Limits, PathManager};
use anabranch_kernel::route::Route;
use anabranch_kernel::rule::{Action, Rule};
use anabranch_kernel::{Error, Link, Netlink, Result, TokenBucket};

use crate::eventually::PATIENCE;
use crate::host::Host;

/// Prefix lengths of a link's subnets.
const PREFIX: (u8, u8) = (24, 64);

/// Bytes that a link with a rate sends at once: a super-frame with its headers, which would be
/// cut to pieces otherwise.
const BURST: u32 = 68 << 10;

/// How long a packet may wait for its turn on a link with a rate, in milliseconds.
const QUEUE_MS: u64 = 50;

fn lacks_carrier(link: &Link) -> bool {
    link.up && !link.running
}

/// Which end of the links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host that opens connections.
    Client,
    /// The host that serves.
    Server,
}

/// What an address is to the kernel's path manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Open a subflow from it when a connection is up.
    Subflow,
    /// The same, as a backup.
    Backup,
    /// From it to each address the server announces.
    Fullmesh,
    /// Announced.
    Signal,
    /// Announced with a port, on which the kernel listens for joins alone.
    Port(u16),
}

impl Endpoint {
    fn flags(self) -> Flags {
        match self {
            Self::Subflow => Flags::SUBFLOW,
            Self::Backup => Flags::SUBFLOW | Flags::BACKUP,
            Self::Fullmesh => Flags::SUBFLOW | Flags::FULLMESH,
            Self::Signal | Self::Port(_) => Flags::SIGNAL,
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Port(port) => port,
            _ => 0,
        }
    }
}

/// A client and a server, each in its own network namespace, joined by veth pairs `link0`,
/// `link1` and so on. Link `i` has the subnets `10.77.i.0/24` and `fd77:i::/64`; the client is
/// `.1`, the server `.2`. The client sends what comes from its address of a link through that
/// link. Dropping it removes everything.
#[derive(Debug)]
pub struct Topology {
    /// The client's host.
    pub client: Host,
    /// The server's host.
    pub server: Host,
    links: usize,
}

impl Topology {
    /// Two hosts with `links` links (up to 200). Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, and no
    /// tool.
    pub fn new(links: usize) -> io::Result<Self> {
        assert!(links <= 200, "a link's number is a byte of its addresses");
        let topology = Self {
            client: Host::new()?,
            server: Host::new()?,
            links,
        };
        for link in 0..links {
            topology.add_link(link)?;
        }
        topology.await_carrier()?;
        for side in [Side::Client, Side::Server] {
            // As many as there may be: a test for many subflows must not measure the limit.
            topology.set_limits(side, 8, 8)?;
        }
        Ok(topology)
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.links
    }

    /// The host of one side.
    pub fn host(&self, side: Side) -> &Host {
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
        self.endpoint(Side::Client, addr, kind)
    }

    /// Lets the server's kernel announce one of its addresses (when the kernel is the server).
    pub fn announce_by_kernel(&self, addr: IpAddr) -> io::Result<()> {
        self.endpoint(Side::Server, addr, Endpoint::Signal)
    }

    /// Tells the path manager of either side about one of its addresses.
    pub fn endpoint(&self, side: Side, addr: IpAddr, kind: Endpoint) -> io::Result<()> {
        let endpoint = mptcp::Endpoint {
            port: kind.port(),
            ..mptcp::Endpoint::new(addr, kind.flags())
        };
        self.on(side, || PathManager::open()?.add(&endpoint))
    }

    /// How much the path manager of one side takes of what there is.
    pub fn set_limits(&self, side: Side, subflows: u32, add_addr_accepted: u32) -> io::Result<()> {
        let limits = Limits {
            subflows,
            add_addr_accepted,
        };
        self.on(side, || PathManager::open()?.set_limits(limits))
    }

    /// Takes a link down or up at one side; the other side loses its carrier.
    pub fn set_link(&self, side: Side, link: usize, up: bool) -> io::Result<()> {
        let name = self.interface(link);
        if !up {
            return self.on(side, || Netlink::open()?.set_down(&name));
        }
        self.on(side, || Netlink::open()?.set_up(&name))?;
        self.configure(side, link)
    }

    /// Waits until each link has its carrier: the kernel sees to that by the way, on a busy machine
    /// later than a connection is made, and a join over a link without it is never tried again.
    fn await_carrier(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        for side in [Side::Client, Side::Server] {
            let dead = || {
                self.on(side, || {
                    Ok(Netlink::open()?.links()?.iter().any(lacks_carrier))
                })
            };
            while dead()? {
                if Instant::now() > deadline {
                    return Err(io::Error::other("a link without carrier"));
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// Limits what either side sends over a link, in bits per second.
    pub fn set_rate(&self, link: usize, rate: u64) -> io::Result<()> {
        let name = self.interface(link);
        let limit = u32::try_from(rate / 8 * QUEUE_MS / 1000).unwrap_or(u32::MAX);
        let bucket = TokenBucket {
            rate,
            burst: BURST,
            limit: limit.max(4 * BURST),
        };
        for side in [Side::Client, Side::Server] {
            self.on(side, || Netlink::open()?.set_rate(&name, bucket))?;
        }
        Ok(())
    }

    fn on<T: Send>(&self, side: Side, work: impl FnOnce() -> Result<T> + Send) -> io::Result<T> {
        self.host(side).run(work).map_err(io::Error::other)
    }

    fn add_link(&self, link: usize) -> io::Result<()> {
        let name = self.interface(link);
        let peer = self.server.netns();
        self.on(Side::Client, || {
            Netlink::open()?.add_veth(&name, &name, Some(peer))
        })?;
        for side in [Side::Client, Side::Server] {
            self.on(side, || Netlink::open()?.set_up(&name))?;
            self.configure(side, link)?;
        }
        let addresses = [self.v4(Side::Client, link), self.v6(Side::Client, link)];
        self.on(Side::Client, || {
            let netlink = Netlink::open()?;
            addresses
                .iter()
                .try_for_each(|&from| netlink.add_rule(&source_rule(link, from)))
        })
    }

    /// Addresses and routes; of a link that went down, those it lost.
    fn configure(&self, side: Side, link: usize) -> io::Result<()> {
        let name = self.interface(link);
        let addresses = [
            (self.v4(side, link), PREFIX.0),
            (self.v6(side, link), PREFIX.1),
        ];
        let gateways = match side {
            Side::Client => vec![self.v4(Side::Server, link), self.v6(Side::Server, link)],
            Side::Server => Vec::new(),
        };
        self.on(side, || {
            let netlink = Netlink::open()?;
            for (address, prefix) in addresses {
                unless_there(netlink.add_address(&name, address, prefix))?;
            }
            let index = netlink.link(&name)?.index;
            for gateway in gateways {
                let mut route = Route::default_through(gateway);
                (route.link, route.table) = (Some(index), table(link));
                unless_there(netlink.add_route(&route))?;
            }
            Ok(())
        })
    }
}

/// The routes of what comes from a link's own address.
fn table(link: usize) -> u32 {
    100 + link as u32
}

fn source_rule(link: usize, from: IpAddr) -> Rule {
    let prefix = if from.is_ipv4() { 32 } else { 128 };
    let preference = 1000 + link as u32;
    Rule {
        from: Some((from, prefix)),
        ..Rule::new(from.is_ipv4(), preference, Action::Lookup(table(link)))
    }
}

fn unless_there(result: Result<()>) -> Result<()> {
    let exists = Some(nix::errno::Errno::EEXIST as i32);
    result.or_else(|e: Error| if e.errno() == exists { Ok(()) } else { Err(e) })
}

fn last(side: Side) -> u16 {
    match side {
        Side::Client => 1,
        Side::Server => 2,
    }
}
