//! A device of several queues in memory, with several peers behind it.

use super::{Lane, PipeConfig, Sender};
use crate::{Counters, Driver, GSO_MAX};
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::ip::{IpPacket, protocol};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Flows that a peer remembers the queue of; beyond, all are forgotten.
const MAX_FLOWS: usize = 65_536;

/// What a mesh is made of.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Of each way.
    pub pipe: PipeConfig,
    /// Queues of the device.
    pub queues: usize,
    /// The addresses of each peer: packets to others are lost.
    pub peers: Vec<Vec<IpAddr>>,
    /// Which queue a packet goes to.
    pub steering: Steering,
}

/// Which queue of a device a packet goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steering {
    /// One by a hash of its flow, as with packet sockets that share a device.
    Hash,
    /// The one that last sent a packet of its flow, as with a TUN device; of new flows, by a hash.
    Learn,
    /// The one that last sent a packet of its flow; of new flows, the one with the peer's number.
    Beside,
}

/// A queue of the device, or a peer.
#[derive(Debug)]
pub struct MeshEnd {
    config: PipeConfig,
    number: usize,
    incoming: Arc<Lane>,
    outgoing: Vec<Arc<Lane>>,
    way: Way,
    counters: Counters,
}

/// Whom a packet is for.
#[derive(Debug)]
enum Way {
    /// From a peer to a queue, with those that last sent packets of a flow.
    ToQueue(Steering, HashMap<Flow, usize>),
    /// From a queue to the peer that has the address.
    ToPeer(Arc<HashMap<IpAddr, usize>>),
}

/// A peer's end, and the device's.
type Flow = (SocketAddr, SocketAddr);

/// The queues of a device and the peers that it reaches.
///
/// # Errors
/// Those of `eventfd(2)`: no descriptors left.
pub fn mesh(config: MeshConfig) -> io::Result<(Vec<MeshEnd>, Vec<MeshEnd>)> {
    let peers = config.peers.len();
    let lanes = |count: usize, senders| -> io::Result<Vec<_>> {
        let lanes = (0..count).map(|_| Ok(Arc::new(Lane::new(senders)?)));
        lanes.collect()
    };
    let (to_queues, to_peers) = (lanes(config.queues, peers)?, lanes(peers, config.queues)?);
    let addresses = config.peers.iter().enumerate();
    let addresses = addresses.flat_map(|(peer, all)| all.iter().map(move |addr| (*addr, peer)));
    let addresses: Arc<HashMap<_, _>> = Arc::new(addresses.collect());
    let ends = |incoming: &[Arc<Lane>], outgoing: &[Arc<Lane>], way: &dyn Fn() -> Way| {
        let end = |(number, incoming): (usize, &Arc<Lane>)| MeshEnd {
            config: config.pipe,
            number,
            incoming: incoming.clone(),
            outgoing: outgoing.to_vec(),
            way: way(),
            counters: Counters::default(),
        };
        incoming.iter().enumerate().map(end).collect()
    };
    let to_peer = || Way::ToPeer(addresses.clone());
    let to_queue = || Way::ToQueue(config.steering, HashMap::new());
    Ok((
        ends(&to_queues, &to_peers, &to_peer),
        ends(&to_peers, &to_queues, &to_queue),
    ))
}

/// The source and destination of a TCP packet, whose payload may be elsewhere.
fn flow(packet: &[u8]) -> Option<Flow> {
    let ip = IpPacket::parse_quoted(packet).ok()?;
    if ip.protocol != protocol::TCP {
        return None;
    }
    let [a, b, c, d, ..] = packet[ip.payload.clone()] else {
        return None;
    };
    let port = |high, low| u16::from_be_bytes([high, low]);
    Some(((ip.src, port(a, b)).into(), (ip.dst, port(c, d)).into()))
}

impl Way {
    /// The lane for a packet of end `number`; `None`: nobody is there.
    fn of(&self, packet: &[u8], number: usize, lanes: usize) -> Option<usize> {
        match self {
            Way::ToPeer(addresses) => {
                let to = IpPacket::parse_quoted(packet).ok()?.dst;
                addresses.get(&to).copied()
            }
            Way::ToQueue(steering, learnt) => {
                let Some(flow) = flow(packet) else {
                    return Some(0);
                };
                if let Some(queue) = learnt.get(&flow) {
                    return Some(*queue);
                }
                Some(if *steering == Steering::Beside {
                    number % lanes
                } else {
                    let mut hasher = DefaultHasher::new();
                    flow.hash(&mut hasher);
                    hasher.finish() as usize % lanes
                })
            }
        }
    }

    /// A packet came from a queue.
    fn learn(&mut self, packet: &[u8], queue: usize) {
        if let Way::ToQueue(Steering::Learn | Steering::Beside, learnt) = self
            && let Some((from, to)) = flow(packet)
        {
            if learnt.len() >= MAX_FLOWS {
                learnt.clear();
            }
            learnt.insert((to, from), queue);
        }
    }
}

impl Driver for MeshEnd {
    fn receive(&mut self, into: &mut Vec<Frame>, max: usize) -> io::Result<usize> {
        let MeshEnd {
            incoming,
            way,
            counters,
            ..
        } = self;
        incoming.pull(max, |sender, frame| {
            counters.received(frame.data.len());
            way.learn(&frame.data, sender);
            into.push(frame);
        })
    }

    fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        let from = Sender {
            number: self.number,
            ready: &self.incoming.receiver,
        };
        let mut sent = match self
            .way
            .of(&transmit.header, self.number, self.outgoing.len())
        {
            Some(lane) => self.outgoing[lane].send(transmit, &self.config, from),
            None => Ok(()),
        };
        if matches!(&sent, Err(error) if error.kind() == ErrorKind::BrokenPipe)
            && self.outgoing.iter().any(|lane| !lane.lock().closed)
        {
            // One is gone, not the device.
            sent = Err(ErrorKind::NotConnected.into());
        }
        self.counters.sent(transmit.total_len(), &sent);
        sent
    }

    fn mtu(&self) -> u16 {
        self.config.mtu
    }

    fn gso_max(&self) -> u32 {
        if self.config.offload { GSO_MAX } else { 0 }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.incoming.receiver.0.as_fd())
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

impl Drop for MeshEnd {
    fn drop(&mut self) {
        self.incoming.close();
        self.outgoing.iter().for_each(|lane| lane.leave());
    }
}
