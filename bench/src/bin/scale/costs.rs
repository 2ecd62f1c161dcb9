//! Nanoseconds of what a stack does for each packet or timer, among so many connections.

use anabranch_counts::world::{Ends, Protocol, World};
use anabranch_stack::wheel::Wheel;
use anabranch_stack::{Instant, Stack};
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::time;

/// What is timed at once, so that reading the clock costs nothing.
const TIMES: usize = 1_000_000;
/// Times of timers: within two hours, as keepalive has them.
const SPAN: u64 = 7_200_000_000_000;
/// Connections with two subflows each.
const PROTOCOL: Protocol = Protocol::Multipath {
    subflows: 2,
    checksum: false,
};

/// Prints the nanoseconds of one of them.
pub(crate) fn run(connections: usize, name: &str) -> io::Result<()> {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let keys: Vec<u32> = (0..TIMES).map(|_| draw.below(connections) as u32).collect();
    let times: Vec<u64> = (0..TIMES).map(|_| draw.next() % SPAN).collect();
    let nanoseconds = match name {
        "set" => set(connections, &keys, &times),
        "expire" => expire(connections, &times),
        "segment" => segment(&established(connections), &keys),
        "token" => token(&established(connections), &keys),
        _ => return Err(io::Error::other(format!("what is {name}?"))),
    };
    println!("{nanoseconds}");
    Ok(())
}

/// A server with so many connections, and their ends.
fn established(connections: usize) -> (Stack, Vec<Ends>) {
    let mut world = World::new(PROTOCOL);
    let ends = (0..connections).map(|n| world.connect(n)).collect();
    (world.server, ends)
}

/// A timer is moved.
fn set(connections: usize, keys: &[u32], times: &[u64]) -> f64 {
    let mut wheel = filled(connections, times);
    each(|| {
        for (key, at) in keys.iter().zip(times) {
            wheel.set(*key, Some(Instant(*at)));
        }
    })
}

/// The next timer expires, and is set anew.
fn expire(connections: usize, times: &[u64]) -> f64 {
    let mut wheel = filled(connections, times);
    each(|| {
        for after in times {
            let (key, at) = loop {
                let at = wheel.deadline().expect("as many as there were");
                if let Some(key) = wheel.expire(at) {
                    break (key, at);
                }
            };
            wheel.set(key, Some(Instant(at.0 + after)));
        }
    })
}

fn filled(connections: usize, times: &[u64]) -> Wheel {
    let mut wheel = Wheel::new(Instant(0));
    for (key, at) in (0..connections as u32).zip(times) {
        wheel.set(key, Some(Instant(*at)));
    }
    wheel
}

/// The connection of a segment is found, by both ends of one of its two subflows.
fn segment((server, ends): &(Stack, Vec<Ends>), keys: &[u32]) -> f64 {
    let both = |(n, ends): (usize, &Ends)| -> (SocketAddr, SocketAddr) {
        let info = server.info(ends.server).expect("a connection");
        let subflow = &info.subflows[n % 2];
        (subflow.local, subflow.remote)
    };
    let tuples: Vec<_> = ends.iter().enumerate().map(both).collect();
    // In the order they are asked for, so that what is timed is not how they are found here.
    let asked: Vec<_> = keys.iter().map(|key| tuples[*key as usize]).collect();
    each(|| {
        for (local, remote) in asked {
            assert!(black_box(server.find(local, remote)).is_some());
        }
    })
}

/// The connection of a join is found.
fn token((server, ends): &(Stack, Vec<Ends>), keys: &[u32]) -> f64 {
    let token = |ends: &Ends| {
        let info = server.info(ends.server).expect("a connection");
        match info.protocol {
            anabranch_stack::Protocol::Mptcp(mptcp) => mptcp.local_token,
            anabranch_stack::Protocol::Tcp => unreachable!("it fell back"),
        }
    };
    let tokens: Vec<u32> = ends.iter().map(token).collect();
    let asked: Vec<_> = keys.iter().map(|key| tokens[*key as usize]).collect();
    each(|| {
        for token in asked {
            assert!(black_box(server.find_token(token)).is_some());
        }
    })
}

/// Nanoseconds for each of [`TIMES`].
fn each(work: impl FnOnce()) -> f64 {
    let start = time::Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / TIMES as f64
}

/// A row of numbers that no cache foresees (Marsaglia, "Xorshift RNGs", 2003).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
