//! Nodes, the links between their addresses, and the loop that moves time.

use crate::link::{Change, Link, LinkConfig, LinkStats, Packet};
use crate::rng::Rng;
use crate::tap::Tap;
use anabranch_tcp::Instant;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Something with addresses that sends and gets packets.
pub trait Node {
    /// A packet arrived.
    fn receive(&mut self, now: Instant, packet: Bytes);

    /// Takes what it has to send; called after every other call until `None`.
    fn transmit(&mut self, now: Instant) -> Option<Bytes>;

    /// When it wants [`Node::on_deadline`] next.
    fn deadline(&self) -> Option<Instant>;

    /// The time of its deadline has come.
    fn on_deadline(&mut self, now: Instant);
}

/// Sees packets pass, and may alter, drop or add.
pub trait Middlebox {
    /// What becomes of `packet`, and what the box sends besides. Packets that go the way of
    /// `packet` pass what follows on its route; others pass what follows this box on the route
    /// between their own addresses, or, if it is not on that, arrive at once.
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes>;

    /// When it wants [`Middlebox::release`] next; `None`: it holds nothing back.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The time of its deadline has come: what it sends of its own accord.
    fn release(&mut self, _: Instant) -> Vec<Bytes> {
        Vec::new()
    }
}

/// A link of a [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkId(usize);

/// A middlebox of a [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BoxId(usize);

/// A node of a [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeId(usize);

/// What a packet passes on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hop {
    /// One direction of a link.
    Link(LinkId),
    /// A middlebox.
    Box(BoxId),
}

/// Why a run ended early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stuck {
    /// Nothing is due any more, and the goal is not reached.
    Quiet(Instant),
    /// The goal is not reached in this time.
    TimeLimit(Instant),
    /// Time stands still: a deadline at or before now comes back for ever.
    Spinning(Instant),
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, at) = match self {
            Stuck::Quiet(at) => ("nothing is due any more", at),
            Stuck::TimeLimit(at) => ("virtual time is up", at),
            Stuck::Spinning(at) => ("time stands still", at),
        };
        write!(f, "{what} at {:.6} s", at.0 as f64 / 1e9)
    }
}

/// Rounds without progress of time before a run counts as [`Stuck::Spinning`]. Far above what a
/// burst at unlimited rate needs.
const ROUNDS_AT_ONE_INSTANT: u32 = 100_000;

/// The network: nodes of type `N`, links, and who is reached how.
pub struct Network<N> {
    now: Instant,
    rng: Rng,
    nodes: Vec<N>,
    names: Vec<String>,
    owner: BTreeMap<IpAddr, NodeId>,
    links: Vec<Link>,
    boxes: Vec<Box<dyn Middlebox>>,
    routes: Vec<Vec<Hop>>,
    by_pair: BTreeMap<(IpAddr, IpAddr), u32>,
    tap: Tap,
    /// Packets for which no route or owner was known.
    unroutable: u64,
}

impl<N: Node> Network<N> {
    /// An empty network; `seed` decides the chances of its links.
    pub fn new(seed: u64) -> Network<N> {
        Network {
            now: Instant(0),
            rng: Rng::new(seed),
            nodes: Vec::new(),
            names: Vec::new(),
            owner: BTreeMap::new(),
            links: Vec::new(),
            boxes: Vec::new(),
            routes: Vec::new(),
            by_pair: BTreeMap::new(),
            tap: Tap::default(),
            unroutable: 0,
        }
    }

    /// Adds a node that owns `addresses`.
    pub fn add_node(&mut self, name: &str, addresses: &[IpAddr], node: N) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        self.names.push(name.to_owned());
        self.owner.extend(addresses.iter().map(|a| (*a, id)));
        id
    }

    /// Adds one direction of a link.
    pub fn add_link(&mut self, config: LinkConfig) -> LinkId {
        let id = LinkId(self.links.len());
        let seed = self.rng.fork(id.0 as u64).next_u64();
        self.links.push(Link::new(config, seed));
        id
    }

    /// Adds a middlebox.
    pub fn add_box(&mut self, middlebox: impl Middlebox + 'static) -> BoxId {
        self.add_boxed(Box::new(middlebox))
    }

    /// Adds a middlebox already boxed.
    pub fn add_boxed(&mut self, middlebox: Box<dyn Middlebox>) -> BoxId {
        self.boxes.push(middlebox);
        BoxId(self.boxes.len() - 1)
    }

    /// Packets from `src` to `dst` pass `hops` in this order, each once.
    pub fn add_route(&mut self, src: IpAddr, dst: IpAddr, hops: &[Hop]) {
        self.by_pair.insert((src, dst), self.routes.len() as u32);
        self.routes.push(hops.to_vec());
    }

    /// A path: a link each way between two addresses.
    pub fn connect(
        &mut self,
        a: IpAddr,
        b: IpAddr,
        there: LinkConfig,
        back: LinkConfig,
    ) -> (LinkId, LinkId) {
        let (there, back) = (self.add_link(there), self.add_link(back));
        self.add_route(a, b, &[Hop::Link(there)]);
        self.add_route(b, a, &[Hop::Link(back)]);
        (there, back)
    }

    /// Virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &N {
        &self.nodes[id.0]
    }

    /// A node, to act on between runs.
    pub fn node_mut(&mut self, id: NodeId) -> &mut N {
        &mut self.nodes[id.0]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[N] {
        &self.nodes
    }

    /// Counters of a link.
    pub fn link_stats(&self, id: LinkId) -> LinkStats {
        self.links[id.0].stats()
    }

    /// Bytes that wait for a link's transmitter.
    pub fn link_queued(&self, id: LinkId) -> u64 {
        self.links[id.0].queued()
    }

    /// Changes a link now.
    pub fn change(&mut self, id: LinkId, change: Change) {
        self.links[id.0].apply(self.now, change);
    }

    /// What passed.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Packets that nobody could be found for.
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }

    /// Writes every packet from now on to a pcapng file: interfaces `NAME out` where a node
    /// sends, `NAME in` where it gets.
    pub fn capture(&mut self, path: &Path) -> io::Result<()> {
        let both = |name: &String| [format!("{name} out"), format!("{name} in")];
        let names: Vec<_> = self.names.iter().flat_map(both).collect();
        self.tap.capture(path, &names)
    }

    /// Moves time until `done`, at most `limit` from now.
    pub fn run(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Network<N>) -> bool,
    ) -> Result<(), Stuck> {
        let end = self.now + limit;
        let mut rounds = 0;
        loop {
            self.drain();
            if done(self) {
                return Ok(());
            }
            let Some(next) = self.deadline() else {
                return Err(Stuck::Quiet(self.now));
            };
            if next > end {
                self.now = end;
                return Err(Stuck::TimeLimit(end));
            }
            rounds = if next > self.now { 0 } else { rounds + 1 };
            if rounds > ROUNDS_AT_ONE_INSTANT {
                return Err(Stuck::Spinning(self.now));
            }
            self.now = self.now.max(next);
            self.deliver();
            self.expire();
        }
    }

    /// Runs for `time`, whatever happens or does not.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        match self.run(time, |_| false) {
            Ok(()) | Err(Stuck::TimeLimit(_)) => {}
            Err(Stuck::Quiet(_)) => self.now = end,
            Err(stuck @ Stuck::Spinning(_)) => panic!("{stuck}"),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let links = self.links.iter().filter_map(Link::deadline);
        let boxes = self.boxes.iter().filter_map(|b| b.deadline());
        let nodes = self.nodes.iter().filter_map(N::deadline);
        links.chain(boxes).chain(nodes).min()
    }

    fn drain(&mut self) {
        for n in 0..self.nodes.len() {
            while let Some(packet) = self.nodes[n].transmit(self.now) {
                self.tap.see(self.now, 2 * n as u32, &packet);
                let Some(route) = addresses(&packet).and_then(|pair| self.by_pair.get(&pair))
                else {
                    self.unroutable += 1;
                    continue;
                };
                self.forward(packet, *route, 0);
            }
        }
    }

    /// Sends `packet` into its next hop, `hop` hops into its route.
    fn forward(&mut self, packet: Bytes, route: u32, hop: usize) {
        match self.routes[route as usize].get(hop).copied() {
            Some(Hop::Link(id)) => self.links[id.0].push(
                self.now,
                Packet {
                    data: packet,
                    tag: route,
                },
            ),
            Some(Hop::Box(id)) => {
                let source = addresses(&packet).map(|(src, _)| src);
                for packet in self.boxes[id.0].pass(self.now, packet) {
                    match addresses(&packet) {
                        Some((_, dst)) if Some(dst) == source => self.leave(id, packet),
                        _ => self.forward(packet, route, hop + 1),
                    }
                }
            }
            None => self.arrive(packet),
        }
    }

    /// Sends `packet`, which a box made, on behind it.
    fn leave(&mut self, id: BoxId, packet: Bytes) {
        let route = addresses(&packet).and_then(|pair| self.by_pair.get(&pair).copied());
        let place = route.and_then(|route| {
            let hops = &self.routes[route as usize];
            let here = hops.iter().position(|h| *h == Hop::Box(id))?;
            Some((route, here + 1))
        });
        match place {
            Some((route, next)) => self.forward(packet, route, next),
            None => self.arrive(packet),
        }
    }

    fn arrive(&mut self, packet: Bytes) {
        let Some(id) = addresses(&packet).and_then(|(_, dst)| self.owner.get(&dst)) else {
            self.unroutable += 1;
            return;
        };
        self.tap.see(self.now, 2 * id.0 as u32 + 1, &packet);
        self.nodes[id.0].receive(self.now, packet);
    }

    fn deliver(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for id in 0..self.links.len() {
                while let Some(packet) = self.links[id].pop(self.now) {
                    moved = true;
                    let hops = &self.routes[packet.tag as usize];
                    let here = hops.iter().position(|h| *h == Hop::Link(LinkId(id)));
                    let next = here.map_or(hops.len(), |n| n + 1);
                    self.forward(packet.data, packet.tag, next);
                }
            }
        }
    }

    fn expire(&mut self) {
        for node in &mut self.nodes {
            if node.deadline().is_some_and(|at| at <= self.now) {
                node.on_deadline(self.now);
            }
        }
        for id in 0..self.boxes.len() {
            let due = self.boxes[id].deadline().is_some_and(|at| at <= self.now);
            let packets = if due {
                self.boxes[id].release(self.now)
            } else {
                Vec::new()
            };
            for packet in packets {
                self.leave(BoxId(id), packet);
            }
        }
    }
}

/// Source and destination of an IP packet, whatever else is wrong with it.
pub(crate) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    fn at<const N: usize>(packet: &[u8], from: usize) -> Option<[u8; N]> {
        packet.get(from..from + N)?.try_into().ok()
    }
    match packet.first()? >> 4 {
        4 => Some((at::<4>(packet, 12)?.into(), at::<4>(packet, 16)?.into())),
        6 => Some((at::<16>(packet, 8)?.into(), at::<16>(packet, 24)?.into())),
        _ => None,
    }
}
