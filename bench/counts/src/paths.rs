//! The paths that are counted.

use crate::world::{CHUNK, HOP, Protocol, World, chunk, drain, frames, packets, read};
use anabranch_wire::frame::{Frame, Transmit};
use bytes::Bytes;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What happens in what is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// A super-frame arrives, is read by the application, and acknowledged if that is due.
    Receive,
    /// The application hands over 60,000 bytes, which leave as a super-frame.
    Send,
    /// An acknowledgement of super-frames arrives, and nothing is left to send.
    Ack,
    /// A byte arrives, is read, and one byte is sent in return.
    Echo,
    /// A SYN is answered, and the third ACK makes it a connection that is accepted.
    Accept,
    /// The timer of a delayed acknowledgement expires, and it leaves.
    Timer,
}

impl Path {
    /// All of them.
    pub const ALL: [Path; 6] = [
        Path::Receive,
        Path::Send,
        Path::Ack,
        Path::Echo,
        Path::Accept,
        Path::Timer,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Path::Receive => "receive",
            Path::Send => "send",
            Path::Ack => "ack",
            Path::Echo => "echo",
            Path::Accept => "accept",
            Path::Timer => "timer",
        }
    }
}

/// The protocols that each path is counted for, with names for the table.
pub const PROTOCOLS: [(&str, Protocol); 3] = [
    ("tcp", Protocol::Plain),
    (
        "mptcp",
        Protocol::Multipath {
            subflows: 2,
            checksum: false,
        },
    ),
    (
        "checksum",
        Protocol::Multipath {
            subflows: 2,
            checksum: true,
        },
    ),
];

/// How often a path was taken, and what that asked of the allocator.
#[derive(Clone, Copy, Default, Debug)]
pub struct Taken {
    /// How often: of [`Path::Receive`] and [`Path::Send`] once for each super-frame.
    pub times: u64,
    /// Allocations.
    pub allocations: u64,
}

/// Rounds that are not counted, in which buffers and windows find their sizes.
const WARM_UP: usize = 50;
/// Rounds that are.
const ROUNDS: usize = 200;

/// Takes a path some hundred times inside `measured`, which a profiler is told to look at alone.
pub fn run(path: Path, protocol: Protocol) -> Taken {
    let mut runner = Runner::new(path, protocol);
    for round in 0..WARM_UP + ROUNDS {
        runner.counting = round >= WARM_UP;
        match path {
            Path::Receive | Path::Send | Path::Ack => runner.bulk(),
            Path::Echo => runner.echo(),
            Path::Accept => runner.accept(round),
            Path::Timer => runner.timer(),
        }
    }
    runner.taken
}

/// Payload in Gbit that plain TCP carries from one host to the other in a second of real time, both
/// hosts and the application on one core.
pub fn goodput(time: Duration) -> f64 {
    let mut runner = Runner::new(Path::Timer, Protocol::Plain);
    (0..1000).for_each(|_| runner.bulk());
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < time {
        (0..100).for_each(|_| runner.bulk());
        bytes += 100 * CHUNK;
    }
    bytes as f64 * 8.0 / 1e9 / start.elapsed().as_secs_f64()
}

/// What a profiler looks at.
#[inline(never)]
fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

struct Runner {
    world: World,
    /// What the application writes: shared already, so that handing it over allocates nothing.
    data: Bytes,
    /// Room for packets, so that what is counted allocates none.
    packets: Vec<Transmit>,
    ends: crate::world::Ends,
    path: Path,
    counting: bool,
    taken: Taken,
}

impl Runner {
    fn new(path: Path, protocol: Protocol) -> Runner {
        let mut world = World::new(protocol);
        let ends = world.connect(0);
        // Windows that hold a super-frame many times over, and no acknowledgement sent early.
        world.transfer(ends, 16 << 20);
        let data = chunk();
        Runner {
            world,
            ends,
            data: data.clone(),
            packets: Vec::with_capacity(64),
            path,
            counting: false,
            taken: Taken::default(),
        }
    }

    /// Does `work`, which belongs to `path` and is `times` takings of it.
    ///
    /// What it adds to the packets it is given goes to the other host.
    fn step(
        &mut self,
        path: Path,
        work: impl FnOnce(&mut World, &mut Vec<Transmit>) -> usize,
    ) -> Vec<Frame> {
        let (world, packets) = (&mut self.world, &mut self.packets);
        if !self.counting || path != self.path {
            work(world, packets);
        } else {
            let before = anabranch_heap::allocations();
            let times = measured(|| work(world, packets));
            self.taken.allocations += anabranch_heap::allocations() - before;
            self.taken.times += times as u64;
        }
        let frames = frames(packets);
        packets.clear();
        frames
    }

    /// One super-frame from the client to the server's application.
    fn bulk(&mut self) {
        let (ends, data) = (self.ends, self.data.clone());
        let sent = self.step(Path::Send, |world, packets| {
            let now = world.now;
            let taken = world.client.send(now, ends.client, data);
            assert_eq!(taken, Ok(CHUNK));
            drain(&mut world.client, now, packets);
            packets.len()
        });
        self.world.now = self.world.now + HOP;
        let mut acks = Vec::new();
        for frame in sent {
            acks.extend(self.step(Path::Receive, |world, packets| {
                let now = world.now;
                world.server.receive(now, frame);
                read(&mut world.server, now, ends.server);
                drain(&mut world.server, now, packets);
                1
            }));
        }
        self.world.now = self.world.now + HOP;
        for frame in acks {
            let more = self.step(Path::Ack, |world, packets| {
                let now = world.now;
                world.client.receive(now, frame);
                drain(&mut world.client, now, packets);
                1
            });
            assert!(more.is_empty(), "more to send");
        }
        self.rest();
    }

    /// A byte to the server and one back.
    fn echo(&mut self) {
        let (ends, byte) = (self.ends, self.data.slice(..1));
        let now = self.world.now;
        let sent = self.world.client.send(now, ends.client, byte.clone());
        assert_eq!(sent, Ok(1));
        let request = frames(&packets(&mut self.world.client, now));
        self.world.now = self.world.now + HOP;
        for frame in request {
            let byte = byte.clone();
            let reply = self.step(Path::Echo, |world, packets| {
                let now = world.now;
                world.server.receive(now, frame);
                assert_eq!(read(&mut world.server, now, ends.server), 1);
                assert_eq!(world.server.send(now, ends.server, byte), Ok(1));
                drain(&mut world.server, now, packets);
                1
            });
            self.world.now = self.world.now + HOP;
            for frame in reply {
                let now = self.world.now;
                self.world.client.receive(now, frame);
                read(&mut self.world.client, now, ends.client);
            }
        }
        self.rest();
    }

    /// A handshake as the server sees it.
    fn accept(&mut self, round: usize) {
        self.world.begin(round);
        let (mut to_server, mut accepted) = (packets(&mut self.world.client, self.world.now), 0);
        while accepted == 0 {
            self.world.now = self.world.now + HOP;
            let arriving = frames(&to_server);
            let to_client = self.step(Path::Accept, |world, packets| {
                for frame in arriving {
                    world.server.receive(world.now, frame);
                }
                drain(&mut world.server, world.now, packets);
                accepted += usize::from(world.accept().is_some());
                accepted
            });
            self.world.now = self.world.now + HOP;
            for frame in to_client {
                self.world.client.receive(self.world.now, frame);
            }
            to_server = packets(&mut self.world.client, self.world.now);
        }
        self.rest();
    }

    /// One byte that nobody answers: its acknowledgement is delayed.
    fn timer(&mut self) {
        let (ends, byte) = (self.ends, self.data.slice(..1));
        let now = self.world.now;
        assert_eq!(self.world.client.send(now, ends.client, byte), Ok(1));
        let sent = packets(&mut self.world.client, now);
        self.world.now = self.world.now + HOP;
        for frame in frames(&sent) {
            self.world.server.receive(self.world.now, frame);
        }
        read(&mut self.world.server, self.world.now, ends.server);
        let early = packets(&mut self.world.server, self.world.now);
        if !self.counting && !early.is_empty() {
            // The first of a connection are acknowledged at once.
            for frame in frames(&early) {
                self.world.client.receive(self.world.now, frame);
            }
            return self.rest();
        }
        assert!(early.is_empty(), "acknowledged at once");
        self.world.now = self.world.server.deadline().expect("a timer");
        let acks = self.step(Path::Timer, |world, packets| {
            world.server.on_deadline(world.now);
            drain(&mut world.server, world.now, packets);
            1
        });
        assert_eq!(acks.len(), 1);
        for frame in acks {
            self.world.client.receive(self.world.now, frame);
        }
        self.rest();
    }

    /// Nothing of this round is left for the next.
    fn rest(&mut self) {
        self.world.pass(Duration::from_millis(1));
        let (now, ends) = (self.world.now, self.ends);
        read(&mut self.world.server, now, ends.server);
        self.world.exchange();
    }
}
