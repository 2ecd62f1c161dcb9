//! Two hosts joined by several links, in virtual time. Every packet is written to bytes and parsed
//! again on its way, so that an option that does not fit or does not parse fails the test.

use anabranch_mptcp::{Config, Connection, Event, Outgoing, Path, Refusal, Start, SubflowId};
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::Seq;
use anabranch_wire::frame::Transmit;
use anabranch_wire::mptcp::{Capable, Join, MptcpOption, MptcpOptions};
use anabranch_wire::packet::{Build, Packet};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < p
    }
}

/// Which end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One way between the hosts; the same both ways.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) loss: f64,
    pub(crate) duplicate: f64,
    /// Bytes a second; `None`: no limit.
    pub(crate) rate: Option<u64>,
    /// Time worth of bytes that may wait before packets are dropped.
    pub(crate) queue: Duration,
    pub(crate) up: bool,
    /// Super-frames arrive whole, as with receive offload.
    pub(crate) offload: bool,
    pub(crate) busy: [Instant; 2],
}

impl Default for Link {
    fn default() -> Link {
        Link {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            rate: None,
            queue: Duration::from_millis(50),
            up: true,
            offload: false,
            busy: [Instant(0); 2],
        }
    }
}

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) from: Side,
    pub(crate) link: usize,
    pub(crate) packet: Packet,
    pub(crate) payload: Bytes,
    pub(crate) gso_size: u16,
}

impl Wire {
    pub(crate) fn dss(&self) -> Option<&anabranch_wire::mptcp::Dss> {
        self.packet.mptcp.iter().find_map(|o| match o {
            MptcpOption::Dss(dss) => Some(dss),
            _ => None,
        })
    }

    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.packet.flags.has(flags)
    }

    pub(crate) fn options(&self) -> &MptcpOptions {
        &self.packet.mptcp
    }
}

/// What the network does to a packet besides its links: `false` drops it.
pub(crate) type Middlebox = Box<dyn FnMut(Instant, &mut Wire) -> bool>;

/// One end and its application.
pub(crate) struct Host {
    pub(crate) side: Side,
    pub(crate) config: Arc<Config>,
    pub(crate) key: u64,
    pub(crate) connection: Option<Connection>,
    pub(crate) events: Vec<Event>,
    pub(crate) received: Vec<u8>,
    /// Reads as soon as there is something.
    pub(crate) reads: bool,
    pub(crate) refusals: Vec<Refusal>,
    outbox: Bytes,
    shut: Shut,
    serial: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shut {
    No,
    AfterOutbox,
    Done,
}

impl Host {
    fn new(side: Side, config: Config, key: u64) -> Host {
        Host {
            side,
            config: Arc::new(config),
            key,
            connection: None,
            events: Vec::new(),
            received: Vec::new(),
            reads: true,
            refusals: Vec::new(),
            outbox: Bytes::new(),
            shut: Shut::No,
            serial: 0,
        }
    }

    pub(crate) fn conn(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a connection")
    }

    pub(crate) fn info(&self) -> anabranch_mptcp::Info {
        self.connection.as_ref().expect("a connection").info()
    }

    fn start(&mut self) -> Start {
        self.serial += 1;
        let iss = Seq(0x1000_0000u32
            .wrapping_mul(self.serial)
            .wrapping_add(self.key as u32));
        Start {
            iss,
            ts_offset: self.serial,
            mss: 1460,
            known_mss: None,
        }
    }

    fn nonce(&mut self) -> u32 {
        self.serial.wrapping_mul(0x9e37_79b9) ^ self.key as u32
    }

    /// What the application does when it gets the processor.
    fn run(&mut self, now: Instant) {
        let Some(connection) = self.connection.as_mut() else {
            return;
        };
        while self.reads
            && let Some(bytes) = connection.recv(now, usize::MAX)
        {
            self.received.extend_from_slice(&bytes);
        }
        while !self.outbox.is_empty() {
            let chunk = self.outbox.slice(..self.outbox.len().min(64 << 10));
            let taken = connection.send(chunk);
            if taken == 0 {
                break;
            }
            self.outbox = self.outbox.slice(taken..);
        }
        if self.outbox.is_empty() && self.shut == Shut::AfterOutbox {
            self.shut = Shut::Done;
            connection.shutdown(now);
        }
    }
}

/// Everything.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) links: Vec<Link>,
    pub(crate) middlebox: Option<Middlebox>,
    /// Every packet that was sent, whether it arrived or not.
    pub(crate) log: Vec<(Instant, Wire)>,
    pub(crate) keep_log: bool,
    pub(crate) rng: Rng,
    flights: BinaryHeap<Reverse<(Instant, u64)>>,
    wires: std::collections::BTreeMap<u64, Wire>,
    serial: u64,
}

pub(crate) const SERVER_PORT: u16 = 443;

/// The client's address on a link.
pub(crate) fn client_addr(link: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, link as u8, 1))
}

/// The server's address on a link.
pub(crate) fn server_addr(link: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 1, link as u8, 1))
}

/// The path over a link, seen from the client.
pub(crate) fn client_path(link: usize, port: u16) -> Path {
    Path {
        local: SocketAddr::new(client_addr(link), port),
        remote: SocketAddr::new(server_addr(link), SERVER_PORT),
    }
}

/// Seeds of random scenes: so many, or as many as `ANABRANCH_SEEDS` says, or the one of
/// `ANABRANCH_SEED`.
pub(crate) fn seeds(many: u64) -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("ANABRANCH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ANABRANCH_SEEDS").unwrap_or(many),
    }
}

/// Bytes that differ by position.
pub(crate) fn pattern(len: usize, seed: u64) -> Bytes {
    let mut rng = Rng(seed);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&rng.next().to_be_bytes());
    }
    out.truncate(len);
    Bytes::from(out)
}

impl World {
    /// Two hosts and so many links, nothing sent yet.
    pub(crate) fn new(links: usize) -> World {
        World::with(Config::default(), Config::default(), links)
    }

    pub(crate) fn with(client: Config, server: Config, links: usize) -> World {
        World {
            now: Instant(1_000_000_000),
            client: Host::new(Side::Client, client, 0x1122_3344_5566_7788),
            server: Host::new(Side::Server, server, 0x99aa_bbcc_ddee_ff00),
            links: vec![Link::default(); links],
            middlebox: None,
            log: Vec::new(),
            keep_log: true,
            rng: Rng(1),
            flights: BinaryHeap::new(),
            wires: std::collections::BTreeMap::new(),
            serial: 0,
        }
    }

    pub(crate) fn host(&mut self, side: Side) -> &mut Host {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// The client connects over link 0.
    pub(crate) fn connect(&mut self) {
        let start = self.client.start();
        let (config, key) = (self.client.config.clone(), self.client.key);
        let path = client_path(0, 5000);
        self.client.connection = Some(Connection::connect(self.now, &config, key, path, start));
        self.settle();
    }

    /// Connected, with the handshake complete on both sides.
    pub(crate) fn connected(links: usize) -> World {
        let mut world = World::new(links);
        world.establish();
        world
    }

    pub(crate) fn establish(&mut self) {
        self.connect();
        self.run_for(Duration::from_millis(100));
        assert_eq!(self.client.info().state, anabranch_tcp::State::Established);
        assert_eq!(self.server.info().state, anabranch_tcp::State::Established);
    }

    /// The client joins over a link.
    pub(crate) fn join(&mut self, link: usize) -> SubflowId {
        self.join_from(link, 6000 + link as u16, false)
    }

    pub(crate) fn join_from(&mut self, link: usize, port: u16, backup: bool) -> SubflowId {
        let (start, nonce) = (self.client.start(), self.client.nonce());
        let now = self.now;
        let path = client_path(link, port);
        let joined = self
            .client
            .conn()
            .join_active(now, path, 0, start, nonce, backup);
        self.settle();
        joined.expect("a join")
    }

    /// An established connection with a subflow on each link.
    pub(crate) fn joined(links: usize) -> World {
        let mut world = World::connected(links);
        world.join_all();
        world
    }

    pub(crate) fn join_all(&mut self) {
        for link in 1..self.links.len() {
            self.join(link);
        }
        self.run_for(Duration::from_millis(200));
        let links = self.links.len();
        assert_eq!(self.client.info().subflows.len(), links);
        assert_eq!(self.server.info().subflows.len(), links);
    }

    /// The application of a side sends this, as fast as it is taken.
    pub(crate) fn send(&mut self, side: Side, bytes: Bytes) {
        self.host(side).outbox = bytes;
        self.settle();
    }

    /// The application of a side sends this and then nothing more.
    pub(crate) fn send_all(&mut self, side: Side, bytes: Bytes) {
        self.host(side).outbox = bytes;
        self.host(side).shut = Shut::AfterOutbox;
        self.settle();
    }

    /// The application of a side sends nothing after what it gave before.
    pub(crate) fn finish(&mut self, side: Side) {
        self.host(side).shut = Shut::AfterOutbox;
        self.settle();
    }

    /// Do something to a side's connection.
    pub(crate) fn with_conn<T>(
        &mut self,
        side: Side,
        f: impl FnOnce(&mut Connection, Instant) -> T,
    ) -> T {
        let now = self.now;
        let result = f(self.host(side).conn(), now);
        self.settle();
        result
    }

    /// Let both sides say what they have to say now.
    pub(crate) fn settle(&mut self) {
        for side in [Side::Client, Side::Server] {
            self.drain(side);
        }
    }

    fn drain(&mut self, side: Side) {
        let now = self.now;
        let host = self.host(side);
        host.run(now);
        let mut wires = Vec::new();
        if let Some(connection) = host.connection.as_mut() {
            loop {
                while let Some(outgoing) = connection.poll_transmit(now) {
                    let path = connection
                        .path(outgoing.subflow)
                        .expect("a subflow that sends");
                    wires.push((path, outgoing));
                }
                let before = host.events.len();
                while let Some(event) = connection.poll_event() {
                    host.events.push(event);
                }
                if host.events.len() == before {
                    break;
                }
            }
        }
        let sent = wires.len();
        for (path, outgoing) in wires {
            self.transmit(side, path, &outgoing);
        }
        let again = self.host(side);
        if sent > 0 && again.connection.as_ref().is_some_and(|c| c.send_room() > 0) {
            again.run(now);
        }
    }

    /// Write it, cut it as a device would, and put it on its link.
    fn transmit(&mut self, from: Side, path: Path, outgoing: &Outgoing) {
        let emit = &outgoing.emit;
        let build = Build {
            src: path.local,
            dst: path.remote,
            ttl: 64,
            traffic_class: emit.ecn,
            ident: 0,
            seq: emit.seq,
            ack: emit.ack,
            flags: emit.flags,
            window: emit.wnd,
            urgent: 0,
            options: &emit.options,
            mptcp: &outgoing.mptcp,
        };
        let len: usize = outgoing.payload.iter().map(Bytes::len).sum();
        assert_eq!(
            len as u64,
            emit.rel.end - emit.rel.start,
            "payload of {emit:?}"
        );
        let frame = build.transmit(outgoing.payload.clone(), emit.mss);
        let frame = frame.unwrap_or_else(|e| panic!("{e:?}: {outgoing:?}"));
        let client = if from == Side::Client {
            path.local
        } else {
            path.remote
        };
        let IpAddr::V4(v4) = client.ip() else {
            panic!("IPv4 only")
        };
        let link = usize::from(v4.octets()[2]);
        if self.links[link].offload {
            self.put(from, link, &frame, emit.mss);
        } else {
            let packets: Vec<Transmit> = frame.packets().collect();
            packets.iter().for_each(|p| self.put(from, link, p, 0));
        }
    }

    fn put(&mut self, from: Side, link: usize, frame: &Transmit, mss: u16) {
        let bytes = frame.to_bytes();
        let packet = Packet::parse(&bytes).expect("a packet that parses");
        assert_eq!(packet.bad_options, 0, "{packet:?}");
        let payload = bytes.slice(packet.payload.clone());
        let gso_size = if payload.len() > usize::from(mss) {
            mss
        } else {
            0
        };
        self.put_wire(Wire {
            from,
            link,
            packet,
            payload,
            gso_size,
        });
    }

    /// Put a packet on its link.
    pub(crate) fn put_wire(&mut self, mut wire: Wire) {
        let now = self.now;
        if let Some(middlebox) = &mut self.middlebox
            && !middlebox(now, &mut wire)
        {
            return;
        }
        if self.keep_log {
            self.log.push((now, wire.clone()));
        }
        let link = &mut self.links[wire.link];
        if !link.up || self.rng.chance(link.loss) {
            return;
        }
        let mut at = now;
        if let Some(rate) = link.rate {
            let busy = &mut link.busy[wire.from as usize];
            let start = (*busy).max(now);
            if start.since(now) > link.queue {
                return;
            }
            let nanos = (wire.payload.len() as u64 + 60) * 1_000_000_000 / rate;
            *busy = start + Duration::from_nanos(nanos);
            at = *busy;
        }
        let copies = 1 + u64::from(self.rng.chance(link.duplicate));
        for _ in 0..copies {
            let jitter = self.rng.below(link.jitter.as_nanos() as u64 + 1);
            let arrival = at + link.delay + Duration::from_nanos(jitter);
            self.serial += 1;
            self.flights.push(Reverse((arrival, self.serial)));
            self.wires.insert(self.serial, wire.clone());
        }
    }

    /// The next thing that happens, if it happens by `limit`.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        let arrival = self.flights.peek().map(|Reverse((at, _))| *at);
        let timer = |h: &Host| h.connection.as_ref().and_then(Connection::deadline);
        let timers = [timer(&self.client), timer(&self.server)];
        let next = timers.into_iter().chain([arrival]).flatten().min();
        let Some(at) = next.filter(|at| *at <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.now = self.now.max(at);
        if arrival == Some(at) {
            let Some(Reverse((_, serial))) = self.flights.pop() else {
                return false;
            };
            let wire = self.wires.remove(&serial).expect("a packet in flight");
            let side = wire.from.other();
            self.receive(side, wire);
            self.drain(side);
            return true;
        }
        for side in [Side::Client, Side::Server] {
            let now = self.now;
            let host = self.host(side);
            if timer(host).is_some_and(|t| t <= now) {
                host.conn().on_deadline(now);
                self.drain(side);
            }
        }
        true
    }

    fn receive(&mut self, side: Side, wire: Wire) {
        let now = self.now;
        let packet = wire.packet;
        let segment = Segment {
            seq: packet.seq,
            ack: packet.ack,
            wnd: packet.window,
            flags: packet.flags,
            len: wire.payload.len() as u32,
            gso_size: wire.gso_size,
            options: packet.options.clone(),
            ecn: 0,
            signal_only: false,
        };
        let path = Path {
            local: packet.dst,
            remote: packet.src,
        };
        let host = self.host(side);
        if let Some(id) = host.subflow(path) {
            let c = host.conn();
            return c.on_segment(now, id, segment, &packet.mptcp, wire.payload);
        }
        let reply = if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
            match host.open(now, path, &segment, &packet.mptcp) {
                Ok(()) => return,
                Err(option) => option,
            }
        } else {
            None
        };
        if let Some(emit) = anabranch_tcp::reset_reply(&segment) {
            let mptcp = reply.into_iter().collect();
            let payload = Default::default();
            let outgoing = Outgoing {
                subflow: SubflowId(0),
                emit,
                mptcp,
                payload,
            };
            self.transmit(side, path, &outgoing);
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Until it holds, which must be within `time`.
    pub(crate) fn run_until(&mut self, time: Duration, mut done: impl FnMut(&mut World) -> bool) {
        let limit = self.now + time;
        while !done(self) {
            if !self.step(limit) {
                panic!("not done after {time:?}: {}", self.describe());
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        let side = |h: &Host| {
            let info = h.connection.as_ref().map(Connection::info);
            format!(
                "{:?}: received {}, outbox {}, {info:#?}",
                h.side,
                h.received.len(),
                h.outbox.len()
            )
        };
        format!("{}\n{}", side(&self.client), side(&self.server))
    }

    /// Packets logged that satisfy something.
    pub(crate) fn count(&self, f: impl Fn(&Wire) -> bool) -> usize {
        self.log.iter().filter(|(_, w)| f(w)).count()
    }
}

impl Host {
    fn subflow(&self, path: Path) -> Option<SubflowId> {
        let c = self.connection.as_ref()?;
        let mut ids = c.subflows();
        ids.find(|id| c.path(*id) == Some(path))
    }

    /// A SYN for no subflow: a connection or a join. `Err`: RST, with this option.
    fn open(
        &mut self,
        now: Instant,
        path: Path,
        syn: &Segment,
        options: &[MptcpOption],
    ) -> Result<(), Option<MptcpOption>> {
        let (start, nonce) = (self.start(), self.nonce());
        let join = options.iter().find_map(|o| match o {
            MptcpOption::Join(join) => Some(join),
            _ => None,
        });
        let capable = options.iter().find_map(|o| match o {
            MptcpOption::Capable(capable) => Some(capable),
            _ => None,
        });
        if let (Some(join), Some(connection)) = (join, self.connection.as_mut()) {
            let Join::Syn { token, .. } = join else {
                return Err(None);
            };
            if *token != connection.local_token() {
                return Err(None);
            }
            let result = connection.join_passive(now, path, syn, join, start, nonce);
            return result.map(|_| ()).map_err(|refusal| {
                self.refusals.push(refusal);
                refusal.option()
            });
        }
        if self.connection.is_some() || self.side == Side::Client {
            return Err(None);
        }
        // A SYN without the option would be a plain connection of the stack; here it is one that
        // cannot be followed.
        let none = Capable::Syn {
            version: 0,
            flags: Default::default(),
            key: None,
        };
        let capable = capable.unwrap_or(&none);
        let (config, key) = (self.config.clone(), self.key);
        let connection = Connection::accept(now, &config, key, path, syn, capable, start);
        self.connection = Some(connection);
        Ok(())
    }
}
