//! What may be set at Linux's own Multipath TCP, and paths that alter or strip: bytes are equal,
//! and the kernel's counters, a capture and our own agree.

use std::fs;

use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::Fault;
use anabranch_interop::host::Host;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Transfer};
use anabranch_interop::tool::{output, tool};

/// Slow enough that both links carry data.
const RATE: u64 = 200_000_000;

fn set(host: &Host, name: &str, value: &str) {
    let path = format!("/proc/sys/net/mptcp/{name}");
    host.run(|| fs::write(&path, value)).expect("a sysctl");
}

fn two_links() -> Scene {
    let scene = Scene::joined(2).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    scene
}

fn both_ways(scene: &Scene) -> Transfer {
    let plan = Plan::new(7, 8 * MIB, 8 * MIB);
    scene.transfer(scene.v4(0), &plan).unwrap()
}

/// What a capture at the client shows of the only connection.
fn analysis(transfer: &Transfer) -> anabranch_capture::report::Connection {
    let mut report = transfer.recording.judge.analysis();
    assert_eq!(report.connections.len(), 1, "{report}");
    report.connections.remove(0)
}

#[test]
fn checksums_that_the_client_wants() {
    if !require::lab() {
        return;
    }
    let scene = two_links();
    set(&scene.topology.client, "checksum_enabled", "1");
    let transfer = both_ways(&scene);
    transfer.assert_clean();
    let connection = analysis(&transfer);
    assert!(connection.checksums);
    for stream in [&connection.up, &connection.down] {
        assert!(stream.checksums_right > 0 && stream.checksums_wrong == 0);
    }
    assert_eq!(connection.subflows.len(), 2);
}

#[test]
fn without_them_there_are_none() {
    if !require::lab() {
        return;
    }
    let transfer = both_ways(&two_links());
    transfer.assert_clean();
    let connection = analysis(&transfer);
    assert!(!connection.checksums);
    assert_eq!(
        connection.up.checksums_right + connection.down.checksums_right,
        0
    );
}

#[test]
fn a_client_that_takes_no_joins_at_its_address() {
    if !require::lab() {
        return;
    }
    let scene = two_links();
    set(&scene.topology.client, "allow_join_initial_addr_port", "0");
    let transfer = both_ways(&scene);
    transfer.assert_clean();
    assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), 1);
}

/// One packet of 200 of the second link is altered on its way, where checksums are in use.
fn altered(chain: &'static str) -> Transfer {
    let scene = two_links();
    set(&scene.topology.client, "checksum_enabled", "1");
    let fault = Fault::alter(&scene.topology.server, chain, "link1").unwrap();
    let transfer = both_ways(&scene);
    assert!(fault.counted("altered").unwrap() > 0, "nothing was altered");
    transfer
}

#[test]
fn what_the_client_sends_is_altered_on_one_of_two_subflows() {
    if !require::lab() {
        return;
    }
    let transfer = altered("in");
    let connection = analysis(&transfer);
    let told = |what: &str| connection.signals.iter().any(|s| s.what.starts_with(what));
    let counted = transfer.counters.with_prefix("MPTcpExt");
    assert!(told("MP_FAIL"), "{counted:?}\n{connection}");
    assert_eq!(transfer.counters.get("MPTcpExtMPFailRx"), 1, "{counted:?}");
    assert_eq!(transfer.counters.get("MPTcpExtMPRstRx"), 1, "{counted:?}");
}

#[test]
fn what_we_send_is_altered_on_one_of_two_subflows() {
    if !require::lab() {
        return;
    }
    let transfer = altered("out");
    for name in ["MPTcpExtDataCsumErr", "MPTcpExtMPFailTx"] {
        assert_eq!(transfer.counters.get(name), 1, "{name}");
    }
    assert!(analysis(&transfer).down.checksums_wrong > 0);
}

// On the only subflow: `only_subflow.rs`.

#[test]
fn multipath_is_switched_off_in_the_middle() {
    if !require::lab() {
        return;
    }
    let scene = two_links();
    let plan = Plan::new(8, 16 * MIB, 16 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(0, MIB);
        set(&scene.topology.client, "enabled", "0");
    });
    transfer.unwrap().assert_clean();
}

#[test]
fn options_vanish_in_the_middle_on_one_of_two_links() {
    if !require::lab() {
        return;
    }
    let scene = two_links();
    let plan = Plan::new(9, 16 * MIB, 16 * MIB);
    let mut fault = None;
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(1, MIB);
        let stripped = Fault::strip_link(&scene.topology.server, "link1");
        fault = Some(stripped.unwrap());
    });
    let transfer = transfer.unwrap();
    assert_eq!(transfer.ends.len(), 1);
    assert!(analysis(&transfer).fallback.is_none());
}

#[test]
fn the_limit_of_subflows_is_the_clients() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(3).unwrap();
    (0..3).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let limit = |n| {
        let set = format!("mptcp limits set subflows {n} add_addr_accepted 0");
        scene.topology.client.run(|| tool("ip", &set)).unwrap();
    };
    for subflows in [0, 1, 2] {
        limit(subflows);
        let transfer = both_ways(&scene);
        transfer.assert_clean();
        let connection = analysis(&transfer);
        assert_eq!(connection.subflows.len() as u64, subflows + 1);
        assert_eq!(transfer.counters.get("MPTcpExtMPJoinSynAckRx"), subflows);
    }
    let shown = scene
        .topology
        .client
        .run(|| output("ip", "mptcp limits show"));
    assert!(shown.unwrap().contains("subflows 2"));
}
