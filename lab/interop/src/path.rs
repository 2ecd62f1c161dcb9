//! A client and a server with two routers between them, whose own link takes smaller packets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anabranch_kernel::route::Route;
use anabranch_kernel::{Netlink, Result, sysctl};

use crate::backend::Backend;
use crate::exchange::{self, Plan};
use crate::host::Host;
use crate::scene::PATIENCE;
use crate::socket::{self, Protocol};

/// The largest packet between the routers, bytes; elsewhere 1500.
const NARROW: u32 = 1300;

/// Client, two routers, server: `hosts[i]` has `right` and `hosts[i + 1]` has `left` of link `i`.
#[derive(Debug)]
pub struct Path {
    hosts: [Host; 4],
}

/// Which end of a link.
#[derive(Clone, Copy)]
enum End {
    Left = 1,
    Right = 2,
}

/// Both addresses of one end of a link, IPv4 and IPv6.
fn addresses(link: usize, end: End) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(10, 78, link as u8, end as u8).into(),
        Ipv6Addr::new(0xfd78, link as u16, 0, 0, 0, 0, 0, end as u16).into(),
    ]
}

fn networks(link: usize) -> [(IpAddr, u8); 2] {
    [
        (Ipv4Addr::new(10, 78, link as u8, 0).into(), 24),
        (
            Ipv6Addr::new(0xfd78, link as u16, 0, 0, 0, 0, 0, 0).into(),
            64,
        ),
    ]
}

impl Path {
    /// Builds the hosts and the links. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`.
    pub fn new() -> io::Result<Self> {
        let path = Self {
            hosts: [Host::new()?, Host::new()?, Host::new()?, Host::new()?],
        };
        path.link().map_err(io::Error::other)?;
        Ok(path)
    }

    /// The host that opens connections.
    pub fn client(&self) -> &Host {
        &self.hosts[0]
    }

    /// The client does `plan` with the service at `to`, in front of `backend`.
    ///
    /// # Panics
    /// If it cannot, or bytes that arrive at either end are not those that the other sent.
    pub fn exchange(&self, backend: &Backend, protocol: Protocol, to: SocketAddr, plan: &Plan) {
        let client = self.client().run(|| {
            let stream = socket::connect(protocol, None, to, PATIENCE).unwrap();
            exchange::client(&stream, plan, PATIENCE).unwrap()
        });
        let served = backend.outcome(plan.seed, PATIENCE).unwrap();
        assert_eq!(client.received.digest, served.sent.digest, "down, {to}");
        assert_eq!(served.received.digest, client.sent.digest, "up, {to}");
    }

    /// The router in front of the narrow link, as the server sees it.
    pub fn router(&self) -> &Host {
        &self.hosts[2]
    }

    /// The host that serves.
    pub fn server(&self) -> &Host {
        &self.hosts[3]
    }

    /// The server's addresses, IPv4 and IPv6.
    pub fn served(&self) -> [IpAddr; 2] {
        addresses(2, End::Right)
    }

    fn link(&self) -> Result<()> {
        for router in &self.hosts[1..3] {
            router.run(|| {
                sysctl::write("net/ipv4/ip_forward", "1")?;
                sysctl::write("net/ipv6/conf/all/forwarding", "1")
            })?;
        }
        for link in 0..3 {
            let mtu = if link == 1 { NARROW } else { 1500 };
            let next = self.hosts[link + 1].netns();
            self.hosts[link].run(|| {
                let netlink = Netlink::open()?;
                netlink.add_veth("right", "left", Some(next))?;
                configure(&netlink, "right", mtu, addresses(link, End::Left))
            })?;
            self.hosts[link + 1].run(|| {
                let netlink = Netlink::open()?;
                configure(&netlink, "left", mtu, addresses(link, End::Right))
            })?;
        }
        self.route(0, 1, addresses(0, End::Right))?;
        self.route(0, 2, addresses(0, End::Right))?;
        self.route(1, 2, addresses(1, End::Right))?;
        self.route(2, 0, addresses(1, End::Left))?;
        self.route(3, 0, addresses(2, End::Left))?;
        self.route(3, 1, addresses(2, End::Left))
    }

    /// Has a host reach the networks of a link through a neighbour.
    fn route(&self, host: usize, link: usize, gateways: [IpAddr; 2]) -> Result<()> {
        self.hosts[host].run(|| {
            let netlink = Netlink::open()?;
            for ((network, prefix), gateway) in networks(link).into_iter().zip(gateways) {
                let mut route = Route::to(network, prefix);
                route.gateway = Some(gateway);
                netlink.add_route(&route)?;
            }
            Ok(())
        })
    }
}

fn configure(netlink: &Netlink, name: &str, mtu: u32, addresses: [IpAddr; 2]) -> Result<()> {
    netlink.set_mtu(name, mtu)?;
    netlink.set_up(name)?;
    netlink.add_address(name, addresses[0], 24)?;
    netlink.add_address(name, addresses[1], 64)
}
