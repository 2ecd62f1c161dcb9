//! Someone on the path lies to both ends of a real transfer, at random: the bytes arrive as they
//! were sent, or the connection dies; nothing grows without bound.

use crate::harness::pair::{Channel, Pair};
use crate::harness::rng::Rng;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::icmp::IcmpKind;
use anabranch_tcp::{Config, IcmpError, Segment, State, StreamConfig, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, Timestamps};
use bytes::Bytes;
use std::time::Duration;

const BYTES: u64 = 150_000;

fn config(rng: &mut Rng) -> StreamConfig {
    let mut tcp = Config {
        recv_buffer: [20_000, 300_000][rng.below(2) as usize],
        sack: rng.chance(800),
        timestamps: rng.chance(500),
        ..Config::default()
    };
    tcp.retransmit.rack = rng.chance(700);
    StreamConfig {
        tcp,
        send_buffer: 200_000,
        gso_max: [0, 65_000][rng.below(2) as usize],
        budget: Budget::unlimited(),
    }
}

/// What someone knows who sees all packets: numbers of a connection, as its end `tcb` has them.
struct Seen {
    /// What `tcb` expects next.
    rcv_nxt: Seq,
    snd_una: Seq,
    snd_nxt: Seq,
    stamps: Option<u32>,
}

impl Seen {
    fn of(tcb: &Tcb) -> Option<Seen> {
        let fin = u32::from(tcb.peer_fin());
        Some(Seen {
            rcv_nxt: tcb.irs()? + 1 + tcb.rcv_nxt() as u32 + fin,
            snd_una: tcb.iss() + 1 + tcb.snd_una() as u32,
            snd_nxt: tcb.iss() + 1 + tcb.snd_nxt() as u32,
            stamps: tcb.ts_recent(),
        })
    }

    fn somewhere(&self, rng: &mut Rng) -> Seq {
        let (una, out) = (self.snd_una, self.snd_nxt.since(self.snd_una).max(1) as u64);
        match rng.below(6) {
            0 => una,
            1 => self.snd_nxt,
            2 => una + rng.below(out) as u32,
            3 => self.snd_nxt + rng.below(100_000) as u32,
            4 => una - rng.below(100_000) as u32,
            _ => Seq(rng.next() as u32),
        }
    }

    /// A segment that nobody sent. What it carries lies where nothing can be put right by it:
    /// before what was received, or beyond any window. It acknowledges nothing new unless `fatal`.
    fn lie(&self, rng: &mut Rng, fatal: bool) -> (Segment, Bytes) {
        let mut sack = SegmentOptions::default().sack;
        for _ in 0..rng.below(5) {
            let left = self.somewhere(rng);
            sack.push((left, left + rng.below(5000) as u32));
        }
        let len = [0, 0, 0, 1, 1000][rng.below(5) as usize];
        let seq = match rng.below(3) {
            _ if len > 0 => self.rcv_nxt + [1 << 30, 0u32.wrapping_sub(len)][rng.below(2) as usize],
            0 => self.rcv_nxt - 1,
            1 => self.rcv_nxt + rng.below(5000) as u32,
            _ => self.rcv_nxt,
        };
        let ack = if fatal {
            self.somewhere(rng)
        } else {
            [self.snd_una, self.snd_una - 1000, self.snd_nxt + 5000][rng.below(3) as usize]
        };
        let stamps = self.stamps.filter(|_| rng.chance(900));
        let timestamps = stamps.map(|val| Timestamps {
            val: val - rng.below(2) as u32,
            ecr: rng.next() as u32 >> rng.below(32),
        });
        let flags = match rng.below(20) {
            // Of no consequence but at exactly the next number.
            0 if seq != self.rcv_nxt => Flags::RST,
            1 => Flags::SYN,
            2 => Flags(0),
            _ => Flags::ACK,
        };
        let segment = Segment {
            seq,
            ack,
            wnd: [0, 1, 100, 65_535][rng.below(4) as usize],
            flags,
            len,
            gso_size: 0,
            options: Options::Segment(SegmentOptions {
                timestamps,
                sack,
                ..SegmentOptions::default()
            }),
            ecn: rng.below(4) as u8,
            signal_only: false,
        };
        (segment, Bytes::from(vec![b'!'; len as usize]))
    }

    fn icmp(&self, rng: &mut Rng) -> IcmpError {
        let kind = match rng.below(3) {
            0 => IcmpKind::TooBig {
                mss: rng.below(3000) as u16,
            },
            1 => IcmpKind::Unreachable { hard: true },
            _ => IcmpKind::Unreachable { hard: false },
        };
        let seq = self.somewhere(rng);
        IcmpError { seq, kind }
    }
}

/// What holds after every lie: entries are bounded by what the window can hold, and nothing is out
/// beyond it.
fn sane(tcb: &Tcb, seed: u64) {
    assert!(
        tcb.entries() < 3000,
        "seed {seed}: {} entries",
        tcb.entries()
    );
    assert!(tcb.snd_nxt() - tcb.snd_una() <= BYTES, "seed {seed}");
    assert!(tcb.in_flight() <= BYTES + 1, "seed {seed}");
}

fn attack(pair: &mut Pair, rng: &mut Rng, seed: u64, fatal: bool) {
    for _ in 0..400 {
        let end = pair.now + Duration::from_micros(rng.below(5000));
        pair.run_while(end, |_| true);
        let side = rng.below(2) as usize;
        let stream = &mut pair.sides[side];
        if !stream.tcb().is_synchronized() || stream.tcb().state() == State::TimeWait {
            continue;
        }
        let Some(seen) = Seen::of(stream.tcb()) else {
            continue;
        };
        if rng.chance(100) {
            stream.on_icmp(pair.now, seen.icmp(rng));
        } else {
            for _ in 0..=rng.below(4) {
                let (segment, payload) = seen.lie(rng, fatal);
                pair.sides[side].on_segment(pair.now, &segment, payload);
            }
        }
        sane(pair.sides[side].tcb(), seed);
    }
}

fn transfer(seed: u64, fatal: bool) -> bool {
    let mut rng = Rng(seed);
    let configs = [config(&mut rng), config(&mut rng)];
    let channel = Channel {
        delay: Duration::from_millis(1 + rng.below(20)),
        loss: [0, 10][rng.below(2) as usize],
        rate: 1_000_000,
        ..Channel::default()
    };
    let iss = [rng.next() as u32, rng.next() as u32];
    let mut pair = Pair::new(configs, iss, channel, rng.next());
    for app in &mut pair.apps {
        app.to_send = BYTES;
    }
    attack(&mut pair, &mut rng, seed, fatal);
    // The attacker goes away; the pair panics on any byte that is wrong.
    pair.run(Duration::from_secs(4000));
    let whole = pair.apps.iter().all(|app| app.received == BYTES);
    let closed = pair.sides.iter().all(|side| side.is_closed());
    assert!(
        closed || fatal,
        "seed {seed}: {:?}",
        pair.sides.map(|s| s.info())
    );
    whole
}

#[test]
fn lies_that_can_be_told_from_the_truth_lose_no_byte() {
    for seed in 0..150 {
        assert!(transfer(seed, false), "seed {seed}: bytes are missing");
    }
}

#[test]
fn forged_acknowledgements_may_end_a_connection_but_deliver_nothing_wrong() {
    let whole = (0..150).filter(|seed| transfer(*seed, true)).count();
    assert!(whole < 150, "the lies were never believed");
}
