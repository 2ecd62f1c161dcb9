//! Further subflows: by the client's own plan, by announcement, of another family, as backups.

use crate::{is_mptcp, mbit, ms, paths, run, server};
use anabranch_sim::{LinkConfig, Path, Scene, Step};
use anabranch_stack::{Announcement, PathEvent};
use std::net::SocketAddr;

#[test]
fn one_two_and_four_paths_carry_the_bytes() {
    for n in [1, 2, 4] {
        let report = run(&Scene::new(1, paths(n)).bulk(4_000_000, 4_000_000));
        let info = server(&report);
        assert!(is_mptcp(info));
        assert_eq!(info.subflows.len(), n);
        for subflow in &info.subflows {
            assert!(subflow.tcp.stats.bytes_in > 0, "{n}: {subflow:?}");
            assert!(subflow.tcp.stats.bytes_out > 0, "{n}: {subflow:?}");
        }
        let ups = |p: &PathEvent| matches!(p, PathEvent::SubflowUp(_));
        let client = report.client.paths.iter().filter(|(_, p)| ups(p)).count();
        let server = report.server.paths.iter().filter(|(_, p)| ups(p)).count();
        assert_eq!((client, server), (n - 1, n - 1));
    }
}

#[test]
fn families_mix() {
    let mut paths = paths(3);
    paths[1].v6 = true;
    let report = run(&Scene::new(1, paths).bulk(3_000_000, 3_000_000));
    let v6 = |s: &&anabranch_stack::SubflowInfo| s.local.is_ipv6();
    let subflows = &server(&report).subflows;
    assert_eq!((subflows.len(), subflows.iter().filter(v6).count()), (3, 1));
}

#[test]
fn a_join_in_the_middle_of_a_transfer_speeds_it_up() {
    let mut paths = paths(2);
    paths[1].join = Some(ms(500));
    let report = run(&Scene::new(1, paths).bulk(8_000_000, 0));
    assert!(
        mbit(8_000_000, report.elapsed) > 55.0,
        "{:?}",
        report.elapsed
    );
}

#[test]
fn an_announced_address_is_joined() {
    let mut paths = paths(2);
    paths[1].join = None;
    let mut scene = Scene::new(1, paths).bulk(2_000_000, 2_000_000);
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
    let report = run(&scene);
    let info = server(&report);
    assert_eq!(info.subflows.len(), 2);
    assert_eq!(info.subflows[1].local.ip(), remote);
    let told = |(_, p): &(_, PathEvent)| matches!(p, PathEvent::Announced { id: 7, .. });
    assert!(report.client.paths.iter().any(told));
}

#[test]
fn a_backup_carries_nothing_while_another_path_works() {
    let mut paths = paths(2);
    paths[1].backup = true;
    let report = run(&Scene::new(1, paths).bulk(3_000_000, 3_000_000));
    let info = server(&report);
    assert_eq!(info.subflows.len(), 2);
    assert!(info.subflows[1].backup);
    assert_eq!(info.subflows[1].tcp.stats.bytes_in, 0);
    assert_eq!(info.subflows[1].tcp.stats.bytes_out, 0);
}

#[test]
fn very_unequal_paths_lose_nothing() {
    let paths = vec![
        Path::new(LinkConfig::new(100, 1)),
        Path::new(LinkConfig::new(1, 200)),
    ];
    run(&Scene::new(1, paths).bulk(5_000_000, 5_000_000));
}
