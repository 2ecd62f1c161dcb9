//! One, two and four subflows over IPv4, IPv6 and both.

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service};
use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::{Endpoint, Side};

const JOINED: &str = "MPTcpExtMPJoinSynAckRx";

/// Every link carries a fair part of what went over `links` links: nothing of the transfer depends
/// on one subflow alone.
fn assert_all_links_used(scene: &Scene, bytes: u64) {
    for link in 0..scene.topology.links() {
        let name = scene.topology.interface(link);
        let (received, sent) = scene
            .topology
            .client
            .run(|| anabranch_interop::counters::interface_bytes(&name).unwrap());
        assert!(
            received + sent > bytes,
            "{name} carried {received} + {sent} bytes"
        );
    }
}

fn subflows_over_v4(links: usize) {
    let scene = Scene::joined(links).unwrap();
    let transfer = scene
        .transfer(scene.v4(0), &Plan::new(links as u64, 32 * MIB, 32 * MIB))
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPCapableSYNACKRX"), 1);
    assert_eq!(transfer.counters.get(JOINED), links as u64 - 1);
    assert_all_links_used(&scene, MIB / 2);
}

#[test]
fn one_subflow() {
    if require::lab() {
        subflows_over_v4(1);
    }
}

#[test]
fn two_subflows() {
    if require::lab() {
        subflows_over_v4(2);
    }
}

#[test]
fn four_subflows() {
    if require::lab() {
        subflows_over_v4(4);
    }
}

#[test]
fn two_subflows_over_v6() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::under_test()).unwrap();
    scene
        .topology
        .add_endpoint(scene.topology.v6(Side::Client, 1), Endpoint::Subflow)
        .unwrap();
    let transfer = scene
        .transfer(scene.v6(0), &Plan::new(6, 32 * MIB, 32 * MIB))
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get(JOINED), 1);
    assert_all_links_used(&scene, MIB / 2);
}

/// A service that announces `link`'s address of the other family.
fn announcing(v6: bool) -> Scene {
    let topology = anabranch_interop::topology::Topology::new(2).unwrap();
    let addr = match v6 {
        true => topology.v6(Side::Server, 1),
        false => topology.v4(Side::Server, 1),
    };
    match Service::under_test() {
        Service::Kernel => {
            topology.announce_by_kernel(addr).unwrap();
            Scene::on(topology, Service::Kernel).unwrap()
        }
        Service::Anabranch(_) => {
            let arguments = vec!["--announce".to_owned(), addr.to_string()];
            Scene::on(topology, Service::Anabranch(arguments)).unwrap()
        }
    }
}

#[test]
fn v4_connection_joined_over_v6() {
    if !require::lab() {
        return;
    }
    let scene = announcing(true);
    // Only an IPv6 socket joins over both families: it reaches IPv4 by mapped addresses.
    let from = scene.topology.v4(Side::Client, 0).to_string();
    let from = format!("::ffff:{from}").parse().unwrap();
    let plan = Plan::new(46, 32 * MIB, 32 * MIB);
    let transfer = scene
        .transfer_by(Protocol::Mptcp, Some(from), scene.v4(0), &plan)
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get(JOINED), 1);
    assert_all_links_used(&scene, MIB / 2);
}

#[test]
fn v6_connection_joined_over_v4() {
    if !require::lab() {
        return;
    }
    let scene = announcing(false);
    let transfer = scene
        .transfer(scene.v6(0), &Plan::new(64, 32 * MIB, 32 * MIB))
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get(JOINED), 1);
    assert_all_links_used(&scene, MIB / 2);
}
