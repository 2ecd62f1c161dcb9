//! What `ip mptcp endpoint` may say of the addresses of a client of Linux.

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service, alone};
use anabranch_interop::tool::tool;
use anabranch_interop::topology::{Endpoint, Side, Topology};

const RATE: u64 = 200_000_000;

/// Two links of a client whose address of each is for a full mesh, and a server that announces its
/// second address: how many subflows were joined.
fn meshed(service: fn(&Topology) -> Service) -> u64 {
    let topology = Topology::new(2).unwrap();
    for link in 0..2 {
        topology.set_rate(link, RATE).unwrap();
        let addr = topology.v4(Side::Client, link);
        topology.add_endpoint(addr, Endpoint::Fullmesh).unwrap();
    }
    let service = service(&topology);
    let scene = Scene::on(topology, service).unwrap();
    let plan = Plan::new(1, 16 * MIB, 16 * MIB);
    let transfer = scene.transfer(scene.v4(0), &plan).unwrap();
    transfer.assert_clean();
    transfer.counters.get("MPTcpExtMPJoinSynAckRx")
}

#[test]
fn a_full_mesh_is_as_large_as_with_a_server_of_linux() {
    if !require::lab() {
        return;
    }
    let by_kernel = meshed(|topology| {
        let second = topology.v4(Side::Server, 1);
        topology.announce_by_kernel(second).unwrap();
        Service::Kernel
    });
    let by_us = meshed(|topology| {
        let second = topology.v4(Side::Server, 1).to_string();
        Service::Anabranch(vec!["--announce".to_owned(), second])
    });
    // Each address of the client with each of the server, but for the first subflow.
    assert_eq!((by_kernel, by_us), (3, 3));
}

/// A client may announce too: a server of ours does not join, but echoes.
#[test]
fn an_address_that_the_client_announces_is_echoed() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::under_test()).unwrap();
    let second = scene.topology.v4(Side::Client, 1);
    scene
        .topology
        .add_endpoint(second, Endpoint::Signal)
        .unwrap();
    let plan = Plan::new(2, 8 * MIB, 8 * MIB);
    let transfer = scene.transfer(scene.v4(0), &plan).unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtAddAddrTx"), 1);
    assert_eq!(transfer.counters.get("MPTcpExtEchoAdd"), 1);
}

/// MP_PRIO, and back again.
#[test]
fn a_subflow_becomes_a_backup_and_is_none_again() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::new(2, Service::under_test()).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let ip = |text: &str| scene.topology.client.run(|| tool("ip", text)).unwrap();
    let second = scene.topology.v4(Side::Client, 1);
    ip(&format!("mptcp endpoint add {second} id 9 subflow"));
    let plan = Plan::new(3, 48 * MIB, 48 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(1, 4 * MIB);
        ip("mptcp endpoint change id 9 backup");
        scene.wait_for_bytes(0, 8 * MIB);
        ip("mptcp endpoint change id 9 nobackup");
        scene.wait_for_bytes(1, 4 * MIB);
    });
    let transfer = transfer.unwrap();
    transfer.assert_clean();
    let told = transfer.counters.get("MPTcpExtMPPrioTx");
    assert_eq!(told, 2);
    if let Some(server) = &scene.server {
        assert_eq!(server.counter("MPTcpExtMPPrioRx").unwrap(), told);
    }
}

/// An endpoint that goes takes its subflow along: REMOVE_ADDR, and a reset.
#[test]
fn an_endpoint_is_removed_in_the_middle() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::new(2, Service::under_test()).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let ip = |text: &str| scene.topology.client.run(|| tool("ip", text)).unwrap();
    let second = scene.topology.v4(Side::Client, 1);
    ip(&format!("mptcp endpoint add {second} id 9 subflow"));
    let plan = Plan::new(4, 24 * MIB, 24 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(1, 4 * MIB);
        ip("mptcp endpoint delete id 9");
    });
    let transfer = transfer.unwrap();
    transfer.assert_clean();
    let told = transfer.counters.get("MPTcpExtRmAddrTx");
    assert_eq!(told, 1);
    if let Some(server) = &scene.server {
        assert_eq!(server.counter("MPTcpExtRmAddr").unwrap(), told);
    }
}
