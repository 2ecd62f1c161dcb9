//! Two streams over a channel that loses, reorders and duplicates: the bytes are equal, always.

use crate::harness::pair::{Channel, Pair};
use crate::harness::rng::Rng;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::congestion::Algorithm;
use anabranch_tcp::{Config, State, StreamConfig};
use std::time::Duration;

fn random_config(rng: &mut Rng) -> StreamConfig {
    let mut tcp = Config {
        mss: [536, 1400, 1460, 8960][rng.below(4) as usize],
        recv_buffer: [4000, 30_000, 200_000, 2_000_000][rng.below(4) as usize],
        window_scaling: rng.chance(800),
        sack: rng.chance(750),
        timestamps: rng.chance(600),
        nagle: rng.chance(500),
        ..Config::default()
    };
    tcp.congestion.algorithm = match rng.below(4) {
        0 => Algorithm::NewReno,
        1 => Algorithm::Bbr,
        _ => Algorithm::Cubic,
    };
    tcp.congestion.pacing.window_based = rng.chance(700);
    tcp.retransmit.tail_loss_probe = rng.chance(800);
    StreamConfig {
        tcp,
        send_buffer: [5000, 100_000, 1_000_000][rng.below(3) as usize],
        gso_max: [0, 10_000, 65_000][rng.below(3) as usize],
        budget: Budget::unlimited(),
    }
}

fn random_channel(rng: &mut Rng) -> Channel {
    Channel {
        delay: Duration::from_micros(50 + rng.below(30_000)),
        jitter: Duration::from_micros([0, 0, 100, 5000, 20_000][rng.below(5) as usize]),
        loss: [0, 5, 20, 100][rng.below(4) as usize],
        duplicate: [0, 0, 20, 100][rng.below(4) as usize],
        rate: [0, 0, 1_000_000, 20_000_000][rng.below(4) as usize],
        queue: [20_000, 200_000][rng.below(2) as usize],
        merge: rng.chance(500),
    }
}

fn transfer(seed: u64) {
    let mut rng = Rng(seed);
    let configs = [random_config(&mut rng), random_config(&mut rng)];
    // Near the wrap of sequence numbers in half of the cases.
    let mut iss = || {
        if rng.chance(500) {
            u32::MAX - rng.below(50_000) as u32
        } else {
            rng.next() as u32
        }
    };
    let iss = [iss(), iss()];
    let channel = random_channel(&mut rng);
    let mut pair = Pair::new(configs, iss, channel, rng.next());
    pair.trace = std::env::var_os("TRACE").is_some();
    for app in &mut pair.apps {
        app.to_send = [0, 1, 3000, 60_000, 200_000][rng.below(5) as usize];
        app.write = [100, 3000, 60_000][rng.below(3) as usize];
    }
    pair.run(Duration::from_secs(2000));
    for side in 0..2 {
        let (app, peer) = (&pair.apps[side], &pair.apps[1 - side]);
        let stream = &pair.sides[side];
        assert_eq!(
            app.received,
            peer.to_send,
            "seed {seed} side {side}: {:?}",
            stream.info()
        );
        assert!(
            stream.at_end(),
            "seed {seed} side {side}: {:?}",
            stream.info()
        );
        assert_eq!(
            stream.tcb().state(),
            State::Closed,
            "seed {seed} side {side}"
        );
    }
}

#[test]
fn bytes_are_equal_for_thousands_of_seeds() {
    // TRACE=1 SEED=n replays one of them; SEEDS=n runs more.
    let one = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = std::env::var("SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(3000);
    for seed in one.map_or(0..seeds, |seed| seed..seed + 1) {
        let caught = std::panic::catch_unwind(|| transfer(seed));
        assert!(caught.is_ok(), "failed with seed {seed}");
    }
}
