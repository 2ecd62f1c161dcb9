//! One handshake: what is kept of it, and its connection made of that.

use crate::demux::Tuple;
use crate::flow::{Flow, Plain};
use crate::held::hold;
use crate::id::ListenerId;
use crate::multi::Multi;
use crate::receive::Arrival;
use crate::settings::Settings;
use anabranch_mptcp::keys::LocalKey;
use anabranch_mptcp::{Connection, Start, SubflowId};
use anabranch_tcp::budget::Charge;
use anabranch_tcp::{Emit, IcmpError, Instant, Segment, Stream, SynAck};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{Capable, MptcpOption, MptcpOptions};
use anabranch_wire::tcp::{FastOpen, Flags, Options, SynOptions, Timestamps};
use bytes::Bytes;

/// A SYN that was answered.
pub(crate) struct Request {
    pub(crate) tuple: Tuple,
    pub(crate) listener: ListenerId,
    /// Of the listener when the SYN came.
    settings: Settings,
    syn: Syn,
    /// Whether and how it came again.
    again: Option<Again>,
    /// Our initial sequence number.
    pub(crate) iss: Seq,
    /// Where it is to be Multipath TCP: what the SYN had, and our key.
    capable: Option<(Capable, LocalKey)>,
    /// The SYN+ACK has this Fast Open cookie.
    granted: Option<Box<FastOpen>>,
    pub(crate) opened: Instant,
    /// Times that the SYN+ACK was sent again for want of an answer.
    pub(super) tries: u8,
    /// Differentiated services code point of the SYN.
    pub(crate) dscp: u8,
    /// What the connection takes of the memory budget.
    pub(super) charge: Charge,
}

/// What a SYN said, as far as it matters.
#[derive(Clone, Copy)]
struct Syn {
    seq: Seq,
    wnd: u16,
    flags: Flags,
    mss: Option<u16>,
    window_scale: Option<u8>,
    sack: bool,
    timestamps: Option<Timestamps>,
    ecn: u8,
}

/// What repeated SYNs said: peers leave out what may be the reason that the first was lost, and what
/// one of them left out stays out.
#[derive(Clone, Copy)]
struct Again {
    flags: Flags,
    /// Without MP_CAPABLE.
    bare: bool,
}

/// What became of an ICMP error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hears {
    Taken,
    OutOfWindow,
}

impl Request {
    pub(super) fn new(
        now: Instant,
        (listener, settings): (ListenerId, Settings),
        arrival: &Arrival,
        capable: Option<(Capable, LocalKey)>,
        iss: Seq,
        charge: Charge,
    ) -> Request {
        Request {
            tuple: arrival.tuple,
            listener,
            settings,
            syn: Syn::of(&arrival.segment),
            again: None,
            iss,
            capable,
            granted: None,
            opened: now,
            tries: 0,
            dscp: arrival.dscp,
            charge,
        }
    }

    /// Has the SYN+ACK give a Fast Open cookie.
    pub(super) fn grant(&mut self, cookie: Option<FastOpen>) {
        self.granted = cookie.map(Box::new);
    }

    /// The token of its key.
    pub(super) fn token(&self) -> Option<u32> {
        self.capable.as_ref().map(|(_, key)| key.derived.token)
    }

    /// Remembers what the SYN said once more.
    pub(super) fn repeated(&mut self, arrival: &Arrival) {
        let capable = |option: &MptcpOption| matches!(option, MptcpOption::Capable(_));
        let (flags, bare) = (arrival.segment.flags, !arrival.mptcp.iter().any(capable));
        self.again = Some(match self.again {
            None => Again { flags, bare },
            Some(before) => Again {
                flags: Flags(flags.0 & before.flags.0),
                bare: bare || before.bare,
            },
        });
    }

    /// Takes the key out of its place, to be given back in another.
    pub(super) fn take_key(&mut self) -> Option<LocalKey> {
        self.capable.as_mut().map(|(_, key)| key.take())
    }

    pub(super) fn give_key(&mut self, key: Option<LocalKey>) {
        if let (Some((_, place)), Some(key)) = (&mut self.capable, key) {
            *place = key;
        }
    }

    /// Whether it is the SYN once more.
    pub(super) fn repeats(&self, arrival: &Arrival) -> bool {
        let Segment { flags, seq, .. } = arrival.segment;
        let others = Flags::ACK.with(Flags::RST).with(Flags::FIN);
        flags.has(Flags::SYN) && flags.0 & others.0 == 0 && seq == self.syn.seq
    }

    /// The connection when the SYN has come.
    pub(super) fn begin(&self, start: Start) -> Flow {
        let (opened, tuple, syn) = (self.opened, self.tuple, self.syn.segment());
        let granted = self.granted.as_deref().cloned();
        let Some((capable, key)) = &self.capable else {
            let config = self.settings.stream(start.mss, start.known_mss);
            let mut stream = Stream::accept(opened, &config, &syn, start.iss, start.ts_offset);
            if let Some(cookie) = granted {
                stream.grant_fast_open(cookie);
            }
            return Flow::Tcp(Box::new(Plain { stream, tuple }));
        };
        let token = key.derived.token;
        let (config, key, path) = (&self.settings.mptcp, key.clone(), tuple.into());
        let mut connection =
            Connection::accept_with(opened, config, key, path, &syn, capable, start);
        if let Some(cookie) = granted {
            connection.grant_fast_open(cookie);
        }
        Flow::Mptcp(hold(Multi::new(connection, token, tuple)))
    }

    /// The SYN+ACK, and when it is to be sent again.
    pub(super) fn answer(&self, start: &Start) -> Option<(Emit, MptcpOptions, Instant)> {
        if self.granted.is_some() {
            // What gives way to a cookie, the connection knows.
            let mut flow = self.begin(*start);
            let (emit, mptcp) = flow.answer(self.opened)?;
            return Some((emit, mptcp, flow.deadline()?));
        }
        let syn = self.syn.segment();
        let (answer, option) = match &self.capable {
            None => {
                let Start {
                    mss,
                    iss,
                    ts_offset,
                    ..
                } = *start;
                let answer = Stream::answer(&self.settings.plain, mss, &syn, iss, ts_offset);
                (answer, None)
            }
            Some((capable, key)) => {
                let config = &self.settings.mptcp;
                let (answer, ours) = Connection::answer(config, key.clone(), &syn, capable, start)?;
                (answer, Some(MptcpOption::Capable(ours)))
            }
        };
        let again = self.opened + SynAck::timeout(answer.config);
        let emit = answer.emit(self.opened);
        Some((emit, option.into_iter().collect(), again))
    }

    /// The connection after all that has happened.
    pub(super) fn revive(&self, start: Start) -> Flow {
        let mut flow = self.begin(start);
        match &mut flow {
            Flow::Tcp(plain) if self.granted.is_none() => plain.stream.answered(self.opened),
            _ => drop(flow.answer(self.opened)),
        }
        if let Some(again) = self.again {
            flow.hear(self.opened, &again.arrival(self));
            while flow.answer(self.opened).is_some() {}
        }
        for _ in 0..self.tries {
            // As if the timer had been punctual: only how often it expired matters.
            let Some(at) = flow.deadline() else { break };
            flow.on_deadline(at);
            while flow.answer(at).is_some() {}
        }
        flow
    }
}

impl Syn {
    fn of(segment: &Segment) -> Syn {
        let none = SynOptions::default();
        let options = match &segment.options {
            Options::Syn(options) => options,
            Options::Segment(_) => &none,
        };
        Syn {
            seq: segment.seq,
            wnd: segment.wnd,
            flags: segment.flags,
            mss: options.mss,
            window_scale: options.window_scale,
            sack: options.sack_permitted,
            timestamps: options.timestamps,
            ecn: segment.ecn,
        }
    }

    /// It again. Its payload was not taken, and comes again by itself.
    fn segment(&self) -> Segment {
        Segment {
            seq: self.seq,
            ack: Seq(0),
            wnd: self.wnd,
            flags: self.flags,
            len: 0,
            gso_size: 0,
            options: Options::Syn(SynOptions {
                mss: self.mss,
                window_scale: self.window_scale,
                sack_permitted: self.sack,
                timestamps: self.timestamps,
                fast_open: None,
            }),
            ecn: self.ecn,
            signal_only: false,
        }
    }
}

impl Again {
    fn arrival(self, request: &Request) -> Arrival {
        let capable = request.capable.as_ref().filter(|_| !self.bare);
        Arrival {
            tuple: request.tuple,
            segment: Segment {
                flags: self.flags,
                ..request.syn.segment()
            },
            mptcp: capable
                .map(|(capable, _)| MptcpOption::Capable(capable.clone()))
                .into_iter()
                .collect(),
            payload: Bytes::new(),
            dscp: request.dscp,
        }
    }
}

/// What a connection that is half open may be told and asked.
impl Flow {
    /// The next segment that it has to say: none has payload yet.
    pub(super) fn answer(&mut self, now: Instant) -> Option<(Emit, MptcpOptions)> {
        match self {
            Flow::Tcp(plain) => {
                let (emit, _) = plain.stream.poll_transmit(now)?;
                Some((emit, MptcpOptions::new()))
            }
            Flow::Mptcp(multi) => {
                let outgoing = multi.connection.poll_transmit(now)?;
                Some((outgoing.emit, outgoing.mptcp))
            }
        }
    }

    /// A segment arrives.
    pub(super) fn hear(&mut self, now: Instant, arrival: &Arrival) {
        let payload = arrival.payload.clone();
        match self {
            Flow::Tcp(plain) => plain.stream.on_segment(now, &arrival.segment, payload),
            Flow::Mptcp(multi) => {
                let (segment, options) = (arrival.segment.clone(), &arrival.mptcp[..]);
                let initial = SubflowId(0);
                multi
                    .connection
                    .on_segment(now, initial, segment, options, payload);
            }
        }
    }

    /// The payload of the SYN that it began with.
    pub(super) fn take_syn_payload(&mut self, now: Instant, arrival: &Arrival) {
        let (syn, payload) = (&arrival.segment, arrival.payload.clone());
        match self {
            Flow::Tcp(plain) => plain.stream.take_syn_payload(now, syn, payload),
            Flow::Mptcp(multi) => multi.connection.take_syn_payload(now, syn, payload),
        }
    }

    /// An ICMP error arrives.
    pub(super) fn on_icmp(&mut self, now: Instant, error: IcmpError) -> Hears {
        let in_flight = |tcb: &anabranch_tcp::Tcb| tcb.is_in_flight(error.seq);
        let known = match self {
            Flow::Tcp(plain) => {
                let known = in_flight(plain.stream.tcb());
                plain.stream.on_icmp(now, error);
                known
            }
            Flow::Mptcp(multi) => {
                let known = multi.connection.tcb(SubflowId(0)).is_none_or(in_flight);
                multi.connection.on_icmp(now, SubflowId(0), error);
                known
            }
        };
        if known {
            Hears::Taken
        } else {
            Hears::OutOfWindow
        }
    }
}
