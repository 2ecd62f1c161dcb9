//! A server of several threads, with clients of Linux: whichever thread a packet comes to.

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, Scene, Service, alone};
use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::{Endpoint, Side};

/// A server of so many threads, and a client that opens a subflow over each of three links.
fn scene(threads: u32) -> Scene {
    let arguments = vec!["--threads".to_owned(), threads.to_string()];
    let scene = Scene::new(3, Service::Anabranch(arguments)).unwrap();
    for link in 1..3 {
        let addr = scene.topology.v4(Side::Client, link);
        scene
            .topology
            .add_endpoint(addr, Endpoint::Subflow)
            .unwrap();
    }
    scene
}

#[test]
fn every_subflow_finds_its_connection() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = scene(4);
    let plans: Vec<Plan> = (0..16).map(|n| Plan::new(n, 8 * MIB, 8 * MIB)).collect();
    let transfer = scene
        .transfers(Protocol::Mptcp, None, scene.v4(0), &plans)
        .unwrap();
    transfer.assert_clean();
    let server = scene.server.as_ref().unwrap();
    let count = |name| server.counter(name).unwrap();
    assert_eq!(count("TcpPassiveOpens"), 16);
    assert_eq!(count("MPTcpExtMPJoinSynRx"), 32);
    assert_eq!(count("MPTcpExtMPJoinNoTokenFound"), 0);
    assert_eq!(count("MPTcpExtMPJoinRejected"), 0);
    assert_eq!(count("StraysDropped"), 0);
    // Three of four joins come elsewhere; TUN learns with the answer.
    let strays = count("StraysReceived");
    assert!(strays > 0 && strays < count("TcpInSegs") / 10, "{strays}");
}

#[test]
fn plain_tcp_of_both_families() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let mut scene = scene(2);
    for to in [scene.v4(0), scene.v6(0)] {
        let plans: Vec<Plan> = (0..20).map(|n| Plan::new(n, MIB, MIB)).collect();
        let transfer = scene.transfers(Protocol::Tcp, None, to, &plans).unwrap();
        transfer.assert_clean();
    }
    assert_eq!(
        scene
            .server
            .as_ref()
            .unwrap()
            .counter("TcpPassiveOpens")
            .unwrap(),
        40
    );
    let server = scene.server.as_mut().unwrap();
    server.terminate().unwrap();
    assert!(server.wait(PATIENCE).unwrap().success());
}
