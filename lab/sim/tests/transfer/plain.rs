//! Plain TCP: the client offers no Multipath TCP, or the server does not answer it.

use crate::{is_mptcp, paths, run, server};
use anabranch_sim::Scene;

#[test]
fn a_client_without_mptcp_transfers_both_ways() {
    let mut scene = Scene::new(1, paths(1)).bulk(3_000_000, 2_000_000);
    scene.mptcp = false;
    let report = run(&scene);
    assert!(!is_mptcp(server(&report)));
    assert_eq!(server(&report).subflows.len(), 1);
}

#[test]
fn a_server_without_mptcp_is_spoken_to_in_tcp() {
    let mut scene = Scene::new(1, paths(1)).bulk(1_000_000, 1_000_000);
    scene.server_mptcp = false;
    let report = run(&scene);
    assert!(!is_mptcp(server(&report)));
    assert!(!is_mptcp(report.client_info.as_ref().unwrap()));
}

#[test]
fn nothing_but_the_end_can_be_sent() {
    for mptcp in [false, true] {
        let mut scene = Scene::new(1, paths(1));
        scene.mptcp = mptcp;
        run(&scene);
    }
}

#[test]
fn no_offload_at_either_end_changes_nothing() {
    for mptcp in [false, true] {
        let mut scene = Scene::new(1, paths(1)).bulk(2_000_000, 500_000);
        scene.mptcp = mptcp;
        scene.coalesce = None;
        scene.config.gso_max = 0;
        run(&scene);
    }
}

#[test]
fn ipv6_carries_the_same() {
    for mptcp in [false, true] {
        let mut paths = paths(1);
        paths[0].v6 = true;
        let mut scene = Scene::new(1, paths).bulk(2_000_000, 500_000);
        scene.mptcp = mptcp;
        let report = run(&scene);
        assert!(server(&report).local.is_ipv6());
    }
}
