//! From a frame to the connection it belongs to.

use crate::counters::Counter;
use crate::demux::{Target, Tuple, is_group};
use crate::flow::{Flow, Plain, Stage};
use crate::id::ListenerId;
use crate::listener::Full;
use crate::stack::Stack;
use crate::time_wait::Verdict;
use anabranch_tcp::{Instant, Segment, Stream};
use anabranch_wire::frame::Frame;
use anabranch_wire::ip::{IpPacket, protocol};
use anabranch_wire::tcp::Flags;
use anabranch_wire::{Packet, Seq};

/// A TCP packet on its way to whoever it is for.
pub(crate) struct Arrival {
    pub(crate) tuple: Tuple,
    pub(crate) segment: Segment,
    pub(crate) packet: Packet,
    pub(crate) frame: Frame,
}

impl Stack {
    /// Takes a packet from the device.
    pub fn receive(&mut self, now: Instant, frame: Frame) {
        self.counters.inc(Counter::IpInReceives);
        let Ok(ip) = IpPacket::parse(&frame.data) else {
            self.counters.inc(Counter::IpInHdrErrors);
            return;
        };
        let nobody = |addr| is_group(addr) || addr.is_unspecified();
        if nobody(ip.src) || nobody(ip.dst) || !self.config.local.contains(ip.dst) {
            self.counters.inc(Counter::IpInAddrErrors);
            return;
        }
        match ip.protocol {
            protocol::TCP => self.receive_tcp(now, &ip, frame),
            protocol::ICMP | protocol::ICMPV6 => self.receive_icmp(now, &ip, &frame),
            _ => self.counters.inc(Counter::IpInUnknownProtos),
        }
    }

    fn receive_tcp(&mut self, now: Instant, ip: &IpPacket, frame: Frame) {
        let Ok(packet) = Packet::parse_in(ip, &frame.data) else {
            self.counters.inc(Counter::TcpInErrs);
            return;
        };
        if !frame.checksum_ok && !ip.checksum_ok(&frame.data) {
            self.counters.inc(Counter::TcpInErrs);
            self.counters.inc(Counter::TcpInCsumErrors);
            return;
        }
        let arrival = Arrival {
            tuple: Tuple::new(packet.dst, packet.src),
            segment: segment_of(&packet, frame.gso_size),
            packet,
            frame,
        };
        let merged = arrival
            .segment
            .len
            .div_ceil(u32::from(arrival.frame.gso_size).max(1));
        let on_wire = if arrival.frame.gso_size == 0 {
            1
        } else {
            merged.max(1)
        };
        self.counters.add(Counter::TcpInSegs, u64::from(on_wire));
        match self.demux.get(&arrival.tuple) {
            Some(target) => self.deliver(now, target, arrival),
            None => self.unknown_tuple(now, arrival),
        }
    }

    fn deliver(&mut self, now: Instant, target: Target, arrival: Arrival) {
        let Some(handle) = self.flows.handle(target.index) else {
            return;
        };
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        let payload = arrival.frame.data.slice(arrival.packet.payload.clone());
        match &mut slot.flow {
            Flow::Tcp(plain) => plain.stream.on_segment(now, &arrival.segment, payload),
        }
        self.touched(now, handle);
    }

    fn unknown_tuple(&mut self, now: Instant, arrival: Arrival) {
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
            self.receive_syn(now, arrival, least_iss);
        } else {
            self.refuse(now, &arrival);
        }
    }

    /// A SYN for which there is no connection yet.
    fn receive_syn(&mut self, now: Instant, arrival: Arrival, least_iss: Option<Seq>) {
        if arrival.tuple.remote.port() == 0 {
            self.counters.inc(Counter::TcpInErrs);
            return;
        }
        let Some((id, listener)) = self.listeners.find(arrival.tuple.local) else {
            return self.refuse(now, &arrival);
        };
        match listener.admit() {
            Ok(()) => self.accept_syn(now, id, &arrival, least_iss),
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

    fn accept_syn(
        &mut self,
        now: Instant,
        id: ListenerId,
        arrival: &Arrival,
        least_iss: Option<Seq>,
    ) {
        let Some(charge) = self.admit() else {
            self.counters.inc(Counter::TcpExtListenDrops);
            self.counters.inc(Counter::TcpExtTCPBacklogDrop);
            return;
        };
        let tuple = arrival.tuple;
        let iss = self.iss(now, &tuple, least_iss);
        let ts_offset = self.secrets.timestamp_offset(&tuple);
        let config = self.stream_config(&tuple);
        let stream = Stream::accept(now, &config, &arrival.segment, iss, ts_offset);
        let flow = Flow::Tcp(Box::new(Plain { stream, tuple }));
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.half_open += 1;
        }
        self.adopt(now, tuple, flow, Stage::HalfOpen(id), charge);
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

fn segment_of(packet: &Packet, gso_size: u16) -> Segment {
    Segment {
        seq: packet.seq,
        ack: packet.ack,
        wnd: packet.window,
        flags: packet.flags,
        len: packet.payload.len() as u32,
        gso_size,
        options: packet.options.clone(),
        ecn: packet.ecn(),
        signal_only: false,
    }
}
