//! Two hosts and the wire between them, in virtual time.

use anabranch_stack::{
    Config, Counter, Event, FlowId, Instant, ListenConfig, ListenerId, Recv, Stack,
};
use anabranch_wire::Packet;
use anabranch_wire::frame::{Frame, Transmit};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Which host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    A,
    B,
}
pub(crate) use Side::{A, B};

/// One way.
pub(crate) const DELAY: Duration = Duration::from_millis(5);

/// The port that tests listen on.
pub(crate) const PORT: u16 = 80;

/// What a test does with a packet on its way: let it pass, changed or not, or drop it.
pub(crate) type Filter = Box<dyn FnMut(Side, Transmit) -> Option<Transmit>>;

/// Host A, usually the one that connects, and host B, usually the one that listens.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) a: Stack,
    pub(crate) b: Stack,
    pub(crate) events: Vec<(Side, Event)>,
    /// Every packet sent, as it would be on the wire.
    pub(crate) log: Vec<(Side, Bytes)>,
    pub(crate) filter: Option<Filter>,
    /// What the filter dropped.
    pub(crate) lost: Vec<Transmit>,
    wire: VecDeque<(Instant, Side, Frame)>,
}

impl Pair {
    pub(crate) fn new(a: Config, b: Config) -> Pair {
        let now = Instant(1_000_000_000);
        Pair {
            now,
            a: Stack::new(a, [1; 32], now),
            b: Stack::new(b, [2; 32], now),
            events: Vec::new(),
            log: Vec::new(),
            filter: None,
            lost: Vec::new(),
            wire: VecDeque::new(),
        }
    }

    pub(crate) fn host(&mut self, side: Side) -> &mut Stack {
        match side {
            A => &mut self.a,
            B => &mut self.b,
        }
    }

    pub(crate) fn count(&self, side: Side, counter: Counter) -> u64 {
        let host = if side == A { &self.a } else { &self.b };
        host.counters().get(counter)
    }

    /// Listens on every address of host B.
    pub(crate) fn listen(&mut self) -> ListenerId {
        self.b
            .listen(ListenConfig::port(PORT))
            .expect("a free port")
    }

    /// Packets of one side since the start, parsed.
    pub(crate) fn sent(&self, by: Side) -> Vec<Packet> {
        let of = self.log.iter().filter(|(side, _)| *side == by);
        of.filter_map(|(_, bytes)| Packet::parse_verified(bytes).ok())
            .collect()
    }

    /// Puts what a host has to say on the wire, and hears its events.
    fn drain(&mut self, side: Side) {
        let now = self.now;
        while let Some(transmit) = self.host(side).poll_transmit(now) {
            let passed = match &mut self.filter {
                Some(filter) => {
                    let passed = filter(side, transmit.clone());
                    if passed.is_none() {
                        self.lost.push(transmit);
                    }
                    passed
                }
                None => Some(transmit),
            };
            for packet in passed.iter().flat_map(Transmit::packets) {
                self.log.push((side, packet.to_bytes()));
            }
            if let Some(transmit) = passed {
                let to = if side == A { B } else { A };
                self.wire.push_back((now + DELAY, to, transmit.to_frame()));
            }
        }
        while let Some(event) = self.host(side).poll_event() {
            self.events.push((side, event));
        }
    }

    /// Brings everything up to now to rest.
    pub(crate) fn settle(&mut self) {
        self.drain(A);
        self.drain(B);
    }

    /// Goes on to the next thing that happens, but not beyond `end`; false if nothing does.
    fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let arrival = self.wire.front().map(|(at, ..)| *at);
        let timers = [self.a.deadline(), self.b.deadline()];
        let Some(next) = timers.into_iter().flatten().chain(arrival).min() else {
            return false;
        };
        if next > end {
            return false;
        }
        self.now = self.now.max(next);
        let now = self.now;
        while let Some((_, to, frame)) = self.wire.pop_front_if(|(at, ..)| *at <= now) {
            self.host(to).receive(now, frame);
        }
        for side in [A, B] {
            if self.host(side).deadline().is_some_and(|at| at <= now) {
                self.host(side).on_deadline(now);
            }
        }
        true
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
        self.settle();
    }

    /// Lets time pass until something holds, at most two minutes.
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&mut Pair) -> bool) {
        let end = self.now + Duration::from_secs(120);
        loop {
            self.settle();
            if holds(self) {
                return;
            }
            if !self.step(end) {
                panic!(
                    "never: {what}\n{}\n{:?}",
                    self.trace(40),
                    last(&self.events, 20)
                );
            }
        }
    }

    /// The last packets, for people.
    fn trace(&self, count: usize) -> String {
        let line = |(side, bytes): &(Side, Bytes)| match Packet::parse(bytes) {
            Ok(p) => format!(
                "{side:?} {} > {} {:02x} seq {} ack {} len {} wnd {} {:?}",
                p.src,
                p.dst,
                p.flags.0,
                p.seq.0,
                p.ack.0,
                p.payload.len(),
                p.window,
                p.mptcp
            ),
            Err(error) => format!("{side:?} {error}"),
        };
        last(&self.log, count)
            .iter()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Delivers a packet that no host sent.
    pub(crate) fn inject(&mut self, to: Side, packet: Bytes) {
        let now = self.now;
        self.host(to).receive(now, Frame::packet(packet));
        self.settle();
    }

    pub(crate) fn has(&self, side: Side, event: &Event) -> bool {
        self.events.iter().any(|(at, e)| *at == side && e == event)
    }

    /// A connection from A to B, taken by B's application.
    pub(crate) fn connect(
        &mut self,
        listener: ListenerId,
        local: SocketAddr,
        remote: SocketAddr,
        mptcp: bool,
    ) -> (FlowId, FlowId) {
        let now = self.now;
        let config = anabranch_stack::ConnectConfig {
            mptcp,
            ..Default::default()
        };
        let client = self
            .a
            .connect(now, local, remote, config)
            .expect("a connection");
        let mut server = None;
        self.run_until("accepted", |pair| {
            server = pair.b.accept(listener);
            server.is_some()
        });
        self.run_until("established", |pair| {
            pair.has(A, &Event::Established(client))
        });
        (client, server.expect("accepted"))
    }

    /// Moves `data` from one side's connection to the other's; what arrived must be equal.
    pub(crate) fn transfer(&mut self, from: (Side, FlowId), to: (Side, FlowId), data: &Bytes) {
        let mut rest = data.clone();
        let mut got = Vec::new();
        self.run_until("everything arrived", |pair| {
            let now = pair.now;
            if !rest.is_empty() {
                let taken = pair
                    .host(from.0)
                    .send(now, from.1, rest.clone())
                    .expect("open");
                rest = rest.slice(taken..);
            }
            read(pair, to, &mut got);
            pair.settle();
            got.len() >= data.len()
        });
        assert!(got == data[..], "{} bytes arrived differently", data.len());
    }
}

fn last<T>(list: &[T], count: usize) -> &[T] {
    &list[list.len().saturating_sub(count)..]
}

/// Everything there is to read now.
pub(crate) fn read(pair: &mut Pair, (side, id): (Side, FlowId), into: &mut Vec<u8>) {
    let now = pair.now;
    while let Ok(Recv::Data(bytes)) = pair.host(side).recv(now, id, 1 << 20) {
        into.extend_from_slice(&bytes);
    }
}

/// Bytes in which no stretch is like another.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and port")
}

/// Values of all counters that are not zero.
pub(crate) fn counted(stack: &Stack) -> BTreeMap<&'static str, u64> {
    stack
        .counters()
        .iter()
        .filter(|(_, value)| *value > 0)
        .collect()
}
