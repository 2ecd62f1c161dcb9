//! The answer to a SYN without a connection: for owners that make one only when the handshake is
//! proven (RFC 4987 §3.5, §3.6).

use crate::accecn::{ACE, Accurate};
use crate::ecn::{self, Ecn};
use crate::handshake::window_scale;
use crate::segment::{Emit, Grant, Kind, Segment};
use crate::stamps::val;
use crate::timers::Timer;
use crate::{Config, Instant, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SynOptions, Timestamps};
use std::time::Duration;

/// What a SYN+ACK is made of: [`crate::Tcb::accept`] with the same, and its first poll, say it too, unless there is a Fast Open cookie to
/// give.
#[derive(Clone, Debug)]
pub struct SynAck<'a> {
    /// Parameters of the connection to come, but for `mss`.
    pub config: &'a Config,
    /// See [`Config::mss`].
    pub mss: u16,
    /// The SYN, which carries neither ACK nor RST.
    pub syn: &'a Segment,
    /// Our initial sequence number.
    pub iss: Seq,
    /// Added to the clock of timestamps.
    pub ts_offset: u32,
    /// Bytes of receive room, see [`crate::Grant::rcv_room`].
    pub rcv_room: u32,
}

impl SynAck<'_> {
    /// The segment, sent `now`.
    pub fn emit(self, now: Instant) -> Emit {
        let room = self.rcv_room.min(u32::from(u16::MAX));
        let clamp = self.config.socket.window_clamp.unwrap_or(room);
        Emit {
            rel: 0..0,
            seq: self.iss,
            ack: self.syn.seq + 1,
            wnd: room.min(clamp) as u16,
            flags: Flags::SYN.with(Flags::ACK).with(self.ecn()),
            options: self.options(now),
            kind: Kind::Control,
            mss: 0,
            ecn: 0,
        }
    }

    /// When it is to be sent again, if nothing comes of it.
    pub fn timeout(config: &Config) -> Duration {
        config.retransmit.initial_rto.min(config.retransmit.max_rto)
    }

    fn options(self, now: Instant) -> Options {
        let SynAck { config, .. } = self;
        let none = SynOptions::default();
        let theirs = match &self.syn.options {
            Options::Syn(options) => options,
            Options::Segment(_) => &none,
        };
        let scaling = config.window_scaling && theirs.window_scale.is_some();
        let stamps = theirs.timestamps.filter(|_| config.timestamps);
        Options::Syn(SynOptions {
            mss: Some(self.mss),
            window_scale: scaling.then(|| window_scale(config.recv_buffer)),
            sack_permitted: config.sack && theirs.sack_permitted,
            timestamps: stamps.map(|theirs| Timestamps {
                val: val(self.ts_offset, now),
                ecr: theirs.val,
            }),
            fast_open: None,
        })
    }

    fn ecn(&self) -> Flags {
        let asks = Flags(self.syn.flags.0 & ACE.0);
        let nothing = asks == ecn::NONE;
        match self.config.ecn {
            Ecn::Off => ecn::NONE,
            Ecn::Accurate if !nothing && asks != ecn::SETUP => {
                Accurate::passive(self.syn).on_syn_ack()
            }
            _ if asks.has(ecn::SETUP) => Flags::ECE,
            _ => ecn::NONE,
        }
    }
}

impl Tcb {
    /// After [`Tcb::accept`]: its [`SynAck`] has left. As if it had been polled.
    pub fn answered(&mut self, now: Instant, grant: Grant) {
        self.note_grant(&grant);
        self.pending.syn = false;
        (self.snd.nxt, self.seen.syn) = (1, Some(now));
        self.timers.set(Timer::Rto, now + self.rto());
        let room = self.clamped(grant.rcv_room);
        self.rcv.window(room, self.config.shared_window, 1, 0);
        self.acks.sent();
        self.stamps.last_ack_sent = self.rcv.nxt;
        self.stats.segments_out += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a SYN may ask for beside all that may be set, each a bit of `n`.
    fn syn(n: u32) -> Segment {
        let has = |bit: u32| n >> bit & 1 == 1;
        Segment {
            seq: Seq(u32::MAX),
            ack: Seq(0),
            wnd: 1000,
            flags: Flags(Flags::SYN.0 | if has(0) { ecn::SETUP.0 } else { 0 }).with(if has(1) {
                Flags::AE
            } else {
                ecn::NONE
            }),
            len: 0,
            gso_size: 0,
            options: Options::Syn(SynOptions {
                mss: has(2).then_some(1200),
                window_scale: has(3).then_some(7),
                sack_permitted: has(4),
                timestamps: has(5).then_some(Timestamps { val: 77, ecr: 0 }),
                fast_open: None,
            }),
            ecn: (n >> 6 & 3) as u8,
            signal_only: false,
        }
    }

    #[test]
    fn it_is_what_the_connection_would_have_said() {
        let now = Instant(5_000_000_000);
        let ecns = [Ecn::Off, Ecn::Passive, Ecn::Classic, Ecn::Accurate];
        for n in 0..1 << 8 {
            for set in 0..1 << 7 {
                let has = |bit: u32| set >> bit & 1 == 1;
                let mut config = Config {
                    ecn: ecns[set & 3],
                    window_scaling: has(2),
                    sack: has(3),
                    timestamps: has(4),
                    shared_window: has(5),
                    recv_buffer: 300_000,
                    ..Config::default()
                };
                config.socket.window_clamp = has(6).then_some(5000);
                let (syn, iss, rcv_room) = (syn(n), Seq(9), 200_000);
                let grant = Grant {
                    rcv_room,
                    data_options: 0,
                    ack_options: 0,
                    gso_max: 0,
                };
                let mut tcb = Tcb::accept(now, &config, &syn, iss, 55);
                let said = tcb.poll(now, grant).expect("a SYN+ACK");
                assert_eq!(tcb.deadline(), Some(now + SynAck::timeout(&config)));
                let mut silent = Tcb::accept(now, &config, &syn, iss, 55);
                silent.answered(now, grant);
                assert_eq!(format!("{silent:?}"), format!("{tcb:?}"));
                let answer = SynAck {
                    config: &config,
                    mss: config.mss,
                    syn: &syn,
                    iss,
                    ts_offset: 55,
                    rcv_room,
                };
                // It has no payload to be cut.
                let (answer, said) = (answer.emit(now), Emit { mss: 0, ..said });
                assert_eq!(
                    format!("{answer:?}"),
                    format!("{said:?}"),
                    "{syn:?} {config:?}"
                );
            }
        }
    }
}
