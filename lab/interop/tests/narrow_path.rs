//! A path in whose middle only smaller packets pass: the routers say so by ICMP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anabranch_interop::backend::Backend;
use anabranch_interop::counters::Counters;
use anabranch_interop::exchange::Plan;
use anabranch_interop::path::Path;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::Protocol;
use anabranch_kernel::Netlink;

const BACKEND_PORT: u16 = 9100;

/// Four mebibytes from the server. The client sends small packets only: its kernel would remember the
/// path, and ask for small ones in its next SYN.
const fn plan(seed: u64) -> Plan {
    Plan::new(seed, 1000, 4 * MIB)
}

/// Over IPv4 (0) or IPv6 (1): the server learns from the router how large its packets may be, and
/// takes no error that is about another program's connection.
fn large_packets_are_given_up(family: usize, protocol: Protocol) {
    let path = Path::new().unwrap();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, BACKEND_PORT));
    let backend = path
        .server()
        .run(|| Backend::start(Protocol::Tcp, any, PATIENCE))
        .unwrap();
    let service = SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT));
    let server = Anabranch::start(path.server(), PORT, service, &[]).unwrap();
    let address = path.served()[family];
    let heard = || server.counter("IcmpInDestUnreachs").unwrap();
    path.exchange(&backend, protocol, (address, PORT).into(), &plan(70));
    let about_us = heard();
    assert!(about_us > 0, "no ICMP error was taken");
    let by_kernel = || {
        let counters = path.server().run(Counters::read).unwrap();
        counters.get("IcmpInDestUnreachs") + counters.get("Icmp6InPktTooBigs")
    };
    let before = by_kernel();
    let other = (address, BACKEND_PORT).into();
    path.exchange(&backend, Protocol::Tcp, other, &plan(71));
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
    let path = Path::new().unwrap();
    let device = path.server().run(|| {
        Netlink::open().unwrap().set_mtu("left", 1400).unwrap();
        let service = SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT));
        let _server = Anabranch::start(path.server(), PORT, service, &[]).unwrap();
        Netlink::open().unwrap().link("anabranch0").unwrap()
    });
    assert_eq!(device.mtu, 1400);
}
