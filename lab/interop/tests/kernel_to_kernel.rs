//! The scene itself, with Linux's own MPTCP at both ends: what these tests show of the kernel,
//! the others may ask of anabranch.

use anabranch_capture::Opinion;
use anabranch_interop::counters::CLEAN;
use anabranch_interop::exchange::{Order, Plan};
use anabranch_interop::fault::{Fault, Strip};
use anabranch_interop::require;
use anabranch_interop::scene::{Scene, Service};
use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::{Endpoint, Side};

const MIB: u64 = 1 << 20;

#[test]
fn two_subflows() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::Kernel).unwrap();
    let second = scene.topology.v4(Side::Client, 1);
    scene
        .topology
        .add_endpoint(second, Endpoint::Subflow)
        .unwrap();
    let transfer = scene
        .transfer(scene.v4(0), &Plan::new(1, 16 * MIB, 16 * MIB))
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), 1);
}

#[test]
fn the_judge_sees_every_byte_of_a_clean_transfer() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::Kernel).unwrap();
    let second = scene.topology.v4(Side::Client, 1);
    scene
        .topology
        .add_endpoint(second, Endpoint::Subflow)
        .unwrap();
    let plan = Plan::new(7, 16 * MIB, 16 * MIB);
    let transfer = scene.transfer(scene.v4(0), &plan).unwrap();
    for pattern in [plan.up_pattern(), plan.down_pattern()] {
        let report = transfer
            .recording
            .judge
            .report(pattern)
            .expect("the stream is recognised");
        // Nothing wrong left the sender: had bytes differed, the receiver would be at fault.
        assert_eq!(report.opinion(16 * MIB), Opinion::Receiver, "{report}");
    }
}

#[test]
fn many_at_once() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::Kernel).unwrap();
    let second = scene.topology.v4(Side::Client, 1);
    scene
        .topology
        .add_endpoint(second, Endpoint::Subflow)
        .unwrap();
    let plans: Vec<Plan> = (0..200).map(|seed| Plan::new(seed, MIB, MIB)).collect();
    scene
        .transfers(Protocol::Mptcp, None, scene.v4(0), &plans)
        .unwrap();
}

#[test]
fn half_closes() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::Kernel).unwrap();
    for (seed, order) in [(1, Order::ClientFirst), (2, Order::BackendFirst)] {
        let plan = Plan {
            order,
            ..Plan::new(seed, MIB, 2 * MIB)
        };
        scene.transfer(scene.v6(0), &plan).unwrap().assert_clean();
    }
}

#[test]
fn stripped_options() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::Kernel).unwrap();
    let handshake = "MPTcpExtMPCapableFallbackSYNACK";
    let data = "MPTcpExtMPCapableDataFallback";
    let cases = [
        (Strip::Syn, handshake),
        (Strip::SynAck, handshake),
        (Strip::AfterSyn, data),
        (Strip::All, handshake),
    ];
    for (seed, (strip, counter)) in (1..).zip(cases) {
        let _fault = Fault::strip(&scene.topology.server, strip).unwrap();
        let transfer = scene
            .transfer(scene.v4(0), &Plan::new(seed, MIB, MIB))
            .unwrap();
        assert_eq!(
            transfer.counters.nonzero(CLEAN),
            [(counter, 1)],
            "{strip:?}"
        );
    }
}
