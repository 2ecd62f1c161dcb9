//! Addresses that the server announces lead to joins.

use std::net::IpAddr;

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service};
use anabranch_interop::topology::{Side, Topology};

/// A client without endpoints of its own: it joins only what is announced.
fn announced(links: usize, addresses: impl Fn(&Topology, usize) -> IpAddr, from: usize) {
    let topology = Topology::new(links).unwrap();
    let all: Vec<IpAddr> = (from..links)
        .map(|link| addresses(&topology, link))
        .collect();
    let first = addresses(&topology, 0);
    let service = match Service::under_test() {
        Service::Kernel => {
            all.iter()
                .for_each(|addr| topology.announce_by_kernel(*addr).unwrap());
            Service::Kernel
        }
        Service::Anabranch(_) => {
            let arguments = all
                .iter()
                .flat_map(|a| ["--announce".to_owned(), a.to_string()]);
            Service::Anabranch(arguments.collect())
        }
    };
    let scene = Scene::on(topology, service).unwrap();
    let to = std::net::SocketAddr::new(first, anabranch_interop::scene::PORT);
    let transfer = scene
        .transfer(to, &Plan::new(1, 64 * MIB, 64 * MIB))
        .unwrap();
    transfer.assert_clean();
    let count = all.len() as u64;
    assert_eq!(transfer.counters.get("MPTcpExtAddAddr"), count);
    assert_eq!(transfer.counters.get("MPTcpExtEchoAddTx"), count);
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), count);
}

#[test]
fn an_announced_v4_address() {
    if require::lab() {
        announced(2, |t, link| t.v4(Side::Server, link), 1);
    }
}

#[test]
fn an_announced_v6_address() {
    if require::lab() {
        announced(2, |t, link| t.v6(Side::Server, link), 1);
    }
}

#[test]
fn several_announced_addresses() {
    if require::lab() {
        announced(4, |t, link| t.v4(Side::Server, link), 1);
    }
}
