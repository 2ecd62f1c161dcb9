//! What a link does to packets besides delay: loss, bursts, reordering, duplicates, corruption,
//! blackholes, and cables pulled.

use crate::{arrivals, ms, packet, us};
use anabranch_sim::{Change, Faults, Link, LinkConfig, LinkStats, Loss, Packet, Rng};
use anabranch_tcp::Instant;
use std::time::Duration;

/// `n` packets, one each millisecond, through a link of 1 Gbit/s and 5 ms.
fn through(config: LinkConfig, seed: u64, n: u32) -> (Vec<(Instant, Packet)>, LinkStats) {
    let mut link = Link::new(config, seed);
    let mut all = Vec::new();
    for tag in 0..n {
        let now = ms(u64::from(tag));
        link.push(now, packet(tag, 100));
        while let Some(packet) = link.pop(now) {
            all.push((now, packet));
        }
    }
    all.extend(arrivals(&mut link));
    (all, link.stats())
}

fn base() -> LinkConfig {
    LinkConfig::new(1000, 5)
}

#[test]
fn a_perfect_link_loses_and_reorders_nothing() {
    let (all, stats) = through(base(), 1, 1000);
    let tags: Vec<_> = all.iter().map(|(_, p)| p.tag).collect();
    assert_eq!(tags, (0..1000).collect::<Vec<_>>());
    assert_eq!((stats.pushed, stats.delivered), (1000, 1000));
}

#[test]
fn random_loss_takes_its_share() {
    let (_, stats) = through(base().loss(Loss::Random(0.05)), 7, 100_000);
    // Standard deviation: 69 packets.
    assert!((4_650..=5_350).contains(&stats.lost), "{}", stats.lost);
    assert_eq!(stats.delivered + stats.lost, 100_000);
}

#[test]
fn bursts_have_their_length_and_share() {
    let loss = Loss::Bursts {
        enter: 0.01,
        leave: 0.2,
        good: 0.0,
        bad: 1.0,
    };
    let (all, stats) = through(base().loss(loss), 7, 100_000);
    // The bad state holds 0.01 / (0.01 + 0.2) of the packets, 5 at a time.
    let share = stats.lost as f64 / 100_000.0;
    assert!((0.043..0.052).contains(&share), "{share}");
    let gaps = all.windows(2).filter(|w| w[1].1.tag > w[0].1.tag + 1);
    let mean = stats.lost as f64 / gaps.count() as f64;
    assert!((4.5..5.5).contains(&mean), "{mean}");
}

#[test]
fn jitter_delays_within_bounds_and_keeps_the_order() {
    let config = LinkConfig {
        jitter: Duration::from_millis(30),
        ..base()
    };
    let (all, _) = through(config, 3, 2000);
    assert_eq!(all.len(), 2000);
    assert!(all.windows(2).all(|w| w[0].1.tag < w[1].1.tag));
    let delay = |(at, p): &(Instant, Packet)| at.since(ms(u64::from(p.tag)));
    assert!(all.iter().all(|a| delay(a) >= Duration::from_millis(5)));
    assert!(all.iter().all(|a| delay(a) <= Duration::from_millis(36)));
    assert!(all.iter().any(|a| delay(a) > Duration::from_millis(25)));
}

#[test]
fn reordered_packets_come_late_and_all_come() {
    let faults = Faults {
        reorder: 0.1,
        reorder_delay: Duration::from_millis(4),
        ..Faults::default()
    };
    let (all, stats) = through(base().faults(faults), 3, 10_000);
    assert_eq!(all.len(), 10_000);
    assert!((850..=1150).contains(&stats.reordered));
    let late = all.windows(2).filter(|w| w[0].1.tag > w[1].1.tag).count();
    // Two late ones in a row keep their order between them.
    assert!(late > 700 && late as u64 <= stats.reordered, "{late}");
}

#[test]
fn duplicates_come_twice() {
    let faults = Faults {
        duplicate: 0.02,
        ..Faults::default()
    };
    let (all, stats) = through(base().faults(faults), 3, 10_000);
    assert!((140..=260).contains(&stats.duplicated));
    assert_eq!(all.len() as u64, 10_000 + stats.duplicated);
    let twice = all.windows(2).filter(|w| w[0] == w[1]).count() as u64;
    assert_eq!(twice, stats.duplicated);
}

#[test]
fn corruption_alters_one_byte() {
    let faults = Faults {
        corrupt: 0.02,
        ..Faults::default()
    };
    let (all, stats) = through(base().faults(faults), 3, 10_000);
    assert_eq!(all.len(), 10_000);
    let altered = |p: &Packet| p.data.iter().filter(|b| **b != 0).count();
    let hit = all.iter().filter(|(_, p)| altered(p) > 0).count() as u64;
    assert_eq!(hit, stats.corrupted);
    assert!(all.iter().all(|(_, p)| altered(p) <= 1));
    assert!((140..=260).contains(&hit));
}

#[test]
fn a_blackhole_swallows_what_is_sent_into_it() {
    let config = base()
        .change(ms(100), Change::Blackhole(true))
        .change(ms(200), Change::Blackhole(false));
    let (all, stats) = through(config, 1, 300);
    let tags: Vec<_> = all.iter().map(|(_, p)| p.tag).collect();
    assert_eq!(tags, (0..100).chain(200..300).collect::<Vec<_>>());
    assert_eq!(stats.blackholed, 100);
}

#[test]
fn a_cut_cable_loses_what_is_in_flight_too() {
    let config = base()
        .change(us(100_500), Change::Down(true))
        .change(us(199_500), Change::Down(false));
    let (all, stats) = through(config, 1, 300);
    let tags: Vec<_> = all.iter().map(|(_, p)| p.tag).collect();
    // 5 ms were in flight when it was cut.
    assert_eq!(tags, (0..96).chain(200..300).collect::<Vec<_>>());
    assert_eq!(stats.down, 104);
}

#[test]
fn the_same_seed_makes_the_same_arrivals() {
    let mut rng = Rng::new(11);
    for seed in 0..50 {
        let config = LinkConfig {
            jitter: Duration::from_micros(rng.range(0..3000)),
            ..base()
        }
        .loss(Loss::Random(0.1))
        .faults(Faults {
            reorder: 0.1,
            reorder_delay: Duration::from_millis(3),
            duplicate: 0.1,
            corrupt: 0.1,
        });
        let first = through(config.clone(), seed, 300);
        assert_eq!(first, through(config.clone(), seed, 300));
        assert_ne!(first, through(config, seed + 1, 300));
    }
}
