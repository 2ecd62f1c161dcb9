//! Links narrower than the hosts believe: routers say so, and segments become smaller.

use crate::{at_ms, is_mptcp, paths, server};
use anabranch_sim::middlebox::Narrow;
use anabranch_sim::{Placed, Scene, Way};
use anabranch_tcp::Instant;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

fn through(mtu: u16, from: Instant, n: usize, mptcp: bool, v6: bool) {
    let mut paths = paths(n);
    paths.iter_mut().for_each(|p| p.v6 = v6);
    let mut scene = Scene::new(1, paths).bulk(3_000_000, 3_000_000);
    scene.mptcp = mptcp;
    let router: IpAddr = if v6 {
        Ipv6Addr::new(0xfd00, 0xffff, 0, 0, 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(192, 0, 2, 254).into()
    };
    let narrow = Narrow {
        mtu,
        from,
        router,
        silent: false,
    };
    let boxes = [Way::There, Way::Back].map(|way| Placed::new(0, way, narrow));
    let mut world = scene.build_with(boxes.into());
    let report = world.run().unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(report.client.received, 3_000_000);
    assert_eq!(report.server.received, 3_000_000);
    assert!(
        report.elapsed < Duration::from_secs(3),
        "{:?}",
        report.elapsed
    );
    world.settle().unwrap_or_else(|f| panic!("{f}"));
}

#[test]
fn the_path_is_narrow_from_the_start() {
    for mptcp in [false, true] {
        for v6 in [false, true] {
            through(1300, Instant(0), 1, mptcp, v6);
        }
    }
}

#[test]
fn the_path_becomes_narrow_in_the_middle() {
    for mptcp in [false, true] {
        for v6 in [false, true] {
            through(1280, at_ms(200), 1, mptcp, v6);
        }
    }
}

#[test]
fn one_of_two_paths_is_narrow() {
    through(1300, at_ms(200), 2, true, false);
}

/// 15 MB from the server through a path of two paths at most that swallows what is longer than
/// `mtu`: the largest packets it sends there at the end.
fn swallowed(mtu: u16, from: Instant, n: usize, mptcp: bool, v6: bool) -> u32 {
    let mut paths = paths(n);
    paths.iter_mut().for_each(|p| p.v6 = v6);
    let mut scene = Scene::new(1, paths).bulk(0, 15_000_000);
    scene.mptcp = mptcp;
    let narrow = Narrow {
        mtu,
        from,
        router: Ipv4Addr::UNSPECIFIED.into(),
        silent: true,
    };
    let boxes = [Way::There, Way::Back].map(|way| Placed::new(0, way, narrow));
    let mut world = scene.build_with(boxes.into());
    let report = world.run().unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(report.client.received, 15_000_000);
    let limit = Duration::from_secs(8);
    assert!(report.elapsed < limit, "{:?}", report.elapsed);
    let info = server(&report);
    assert_eq!(is_mptcp(info), mptcp);
    info.subflows[0].path_mtu()
}

#[test]
fn a_path_that_swallows_large_packets_from_the_start() {
    for mptcp in [false, true] {
        for v6 in [false, true] {
            let found = swallowed(1400, Instant(0), 1, mptcp, v6);
            assert!((1392..=1400).contains(&found), "{found} {mptcp} {v6}");
        }
    }
}

#[test]
fn a_path_that_swallows_large_packets_from_the_middle_on() {
    for mptcp in [false, true] {
        let found = swallowed(1300, at_ms(300), 1, mptcp, false);
        assert!((1292..=1300).contains(&found), "{found} {mptcp}");
    }
}

#[test]
fn one_of_two_paths_swallows_large_packets() {
    let found = swallowed(1300, at_ms(300), 2, true, false);
    assert!(found <= 1300, "{found}");
}
