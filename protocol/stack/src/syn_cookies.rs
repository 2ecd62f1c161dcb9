//! SYN cookies (RFC 4987 §3.6): under pressure a SYN is answered and forgotten. What the connection
//! will need is in the initial sequence number and the timestamp of the answer, and comes back with
//! the acknowledgement that completes the handshake.

use crate::config::SynCookies;
use crate::counters::Counter;
use crate::demux::{Target, Tuple};
use crate::flow::{Flow, Plain, Stage};
use crate::id::ListenerId;
use crate::multipath::Wish;
use crate::random::{KeyedHash, Random};
use crate::receive::Arrival;
use crate::shard::Origin;
use crate::stack::Stack;
use crate::transmit::MAX_REPLIES;
use anabranch_mptcp::keys;
use anabranch_tcp::{Emit, Instant, Segment, Stream};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::MptcpOptions;
use anabranch_wire::tcp::{Flags, Options, SynOptions, Timestamps};
use siphasher::sip::SipHasher24;
use smallvec::SmallVec;
use std::time::Duration;

/// A cookie is good in the period it was made in and the next.
const PERIOD: Duration = Duration::from_secs(60);

/// Segment sizes that a cookie can remember: common ones, rounded down to.
const MSS: [u16; 8] = [88, 536, 1220, 1300, 1380, 1440, 1460, 8940];

/// Low bits of the timestamp that say what the SYN offered: window scale, SACK, ECN.
const STAMP_MASK: u32 = 0b11_1111;
const NO_SCALE: u32 = 0b1111;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;

/// What makes cookies and recognises them.
pub(crate) struct Baker {
    hash: KeyedHash,
    /// For the keys of Multipath TCP: a stronger hash.
    pub(crate) keys: SipHasher24,
    /// When the last one was sent.
    sent: Option<Instant>,
}

impl Baker {
    pub(crate) fn new(random: &mut Random) -> Self {
        let hash = random.hash();
        Baker {
            keys: SipHasher24::new_with_keys(hash.of("keys 0"), hash.of("keys 1")),
            hash,
            sent: None,
        }
    }

    /// The initial sequence number that answers a SYN: its distance from the peer's is 5 bits of
    /// time, 3 of segment size, and 24 that only we can know.
    fn bake(&self, now: Instant, tuple: &Tuple, irs: Seq, mss: u16) -> Seq {
        let size = MSS.partition_point(|m| *m <= mss).saturating_sub(1) as u32;
        let period = period(now);
        irs + ((period as u32 & 31) << 27 | size << 24 | self.seal(tuple, irs, period, size))
    }

    /// The segment size that a cookie remembers; `None` if it is none of ours, or too old.
    fn taste(&self, now: Instant, tuple: &Tuple, irs: Seq, cookie: Seq) -> Option<u16> {
        let bits = cookie.0.wrapping_sub(irs.0);
        let age = (period(now) as u32).wrapping_sub(bits >> 27) & 31;
        let made = period(now)
            .checked_sub(u64::from(age))
            .filter(|_| age <= 1)?;
        let size = bits >> 24 & 7;
        let seal = self.seal(tuple, irs, made, size);
        keys::same(&(bits & 0xff_ffff), &seal).then_some(MSS[size as usize])
    }

    fn seal(&self, tuple: &Tuple, irs: Seq, period: u64, size: u32) -> u32 {
        self.hash.of((tuple, irs.0, period, size)) as u32 & 0xff_ffff
    }

    /// Whether a cookie may still come back.
    fn is_open(&self, now: Instant) -> bool {
        self.sent.is_some_and(|sent| now.since(sent) < 2 * PERIOD)
    }
}

fn period(now: Instant) -> u64 {
    now.0 / PERIOD.as_nanos() as u64
}

/// The latest timestamp not after `clock` with these low bits.
fn stamp(clock: u32, bits: u32) -> u32 {
    let stamp = clock & !STAMP_MASK | bits;
    if bits > clock & STAMP_MASK {
        stamp.wrapping_sub(STAMP_MASK + 1)
    } else {
        stamp
    }
}

impl Stack {
    /// Whether this SYN is to be answered by a cookie.
    pub(crate) fn wants_cookie(&self, half_open_full: bool) -> bool {
        match self.config.syn_cookies {
            SynCookies::Never => false,
            SynCookies::UnderPressure => half_open_full,
            SynCookies::Always => true,
        }
    }

    /// Answers a SYN and keeps nothing of it.
    pub(crate) fn send_cookie(
        &mut self,
        now: Instant,
        id: ListenerId,
        arrival: &Arrival,
        wish: &Wish<'_>,
    ) {
        if self.replies.len() >= MAX_REPLIES {
            self.counters.inc(Counter::TcpExtListenDrops);
            return;
        }
        let tuple = arrival.tuple;
        let syn = remembered(&arrival.segment);
        let mss = match &syn.options {
            Options::Syn(options) => options.mss.unwrap_or(536),
            Options::Segment(_) => 536,
        };
        let cookie = self.baker.bake(now, &tuple, syn.seq, mss);
        let multipath = match wish {
            Wish::Capable(capable) => self.answer_capable(now, id, arrival, &syn, capable, cookie),
            Wish::Plain | Wish::Join(_) | Wish::Silence => None,
        };
        let (mut emit, mptcp) =
            multipath.unwrap_or_else(|| self.answer_plain(now, id, &tuple, &syn, cookie));
        let ecn = emit.flags.has(Flags::ECE);
        if let (Options::Syn(ours), Options::Syn(theirs)) = (&mut emit.options, &syn.options)
            && let Some(timestamps) = &mut ours.timestamps
        {
            timestamps.val = stamp(timestamps.val, described(theirs, ecn));
        }
        let answer = self.assemble(&tuple, &emit, &mptcp, SmallVec::new());
        self.replies.extend(answer);
        self.baker.sent = Some(now);
        self.counters.inc(Counter::TcpExtSyncookiesSent);
    }

    /// The SYN+ACK of plain TCP.
    fn answer_plain(
        &self,
        now: Instant,
        id: ListenerId,
        tuple: &Tuple,
        syn: &Segment,
        cookie: Seq,
    ) -> (Emit, MptcpOptions) {
        let (settings, mss) = (self.settings_of(id), self.mss(tuple));
        let ts_offset = self.secrets.timestamp_offset(tuple);
        let answer = Stream::answer(&settings.plain, mss, syn, cookie, ts_offset);
        (answer.emit(now), MptcpOptions::new())
    }

    /// A segment of no connection: if it brings back a cookie, its connection is made now. False if
    /// it is nothing of the kind.
    pub(crate) fn receive_cookie(
        &mut self,
        now: Instant,
        arrival: &mut Option<Arrival>,
        origin: Origin<'_>,
    ) -> bool {
        let Some(Arrival { tuple, segment, .. }) = arrival.as_ref() else {
            return false;
        };
        let tuple = *tuple;
        let flags = segment.flags;
        let completes = flags.has(Flags::ACK) && !flags.has(Flags::SYN) && !flags.has(Flags::RST);
        if !completes || !self.baker.is_open(now) {
            return false;
        }
        let Some((id, listener)) = self.listeners.find(tuple.local) else {
            return false;
        };
        let full = listener.queue.len() >= listener.config.backlog;
        let (irs, cookie) = (segment.seq - 1, segment.ack - 1);
        let Some(mss) = self.baker.taste(now, &tuple, irs, cookie) else {
            if !self.may_be_elsewhere(origin) {
                self.counters.inc(Counter::TcpExtSyncookiesFailed);
            }
            return false;
        };
        let syn = rebuilt(segment, irs, mss);
        self.counters.inc(Counter::TcpExtSyncookiesRecv);
        if full {
            // The peer sends again what it has to say.
            self.counters.inc(Counter::TcpExtListenDrops);
            self.counters.inc(Counter::TcpExtListenOverflows);
            return true;
        }
        if let Some(arrival) = arrival.take() {
            self.resume(now, id, &syn, cookie, arrival);
        }
        true
    }

    fn resume(
        &mut self,
        now: Instant,
        id: ListenerId,
        syn: &Segment,
        cookie: Seq,
        arrival: Arrival,
    ) {
        let Some(charge) = self.admit() else {
            self.counters.inc(Counter::TcpExtListenDrops);
            self.counters.inc(Counter::TcpExtTCPBacklogDrop);
            return;
        };
        let tuple = arrival.tuple;
        let multipath = self.resume_capable(now, id, syn, cookie, &arrival);
        let flow = multipath.unwrap_or_else(|| {
            let config = self.stream_config(now, &tuple, &self.settings_of(id));
            let ts_offset = self.secrets.timestamp_offset(&tuple);
            let stream = Stream::resume(now, &config, syn, cookie, ts_offset);
            Flow::Tcp(Box::new(Plain { stream, tuple }))
        });
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.half_open += 1;
        }
        let handle = self.adopt(now, tuple, flow, Stage::HalfOpen(id), charge);
        self.apply_rules(now, handle, arrival.dscp);
        let target = Target {
            index: handle.0,
            subflow: 0,
        };
        self.deliver(now, target, arrival);
    }
}

/// What can be remembered of a SYN: without timestamps, only its segment size.
fn remembered(syn: &Segment) -> Segment {
    let mut syn = syn.clone();
    // Accurate feedback is not among it: it is asked as a peer of RFC 3168 would.
    syn.flags = syn.flags.without(Flags::AE);
    let Options::Syn(options) = &mut syn.options else {
        return syn;
    };
    options.fast_open = None;
    if options.timestamps.is_none() {
        *options = SynOptions {
            mss: options.mss,
            ..SynOptions::default()
        };
        syn.flags = Flags::SYN;
    }
    syn
}

/// What a SYN offered, in the low bits of a timestamp.
fn described(syn: &SynOptions, ecn: bool) -> u32 {
    let scale = syn.window_scale.map_or(NO_SCALE, u32::from);
    scale | if syn.sack_permitted { SACK } else { 0 } | if ecn { ECN } else { 0 }
}

/// The SYN that the acknowledgement of a cookie was preceded by.
fn rebuilt(ack: &Segment, irs: Seq, mss: u16) -> Segment {
    let mut options = SynOptions {
        mss: Some(mss),
        ..SynOptions::default()
    };
    let mut flags = Flags::SYN;
    if let Some(Timestamps { val, ecr }) = ack.options.timestamps() {
        let scale = ecr & NO_SCALE;
        options.timestamps = Some(Timestamps { val, ecr: 0 });
        options.window_scale = (scale <= 14).then_some(scale as u8);
        options.sack_permitted = ecr & SACK != 0;
        if ecr & ECN != 0 {
            flags = flags.with(Flags::ECE).with(Flags::CWR);
        }
    }
    Segment {
        seq: irs,
        ack: Seq(0),
        flags,
        len: 0,
        gso_size: 0,
        options: Options::Syn(options),
        ecn: 0,
        ..ack.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple() -> Tuple {
        Tuple::new(([10, 0, 0, 2], 80).into(), ([10, 0, 0, 1], 4000).into())
    }

    #[test]
    fn a_cookie_is_good_for_one_to_two_periods_and_for_its_connection_only() {
        let baker = Baker::new(&mut Random::new([7; 32]));
        for start in [0, 59, 60, 1919, 1920, 100_000] {
            let now = Instant(start * 1_000_000_000);
            let irs = Seq(0xffff_ff00);
            let cookie = baker.bake(now, &tuple(), irs, 1460);
            let after = |secs: u64| {
                let later = now + Duration::from_secs(secs);
                baker.taste(later, &tuple(), irs, cookie)
            };
            assert_eq!((after(0), after(60)), (Some(1460), Some(1460)), "{start}");
            assert_eq!(
                (after(120), after(1920), after(3840)),
                (None, None, None),
                "{start}"
            );
            let other = Tuple::new(tuple().local, ([10, 0, 0, 1], 4001).into());
            assert_eq!(baker.taste(now, &other, irs, cookie), None);
            assert_eq!(baker.taste(now, &tuple(), irs + 1, cookie), None);
            assert_eq!(baker.taste(now, &tuple(), irs, cookie + 1), None);
        }
    }

    #[test]
    fn segment_sizes_are_rounded_down() {
        let baker = Baker::new(&mut Random::new([7; 32]));
        let now = Instant(0);
        for (mss, remembered) in [
            (20, 88),
            (535, 88),
            (536, 536),
            (1459, 1440),
            (65_535, 8940),
        ] {
            let cookie = baker.bake(now, &tuple(), Seq(1), mss);
            assert_eq!(baker.taste(now, &tuple(), Seq(1), cookie), Some(remembered));
        }
    }

    #[test]
    fn a_stamp_is_never_ahead_of_the_clock() {
        for clock in [0, 1, 63, 64, 1000, u32::MAX] {
            for bits in 0..64 {
                let stamp = stamp(clock, bits);
                assert_eq!(stamp & STAMP_MASK, bits);
                assert!(clock.wrapping_sub(stamp) < 64, "{clock} {bits}");
            }
        }
    }
}
