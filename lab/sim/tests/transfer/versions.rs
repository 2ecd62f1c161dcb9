//! Versions 0 and 1 of Multipath TCP, in every mix of client and server.

use crate::{is_mptcp, ms, paths, run, server};
use anabranch_mptcp::{Version, Versions};
use anabranch_sim::{LinkConfig, Loss, Path, Scene, Step};
use anabranch_stack::{Announcement, FlowInfo, Protocol};
use std::net::SocketAddr;

const OLD: Versions = Versions::only(Version::V0);
const NEW: Versions = Versions::only(Version::V1);
const ALL: Versions = Versions::ALL;

/// The version of a connection that is multipath.
fn version(info: &FlowInfo) -> Option<u8> {
    match info.protocol {
        Protocol::Mptcp(m) if !m.fallback => Some(m.version),
        _ => None,
    }
}

#[test]
fn every_mix_carries_bytes_over_two_paths_or_as_plain_tcp() {
    for (client, other, expected) in [
        (OLD, OLD, Some(0)),
        (OLD, ALL, Some(0)),
        (ALL, ALL, Some(1)),
        (NEW, ALL, Some(1)),
        (ALL, NEW, Some(1)),
        (ALL, OLD, None),
        (NEW, OLD, None),
        (OLD, NEW, None),
    ] {
        let scene = Scene::new(1, paths(2)).bulk(500_000, 700_000);
        let report = run(&scene.versions(client, other));
        assert_eq!(version(server(&report)), expected, "{client} with {other}");
        let subflows = server(&report).subflows.len();
        assert_eq!(subflows, if expected.is_some() { 2 } else { 1 });
    }
}

#[test]
fn version_0_uses_all_paths() {
    for n in [1, 2, 4] {
        let scene = Scene::new(1, paths(n)).bulk(3_000_000, 3_000_000);
        let report = run(&scene.versions(OLD, OLD));
        let info = server(&report);
        assert_eq!((version(info), info.subflows.len()), (Some(0), n));
        for subflow in &info.subflows {
            assert!(subflow.tcp.stats.bytes_in > 0, "{n}: {subflow:?}");
            assert!(subflow.tcp.stats.bytes_out > 0, "{n}: {subflow:?}");
        }
    }
}

#[test]
fn an_address_that_version_0_announced_is_joined() {
    let mut paths = paths(2);
    paths[1].join = None;
    let mut scene = Scene::new(1, paths).bulk(1_000_000, 1_000_000);
    let (local, remote) = scene.addresses(1);
    let announcement = Announcement {
        id: 7,
        addr: remote,
        port: None,
    };
    scene
        .server
        .steps
        .push((ms(50), Step::Announce(announcement)));
    scene.client.join_from = Some(SocketAddr::new(local, 0));
    let report = run(&scene.versions(OLD, ALL));
    let info = server(&report);
    assert_eq!((version(info), info.subflows.len()), (Some(0), 2));
    assert_eq!(info.subflows[1].local.ip(), remote);
}

#[test]
fn checksums_of_version_0_hold_over_paths_that_lose_and_reorder() {
    let mut link = LinkConfig::new(20, 10);
    link.loss = Loss::Random(0.02);
    link.jitter = ms(5);
    let mut scene = Scene::new(3, vec![Path::new(link); 2]).bulk(400_000, 400_000);
    scene.config.mptcp.checksum = true;
    let report = run(&scene.versions(OLD, ALL));
    let info = server(&report);
    assert!(is_mptcp(info));
    assert!(matches!(info.protocol, Protocol::Mptcp(m) if m.checksum && m.version == 0));
}
