//! Links narrower than the hosts believe: routers say so, and segments become smaller.

use crate::{at_ms, paths};
use anabranch_sim::middlebox::Narrow;
use anabranch_sim::{Middlebox, Scene};
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
    let narrow = Narrow { mtu, from, router };
    let boxes = [true, false].map(|there| (0, there, Box::new(narrow) as Box<dyn Middlebox>));
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
