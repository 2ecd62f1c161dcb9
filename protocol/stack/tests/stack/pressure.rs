//! A thousand connections that share little memory.

use crate::pair::*;
use anabranch_stack::{Config, Limits};
use std::collections::BTreeMap;
use std::time::Duration;

const MEMORY: usize = 16 << 20;
const EACH: usize = 60_000;

/// Right edge of the window that each packet of B advertises never moves back.
fn watch_edges(pair: &mut Pair) -> std::rc::Rc<std::cell::Cell<u64>> {
    let moved_back = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = moved_back.clone();
    let mut scales = BTreeMap::new();
    let mut edges = BTreeMap::new();
    pair.filter = Some(Box::new(move |side, transmit| {
        for packet in transmit.packets().filter(|_| side == B) {
            let bytes = packet.to_bytes();
            let parsed = anabranch_wire::Packet::parse(&bytes).expect("our own");
            if let anabranch_wire::tcp::Options::Syn(options) = &parsed.options {
                scales.insert(parsed.dst, options.window_scale.unwrap_or(0));
                continue;
            }
            let scale = scales.get(&parsed.dst).copied().unwrap_or(0);
            let edge = parsed.ack + (u32::from(parsed.window) << scale);
            let known = edges.entry(parsed.dst).or_insert(edge);
            // The window field is rounded down to what the scale can say.
            if edge.since(*known) < -(1 << scale) {
                count.set(count.get() + 1);
            } else if edge.since(*known) > 0 {
                *known = edge;
            }
        }
        Some(transmit)
    }));
    moved_back
}

#[test]
fn a_thousand_connections_share_little_memory_and_lose_no_byte() {
    let server = Config {
        limits: Limits {
            memory: MEMORY,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut pair = Pair::new(Config::default(), server);
    let listener = pair.listen();
    let moved_back = watch_edges(&mut pair);
    let flows: Vec<_> = (0..1000)
        .map(|_| pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false))
        .collect();
    pair.log.clear();
    let data = pattern(EACH);
    for (client, _) in &flows {
        let taken = pair.a.send(pair.now, *client, data.clone());
        assert_eq!(taken, Ok(EACH));
    }
    // Sixty megabytes want in, nobody reads.
    for _ in 0..20 {
        pair.run(Duration::from_millis(250));
        pair.log.clear();
        assert!(pair.b.memory() <= MEMORY + MEMORY / 4);
    }
    assert!(pair.b.memory() >= MEMORY / 2, "it is used");
    // Now all read.
    let mut got = vec![Vec::new(); flows.len()];
    let mut left = true;
    for _ in 0..600 {
        pair.run(Duration::from_millis(200));
        pair.log.clear();
        assert!(pair.b.memory() <= MEMORY + MEMORY / 4);
        left = false;
        for ((_, server), got) in flows.iter().zip(&mut got) {
            read(&mut pair, (B, *server), got);
            left |= got.len() < EACH;
        }
        if !left {
            break;
        }
    }
    assert!(!left, "all recover");
    assert!(got.iter().all(|got| got[..] == data[..]));
    assert_eq!(moved_back.get(), 0, "no right edge moved back");
    let idle = pair.b.memory();
    assert!(idle <= flows.len() * 4096, "{idle}: buffers are given back");
}
