//! Links that fail in the middle of a transfer, and come back.

use std::time::Duration;

use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::Fault;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service, Transfer, alone};
use anabranch_interop::topology::{Endpoint, Side};

/// Slow enough that a fault in the middle is one.
const RATE: u64 = 200_000_000;

/// Linux takes about 0.4 s on such a path; seconds would be a path taken for alive.
const STALL_MAX: Duration = Duration::from_secs(5);

fn slow_scene() -> Scene {
    let scene = Scene::joined(2).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    scene
}

fn assert_no_long_stall(transfer: &Transfer) {
    let ends = transfer.ends[0];
    let (up, down) = (
        ends.backend.received.longest_stall,
        ends.client.received.longest_stall,
    );
    assert!(
        up < STALL_MAX && down < STALL_MAX,
        "stalled {up:?} up, {down:?} down"
    );
}

/// The link fails and stays so.
fn fails_for_good(link: usize) {
    let _alone = alone();
    let scene = slow_scene();
    let mut fault = None;
    let transfer = scene.transfer_while(scene.v4(0), &Plan::new(20, 32 * MIB, 32 * MIB), || {
        scene.wait_for_bytes(link, 8 * MIB);
        let name = scene.topology.interface(link);
        fault = Some(Fault::blackhole(&scene.topology.client, &name).unwrap());
    });
    let transfer = transfer.unwrap();
    transfer.assert_clean();
    assert_no_long_stall(&transfer);
}

#[test]
fn the_first_link_is_a_black_hole() {
    if require::lab() {
        fails_for_good(0);
    }
}

#[test]
fn the_second_link_is_a_black_hole() {
    if require::lab() {
        fails_for_good(1);
    }
}

#[test]
fn a_black_hole_ends_and_the_link_carries_data_again() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = slow_scene();
    let plan = Plan::new(21, 96 * MIB, 96 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(1, 8 * MIB);
        let fault = Fault::blackhole(&scene.topology.client, "link1").unwrap();
        scene.wait_for_bytes(0, 16 * MIB);
        drop(fault);
        scene.wait_for_bytes(1, 8 * MIB);
    });
    let transfer = transfer.unwrap();
    transfer.assert_clean();
    assert_no_long_stall(&transfer);
}

/// `side` takes the link down in the middle of a transfer and up again later.
fn down_and_up(side: Side) {
    let _alone = alone();
    let scene = slow_scene();
    let plan = Plan::new(22, 96 * MIB, 96 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(1, 8 * MIB);
        scene.topology.set_link(side, 1, false).unwrap();
        scene.wait_for_bytes(0, 16 * MIB);
        scene.topology.set_link(side, 1, true).unwrap();
        scene.wait_for_bytes(1, 8 * MIB);
    });
    assert_no_long_stall(&transfer.unwrap());
}

#[test]
fn the_client_takes_a_link_down_and_up_again() {
    if require::lab() {
        down_and_up(Side::Client);
    }
}

#[test]
fn the_server_takes_a_link_down_and_up_again() {
    if require::lab() {
        down_and_up(Side::Server);
    }
}

#[test]
fn a_backup_link_carries_data_only_when_the_other_fails() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::new(2, Service::under_test()).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let second = scene.topology.v4(Side::Client, 1);
    scene
        .topology
        .add_endpoint(second, Endpoint::Backup)
        .unwrap();
    let transfer = scene
        .transfer(scene.v4(0), &Plan::new(23, 16 * MIB, 16 * MIB))
        .unwrap();
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), 1);
    let (received, sent) = scene
        .topology
        .client
        .run(|| anabranch_interop::counters::interface_bytes("link1").unwrap());
    assert!(
        received + sent < MIB,
        "the backup carried {received} + {sent} bytes"
    );

    let mut fault = None;
    let transfer = scene.transfer_while(scene.v4(0), &Plan::new(24, 32 * MIB, 32 * MIB), || {
        scene.wait_for_bytes(0, 8 * MIB);
        fault = Some(Fault::blackhole(&scene.topology.client, "link0").unwrap());
        scene.wait_for_bytes(1, 8 * MIB);
    });
    assert_no_long_stall(&transfer.unwrap());
}
