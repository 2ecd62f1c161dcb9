//! Segments and calls at random: no panic, no more sent than the window ever allowed, no work or
//! memory beyond a bound.

use crate::harness::rng::Rng;
use anabranch_tcp::icmp::IcmpKind;
use anabranch_tcp::{Config, Grant, IcmpError, Instant, Segment, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions, Timestamps};
use std::time::Duration;

struct Hostile {
    rng: Rng,
    now: Instant,
    tcb: Tcb,
    /// The peer's next number, as far as an honest peer would be.
    seq: Seq,
    /// Shift of the peer's window.
    scale: u8,
    /// Highest position that any window allowed.
    allowed: u64,
}

impl Hostile {
    fn new(seed: u64) -> Hostile {
        let mut rng = Rng(seed);
        let config = Config {
            mss: 1000,
            recv_buffer: 1 << (10 + rng.below(12)),
            sack: rng.chance(800),
            timestamps: rng.chance(500),
            shared_window: rng.chance(300),
            ..Config::default()
        };
        let iss = Seq(rng.next() as u32);
        let scale = rng.below(3) as u8;
        let options = SynOptions {
            mss: Some(rng.next() as u16),
            window_scale: Some(scale),
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 1, ecr: 0 }),
            fast_open: None,
        };
        let syn = Segment {
            seq: Seq(99),
            ack: Seq(0),
            wnd: 5000,
            flags: Flags::SYN,
            len: 0,
            gso_size: 0,
            options: Options::Syn(options),
            ecn: 0,
            signal_only: false,
        };
        let now = Instant(5_000_000_000);
        let tcb = Tcb::accept(now, &config, &syn, iss, 7);
        Hostile {
            rng,
            now,
            tcb,
            seq: Seq(100),
            scale,
            allowed: 5000,
        }
    }

    fn near(&mut self, seq: Seq, spread: u64) -> Seq {
        seq + self.rng.below(2 * spread + 1) as u32 - spread as u32
    }

    fn flags(&mut self) -> Flags {
        let mut flags = if self.rng.chance(950) {
            Flags::ACK
        } else {
            Flags(0)
        };
        for (flag, permille) in [
            (Flags::FIN, 3),
            (Flags::RST, 2),
            (Flags::SYN, 10),
            (Flags::PSH, 200),
        ] {
            if self.rng.chance(permille) {
                flags = flags.with(flag);
            }
        }
        flags
    }

    fn segment(&mut self) -> Segment {
        let una = self.tcb.iss() + 1 + self.tcb.snd_una() as u32;
        let spread = [0, 1, 1000, 100_000][self.rng.below(4) as usize];
        let (near_seq, near_ack) = (self.seq, una);
        let seq = self.near(near_seq, spread);
        let ack = if self.rng.chance(500) {
            una + self.rng.below(self.tcb.snd_nxt() - self.tcb.snd_una() + 2) as u32
        } else {
            self.near(near_ack, spread)
        };
        let mut sack = SegmentOptions::default().sack;
        for _ in 0..self.rng.below(5) {
            let left = una + self.rng.below(20_000) as u32;
            sack.push((left, left + self.rng.below(3000) as u32));
        }
        let stamps = Timestamps {
            val: (self.now.0 / 1_000_000) as u32 - self.rng.below(5) as u32,
            ecr: self.rng.next() as u32 % 100_000,
        };
        let timestamps = self.rng.chance(900).then_some(stamps);
        let flags = self.flags();
        let options = if flags.has(Flags::SYN) {
            Options::Syn(SynOptions {
                timestamps,
                ..SynOptions::default()
            })
        } else {
            Options::Segment(SegmentOptions {
                timestamps,
                sack,
                acc_ecn: None,
            })
        };
        let len = [0, 0, 1, 1000, 30_000][self.rng.below(5) as usize];
        Segment {
            seq,
            ack,
            wnd: [0, 10, 500, 5000, 65_535][self.rng.below(5) as usize],
            flags,
            len,
            gso_size: if len > 1000 { 1000 } else { 0 },
            options,
            ecn: 0,
            signal_only: self.rng.chance(50),
        }
    }

    fn grant(&mut self) -> Grant {
        Grant {
            rcv_room: self.rng.below(100_000) as u32,
            data_options: self.rng.below(41) as u8,
            ack_options: self.rng.below(41) as u8,
            gso_max: [0, 1000, 65_000][self.rng.below(3) as usize],
        }
    }

    fn step(&mut self) {
        let grant = self.grant();
        match self.rng.below(40) {
            0..24 => {
                let segment = self.segment();
                let wnd = u64::from(segment.wnd) << self.scale;
                let receipt = self.tcb.on_segment(self.now, &segment, grant);
                self.allowed = self.allowed.max(receipt.snd_una + wnd);
                assert!(
                    receipt
                        .new
                        .iter()
                        .all(|r| r.start < r.end && r.end <= segment.len)
                );
                self.seq = Seq(100) + receipt.rcv_nxt as u32;
            }
            24..30 => self.now = self.now + Duration::from_millis(self.rng.below(300)),
            30..33 if !self.tcb.is_closing() => {
                let (len, boundary) = (self.rng.below(70_000), self.rng.chance(500));
                self.tcb.append(len, boundary);
            }
            33 => self.tcb.window_opened(self.now, grant),
            34 => self.tcb.set_blocked(self.rng.chance(500)),
            35 => self.tcb.request_ack(),
            36 if self.rng.chance(20) => self.tcb.close(),
            37 if self.rng.chance(20) => self.tcb.orphan(),
            38 => {
                let seq = self.near(self.tcb.iss(), 5000);
                let kind = IcmpKind::TooBig {
                    mss: self.rng.next() as u16,
                };
                self.tcb.on_icmp(self.now, IcmpError { seq, kind });
            }
            _ => {}
        }
        if self.tcb.deadline().is_some_and(|due| due <= self.now) {
            self.tcb.on_deadline(self.now);
        }
        self.drain(grant);
    }

    fn drain(&mut self, grant: Grant) {
        let mut emits = 0;
        while let Some(emit) = self.tcb.poll(self.now, grant) {
            assert!(
                emit.rel.end <= self.allowed,
                "{:?} beyond {}",
                emit.rel,
                self.allowed
            );
            assert!(emit.rel.end <= self.tcb.snd_end());
            emits += 1;
            assert!(emits < 10_000, "no end of segments");
        }
        if self.tcb.snd_nxt() > self.tcb.snd_una() && !self.tcb.is_closed() {
            assert!(
                self.tcb.deadline().is_some(),
                "outstanding data without a timer"
            );
        }
    }
}

#[test]
fn nothing_a_peer_does_breaks_the_engine() {
    for seed in 0..300 {
        let caught = std::panic::catch_unwind(|| {
            let mut hostile = Hostile::new(seed);
            for _ in 0..1500 {
                hostile.step();
            }
        });
        assert!(caught.is_ok(), "failed with seed {seed}");
    }
}
