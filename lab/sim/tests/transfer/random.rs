//! Thousands of small transfers over random networks: every byte, every end, every time.

use anabranch_mptcp::{Version, Versions};
use anabranch_sim::middlebox::{Keep, Nat, Renumber, Split};
use anabranch_sim::{
    Change, Faults, LinkConfig, Loss, Pace, Path, Placed, Plan, Queue, Rng, Scene, Way, seeds,
};
use anabranch_stack::Config;
use anabranch_tcp::Instant;
use anabranch_tcp::congestion::Algorithm;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

#[test]
fn every_seed_delivers_every_byte() {
    seeds::each(5000, |seed| {
        let scene = scene(seed);
        scene.run().map(|_| ()).inspect_err(|_| capture(scene))
    });
}

#[test]
fn every_seed_passes_middleboxes() {
    seeds::each(2000, |seed| {
        let mut scene = scene(seed);
        let mut rng = Rng::new(seed).fork(0xb0e5);
        for (n, path) in scene.paths.iter_mut().enumerate() {
            path.nat = rng.chance(0.3).then(|| nat(&mut rng, n as u8, path.v6));
        }
        let boxes = boxes(&mut rng, scene.paths.len());
        let mut world = scene.build_with(boxes);
        let report = world.run()?;
        assert_eq!(report.client.received, scene.server.send);
        assert_eq!(report.server.received, scene.client.send);
        world.settle()
    });
}

fn nat(rng: &mut Rng, n: u8, v6: bool) -> Nat {
    let outside: IpAddr = if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, n.into(), 0, 0, 0, 1).into()
    } else {
        Ipv4Addr::new(192, 0, 2, n + 1).into()
    };
    Nat {
        // Filled in by the scene.
        inside: outside,
        outside,
        flip: rng.range(0..1 << 10) as u16,
    }
}

/// On some paths: renumbering, and segments cut in two in either direction.
fn boxes(rng: &mut Rng, paths: usize) -> Vec<Placed> {
    let mut boxes = vec![];
    for n in 0..paths {
        for (way, other) in [(Way::There, Way::Back), (Way::Back, Way::There)] {
            if rng.chance(0.3) {
                let renumber = Renumber::new(rng.next_u64() as u32);
                boxes.push(Placed::new(n, way, renumber));
                boxes.push(Placed::new(n, other, renumber.counterpart()));
            }
            if rng.chance(0.3) {
                let keep = rng.pick(&[Keep::Both, Keep::First]);
                boxes.push(Placed::new(n, way, Split(keep)));
            }
        }
    }
    boxes
}

/// Runs a scene that failed once more, writing what passes.
fn capture(mut scene: Scene) {
    let path = std::env::temp_dir().join(format!("anabranch-seed-{}.pcapng", scene.seed));
    eprintln!("packets of seed {} in {}", scene.seed, path.display());
    scene.capture = Some(path);
    let again = scene.run();
    assert!(
        again.is_err(),
        "seed {} fails only now and then",
        scene.seed
    );
}

/// A scene of which the seed decides everything.
pub(crate) fn scene(seed: u64) -> Scene {
    let mut rng = Rng::new(seed).fork(0x5ce7e);
    let mptcp = !rng.chance(0.2);
    let n = if mptcp {
        rng.pick(&[1, 2, 2, 2, 3, 4])
    } else {
        1
    };
    let faulty = rng.chance(0.8);
    let paths = (0..n).map(|n| path(&mut rng, n, faulty)).collect();
    let mut scene = Scene::new(seed, paths);
    scene.mptcp = mptcp;
    scene.server_mptcp = !rng.chance(0.05);
    scene.limit = Duration::from_secs(1800);
    scene.coalesce = rng
        .pick(&[None, Some(20), Some(200)])
        .map(Duration::from_micros);
    scene.config = config(&mut rng);
    scene.server_config = Some(config(&mut rng));
    let (client, server) = plans(&mut rng);
    (scene.client, scene.server) = (Plan { key: 0, ..client }, Plan { key: 1, ..server });
    let mut rng = Rng::new(seed).fork(0x6824);
    let (all, old) = (Versions::ALL, Versions::only(Version::V0));
    let new = Versions::only(Version::V1);
    let (client, server) = (rng.pick(&[all, new, old]), rng.pick(&[all, all, new, old]));
    scene.versions(client, server)
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config {
        gso_max: rng.pick(&[0, 0, 9000, 65_000]),
        mtu: rng.pick(&[1280, 1500, 1500, 9000]),
        ..Config::default()
    };
    config.limits.recv_buffer = rng.pick(&[20_000, 100_000, 1 << 20, 8 << 20]);
    config.limits.send_buffer = rng.pick(&[20_000, 100_000, 1 << 20, 8 << 20]);
    config.tcp.window_scaling = !rng.chance(0.1);
    config.tcp.sack = !rng.chance(0.1);
    config.tcp.timestamps = !rng.chance(0.2);
    config.tcp.nagle = !rng.chance(0.5);
    config.tcp.congestion.algorithm =
        rng.pick(&[Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr]);
    config
}

fn path(rng: &mut Rng, n: usize, faulty: bool) -> Path {
    let there = link(rng, faulty);
    let back = if rng.chance(0.5) {
        there.clone()
    } else {
        link(rng, faulty)
    };
    let mut path = Path {
        v6: rng.chance(0.3),
        join: Some(rng.duration(Duration::from_millis(300))),
        backup: n > 0 && rng.chance(0.15),
        nat: None,
        there,
        back,
    };
    if rng.chance(0.3) {
        outage(rng, &mut path);
    }
    path
}

fn link(rng: &mut Rng, faulty: bool) -> LinkConfig {
    let delay = rng.pick(&[0, 1, 5, 10, 30, 100]);
    let mut link = LinkConfig::new(rng.pick(&[1, 5, 20, 50, 100, 1000]), delay);
    link.queue = match rng.range(0..4) {
        0 => Queue::Packets(rng.range(4..100) as usize),
        1 => Queue::Bytes(rng.range(15_000..300_000)),
        _ => link.queue,
    };
    if rng.chance(0.3) {
        link.jitter = rng.duration(Duration::from_millis(delay.max(1)));
    }
    if faulty {
        link.loss = match rng.range(0..4) {
            0 => Loss::None,
            1 => Loss::Bursts {
                enter: 0.01,
                leave: 0.5,
                good: 0.0,
                bad: 0.6,
            },
            _ => Loss::Random(rng.unit() * 0.05),
        };
        link.faults = faults(rng);
    }
    link
}

fn faults(rng: &mut Rng) -> Faults {
    let mut sometimes = |most: f64| {
        if rng.chance(0.3) {
            rng.unit() * most
        } else {
            0.0
        }
    };
    let (reorder, duplicate, corrupt) = (sometimes(0.1), sometimes(0.05), sometimes(0.03));
    Faults {
        reorder,
        reorder_delay: rng.duration(Duration::from_millis(20)),
        duplicate,
        corrupt,
    }
}

/// Goes dark for up to two seconds, in both directions or in one.
fn outage(rng: &mut Rng, path: &mut Path) {
    let from = Instant(0) + rng.duration(Duration::from_millis(2000));
    let until = from + rng.duration(Duration::from_millis(2000));
    let change = rng.pick(&[Change::Down as fn(bool) -> Change, Change::Blackhole]);
    let which = rng.range(0..4);
    for (link, spared) in [(&mut path.there, 0), (&mut path.back, 1)] {
        if which != spared {
            link.schedule.push((from, change(true)));
            link.schedule.push((until, change(false)));
        }
    }
}

fn plans(rng: &mut Rng) -> (Plan, Plan) {
    let mut client = plan(rng);
    let mut server = plan(rng);
    match rng.range(0..5) {
        0 => server.pace = Pace::AfterEof,
        1 => client.pace = Pace::AfterEof,
        2 => {
            let rounds = rng.range(1..20);
            let (up, down) = (rng.range(1..5000), rng.range(1..20_000));
            client.send = rounds * up;
            server.send = rounds * down;
            client.pace = Pace::Rounds {
                mine: up,
                theirs: down,
                first: true,
            };
            server.pace = Pace::Rounds {
                mine: down,
                theirs: up,
                first: false,
            };
        }
        _ => {}
    }
    (client, server)
}

fn plan(rng: &mut Rng) -> Plan {
    let mut plan = Plan::default();
    let most = rng.pick(&[1, 2000, 50_000, 400_000]);
    plan.send = rng.range(0..most + 1);
    plan.write = rng.pick(&[100, 1448, 5000, 65_536, 1 << 20]);
    plan.reading.chunk = rng.pick(&[500, 4096, 65_536, usize::MAX]);
    if rng.chance(0.1) {
        let at = rng.range(0..plan.send + 1);
        plan.reading.pause = Some((at, rng.duration(Duration::from_secs(5))));
    }
    if rng.chance(0.1) {
        plan.reading.chunk = 5000;
        plan.reading.every = rng.duration(Duration::from_millis(5));
    }
    plan
}
