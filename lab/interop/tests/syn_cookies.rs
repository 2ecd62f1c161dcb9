//! SYN cookies (RFC 4987 §3.6) with clients of Linux: nothing is kept of their SYNs, and they are
//! served all the same.

use anabranch_interop::counters::CLEAN;
use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service};
use anabranch_interop::socket::Protocol;
use anabranch_kernel::sysctl;

fn scene() -> Scene {
    let arguments = ["--syn-cookies", "always"].map(str::to_owned).to_vec();
    Scene::new(1, Service::Anabranch(arguments)).unwrap()
}

/// Cookies sent, those that came back, and those that were none of ours.
fn cookies(scene: &Scene) -> [u64; 3] {
    let server = scene.server.as_ref().unwrap();
    ["Sent", "Recv", "Failed"]
        .map(|what| server.counter(&format!("TcpExtSyncookies{what}")).unwrap())
}

/// A client of plain TCP that offers so much: `agreed` is what comes of it.
fn plain_tcp(timestamps: &str, sack: &str, agreed: &[&str]) {
    let scene = scene();
    scene.topology.client.run(|| {
        sysctl::write("net/ipv4/tcp_timestamps", timestamps).unwrap();
        sysctl::write("net/ipv4/tcp_sack", sack).unwrap();
    });
    for (seed, to) in [(1, scene.v4(0)), (2, scene.v6(0))] {
        assert_eq!(scene.agreed(Protocol::Tcp, to).unwrap(), agreed, "{to}");
        let plan = Plan::new(seed, 2 * MIB, 2 * MIB);
        scene.transfer_by(Protocol::Tcp, None, to, &plan).unwrap();
    }
    assert_eq!(cookies(&scene), [4, 4, 0]);
}

#[test]
fn timestamps_bring_the_other_options_back() {
    if require::lab() {
        plain_tcp("1", "1", &["ts", "sack"]);
    }
}

#[test]
fn timestamps_without_sack() {
    if require::lab() {
        plain_tcp("1", "0", &["ts"]);
    }
}

#[test]
fn without_timestamps_nothing_else_is_agreed() {
    if require::lab() {
        plain_tcp("0", "1", &[]);
    }
}

#[test]
fn without_any_option() {
    if require::lab() {
        plain_tcp("0", "0", &[]);
    }
}

#[test]
fn clients_of_multipath_tcp_stay_multipath() {
    if !require::lab() {
        return;
    }
    let arguments = ["--syn-cookies", "always"].map(str::to_owned).to_vec();
    let scene = Scene::new(2, Service::Anabranch(arguments)).unwrap();
    for (seed, to) in [(1, scene.v4(0)), (2, scene.v6(0))] {
        let plan = Plan::new(seed, 2 * MIB, 2 * MIB);
        let transfer = scene.transfer(to, &plan).unwrap();
        assert_eq!(transfer.counters.nonzero(CLEAN), [], "{to}");
    }
    assert_eq!(cookies(&scene), [2, 2, 0]);
}

#[test]
fn and_with_checksums() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let checksums = || sysctl::write("net/mptcp/checksum_enabled", "1");
    scene.topology.client.run(checksums).unwrap();
    let plan = Plan::new(1, 2 * MIB, 2 * MIB);
    let transfer = scene.transfer(scene.v4(0), &plan).unwrap();
    assert_eq!(transfer.counters.nonzero(CLEAN), []);
    assert_eq!(cookies(&scene), [1, 1, 0]);
}
