//! Bulk over many connections of one stack, beside others that are idle: in virtual time, so that
//! the work is always the same, and with a real clock that runs only while the server has its turn.
//!
//! `to SECONDS` and `from SECONDS` on standard input are answered by Gbit that the server moves in a
//! second.

use anabranch_counts::world::{Ends, HOP, Protocol, World, chunk, drain, frames, read};
use anabranch_stack::{Keepalive, SocketOption};
use anabranch_wire::frame::{Frame, Transmit};
use bytes::Bytes;
use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

/// Connections that have a turn together, as a driver's batch of packets has.
const BATCH: usize = 64;
/// Bytes that bring windows to what they are in the middle of a transfer.
const WARM_UP: usize = 2 << 20;
/// How long idle connections are given to rest.
const REST: Duration = Duration::from_secs(10);

const PROTOCOL: Protocol = Protocol::Multipath {
    subflows: 2,
    checksum: false,
};

struct Busy {
    world: World,
    ends: Vec<Ends>,
    data: Bytes,
    /// Room for packets.
    packets: Vec<Transmit>,
    /// That the server had.
    time: Duration,
    /// Handed over for sending.
    bytes: usize,
}

/// Answers until standard input ends.
pub(crate) fn run(busy: usize, idle: usize) -> io::Result<()> {
    let mut busy = Busy::new(busy, idle);
    let answer = |line: &str| {
        println!("{line}");
        io::stdout().flush()
    };
    answer("ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [way @ ("to" | "from"), seconds] = words[..] else {
            return Err(io::Error::other(format!("what is {line}?")));
        };
        let seconds: f64 = seconds.parse().map_err(io::Error::other)?;
        let gbits = busy.goodput(way == "to", Duration::from_secs_f64(seconds));
        answer(&gbits.to_string())?;
    }
    Ok(())
}

impl Busy {
    /// With idle connections, which have a timer each, among those that will be busy.
    fn new(busy: usize, idle: usize) -> Busy {
        let mut world = World::new(PROTOCOL);
        let mut ends = Vec::with_capacity(busy);
        for n in 0..busy + idle {
            let new = world.connect(n);
            // Spread over the tables, not side by side in them.
            if n * busy / (busy + idle) >= ends.len() {
                ends.push(new);
            } else {
                let option = SocketOption::Keepalive(Some(Keepalive::default()));
                let set = world.server.set_option(world.now, new.server, &option);
                set.expect("a connection");
            }
        }
        for ends in &ends {
            world.transfer(*ends, WARM_UP);
        }
        world.pass(REST);
        Busy {
            world,
            ends,
            data: chunk(),
            packets: Vec::with_capacity(4 * BATCH),
            time: Duration::ZERO,
            bytes: 0,
        }
    }

    fn goodput(&mut self, upload: bool, time: Duration) -> f64 {
        // What rested wakes before that is counted.
        self.round(upload);
        let start = Instant::now();
        (self.time, self.bytes) = (Duration::ZERO, 0);
        while start.elapsed() < time {
            self.round(upload);
        }
        self.bytes as f64 * 8.0 / 1e9 / self.time.as_secs_f64()
    }

    /// A super-frame over each connection.
    fn round(&mut self, upload: bool) {
        let ends = self.ends.clone();
        for batch in ends.chunks(BATCH) {
            if upload {
                self.upload(batch);
            } else {
                self.download(batch);
            }
        }
    }

    fn upload(&mut self, batch: &[Ends]) {
        let now = self.world.now;
        for ends in batch {
            let taken = self.world.client.send(now, ends.client, self.data.clone());
            self.bytes += taken.expect("a connection");
        }
        let mut arriving = self.client_says();
        while !arriving.is_empty() {
            let reader = |world: &mut World| {
                for ends in batch {
                    read(&mut world.server, world.now, ends.server);
                }
            };
            let back = self.server_turn(arriving, reader);
            arriving = self.client_turn(back, |_| {});
        }
    }

    fn download(&mut self, batch: &[Ends]) {
        let data = self.data.clone();
        let bytes = Cell::new(0);
        let mut leaving = self.server_turn(Vec::new(), |world| {
            for ends in batch {
                let taken = world.server.send(world.now, ends.server, data.clone());
                bytes.set(bytes.get() + taken.expect("a connection"));
            }
        });
        self.bytes += bytes.get();
        while !leaving.is_empty() {
            let back = self.client_turn(leaving, |world| {
                for ends in batch {
                    read(&mut world.client, world.now, ends.client);
                }
            });
            leaving = self.server_turn(back, |_| {});
        }
    }

    /// The server takes packets, its application has its turn, and what there is to send leaves: all
    /// that is timed.
    fn server_turn(&mut self, arriving: Vec<Frame>, work: impl Fn(&mut World)) -> Vec<Frame> {
        self.world.now = self.world.now + HOP;
        let (world, packets) = (&mut self.world, &mut self.packets);
        let start = Instant::now();
        if world.server.deadline().is_some_and(|at| at <= world.now) {
            world.server.on_deadline(world.now);
        }
        for frame in arriving {
            world.server.receive(world.now, frame);
        }
        work(world);
        drain(&mut world.server, world.now, packets);
        self.time += start.elapsed();
        taken(packets)
    }

    /// The same of the client, in its own time.
    fn client_turn(&mut self, arriving: Vec<Frame>, work: impl Fn(&mut World)) -> Vec<Frame> {
        self.world.now = self.world.now + HOP;
        for frame in arriving {
            self.world.client.receive(self.world.now, frame);
        }
        work(&mut self.world);
        self.client_says()
    }

    fn client_says(&mut self) -> Vec<Frame> {
        let now = self.world.now;
        if self.world.client.deadline().is_some_and(|at| at <= now) {
            self.world.client.on_deadline(now);
        }
        drain(&mut self.world.client, now, &mut self.packets);
        taken(&mut self.packets)
    }
}

/// As they come out of the device of the other host.
fn taken(packets: &mut Vec<Transmit>) -> Vec<Frame> {
    let frames = frames(packets);
    packets.clear();
    frames
}
