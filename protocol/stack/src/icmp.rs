//! ICMP: errors go to the connection they are about, echo requests are answered if so configured.

use crate::counters::Counter;
use crate::demux::{Target, Tuple};
use crate::flow::Flow;
use crate::shard::Origin;
use crate::stack::Stack;
use anabranch_mptcp::SubflowId;
use anabranch_tcp::Instant;
use anabranch_tcp::icmp::{IcmpError, IcmpKind};
use anabranch_wire::icmp::{self, Message, Quoted, Unreachable};
use anabranch_wire::ip::{IpPacket, V4_LEN, V6_LEN};
use anabranch_wire::tcp::HEADER_LEN;

/// Smaller next-hop MTUs are not believed. IPv4 allows 68 bytes, but below some 552 only an
/// attacker gains (RFC 5927 §7); IPv6 guarantees 1280 (RFC 8200 §5).
const LEAST_MTU: [u32; 2] = [552, 1280];

/// For routers that do not say (RFC 1191 §5): the size every host takes (RFC 1122 §3.3.2).
const UNTOLD_MTU: u32 = 576;

impl Stack {
    pub(crate) fn receive_icmp(&mut self, now: Instant, ip: &IpPacket, origin: Origin<'_>) {
        let frame = origin.frame;
        self.count_icmp(Counter::IcmpInMsgs, origin);
        match icmp::parse(ip, &frame.data) {
            Ok(Message::EchoRequest { body }) => {
                self.counters.inc(Counter::IcmpInEchos);
                if self.config.icmp_echo
                    && self.may_reply(now)
                    && let Some(reply) = icmp::echo_reply(frame, ip, body)
                {
                    self.counters.inc(Counter::IcmpOutEchoReps);
                    self.replies.push_back(reply);
                }
            }
            Ok(Message::Unreachable { why, quoted }) => {
                self.count_icmp(Counter::IcmpInDestUnreachs, origin);
                let hard = matches!(
                    why,
                    Unreachable::Port | Unreachable::Protocol | Unreachable::Prohibited
                );
                self.icmp_error(now, quoted, IcmpKind::Unreachable { hard }, origin);
            }
            Ok(Message::PacketTooBig { mtu, quoted }) => {
                self.count_icmp(Counter::IcmpInDestUnreachs, origin);
                let kind = IcmpKind::TooBig {
                    mss: path_mss(mtu, quoted.dst.is_ipv6()),
                };
                self.icmp_error(now, quoted, kind, origin);
            }
            Ok(Message::TimeExceeded { quoted }) => {
                self.icmp_error(now, quoted, IcmpKind::Unreachable { hard: false }, origin);
            }
            Ok(Message::Other) => {}
            Err(_) => self.counters.inc(Counter::IcmpInErrors),
        }
    }

    /// Counts a message where it came from the device.
    fn count_icmp(&mut self, counter: Counter, origin: Origin<'_>) {
        if self.is_first(origin) {
            self.counters.inc(counter);
        }
    }

    /// Delivers an error. The connection believes it only if the quoted sequence number is in
    /// flight (RFC 5927 §4.1).
    fn icmp_error(&mut self, now: Instant, quoted: Quoted, kind: IcmpKind, origin: Origin<'_>) {
        let tuple = Tuple::new(quoted.src, quoted.dst);
        let found = self.demux.get(&tuple);
        let error = IcmpError {
            seq: quoted.seq,
            kind,
        };
        if let Some(index) = found.and_then(Target::as_request) {
            return self.icmp_for_request(now, index, error);
        }
        let Some((target, handle)) = found.and_then(|t| Some((t, self.flows.handle(t.index)?)))
        else {
            if !self.pass_on(origin, tuple.local.port()) {
                self.counters.inc(Counter::IcmpInErrors);
            }
            return;
        };
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        let tcb = match slot.flow() {
            Flow::Tcp(plain) => Some(plain.stream.tcb()),
            Flow::Mptcp(multi) => multi.connection.tcb(SubflowId(target.subflow)),
        };
        if tcb.is_some_and(|tcb| !tcb.is_in_flight(quoted.seq)) {
            self.counters.inc(Counter::TcpExtOutOfWindowIcmps);
        }
        let believed = match slot.flow() {
            Flow::Tcp(plain) => {
                let before = plain.stream.tcb().path_mss();
                plain.stream.on_icmp(now, error);
                Some(plain.stream.tcb().path_mss()).filter(|mss| *mss < before)
            }
            Flow::Mptcp(multi) => {
                let subflow = SubflowId(target.subflow);
                let before = multi.connection.path_mss(subflow);
                multi.connection.on_icmp(now, subflow, error);
                multi
                    .connection
                    .path_mss(subflow)
                    .filter(|mss| Some(*mss) < before)
            }
        };
        if let Some(mss) = believed {
            self.path_mtus.learn(now, tuple.remote.ip(), mss);
        }
        self.touched(now, handle);
    }
}

/// Room for payload and TCP options in a packet of `mtu` bytes.
fn path_mss(mtu: u32, v6: bool) -> u16 {
    let told = if mtu == 0 { UNTOLD_MTU } else { mtu };
    let mtu = told.max(LEAST_MTU[usize::from(v6)]);
    let ip_len = if v6 { V6_LEN } else { V4_LEN };
    (mtu as usize - ip_len - HEADER_LEN).min(usize::from(u16::MAX)) as u16
}
