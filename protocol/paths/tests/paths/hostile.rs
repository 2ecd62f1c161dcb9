//! Peers that announce what they like, links that flap, events that make no sense: memory and work
//! stay bounded, and asking comes to an end.

use crate::table::Table;
use anabranch_paths::{Delay, Handover, Health, Kind, Limits, MAX_ADDRESSES, Policy};
use std::time::Duration;

#[test]
fn a_peer_that_announces_without_end_causes_few_attempts() {
    let limits = Limits {
        subflows: MAX_ADDRESSES,
        ..Limits::default()
    };
    for kind in [Kind::OneEach, Kind::FullMesh, Kind::Endpoints] {
        let policy = Policy {
            limits,
            ..Policy::new(kind)
        };
        let mut table = Table::new(policy, &["a", "b", "c"]);
        table.happens(Duration::ZERO, "established");
        let mut creates = 0;
        for i in 0..10_000u32 {
            let [_, _, high, low] = i.to_be_bytes();
            let now = Duration::from_millis(i.into());
            table.happens(
                now,
                &format!("announced {} 11.0.{high}.{low}:80", i % 255 + 1),
            );
            for command in table.drain(now) {
                let Some(pair) = command.strip_prefix("create ") else {
                    continue;
                };
                creates += 1;
                table.happens(now, &format!("passing {pair}"));
            }
            assert!(table.connection.peer_addresses().count() <= MAX_ADDRESSES + 1);
        }
        // 32 in a row, then one a second; to the peer's first address there are no bounds.
        assert!((30..=60).contains(&creates), "{kind:?}: {creates}");
    }
}

/// Small numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

fn anything(dice: &mut Dice) -> String {
    let ours = dice.pick(&["a", "b", "c", "a6"]);
    let theirs = dice.pick(&["S", "T", "U", "S6"]);
    let pair = format!("{ours}>{theirs}");
    match dice.below(14) {
        0 => format!("announced {} {theirs}", dice.below(5)),
        1 => format!("removed {}", dice.below(5)),
        2 => format!("local down {ours}"),
        3 => format!(
            "local up {ours} link={} id={}",
            dice.below(3),
            dice.below(4)
        ),
        4 => format!("local up {ours} backup rank={}", dice.below(3)),
        5 => format!("joined {ours}"),
        6 => format!("carried {}", dice.below(100_000)),
        7 => format!("hands {} {pair}", dice.pick(&["on", "off"])),
        8 => format!(
            "{} {pair}",
            dice.pick(&["slow", "well", "stale", "late", "heard"])
        ),
        9 => format!("{} {pair}", dice.pick(&["lasting", "forbidden"])),
        10..=11 => format!("passing {pair}"),
        _ => format!("up {pair} {}", dice.below(9)),
    }
}

#[test]
fn whatever_happens_asking_comes_to_an_end_and_nothing_grows() {
    let kinds = [
        Kind::OneEach,
        Kind::Endpoints,
        Kind::FullMesh,
        Kind::OnePerInterface,
        Kind::NDiffPorts(5),
        Kind::Handover(Handover { warm: true }),
        Kind::Handover(Handover { warm: false }),
        Kind::Server,
    ];
    for seed in 0..160 {
        let mut dice = Dice(seed);
        let policy = Policy {
            health: (seed % 3 == 0).then(Health::default),
            delay: Delay {
                time: Duration::from_secs(seed % 2),
                bytes: (seed % 5 == 0).then_some(50_000),
            },
            ..Policy::new(kinds[seed as usize % kinds.len()])
        };
        let mut table = Table::new(policy, &["a id=3", "b", "c link=2"]);
        table.happens(Duration::ZERO, "established");
        let mut now = Duration::ZERO;
        for _ in 0..500 {
            now += Duration::from_millis(dice.below(900));
            table.happens(now, &anything(&mut dice));
            let commands = table.drain(now);
            assert!(commands.len() < 200, "{commands:?}");
            assert!(table.connection.subflows().count() <= 4 * MAX_ADDRESSES);
            // Deadlines lead somewhere.
            if let Some(due) = table.connection.deadline().filter(|_| dice.below(3) == 0) {
                now = now.max(due);
                table.drain(now);
            }
        }
    }
}
