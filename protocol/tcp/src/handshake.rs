//! Opening (RFC 9293 §3.10.1, §3.10.7.2, §3.10.7.3) and what is agreed by options on SYNs.

use crate::acks::AckPolicy;
use crate::congestion::Init;
use crate::control::Control;
use crate::input::refusal;
use crate::limited::Limited;
use crate::mtu::PathMtu;
use crate::rcv_rtt::RcvRtt;
use crate::recovery::Recovery;
use crate::recovery::rtt::Rtt;
use crate::recv::Recv;
use crate::segment::{Change, Close, Grant, Receipt, Segment};
use crate::send::Send;
use crate::stamps::{Stamps, before};
use crate::stats::Stats;
use crate::tcb::{Agreed, Pending, Seen};
use crate::timers::{Timer, Timers};
use crate::{Config, Instant, State, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SynOptions};

/// Segment size of a peer that names none (RFC 9293 §3.7.1).
pub(crate) const DEFAULT_MSS: u16 = 536;
/// A peer's segment size below this is read as this: less would be all headers.
const LEAST_MSS: u16 = 88;

impl Tcb {
    /// Active open: SYN-SENT. `iss` is the initial sequence number (see
    /// [`crate::isn::initial_seq`]); `ts_offset` is added to the millisecond clock of timestamps
    /// (RFC 7323 §5.4: random for each connection).
    pub fn connect(now: Instant, config: &Config, iss: Seq, ts_offset: u32) -> Tcb {
        let mss = u32::from(config.mss);
        let mut tcb = Tcb {
            config: config.clone(),
            state: State::SynSent,
            snd: Send::new(iss),
            rcv: Recv::default(),
            recovery: Recovery::default(),
            rtt: Rtt::new(now),
            rcv_rtt: RcvRtt::default(),
            control: Control::new(
                config.congestion.algorithm,
                Init {
                    mss,
                    initial_window: u64::from(mss),
                    srtt: None,
                    abe: config.congestion.abe,
                    seed: u64::from(iss.0),
                },
                &config.congestion.pacing,
            ),
            mtu: PathMtu::new(config.mss),
            agreed: Agreed {
                mss,
                owner_options: 0,
                sack: false,
                scaling: false,
                passive: false,
            },
            ecn: Default::default(),
            fast_open: None,
            acks: AckPolicy::new(now),
            stamps: Stamps::new(ts_offset),
            timers: Timers::new(),
            pending: Pending {
                syn: true,
                ..Pending::default()
            },
            seen: Seen {
                progress: now,
                received: now,
                sent: now,
                data: now,
                syn: None,
            },
            limited: Limited::new(now),
            stats: Stats::default(),
        };
        if config.window_scaling {
            tcb.rcv.scale = window_scale(config.recv_buffer);
        }
        tcb
    }

    /// Passive open from a SYN (which must carry SYN, and neither ACK nor RST): SYN-RECEIVED.
    /// Payload on the SYN is not taken: the peer sends it again.
    pub fn accept(now: Instant, config: &Config, syn: &Segment, iss: Seq, ts_offset: u32) -> Tcb {
        let mut tcb = Tcb::connect(now, config, iss, ts_offset);
        tcb.state = State::SynReceived;
        tcb.agreed.passive = true;
        tcb.count(now, syn);
        tcb.peer_syn(now, syn);
        tcb
    }

    /// Passive open of which nothing is known but what the SYN+ACK said: it is as if it had been
    /// sent just now, but nothing follows for the round-trip time (SYN cookies, RFC 4987 §3.6).
    /// `syn` is what the peer's SYN must have been.
    pub fn resume(
        now: Instant,
        config: &Config,
        syn: &Segment,
        iss: Seq,
        ts_offset: u32,
        grant: Grant,
    ) -> Tcb {
        let mut tcb = Tcb::accept(now, config, syn, iss, ts_offset);
        tcb.poll(now, grant);
        tcb.seen.syn = None;
        tcb
    }

    /// The peer's SYN: its sequence number and what it offers. What we do not want, or did not
    /// offer, is off.
    fn peer_syn(&mut self, now: Instant, syn: &Segment) {
        self.rcv.start(syn.seq);
        self.agree_on_ecn(syn);
        let none = SynOptions::default();
        let options = match &syn.options {
            Options::Syn(options) => options,
            Options::Segment(_) => &none,
        };
        let mss = options
            .mss
            .unwrap_or(DEFAULT_MSS)
            .max(LEAST_MSS)
            .min(self.config.mss);
        self.start_path_mtu(now, mss);
        self.agreed.sack = self.config.sack && options.sack_permitted;
        match options.window_scale.filter(|_| self.config.window_scaling) {
            Some(scale) => {
                self.agreed.scaling = true;
                self.snd.wnd.scale = scale.min(14);
            }
            None => self.rcv.scale = 0,
        }
        if let Some(stamps) = options.timestamps.filter(|_| self.config.timestamps) {
            self.stamps.on = true;
            self.stamps.set_recent(stamps.val, now);
        }
    }

    /// Options of our SYN or SYN+ACK.
    pub(crate) fn syn_options(&self, now: Instant) -> Options {
        let answer = self.rcv.irs.is_some();
        let (scaling, sack, stamps) = if answer {
            (self.agreed.scaling, self.agreed.sack, self.stamps.on)
        } else {
            (
                self.config.window_scaling,
                self.config.sack,
                self.config.timestamps,
            )
        };
        // What routers said of the path to the peer is likely to hold for the way back.
        let mss = if answer {
            self.config.mss
        } else {
            self.agreed.mss as u16
        };
        Options::Syn(SynOptions {
            mss: Some(mss),
            window_scale: scaling.then_some(self.rcv.scale),
            sack_permitted: sack,
            timestamps: stamps.then(|| self.stamps.make(now)),
            fast_open: self.fast_open_option(),
        })
    }

    /// A segment in SYN-SENT (RFC 9293 §3.10.7.3).
    pub(crate) fn in_syn_sent(&mut self, now: Instant, segment: &Segment) -> Receipt {
        let flags = segment.flags;
        // Nothing is sent before the first poll. The SYN may have had payload.
        let acked = self.snd.position(segment.ack);
        let acceptable = flags.has(Flags::ACK) && acked >= 1 && acked <= self.snd.nxt as i64;
        let stray = flags.has(Flags::SYN) && self.echoes_another(now, segment);
        if flags.has(Flags::ACK) && (!acceptable || stray) {
            self.pending.refusal = refusal(segment);
            return self.receipt();
        }
        if flags.has(Flags::RST) {
            let change = if acceptable {
                self.abort(Close::Refused)
            } else {
                Change::None
            };
            return Receipt {
                change,
                ..self.receipt()
            };
        }
        if !flags.has(Flags::SYN) {
            return self.receipt();
        }
        self.seen.received = now;
        self.peer_syn(now, segment);
        if !acceptable {
            // Simultaneous open: our SYN goes again, now with an ACK.
            self.state = State::SynReceived;
            self.pending.syn = true;
            return self.receipt();
        }
        self.fast_open_answered(segment);
        let change = self.established(now, segment);
        self.syn_payload_acked(now, acked as u64);
        self.resend_syn_payload(now);
        self.acks.now = true;
        let mut receipt = self.take_payload(now, segment);
        receipt.change = if receipt.change == Change::None {
            change
        } else {
            receipt.change
        };
        receipt.peer_wnd = Some(self.snd.wnd.size);
        receipt.progress = true;
        receipt
    }

    /// The answer to a SYN echoes a timestamp that we did not send: it is of an earlier connection,
    /// or a guess (RFC 7323 §3.2: the echo is of the SYN's).
    fn echoes_another(&self, now: Instant, segment: &Segment) -> bool {
        let echo = segment.options.timestamps().map(|stamps| stamps.ecr);
        match (echo, self.seen.syn) {
            (Some(echo), Some(sent)) if self.config.timestamps && echo != 0 => {
                before(echo, self.stamps.val(sent)) || before(self.stamps.val(now), echo)
            }
            _ => false,
        }
    }

    /// Our SYN was acknowledged and the peer's had come.
    pub(crate) fn established(&mut self, now: Instant, segment: &Segment) -> Change {
        self.snd.acked(1);
        self.timers.stop(Timer::Rto);
        self.pending.syn = false;
        if let Some(sent) = self.seen.syn {
            if self.rtt.streak() == 0 {
                self.rtt.sample(now, now.since(sent));
            } else if let Some(rtt) = self.echoed_rtt(now, segment) {
                self.rtt.sample(now, rtt);
            }
        }
        self.start_congestion_control();
        self.rtt.progress();
        self.seen.progress = now;
        if self.stats.bytes_in == 0 {
            self.seen.data = now;
        }
        let wnd = self.scaled_window(segment);
        self.snd.wnd.force(segment.seq, 1, wnd);
        self.state = State::Established;
        self.fin_queued();
        self.arm_loss_timer(now);
        if let Some(keepalive) = self.config.keepalive {
            self.timers.set(Timer::Keepalive, now + keepalive.time);
        }
        Change::Established
    }

    /// Window of a received segment in bytes; never scaled on a SYN (RFC 7323 §2.2).
    pub(crate) fn scaled_window(&self, segment: &Segment) -> u32 {
        let syn = segment.flags.has(Flags::SYN);
        u32::from(segment.wnd) << if syn { 0 } else { self.snd.wnd.scale }
    }
}

/// The least shift with which `buffer` can be advertised, at most 14 (RFC 7323 §2.3).
pub(crate) fn window_scale(buffer: u32) -> u8 {
    (0..14)
        .find(|shift| buffer >> shift <= 65_535)
        .unwrap_or(14)
}
