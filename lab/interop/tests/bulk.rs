//! Much data, and many connections.

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, alone};
use anabranch_interop::socket::Protocol;

#[test]
fn a_quarter_gibibyte_each_way_at_once() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::joined(2).unwrap();
    let transfer = scene
        .transfer(scene.v4(0), &Plan::new(256, 256 * MIB, 256 * MIB))
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), 1);
}

#[test]
fn two_hundred_connections_at_once() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::joined(2).unwrap();
    let plans: Vec<Plan> = (0..200).map(|n| Plan::new(1000 + n, MIB, MIB)).collect();
    let transfer = scene
        .transfers(Protocol::Mptcp, None, scene.v4(0), &plans)
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPCapableSYNACKRX"), 200);
    assert_eq!(scene.backend.accepted(), 200);
}
