//! What one core spends on Multipath TCP itself: two connections in memory, super-frames handed
//! over whole, no packets written. Prints Gbit/s of payload, both ends together on one core.

use anabranch_mptcp::{Config, Connection, Outgoing, Path, Start};
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::Flags;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Bytes moved in each run.
const TOTAL: u64 = 4 << 30;
/// One way, virtual time.
const DELAY: Duration = Duration::from_micros(50);

struct Flight {
    at: Instant,
    to: usize,
    path: Path,
    outgoing: Outgoing,
}

struct Bench {
    now: Instant,
    ends: [Connection; 2],
    flights: VecDeque<Flight>,
    received: u64,
    segments: u64,
}

fn path(link: u8) -> Path {
    Path {
        local: ([10, 0, link, 1], 5000).into(),
        remote: ([10, 1, link, 1], 443).into(),
    }
}

fn reverse(p: Path) -> Path {
    Path {
        local: p.remote,
        remote: p.local,
    }
}

fn start(iss: u32) -> Start {
    Start {
        iss: Seq(iss),
        ts_offset: 0,
        mss: 1460,
        known_mss: None,
    }
}

fn segment(o: &Outgoing) -> Segment {
    let len = (o.emit.rel.end - o.emit.rel.start) as u32;
    Segment {
        seq: o.emit.seq,
        ack: o.emit.ack,
        wnd: o.emit.wnd,
        flags: o.emit.flags,
        len,
        gso_size: if len > u32::from(o.emit.mss) {
            o.emit.mss
        } else {
            0
        },
        options: o.emit.options.clone(),
        ecn: 0,
        signal_only: false,
    }
}

/// As a driver's receive buffer would hold it; nearly always one slice.
fn joined(o: &Outgoing) -> Bytes {
    if let [one] = &o.payload[..] {
        return one.clone();
    }
    let mut all = BytesMut::new();
    o.payload.iter().for_each(|p| all.extend_from_slice(p));
    all.freeze()
}

impl Bench {
    fn new(config: Config, links: u8) -> Bench {
        let config = Arc::new(config);
        let mut now = Instant(1_000_000_000);
        let mut client = Connection::connect(now, &config, 1, path(0), start(100));
        let syn = client.poll_transmit(now).expect("a SYN");
        let Some(MptcpOption::Capable(capable)) = syn.mptcp.first() else {
            panic!("{syn:?}")
        };
        now = now + DELAY;
        let there = reverse(path(0));
        let syn = segment(&syn);
        let server = Connection::accept(now, &config, 2, there, &syn, capable, start(200));
        let ends = [client, server];
        let mut bench = Bench {
            now,
            ends,
            flights: VecDeque::new(),
            received: 0,
            segments: 0,
        };
        bench.drain(1);
        bench.run(0);
        for link in 1..links {
            let iss = 1000 * u32::from(link);
            let now = bench.now;
            bench.ends[0]
                .join_active(now, path(link), 0, start(iss), 7, false)
                .expect("a join");
            bench.drain(0);
            bench.run(0);
        }
        bench
    }

    fn drain(&mut self, from: usize) {
        let connection = &mut self.ends[from];
        while let Some(outgoing) = connection.poll_transmit(self.now) {
            let path = connection.path(outgoing.subflow).expect("a subflow");
            let at = self.now + DELAY;
            self.flights.push_back(Flight {
                at,
                to: 1 - from,
                path: reverse(path),
                outgoing,
            });
        }
        while connection.poll_event().is_some() {}
    }

    fn deliver(&mut self, f: Flight) {
        self.segments += 1;
        let c = &mut self.ends[f.to];
        let segment = segment(&f.outgoing);
        let known = c.subflows().find(|id| c.path(*id) == Some(f.path));
        match (known, f.outgoing.mptcp.first()) {
            (Some(id), _) => {
                let payload = joined(&f.outgoing);
                c.on_segment(self.now, id, segment, &f.outgoing.mptcp, payload);
            }
            (None, Some(MptcpOption::Join(join))) if segment.flags.has(Flags::SYN) => {
                let joined = c.join_passive(self.now, f.path, &segment, join, start(9), 3);
                joined.expect("a join");
            }
            _ => panic!("{:?}", f.outgoing),
        }
        while let Some(bytes) = c.recv(self.now, usize::MAX) {
            self.received += bytes.len() as u64;
        }
        self.drain(f.to);
    }

    /// Until so much was received, or nothing is left to do.
    fn run(&mut self, until: u64) {
        let chunk = Bytes::from(vec![7; 64 << 10]);
        loop {
            if until > 0 {
                while self.ends[0].send(chunk.clone()) > 0 {}
                self.drain(0);
            }
            if self.received >= until && until > 0 {
                return;
            }
            if let Some(f) = self.flights.pop_front() {
                self.now = self.now.max(f.at);
                self.deliver(f);
                continue;
            }
            let Some(at) = self.ends.iter().filter_map(Connection::deadline).min() else {
                return;
            };
            if until == 0 {
                return;
            }
            self.now = self.now.max(at);
            for i in 0..2 {
                self.ends[i].on_deadline(self.now);
                self.drain(i);
            }
        }
    }
}

fn measure(name: &str, config: Config, links: u8) {
    let mut bench = Bench::new(config, links);
    bench.run(256 << 20);
    let (from, segments) = (bench.received, bench.segments);
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let clock = std::time::Instant::now();
    bench.run(from + TOTAL);
    let seconds = clock.elapsed().as_secs_f64();
    let bytes = bench.received - from;
    let segments = bench.segments - segments;
    println!(
        "{name:32} {:8.1} Gbit/s {:8.0} ns/segment {:8.0} bytes/segment",
        bytes as f64 * 8.0 / seconds / 1e9,
        seconds * 1e9 / segments as f64,
        bytes as f64 / segments as f64,
    );
}

fn main() {
    let offload = || {
        let mut config = Config {
            gso_max: 64_080,
            send_buffer: 8 << 20,
            ..Config::default()
        };
        config.tcp.recv_buffer = 8 << 20;
        config
    };
    measure("one subflow, super-frames", offload(), 1);
    measure("two subflows, super-frames", offload(), 2);
    measure("four subflows, super-frames", offload(), 4);
    let single = || Config {
        gso_max: 0,
        ..offload()
    };
    measure("two subflows, single packets", single(), 2);
    let checksum = || Config {
        checksum: true,
        ..offload()
    };
    measure("two subflows, super-frames, sums", checksum(), 2);
}
