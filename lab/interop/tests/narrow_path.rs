//! A path in whose middle only smaller packets pass: the routers say so by ICMP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anabranch_interop::backend::Backend;
use anabranch_interop::counters::Counters;
use anabranch_interop::exchange::{self, Plan};
use anabranch_interop::host::Host;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::{self, Protocol};
use anabranch_kernel::route::Route;
use anabranch_kernel::{Netlink, Result, sysctl};

const BACKEND_PORT: u16 = 9100;

/// Between the routers; elsewhere 1500.
const NARROW: u32 = 1300;

/// Client, two routers, server: `hosts[i]` has `right` and `hosts[i + 1]` has `left` of link `i`.
struct Path {
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
    fn new() -> Path {
        let hosts = [(); 4].map(|()| Host::new().unwrap());
        for router in &hosts[1..3] {
            router.run(|| {
                sysctl::write("net/ipv4/ip_forward", "1").unwrap();
                sysctl::write("net/ipv6/conf/all/forwarding", "1").unwrap();
            });
        }
        for link in 0..3 {
            let mtu = if link == 1 { NARROW } else { 1500 };
            let next = hosts[link + 1].netns();
            hosts[link].run(|| {
                let netlink = Netlink::open().unwrap();
                netlink.add_veth("right", "left", Some(next)).unwrap();
                configure(&netlink, "right", mtu, addresses(link, End::Left)).unwrap();
            });
            hosts[link + 1].run(|| {
                let netlink = Netlink::open().unwrap();
                configure(&netlink, "left", mtu, addresses(link, End::Right)).unwrap();
            });
        }
        let path = Path { hosts };
        path.route(0, 1, addresses(0, End::Right));
        path.route(0, 2, addresses(0, End::Right));
        path.route(1, 2, addresses(1, End::Right));
        path.route(2, 0, addresses(1, End::Left));
        path.route(3, 0, addresses(2, End::Left));
        path.route(3, 1, addresses(2, End::Left));
        path
    }

    /// Has a host reach the networks of a link through a neighbour.
    fn route(&self, host: usize, link: usize, gateways: [IpAddr; 2]) {
        self.hosts[host].run(|| {
            let netlink = Netlink::open().unwrap();
            for ((network, prefix), gateway) in networks(link).into_iter().zip(gateways) {
                let mut route = Route::to(network, prefix);
                route.gateway = Some(gateway);
                netlink.add_route(&route).unwrap();
            }
        });
    }

    fn client(&self) -> &Host {
        &self.hosts[0]
    }

    fn server(&self) -> &Host {
        &self.hosts[3]
    }
}

fn configure(netlink: &Netlink, name: &str, mtu: u32, addresses: [IpAddr; 2]) -> Result<()> {
    netlink.set_mtu(name, mtu)?;
    netlink.set_up(name)?;
    netlink.add_address(name, addresses[0], 24)?;
    netlink.add_address(name, addresses[1], 64)
}

/// Four mebibytes from the server; the bytes that arrive are those sent. The client sends small
/// packets only: its kernel would remember the path, and ask for small ones in its next SYN.
fn exchange(path: &Path, backend: &Backend, protocol: Protocol, to: SocketAddr, seed: u64) {
    let plan = Plan::new(seed, 1000, 4 * MIB);
    let client = path.client().run(|| {
        let stream = socket::connect(protocol, None, to, PATIENCE).unwrap();
        exchange::client(&stream, &plan, PATIENCE).unwrap()
    });
    let served = backend.outcome(seed, PATIENCE).unwrap();
    assert_eq!(client.received.digest, served.sent.digest, "down, {to}");
    assert_eq!(served.received.digest, client.sent.digest, "up, {to}");
}

/// Over IPv4 (0) or IPv6 (1): the server learns from the router how large its packets may be, and
/// takes no error that is about another program's connection.
fn large_packets_are_given_up(family: usize, protocol: Protocol) {
    let path = Path::new();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, BACKEND_PORT));
    let backend = path
        .server()
        .run(|| Backend::start(Protocol::Tcp, any, PATIENCE))
        .unwrap();
    let service = SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT));
    let server = Anabranch::start(path.server(), PORT, service, &[]).unwrap();
    let address = addresses(2, End::Right)[family];
    let heard = || server.counter("IcmpInDestUnreachs").unwrap();
    exchange(&path, &backend, protocol, (address, PORT).into(), 70);
    let about_us = heard();
    assert!(about_us > 0, "no ICMP error was taken");
    let by_kernel = || {
        let counters = path.server().run(Counters::read).unwrap();
        counters.get("IcmpInDestUnreachs") + counters.get("Icmp6InPktTooBigs")
    };
    let before = by_kernel();
    let other = (address, BACKEND_PORT).into();
    exchange(&path, &backend, Protocol::Tcp, other, 71);
    assert!(by_kernel() > before, "the kernel's packets were small");
    assert_eq!(heard(), about_us, "errors about another program's packets");
}

#[test]
fn large_packets_of_tcp_are_given_up_on_ipv4() {
    if require::lab() {
        large_packets_are_given_up(0, Protocol::Tcp);
    }
}

#[test]
fn large_packets_of_tcp_are_given_up_on_ipv6() {
    if require::lab() {
        large_packets_are_given_up(1, Protocol::Tcp);
    }
}

#[test]
fn large_packets_of_mptcp_are_given_up_on_ipv4() {
    if require::lab() {
        large_packets_are_given_up(0, Protocol::Mptcp);
    }
}

#[test]
fn large_packets_of_mptcp_are_given_up_on_ipv6() {
    if require::lab() {
        large_packets_are_given_up(1, Protocol::Mptcp);
    }
}

#[test]
fn packets_are_as_large_as_every_interface_takes() {
    if !require::lab() {
        return;
    }
    let path = Path::new();
    let device = path.server().run(|| {
        Netlink::open().unwrap().set_mtu("left", 1400).unwrap();
        let service = SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT));
        let _server = Anabranch::start(path.server(), PORT, service, &[]).unwrap();
        Netlink::open().unwrap().link("anabranch0").unwrap()
    });
    assert_eq!(device.mtu, 1400);
}
