//! Connections of which one half is closed or stands still.

use std::time::Duration;

use anabranch_interop::exchange::{Order, Plan};
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, alone};
use anabranch_interop::socket::Protocol;

/// Far longer than any timer of a connection in motion.
const PAUSE: Duration = Duration::from_secs(4);

/// More than all buffers between the two ends can hold.
const MORE_THAN_BUFFERS: u64 = 192 * MIB;

#[test]
fn the_client_closes_its_half_first() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    for (seed, protocol) in [(1, Protocol::Mptcp), (2, Protocol::Tcp)] {
        let plan = Plan {
            order: Order::ClientFirst,
            ..Plan::new(seed, 16 * MIB, 16 * MIB)
        };
        scene
            .transfer_by(protocol, None, scene.v4(0), &plan)
            .unwrap()
            .assert_clean();
    }
}

#[test]
fn the_server_closes_its_half_first() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    for (seed, protocol) in [(1, Protocol::Mptcp), (2, Protocol::Tcp)] {
        let plan = Plan {
            order: Order::BackendFirst,
            ..Plan::new(seed, 16 * MIB, 16 * MIB)
        };
        scene
            .transfer_by(protocol, None, scene.v4(0), &plan)
            .unwrap()
            .assert_clean();
    }
}

#[test]
fn nothing_but_closes() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(1).unwrap();
    for (seed, order) in [
        (1, Order::Both),
        (2, Order::ClientFirst),
        (3, Order::BackendFirst),
    ] {
        let plan = Plan {
            order,
            ..Plan::new(seed, 0, 0)
        };
        scene.transfer(scene.v4(0), &plan).unwrap().assert_clean();
    }
}

#[test]
fn the_service_reads_nothing_for_seconds() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::joined(2).unwrap();
    let plan = Plan {
        backend_pause: PAUSE,
        ..Plan::new(4, MORE_THAN_BUFFERS, MIB)
    };
    let transfer = scene.transfer(scene.v4(0), &plan).unwrap();
    transfer.assert_clean();
    let stall = transfer.ends[0].client.sent.longest_stall;
    assert!(
        stall > PAUSE / 2,
        "the window never closed: at most {stall:?} without progress"
    );
}

#[test]
fn the_client_reads_nothing_for_seconds() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::joined(2).unwrap();
    let plan = Plan {
        client_pause: PAUSE,
        ..Plan::new(5, MIB, MORE_THAN_BUFFERS)
    };
    let transfer = scene.transfer(scene.v4(0), &plan).unwrap();
    transfer.assert_clean();
    let stall = transfer.ends[0].backend.sent.longest_stall;
    assert!(
        stall > PAUSE / 2,
        "the window never closed: at most {stall:?} without progress"
    );
}
