//! One direction of a link: a queue, a transmitter, a wire.
//!
//! A [`Link`] has no clock: packets go in by [`Link::push`], come out of [`Link::pop`], and
//! [`Link::deadline`] tells when to look again. Virtual and real time drive it alike.

mod config;
mod early;

pub use config::{Change, Faults, LinkConfig, Loss, Queue};

use crate::rng::Rng;
use anabranch_tcp::Instant;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

/// One packet as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The bytes; the link does not look into them.
    pub data: Bytes,
    /// Whatever the owner wants to find again.
    pub tag: u32,
}

/// What became of the packets so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub struct LinkStats {
    pub pushed: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Dropped by the queue.
    pub queue_drops: u64,
    /// Lost by the loss model.
    pub lost: u64,
    /// Lost because the link was down, or went down.
    pub down: u64,
    pub blackholed: u64,
    pub reordered: u64,
    pub duplicated: u64,
    pub corrupted: u64,
}

/// One direction of a link.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    /// By time; entries before now have been applied and removed.
    schedule: BTreeMap<Instant, Vec<Change>>,
    rng: Rng,
    state: State,
    queue: VecDeque<Packet>,
    queued_bytes: u64,
    average: early::Average,
    /// In the transmitter, with the time at which its last bit leaves.
    sending: Option<(Instant, Packet)>,
    wire: Wire,
    stats: LinkStats,
}

#[derive(Debug, Default)]
struct State {
    blackhole: bool,
    down: bool,
    /// Gilbert–Elliott: in the bad state.
    bad: bool,
}

/// Packets in flight, by arrival.
#[derive(Debug, Default)]
struct Wire {
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    packets: BTreeMap<u64, Packet>,
    next: u64,
    /// No packet that is in order arrives before this.
    last_arrival: Instant,
}

impl Wire {
    fn put(&mut self, at: Instant, packet: Packet) {
        self.heap.push(Reverse((at, self.next)));
        self.packets.insert(self.next, packet);
        self.next += 1;
    }

    fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    fn take(&mut self, now: Instant) -> Option<(Instant, Packet)> {
        if self.first()? > now {
            return None;
        }
        let Reverse((at, id)) = self.heap.pop()?;
        Some((at, self.packets.remove(&id)?))
    }

    /// Loses what has not arrived by `now`; returns how many.
    fn cut(&mut self, now: Instant) -> u64 {
        let before = self.heap.len();
        self.heap.retain(|Reverse((at, id))| {
            let arrived = *at <= now;
            if !arrived {
                self.packets.remove(id);
            }
            arrived
        });
        (before - self.heap.len()) as u64
    }
}

impl Link {
    /// A link that behaves as `config` says; `seed` decides all its chances.
    pub fn new(mut config: LinkConfig, seed: u64) -> Link {
        let mut schedule: BTreeMap<Instant, Vec<Change>> = BTreeMap::new();
        for (at, change) in config.schedule.drain(..) {
            schedule.entry(at).or_default().push(change);
        }
        Link {
            config,
            schedule,
            rng: Rng::new(seed),
            state: State::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            average: early::Average::default(),
            sending: None,
            wire: Wire::default(),
            stats: LinkStats::default(),
        }
    }

    /// A packet enters. Time never goes back between calls.
    pub fn push(&mut self, now: Instant, packet: Packet) {
        self.advance(now);
        self.stats.pushed += 1;
        if self.state.down {
            self.stats.down += 1;
            return;
        }
        if self.sending.is_none() {
            self.transmit(now, packet);
        } else if self.has_room(&packet) {
            self.queued_bytes += packet.data.len() as u64;
            self.queue.push_back(packet);
        } else {
            self.stats.queue_drops += 1;
        }
        // At unlimited rate the packet is on the wire at once.
        self.advance(now);
    }

    /// The next packet that has arrived by `now`. Call until `None`.
    pub fn pop(&mut self, now: Instant) -> Option<Packet> {
        self.pop_timed(now).map(|(_, packet)| packet)
    }

    /// [`Link::pop`], with the time of arrival: where time is real, it is a little before `now`.
    pub fn pop_timed(&mut self, now: Instant) -> Option<(Instant, Packet)> {
        self.advance(now);
        let (at, packet) = self.wire.take(now)?;
        self.stats.delivered += 1;
        self.stats.delivered_bytes += packet.data.len() as u64;
        Some((at, packet))
    }

    /// When something happens next without a push; scheduled changes count.
    pub fn deadline(&self) -> Option<Instant> {
        let sent = self.sending.as_ref().map(|(at, _)| *at);
        let change = self.schedule.keys().next().copied();
        [sent, change, self.wire.first()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether nothing is queued, being sent or in flight.
    pub fn is_empty(&self) -> bool {
        self.sending.is_none() && self.wire.heap.is_empty()
    }

    /// Applies a change now.
    pub fn apply(&mut self, now: Instant, change: Change) {
        self.advance(now);
        self.change(now, change);
    }

    /// Counters.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Bytes waiting for the transmitter.
    pub fn queued(&self) -> u64 {
        self.queued_bytes
    }

    fn has_room(&mut self, packet: &Packet) -> bool {
        self.average.note(self.queue.len());
        match self.config.queue {
            Queue::Unlimited => true,
            Queue::Packets(n) => self.queue.len() < n,
            Queue::Early(n) => {
                let unlucky = self.rng.chance(self.average.drop_probability(n));
                self.queue.len() < n && !unlucky
            }
            Queue::Bytes(n) => {
                self.queue.is_empty() || self.queued_bytes + packet.data.len() as u64 <= n
            }
        }
    }

    /// Brings the transmitter and the schedule up to `now`, in the order of their times.
    fn advance(&mut self, now: Instant) {
        loop {
            let sent = self.sending.as_ref().map(|(at, _)| *at);
            let change = self.schedule.keys().next().copied();
            match (sent, change) {
                (Some(sent), change) if sent <= now && change.is_none_or(|c| sent < c) => {
                    self.sent(sent);
                }
                (_, Some(at)) if at <= now => {
                    for change in self.schedule.remove(&at).unwrap_or_default() {
                        self.change(at, change);
                    }
                }
                _ => return,
            }
        }
    }

    fn change(&mut self, now: Instant, change: Change) {
        match change {
            Change::Rate(rate) => self.config.rate = rate,
            Change::Delay(delay) => self.config.delay = delay,
            Change::Loss(loss) => self.config.loss = loss,
            Change::Blackhole(on) => self.state.blackhole = on,
            Change::Down(down) => {
                self.state.down = down;
                if down {
                    self.cut(now);
                }
            }
        }
    }

    fn cut(&mut self, now: Instant) {
        self.stats.down += self.queue.len() as u64 + u64::from(self.sending.is_some());
        self.stats.down += self.wire.cut(now);
        self.queue.clear();
        self.queued_bytes = 0;
        self.sending = None;
    }

    fn transmit(&mut self, now: Instant, packet: Packet) {
        let time = match self.config.rate {
            None => Duration::ZERO,
            // A rate of 0 is a link that stands still for an hour.
            Some(0) => Duration::from_secs(3600),
            Some(rate) => {
                Duration::from_nanos((packet.data.len() as u64 * 8_000_000_000).div_ceil(rate))
            }
        };
        self.sending = Some((now + time, packet));
    }

    /// The last bit of the packet in the transmitter left at `at`.
    fn sent(&mut self, at: Instant) {
        if let Some((_, packet)) = self.sending.take() {
            self.onto_wire(at, packet);
        }
        if let Some(next) = self.queue.pop_front() {
            self.queued_bytes -= next.data.len() as u64;
            self.transmit(at, next);
        }
    }

    fn onto_wire(&mut self, now: Instant, mut packet: Packet) {
        if self.state.blackhole {
            self.stats.blackholed += 1;
            return;
        }
        if self.is_lost() {
            self.stats.lost += 1;
            return;
        }
        let faults = self.config.faults;
        if self.rng.chance(faults.corrupt) && !packet.data.is_empty() {
            packet.data = self.corrupt(&packet.data);
            self.stats.corrupted += 1;
        }
        let mut arrival = now + self.config.delay + self.rng.duration(self.config.jitter);
        if self.rng.chance(faults.reorder) {
            self.stats.reordered += 1;
            arrival = arrival + faults.reorder_delay;
        } else {
            arrival = arrival.max(self.wire.last_arrival);
            self.wire.last_arrival = arrival;
        }
        if self.rng.chance(faults.duplicate) {
            self.stats.duplicated += 1;
            self.wire.put(arrival, packet.clone());
        }
        self.wire.put(arrival, packet);
    }

    fn is_lost(&mut self) -> bool {
        match self.config.loss {
            Loss::None => false,
            Loss::Random(p) => self.rng.chance(p),
            Loss::Bursts {
                enter,
                leave,
                good,
                bad,
            } => {
                let turn = if self.state.bad { leave } else { enter };
                self.state.bad ^= self.rng.chance(turn);
                self.rng.chance(if self.state.bad { bad } else { good })
            }
        }
    }

    /// Alters one byte: a change of less than 16 bits in a row never leaves an Internet checksum
    /// as it was.
    fn corrupt(&mut self, data: &Bytes) -> Bytes {
        let mut bytes = data.to_vec();
        let at = self.rng.range(0..bytes.len() as u64) as usize;
        bytes[at] ^= self.rng.range(1..256) as u8;
        Bytes::from(bytes)
    }
}
