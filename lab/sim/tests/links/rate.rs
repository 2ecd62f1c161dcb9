//! A link serves its rate, no more, no less, and its queue drops at the tail.

use crate::{arrivals, ms, packet, us};
use anabranch_sim::{Change, Link, LinkConfig, Queue};
use anabranch_tcp::Instant;
use std::time::Duration;

#[test]
fn packets_leave_one_after_the_other_at_the_rate() {
    // 1,250 bytes at 10 Mbit/s are 1 ms.
    let mut link = Link::new(LinkConfig::new(10, 20), 1);
    for n in 0..5 {
        link.push(Instant(0), packet(n, 1250));
    }
    let times: Vec<_> = arrivals(&mut link).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [ms(21), ms(22), ms(23), ms(24), ms(25)]);
}

#[test]
fn an_idle_link_saves_nothing_up() {
    let mut link = Link::new(LinkConfig::new(10, 0), 1);
    link.push(ms(500), packet(0, 1250));
    link.push(ms(500), packet(1, 1250));
    let times: Vec<_> = arrivals(&mut link).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [ms(501), ms(502)]);
}

#[test]
fn a_second_of_overload_carries_one_second_of_rate() {
    let mut link = Link::new(LinkConfig::new(80, 5).queue(Queue::Packets(20)), 1);
    // 1,000-byte packets every 50 µs: 160 Mbit/s offered to 80.
    let mut delivered = 0;
    for n in 0..20_000u32 {
        let now = us(50 * u64::from(n));
        link.push(now, packet(n, 1000));
        while link.pop(now).is_some() {
            delivered += 1;
        }
    }
    delivered += arrivals(&mut link).len() as u64;
    // 10,000 in the second, then what the queue and the transmitter still held.
    assert!((10_000..=10_021).contains(&delivered), "{delivered}");
    let stats = link.stats();
    assert_eq!(stats.delivered, delivered);
    assert_eq!(stats.pushed, stats.delivered + stats.queue_drops);
}

#[test]
fn the_queue_counts_bytes_or_packets_besides_the_one_being_sent() {
    for (queue, taken) in [
        (Queue::Packets(3), 4),
        (Queue::Bytes(2500), 3),
        (Queue::Bytes(100), 2),
        (Queue::Unlimited, 10),
    ] {
        let mut link = Link::new(LinkConfig::new(1, 0).queue(queue), 1);
        for n in 0..10 {
            link.push(Instant(0), packet(n, 1000));
        }
        let tags: Vec<_> = arrivals(&mut link).iter().map(|(_, p)| p.tag).collect();
        assert_eq!(tags, (0..taken).collect::<Vec<_>>(), "{queue:?}");
        assert_eq!(link.stats().queue_drops, u64::from(10 - taken), "{queue:?}");
        assert!(link.is_empty() && link.queued() == 0);
    }
}

#[test]
fn an_unlimited_rate_only_delays() {
    let config = LinkConfig {
        delay: Duration::from_millis(7),
        ..LinkConfig::default()
    };
    let mut link = Link::new(config, 1);
    for n in 0..3 {
        link.push(ms(1), packet(n, 60_000));
    }
    assert_eq!(link.deadline(), Some(ms(8)));
    assert!(link.pop(us(7999)).is_none());
    assert_eq!(arrivals(&mut link).len(), 3);
    assert_eq!(link.deadline(), None);
}

#[test]
fn a_new_rate_holds_from_the_next_packet_on() {
    let config = LinkConfig::new(10, 0).change(us(1500), Change::Rate(Some(100_000_000)));
    let mut link = Link::new(config, 1);
    for n in 0..4 {
        link.push(Instant(0), packet(n, 1250));
    }
    let times: Vec<_> = arrivals(&mut link).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [us(1000), us(2000), us(2100), us(2200)]);
}
