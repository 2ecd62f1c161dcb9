//! Networks that remove options, translate addresses, renumber, cut: the bytes arrive all the
//! same, over plain TCP if there is no other way.

use crate::{at_ms, is_mptcp, paths, run, server};
use anabranch_sim::middlebox::{Filter, Keep, Nat, Renumber, Sighting, Split, Strip};
use anabranch_sim::segment::TcpView;
use anabranch_sim::{Loss, Middlebox, Placed, Report, Scene, Way};
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::net::{IpAddr, Ipv4Addr};

const CAPABLE: u8 = 0;

type Sees = fn(&Sighting<'_>) -> bool;

/// `n` paths with a box in either direction of the first.
fn through_boxes(
    n: usize,
    up: Option<Box<dyn Middlebox>>,
    down: Option<Box<dyn Middlebox>>,
) -> Report {
    let scene = Scene::new(1, paths(n)).bulk(1_000_000, 1_000_000);
    finish(&scene, up, down)
}

fn finish(
    scene: &Scene,
    up: Option<Box<dyn Middlebox>>,
    down: Option<Box<dyn Middlebox>>,
) -> Report {
    let placed = |way| {
        move |middlebox| Placed {
            path: 0,
            way,
            middlebox,
        }
    };
    let boxes = up.map(placed(Way::There)).into_iter();
    let mut world = scene.build_with(boxes.chain(down.map(placed(Way::Back))).collect());
    let report = world.run().unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(report.client.received, scene.server.send);
    assert_eq!(report.server.received, scene.client.send);
    world.settle().unwrap_or_else(|f| panic!("{f}"));
    report
}

/// One path; options that are picked vanish in the directions named.
fn through(up: Option<Sees>, down: Option<Sees>) -> Report {
    let boxed = |f: Sees| -> Box<dyn Middlebox> { Box::new(Strip::new(f)) };
    through_boxes(1, up.map(boxed), down.map(boxed))
}

fn both_fell_back(report: &Report) {
    assert!(!is_mptcp(server(report)));
    assert!(!is_mptcp(report.client_info.as_ref().unwrap()));
}

#[test]
fn capable_removed_from_the_syn() {
    both_fell_back(&through(Some(|s| s.view.flags.has(Flags::SYN)), None));
}

#[test]
fn capable_removed_from_the_syn_ack() {
    both_fell_back(&through(None, Some(|s| s.view.flags.has(Flags::SYN))));
}

#[test]
fn capable_removed_from_the_third_ack_and_the_first_data() {
    let after_syn: Sees = |s| s.subtype == CAPABLE && !s.view.flags.has(Flags::SYN);
    both_fell_back(&through(Some(after_syn), None));
}

#[test]
fn capable_removed_from_the_third_ack_only() {
    // The first data carries it again (RFC 8684 §3.1): nothing is lost.
    let third_ack: Sees =
        |s| s.subtype == CAPABLE && !s.view.flags.has(Flags::SYN) && s.view.payload.is_empty();
    let report = through(Some(third_ack), None);
    assert!(is_mptcp(server(&report)));
}

#[test]
fn everything_removed_after_the_handshake() {
    let after_syn: Sees = |s| !s.view.flags.has(Flags::SYN);
    both_fell_back(&through(Some(after_syn), Some(after_syn)));
}

#[test]
fn syns_with_unknown_options_vanish() {
    // Retransmitted without the option in the end (RFC 8684 §3.7).
    let unknown = |view: &TcpView, packet: &[u8]| {
        let options = &packet[view.options.clone()];
        view.flags.has(Flags::SYN) && options.windows(2).any(|w| w == [30, 4])
    };
    both_fell_back(&through_boxes(
        1,
        Some(Box::new(Filter::new(unknown))),
        None,
    ));
}

#[test]
fn addresses_are_translated_on_every_path() {
    let mut scene = Scene::new(1, paths(2)).bulk(1_000_000, 1_000_000);
    for (n, path) in scene.paths.iter_mut().enumerate() {
        path.nat = Some(Nat {
            inside: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            outside: Ipv4Addr::new(192, 0, 2, n as u8 + 1).into(),
            flip: 0x0f31,
        });
    }
    let report = run(&scene);
    let info = server(&report);
    assert!(is_mptcp(info));
    let seen: Vec<_> = info
        .subflows
        .iter()
        .map(|s| s.remote.ip().to_string())
        .collect();
    assert_eq!(seen, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn sequence_numbers_are_changed() {
    for n in [1, 2] {
        let (up, down) = (Renumber::new(0x9000_0001), Renumber::new(77));
        let both = |a: Renumber, b: Renumber| -> Option<Box<dyn Middlebox>> {
            Some(Box::new(Chain(vec![Box::new(a), Box::new(b)])))
        };
        let mut scene = Scene::new(1, paths(n)).bulk(1_000_000, 1_000_000);
        scene.paths[0].there.loss = Loss::Random(0.02);
        let report = finish(
            &scene,
            both(up, down.counterpart()),
            both(down, up.counterpart()),
        );
        assert!(is_mptcp(server(&report)));
        assert_eq!(server(&report).subflows.len(), n);
    }
}

/// Boxes one after the other.
struct Chain(Vec<Box<dyn Middlebox>>);

impl Middlebox for Chain {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        let mut packets = vec![packet];
        for step in &mut self.0 {
            packets = packets
                .into_iter()
                .flat_map(|p| step.pass(now, p))
                .collect();
        }
        packets
    }
}

#[test]
fn segments_are_cut_in_two() {
    for keep in [Keep::Both, Keep::First, Keep::Last] {
        for n in [1, 2] {
            let split = || -> Option<Box<dyn Middlebox>> { Some(Box::new(Split(keep))) };
            let report = through_boxes(n, split(), split());
            // First data without a mapping is a reason to fall back (RFC 8684 §3.7).
            assert!(is_mptcp(server(&report)) || keep == Keep::Last, "{keep:?}");
        }
    }
}

#[test]
fn most_acknowledgements_vanish() {
    let mut seen = 0;
    let thin = move |view: &TcpView, _: &[u8]| {
        let pure = view.payload.is_empty() && view.flags == Flags::ACK;
        seen += u32::from(pure);
        pure && seen % 4 != 1
    };
    let report = through_boxes(2, None, Some(Box::new(Filter::new(thin))));
    assert!(is_mptcp(server(&report)));
}

/// Every option after half of the transfer.
fn late(s: &Sighting<'_>) -> bool {
    s.now > at_ms(150)
}

#[test]
fn dss_removed_midway_on_one_of_two_paths() {
    for (up, down) in [(true, false), (false, true), (true, true)] {
        let boxed = || -> Box<dyn Middlebox> { Box::new(Strip::new(late)) };
        through_boxes(2, up.then(boxed), down.then(boxed));
    }
}

#[test]
fn dss_removed_midway_on_the_only_path() {
    for (up, down) in [(true, false), (false, true), (true, true)] {
        let boxed = || -> Box<dyn Middlebox> { Box::new(Strip::new(late)) };
        let mut scene = Scene::new(1, paths(1)).bulk(1_000_000, 1_000_000);
        scene.config.mptcp.plain_midway = true;
        finish(&scene, up.then(boxed), down.then(boxed));
    }
}
