//! A server that tells its client where to send, over paths that come and go.

use crate::setup::Line;
use anabranch_mptcp::schedule::{Candidate, Decision, Scheduler as Chooses, View};
use anabranch_sim::scene::Failure;
use anabranch_sim::{Change, Loss, Pace, Path, Rng, Scene, Step, seeds};
use anabranch_stack::{Announcement, GiveUp, Instant, Scheduler, Steering};
use std::time::Duration;

/// As Linux's default: where what is queued is through first.
#[derive(Debug)]
struct Linux;

impl Chooses for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let time =
            |c: &Candidate| (u128::from(c.queued) << 32) / u128::from(c.rate.unwrap_or(1).max(1));
        match view.with_room().min_by_key(|c| time(c)) {
            Some(c) => Decision::Send(c.id, "least queued"),
            None => Decision::Wait("no path has room"),
        }
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A path that carries nothing for a while, a few times.
fn path(rng: &mut Rng, comes_and_goes: bool) -> Path {
    let line = Line::new(rng.range(2..30) as f64, rng.range(1..150));
    let loss = Loss::Random(rng.range(0..30) as f64 / 1000.0);
    let mut link = line.link().loss(loss);
    let mut at = ms(0);
    for _ in 0..(if comes_and_goes { rng.range(0..6) } else { 0 }) {
        at += ms(rng.range(100..1500));
        let back = at + ms(rng.range(10..900));
        link.schedule
            .push((Instant(0) + at, Change::Blackhole(true)));
        link.schedule
            .push((Instant(0) + back, Change::Blackhole(false)));
        at = back;
    }
    Path::new(link)
}

fn steered(seed: u64) -> Result<(), Failure> {
    let mut rng = Rng::new(seed);
    let goes = rng.range(0..3);
    let paths = (0..2).map(|n| path(&mut rng, n == goes)).collect();
    let mut scene = Scene::new(seed, paths);
    let message = rng.range(1..2000);
    let rounds = |first| Pace::Rounds {
        mine: message,
        theirs: message,
        first,
    };
    (scene.client.send, scene.server.send) = (message * 100, message * 100);
    (scene.client.pace, scene.server.pace) = (rounds(true), rounds(false));
    if rng.range(0..4) == 0 {
        scene = scene.bulk(rng.range(0..1_000_000), rng.range(0..100_000));
        (scene.client.pace, scene.server.pace) = (Pace::Bulk, Pace::Bulk);
    }
    if rng.range(0..2) == 0 {
        let addr = scene.addresses(1).1;
        let announced = Announcement {
            id: 10,
            addr,
            port: None,
        };
        scene.server.steps.push((ms(0), Step::Announce(announced)));
    }
    let mut server = scene.config.clone();
    server.mptcp.steering = Steering {
        slower: [0, 120, 200][rng.range(0..3) as usize],
        probe: true,
        give_up: [GiveUp::Never, GiveUp::Returnable, GiveUp::Always][rng.range(0..3) as usize],
        confirm: ms(rng.range(0..40)),
    };
    scene.server_config = Some(server);
    scene.config.mptcp.failover.round_trips = 0;
    scene.config.mptcp.scheduler = Scheduler::Custom(|| Box::new(Linux));
    scene.run().map(|_| ())
}

#[test]
fn whatever_the_client_is_told_every_byte_arrives() {
    seeds::each(2000, steered);
}
