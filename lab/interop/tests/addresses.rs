//! Addresses that the server announces lead to joins.

use std::net::{IpAddr, SocketAddr};

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PORT, Scene, Service, Transfer};
use anabranch_interop::topology::{Side, Topology};

/// Slow enough that a transfer outlasts an address that has to be announced again.
const RATE: u64 = 100_000_000;

/// A server that announces its address of every link but the first, and a client without endpoints
/// of its own: it joins only what is announced.
fn announced(links: usize, address: fn(&Topology, usize) -> IpAddr) -> Transfer {
    let topology = Topology::new(links).unwrap();
    (0..links).for_each(|link| topology.set_rate(link, RATE).unwrap());
    let first = SocketAddr::new(address(&topology, 0), PORT);
    let others: Vec<IpAddr> = (1..links).map(|link| address(&topology, link)).collect();
    let service = match Service::under_test() {
        Service::Kernel => {
            others
                .iter()
                .for_each(|addr| topology.announce_by_kernel(*addr).unwrap());
            Service::Kernel
        }
        Service::Anabranch(_) => {
            let arguments = others
                .iter()
                .flat_map(|a| ["--announce".to_owned(), a.to_string()]);
            Service::Anabranch(arguments.collect())
        }
    };
    let scene = Scene::on(topology, service).unwrap();
    let size = links as u64 * 32 * MIB;
    scene.transfer(first, &Plan::new(1, size, size)).unwrap()
}

fn one_announced(address: fn(&Topology, usize) -> IpAddr) {
    let transfer = announced(2, address);
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), 1);
    assert_eq!(transfer.counters.get("MPTcpExtAddAddr"), 1);
    assert_eq!(transfer.counters.get("MPTcpExtEchoAddTx"), 1);
}

#[test]
fn an_announced_v4_address() {
    if require::lab() {
        one_announced(|topology, link| topology.v4(Side::Server, link));
    }
}

#[test]
fn an_announced_v6_address() {
    if require::lab() {
        one_announced(|topology, link| topology.v6(Side::Server, link));
    }
}

#[test]
fn several_announced_addresses() {
    if !require::lab() {
        return;
    }
    let transfer = announced(4, |topology, link| topology.v4(Side::Server, link));
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtEchoAddTx"), 3);
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), 3);
}
