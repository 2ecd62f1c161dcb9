//! From a frame to the connection it belongs to.

use crate::counters::Counter;
use crate::demux::{Target, Tuple, is_group};
use crate::flow::{Flow, Stage};
use crate::listener::Full;
use crate::multipath::Wish;
use crate::shard::Origin;
use crate::stack::Stack;
use crate::time_wait::Verdict;
use anabranch_mptcp::{SubflowId, Version};
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::frame::Frame;
use anabranch_wire::ip::{IpPacket, protocol};
use anabranch_wire::mptcp::{Capable, MptcpOptions};
use anabranch_wire::tcp::Flags;
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;

/// A TCP packet on its way to whoever it is for.
pub(crate) struct Arrival {
    pub(crate) tuple: Tuple,
    pub(crate) segment: Segment,
    pub(crate) mptcp: MptcpOptions,
    pub(crate) payload: Bytes,
    /// Differentiated services code point.
    pub(crate) dscp: u8,
}

impl Stack {
    /// Takes a packet from the device.
    pub fn receive(&mut self, now: Instant, frame: Frame) {
        self.counters.inc(Counter::IpInReceives);
        self.receive_from(now, Origin::device(&frame));
    }

    pub(crate) fn receive_from(&mut self, now: Instant, origin: Origin<'_>) {
        let Ok(ip) = IpPacket::parse(&origin.frame.data) else {
            self.counters.inc(Counter::IpInHdrErrors);
            return;
        };
        let nobody = |addr| is_group(addr) || addr.is_unspecified();
        if nobody(ip.src) || nobody(ip.dst) || !self.config.local.contains(ip.dst) {
            self.counters.inc(Counter::IpInAddrErrors);
            return;
        }
        match ip.protocol {
            protocol::TCP => self.receive_tcp(now, &ip, origin),
            protocol::ICMP | protocol::ICMPV6 => self.receive_icmp(now, &ip, origin),
            _ => self.counters.inc(Counter::IpInUnknownProtos),
        }
    }

    fn receive_tcp(&mut self, now: Instant, ip: &IpPacket, origin: Origin<'_>) {
        let frame = origin.frame;
        let Ok(packet) = Packet::parse_in(ip, &frame.data) else {
            self.counters.inc(Counter::TcpInErrs);
            return;
        };
        if !frame.checksum_ok && !ip.checksum_ok(&frame.data) {
            self.counters.inc(Counter::TcpInErrs);
            self.counters.inc(Counter::TcpInCsumErrors);
            return;
        }
        let arrival = Arrival::new(packet, frame);
        if self.is_first(origin) {
            self.counters.add(Counter::TcpInSegs, arrival.on_wire());
        }
        match self.demux.get(&arrival.tuple) {
            Some(target) if let Some(index) = target.as_request() => {
                self.receive_for_request(now, index, arrival, origin)
            }
            Some(target) if self.is_of_another(target, &arrival) => {
                self.stranger(now, arrival, origin)
            }
            Some(target) => self.deliver(now, target, arrival),
            None => self.unknown_tuple(now, arrival, origin),
        }
    }

    pub(crate) fn deliver(&mut self, now: Instant, target: Target, arrival: Arrival) {
        let Some(handle) = self.flows.handle(target.index) else {
            return;
        };
        let limits = (self.config.limits.memory, self.budget.used());
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        if !has_room(limits, slot.flow(), target.subflow, &arrival.segment) {
            self.counters.inc(Counter::TcpExtTCPRcvQDrop);
            return;
        }
        match slot.flow() {
            Flow::Tcp(plain) => {
                plain
                    .stream
                    .on_segment(now, &arrival.segment, arrival.payload);
            }
            Flow::Mptcp(_) => self.deliver_multi(now, handle, target.subflow, arrival),
        }
        self.touched(now, handle);
    }

    /// Whether a segment is another stack's although there is such a connection here: a SYN that
    /// came again, to another stack, was answered twice, and the peer took the other answer.
    fn is_of_another(&self, target: Target, arrival: &Arrival) -> bool {
        let Segment { flags, ack, .. } = arrival.segment;
        if self.config.shard.is_only() || !flags.has(Flags::ACK) {
            return false;
        }
        let slot = self
            .flows
            .handle(target.index)
            .and_then(|h| self.flows.get(h));
        let Some(slot) = slot.filter(|slot| matches!(slot.stage, Stage::HalfOpen(_))) else {
            return false;
        };
        let flow = slot.look();
        let tcb = match &*flow {
            Flow::Tcp(plain) => Some(plain.stream.tcb()),
            Flow::Mptcp(multi) => multi.connection.tcb(SubflowId(target.subflow)),
        };
        tcb.is_some_and(|tcb| ack != tcb.iss() + 1)
    }

    fn unknown_tuple(&mut self, now: Instant, arrival: Arrival, origin: Origin<'_>) {
        let mut least_iss = None;
        match self
            .time_wait
            .on_segment(now, &arrival.tuple, &arrival.segment)
        {
            None => {}
            Some(Verdict::Drop) => return,
            Some(Verdict::Ack { seq, ack, ts_ecr }) => {
                return self.acknowledge_past(now, &arrival.tuple, seq, ack, ts_ecr);
            }
            Some(Verdict::Reopen { iss }) => {
                self.counters.inc(Counter::TcpExtTWRecycled);
                least_iss = Some(iss);
            }
        }
        let flags = arrival.segment.flags;
        let opens = flags.has(Flags::SYN)
            && !flags.has(Flags::ACK)
            && !flags.has(Flags::RST)
            && !flags.has(Flags::FIN);
        if opens {
            return self.receive_syn(now, arrival, least_iss, origin);
        }
        let mut arrival = Some(arrival);
        if !self.receive_cookie(now, &mut arrival, origin)
            && let Some(arrival) = arrival
        {
            self.stranger(now, arrival, origin);
        }
    }

    /// A segment of no connection here.
    pub(crate) fn stranger(&mut self, now: Instant, arrival: Arrival, origin: Origin<'_>) {
        if !self.pass_on(origin, arrival.tuple.local.port()) {
            self.refuse(now, &arrival);
        }
    }

    /// A SYN for which there is no connection yet.
    fn receive_syn(
        &mut self,
        now: Instant,
        arrival: Arrival,
        least_iss: Option<Seq>,
        origin: Origin<'_>,
    ) {
        if arrival.tuple.remote.port() == 0 {
            self.counters.inc(Counter::TcpInErrs);
            return;
        }
        let wish = Wish::of(&arrival.mptcp, self.config.mptcp.versions);
        if let Wish::Join(join) = wish {
            return self.receive_join(now, &arrival, join, least_iss, origin);
        }
        let Some((id, listener)) = self.listeners.find(arrival.tuple.local) else {
            return self.refuse(now, &arrival);
        };
        let admitted = listener.admit();
        let wish = if listener.config.mptcp {
            wish
        } else {
            Wish::Plain
        };
        if let Wish::Silence = wish {
            return;
        }
        let half_open_full = admitted == Err(Full::HalfOpen);
        if admitted != Err(Full::Queue) && self.wants_cookie(half_open_full) {
            if half_open_full {
                self.counters.inc(Counter::TcpExtTCPReqQFullDoCookies);
            }
            return self.send_cookie(now, id, &arrival, &wish);
        }
        match admitted {
            Ok(()) => self.accept_syn(now, id, &arrival, &wish, least_iss),
            // Dropped, not refused: the peer will try again when there may be room.
            Err(full) => {
                self.counters.inc(Counter::TcpExtListenDrops);
                self.counters.inc(match full {
                    Full::Queue => Counter::TcpExtListenOverflows,
                    Full::HalfOpen => Counter::TcpExtTCPReqQFullDrop,
                });
            }
        }
    }

    pub(crate) fn has_place_for_syn_payload(&self, capable: &Capable) -> bool {
        self.config.mptcp.versions.answer(capable) == Some(Version::V1)
    }

    /// An initial sequence number, beyond those of a connection between the same ends before.
    pub(crate) fn iss(&self, now: Instant, tuple: &Tuple, least: Option<Seq>) -> Seq {
        let iss = self.secrets.iss(now, tuple);
        match least {
            Some(least) if iss.lt(least) => least,
            _ => iss,
        }
    }
}

/// Whether there is memory for a segment's payload. Windows promise more than there is, and what
/// was promised need not be kept: a segment dropped here will be sent again. What continues a
/// stream, so that it can be read and freed, may take a quarter more.
fn has_room((limit, used): (usize, usize), flow: &Flow, subflow: u32, segment: &Segment) -> bool {
    let wanted = used.saturating_add(segment.len as usize);
    if segment.len == 0 || wanted <= limit {
        return true;
    }
    let tcb = match flow {
        Flow::Tcp(plain) => Some(plain.stream.tcb()),
        Flow::Mptcp(multi) => multi.connection.tcb(SubflowId(subflow)),
    };
    let expected = tcb.and_then(|tcb| Some(tcb.irs()? + 1 + tcb.rcv_nxt() as u32));
    wanted <= limit + limit / 4 && expected.is_some_and(|expected| segment.seq.le(expected))
}

impl Arrival {
    fn new(packet: Packet, frame: &Frame) -> Self {
        let ecn = packet.ecn();
        Arrival {
            tuple: Tuple::new(packet.dst, packet.src),
            payload: frame.data.slice(packet.payload.clone()),
            dscp: packet.traffic_class >> 2,
            mptcp: packet.mptcp,
            segment: Segment {
                seq: packet.seq,
                ack: packet.ack,
                wnd: packet.window,
                flags: packet.flags,
                len: packet.payload.len() as u32,
                gso_size: frame.gso_size,
                options: packet.options,
                ecn,
                signal_only: false,
            },
        }
    }

    /// Packets that it was on the wire, before receive offload merged them.
    fn on_wire(&self) -> u64 {
        match self.segment.gso_size {
            0 => 1,
            size => u64::from(self.segment.len.div_ceil(size.into()).max(1)),
        }
    }
}
