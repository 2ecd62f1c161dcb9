//! Two streams over a channel that delays, loses, reorders and duplicates.

use super::rng::Rng;
use anabranch_tcp::{Emit, Event, Instant, Segment, State, Stream, StreamConfig};
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the channel does to each wire segment; the same both ways.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) delay: Duration,
    /// Uniform extra delay up to this: reorders.
    pub(crate) jitter: Duration,
    /// Of 1000.
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
    /// Bytes per second; 0: no limit.
    pub(crate) rate: u64,
    /// Bytes that may queue for the rate; more is lost.
    pub(crate) queue: u64,
    /// Neighbouring wire segments that arrive at one time are merged as receive offload does.
    pub(crate) merge: bool,
}

impl Default for Channel {
    fn default() -> Channel {
        Channel {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            rate: 0,
            queue: u64::MAX,
            merge: false,
        }
    }
}

/// A wire segment under way.
#[derive(Clone, Debug)]
struct Packet {
    to: usize,
    segment: Segment,
    payload: Bytes,
}

/// What one side's application does: sends so many bytes, reads all, closes.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) to_send: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Most bytes for one write.
    pub(crate) write: usize,
    /// Reads nothing while this is set.
    pub(crate) stalled: bool,
    /// Half-closes when all is sent.
    pub(crate) closes: bool,
    pub(crate) events: Vec<Event>,
    salt: u64,
    shut: bool,
}

/// Whether a side's segment is lost.
type Verdict = Box<dyn FnMut(usize, &Segment) -> bool>;

pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) sides: [Stream; 2],
    pub(crate) apps: [App; 2],
    pub(crate) channel: Channel,
    pub(crate) rng: Rng,
    /// Print what arrives.
    pub(crate) trace: bool,
    /// Wire segments sent by each side, lost ones included.
    pub(crate) wire_segments: [u64; 2],
    /// Called for each wire segment before the channel's own dice; `true` loses it.
    pub(crate) lose: Verdict,
    free_at: [Instant; 2],
    flying: BTreeMap<(Instant, u64), Packet>,
    serial: u64,
}

/// Byte at `position` of what a side with this salt sends.
fn byte(salt: u64, position: u64) -> u8 {
    let word = (position / 8 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (word >> (8 * (position % 8))) as u8 ^ (word >> 56) as u8
}

impl Packet {
    /// What receive offload does with neighbours; `false`: they do not fit together.
    fn merge(&mut self, next: &Packet) -> bool {
        let (a, b) = (&mut self.segment, &next.segment);
        let size = if a.gso_size == 0 {
            a.len
        } else {
            u32::from(a.gso_size)
        };
        let fits = self.to == next.to
            && a.seq + a.len == b.seq
            && a.ack == b.ack
            && a.options == b.options
            && size > 0
            && a.len % size == 0
            && (1..=size).contains(&b.len)
            && a.len + b.len < 65_000
            && a.flags == Flags::ACK;
        if fits {
            let (seq, len) = (a.seq, a.len);
            *a = b.clone();
            (a.seq, a.len, a.gso_size) = (seq, len + b.len, size as u16);
            self.payload = [&self.payload[..], &next.payload[..]].concat().into();
        }
        fits
    }
}

impl App {
    fn new(salt: u64) -> App {
        App {
            to_send: 0,
            sent: 0,
            received: 0,
            write: 100_000,
            stalled: false,
            closes: true,
            events: vec![],
            salt,
            shut: false,
        }
    }
}

impl Pair {
    /// Side 0 connects to side 1: its SYN is delivered at once, so that both sides exist.
    pub(crate) fn new(
        configs: [StreamConfig; 2],
        iss: [u32; 2],
        channel: Channel,
        seed: u64,
    ) -> Pair {
        let now = Instant(1_000_000_000);
        let mut client = Stream::connect(now, &configs[0], Seq(iss[0]), 0x1234_5678);
        let (syn, _) = client.poll_transmit(now).expect("a SYN");
        let server = Stream::accept(now, &configs[1], &received(&syn, 0), Seq(iss[1]), 77);
        Pair {
            now,
            sides: [client, server],
            apps: [App::new(0), App::new(1 << 40)],
            channel,
            rng: Rng(seed),
            trace: false,
            wire_segments: [0; 2],
            lose: Box::new(|_, _| false),
            free_at: [now; 2],
            flying: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Run until nothing is left to do, or `limit` has passed. Panics on a wrong byte.
    pub(crate) fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        self.run_while(end, |_| true);
    }

    pub(crate) fn run_while(&mut self, end: Instant, mut more: impl FnMut(&Pair) -> bool) {
        loop {
            self.act();
            if !more(self) {
                return;
            }
            let arrival = self.flying.keys().next().map(|k| k.0);
            let timers = self.sides.iter().filter_map(|s| s.deadline());
            let Some(next) = timers.chain(arrival).min() else {
                return;
            };
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.deliver();
            for side in &mut self.sides {
                if side.deadline().is_some_and(|d| d <= self.now) {
                    side.on_deadline(self.now);
                }
            }
        }
    }

    fn deliver(&mut self) {
        let mut held: Option<Packet> = None;
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let packet = entry.remove();
            let merging = held.as_mut().filter(|_| self.channel.merge);
            if merging.is_some_and(|first| first.merge(&packet)) {
                continue;
            }
            if let Some(first) = held.replace(packet) {
                self.hand_over(first);
            }
        }
        if let Some(last) = held {
            self.hand_over(last);
        }
    }

    fn hand_over(&mut self, packet: Packet) {
        if self.trace {
            let (at, to) = (self.now.0 as f64 / 1e9, packet.to);
            println!(
                "{at:.6} to {to} {:?} {:?}",
                packet.segment,
                self.sides[to].tcb().state()
            );
        }
        self.sides[packet.to].on_segment(self.now, &packet.segment, packet.payload);
        // The contract: drain after each call.
        self.transmit(packet.to);
    }

    /// Applications and transmission on both sides.
    fn act(&mut self) {
        for side in 0..2 {
            loop {
                self.transmit(side);
                if !self.application(side) {
                    break;
                }
            }
        }
    }

    fn application(&mut self, side: usize) -> bool {
        let (stream, app) = (&mut self.sides[side], &mut self.apps[side]);
        let mut active = false;
        while let Some(event) = stream.poll_event() {
            app.events.push(event);
            active = true;
        }
        let most = 1 + self.rng.below(app.write as u64) as usize;
        let chunk = most.min((app.to_send - app.sent) as usize);
        if chunk > 0 {
            let bytes: Vec<u8> = (app.sent..)
                .take(chunk)
                .map(|p| byte(app.salt, p))
                .collect();
            let taken = stream.send(bytes.into());
            app.sent += taken as u64;
            active |= taken > 0;
        }
        let opening = stream.tcb().state() == State::SynSent;
        if app.sent == app.to_send && app.closes && !app.shut && !opening {
            stream.shutdown();
            app.shut = true;
            active = true;
        }
        while !app.stalled
            && let Some(bytes) = stream.recv(self.now, most)
        {
            let salt = if side == 0 { 1 << 40 } else { 0 };
            for b in bytes {
                assert_eq!(
                    b,
                    byte(salt, app.received),
                    "byte {} at side {side}",
                    app.received
                );
                app.received += 1;
            }
            active = true;
        }
        active
    }

    fn transmit(&mut self, side: usize) {
        while let Some((emit, payload)) = self.sides[side].poll_transmit(self.now) {
            let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
            assert_eq!(bytes.len() as u64, emit.rel.end - emit.rel.start);
            for (segment, payload) in segmented(&emit, bytes.into()) {
                self.wire_segments[side] += 1;
                self.put_on_wire(side, segment, payload);
            }
        }
    }

    fn put_on_wire(&mut self, side: usize, segment: Segment, payload: Bytes) {
        let copies = 1 + u64::from(self.rng.chance(self.channel.duplicate));
        for _ in 0..copies {
            let lost = (self.lose)(side, &segment) || self.rng.chance(self.channel.loss);
            let Some(leaves) = self.through_queue(side, payload.len() as u64 + 60) else {
                continue;
            };
            if lost {
                continue;
            }
            let jitter = self.rng.below(self.channel.jitter.as_nanos() as u64 + 1);
            let at = leaves + self.channel.delay + Duration::from_nanos(jitter);
            let packet = Packet {
                to: 1 - side,
                segment: segment.clone(),
                payload: payload.clone(),
            };
            self.serial += 1;
            self.flying.insert((at, self.serial), packet);
        }
    }

    /// When a packet has passed the bottleneck; `None`: the queue is full.
    fn through_queue(&mut self, side: usize, bytes: u64) -> Option<Instant> {
        if self.channel.rate == 0 {
            return Some(self.now);
        }
        let start = self.free_at[side].max(self.now);
        let waiting = start.since(self.now).as_nanos() as u64;
        if waiting * self.channel.rate / 1_000_000_000 > self.channel.queue {
            return None;
        }
        let takes = Duration::from_nanos(bytes * 1_000_000_000 / self.channel.rate);
        self.free_at[side] = start + takes;
        Some(self.free_at[side])
    }
}

/// An emit as its receiver sees it, if it is one wire segment.
pub(crate) fn received(emit: &Emit, len: u32) -> Segment {
    Segment {
        seq: emit.seq,
        ack: emit.ack,
        wnd: emit.wnd,
        flags: emit.flags,
        len,
        gso_size: 0,
        options: emit.options.clone(),
        ecn: emit.ecn,
        signal_only: false,
    }
}

/// What segmentation offload makes of an emit.
pub(crate) fn segmented(emit: &Emit, payload: Bytes) -> Vec<(Segment, Bytes)> {
    let mss = usize::from(emit.mss.max(1));
    let mut segments = vec![];
    let mut at = 0;
    loop {
        let end = payload.len().min(at + mss);
        let mut segment = received(emit, (end - at) as u32);
        segment.seq = emit.seq + at as u32;
        if end < payload.len() {
            segment.flags = emit.flags.without(Flags::FIN.with(Flags::PSH));
        }
        if at > 0 {
            segment.flags = segment.flags.without(Flags::CWR);
        }
        segments.push((segment, payload.slice(at..end)));
        at = end;
        if at == payload.len() {
            return segments;
        }
    }
}
