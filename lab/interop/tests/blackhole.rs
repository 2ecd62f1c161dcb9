//! A path in whose middle only smaller packets pass, and whose routers say nothing of it: the
//! server finds out by itself (RFC 4821, RFC 8899).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anabranch_interop::backend::Backend;
use anabranch_interop::counters::Counters;
use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::Fault;
use anabranch_interop::path::Path;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::Protocol;

const BACKEND_PORT: u16 = 9100;

/// Over IPv4 (0) or IPv6 (1): two mebibytes arrive, though the server hears no ICMP error.
fn probing_finds_what_passes(family: usize, protocol: Protocol) {
    let path = Path::new().unwrap();
    let _silence = Fault::no_packet_too_big(path.router()).unwrap();
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, BACKEND_PORT));
    let backend = path
        .server()
        .run(|| Backend::start(Protocol::Tcp, any, PATIENCE))
        .unwrap();
    let service = SocketAddr::from((Ipv4Addr::LOCALHOST, BACKEND_PORT));
    let server = Anabranch::start(path.server(), PORT, service, &[]).unwrap();
    // The client's packets are small: they are not what is tested.
    let plan = Plan::new(80, 1000, 2 * MIB);
    let to = (path.served()[family], PORT).into();
    path.exchange(&backend, protocol, to, &plan);
    assert_eq!(server.counter("IcmpInDestUnreachs").unwrap(), 0);
    let router = path.router().run(Counters::read).unwrap();
    let dropped = router.get("IpFragFails") + router.get("Ip6FragFails");
    assert!(dropped > 0, "nothing was too large for the path");
}

#[test]
fn tcp_on_ipv4() {
    if require::lab() {
        probing_finds_what_passes(0, Protocol::Tcp);
    }
}

#[test]
fn tcp_on_ipv6() {
    if require::lab() {
        probing_finds_what_passes(1, Protocol::Tcp);
    }
}

#[test]
fn mptcp_on_ipv4() {
    if require::lab() {
        probing_finds_what_passes(0, Protocol::Mptcp);
    }
}

#[test]
fn mptcp_on_ipv6() {
    if require::lab() {
        probing_finds_what_passes(1, Protocol::Mptcp);
    }
}
