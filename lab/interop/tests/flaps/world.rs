//! A client and a server joined by links; the server's address is on none of them, so that each link
//! fails by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::Netlink;

pub(crate) const LINKS: usize = 3;
pub(crate) const PORT: u16 = 7730;
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));

/// Slow enough that all links are in use, and a test does not use up the machine.
const RATE: u64 = 16_000_000;

pub(crate) fn new() -> Topology {
    let topology = Topology::new(LINKS).unwrap();
    (0..LINKS).for_each(|link| topology.set_rate(link, RATE).unwrap());
    topology.server.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.add_address("lo", SERVER, 32).unwrap();
    });
    topology
}

pub(crate) fn server() -> SocketAddr {
    SocketAddr::new(SERVER, PORT)
}

/// The client's address of a link.
pub(crate) fn client(topology: &Topology, link: usize) -> IpAddr {
    topology.v4(Side::Client, link)
}
