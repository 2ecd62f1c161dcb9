//! The XDP program: what is sent to our addresses goes to our socket of the queue, all else goes on
//! to the host's kernel.

use super::bpf::Instruction;
use crate::link::{ETHER_LEN, ethertype};
use anabranch_wire::ip::{V6_LEN, protocol};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Result: the kernel's stack has the packet.
const PASS: i32 = 2;

/// Helper: to an entry of a map; its last argument is the result where there is none.
const REDIRECT_MAP: i32 = 51;

/// Fields of the context (`struct xdp_md`).
const DATA: i16 = 0;
const DATA_END: i16 = 4;
const QUEUE: i16 = 16;

/// Registers: the result, three arguments, scratch, and one that calls leave alone.
const R0: u8 = 0;
const R1: u8 = 1;
const PACKET: u8 = 2;
const END: u8 = 3;
const EDGE: u8 = 4;
const VALUE: u8 = 5;
const CONTEXT: u8 = 6;

const LOAD_WORD: u8 = 0x61;
const LOAD_HALF: u8 = 0x69;
const LOAD_BYTE: u8 = 0x71;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x07;
const JUMP: u8 = 0x05;
const IF_GREATER: u8 = 0x2d;
/// Of 32 bits: an immediate value of 64 would be extended by its sign.
const IF_EQUAL: u8 = 0x16;
const IF_DIFFERENT: u8 = 0x56;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const LOAD_MAP: u8 = 0x18;
/// In the source register of [`LOAD_MAP`]: the immediate value is a map's descriptor.
const MAP_FD: u8 = 1;

/// Where in a frame.
const ETHERTYPE: i16 = 12;
const ARP_TARGET: i16 = ETHER_LEN as i16 + 24;
const ARP_END: i32 = ETHER_LEN as i32 + 28;
const V4_DST: i16 = ETHER_LEN as i16 + 16;
const V6_NEXT_HEADER: i16 = ETHER_LEN as i16 + 6;
const V6_DST: i16 = ETHER_LEN as i16 + 24;
const V6_END: i32 = (ETHER_LEN + V6_LEN) as i32;
const ICMPV6_TYPE: i16 = (ETHER_LEN + V6_LEN) as i16;
const ND_TARGET: i16 = ICMPV6_TYPE + 8;
const ND_END: i32 = V6_END + 24;

const NEIGHBOUR_SOLICITATION: i32 = 135;

/// Where a jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    Pass,
    Redirect,
    Label(usize),
}

#[derive(Default)]
struct Program {
    code: Vec<(Instruction, To)>,
    labels: Vec<usize>,
}

/// The program for `own` addresses, with the map of sockets.
pub(super) fn program(own: &[IpAddr], sockets: &OwnedFd) -> Vec<Instruction> {
    let mut program = Program::default();
    program.push(COPY, CONTEXT, R1, 0, 0);
    program.push(LOAD_WORD, PACKET, R1, DATA, 0);
    program.push(LOAD_WORD, END, R1, DATA_END, 0);
    program.reaches(ARP_END);
    program.push(LOAD_HALF, VALUE, PACKET, ETHERTYPE, 0);
    let (arp, ipv4, ipv6) = (program.label(), program.label(), program.label());
    for (kind, label) in [
        (ethertype::IPV4, ipv4),
        (ethertype::IPV6, ipv6),
        (ethertype::ARP, arp),
    ] {
        let kind = i32::from(kind.to_be());
        program.jump(IF_EQUAL, VALUE, kind, To::Label(label));
    }
    program.jump(JUMP, 0, 0, To::Pass);
    for (label, at) in [(ipv4, V4_DST), (arp, ARP_TARGET)] {
        program.here(label);
        program.v4(own, at);
    }
    program.here(ipv6);
    program.v6(own);
    program.assemble(sockets)
}

impl Program {
    fn push(&mut self, code: u8, dst: u8, src: u8, offset: i16, immediate: i32) {
        let instruction = Instruction {
            code,
            registers: dst | src << 4,
            offset,
            immediate,
        };
        self.code.push((instruction, To::Next));
    }

    fn jump(&mut self, code: u8, register: u8, immediate: i32, to: To) {
        self.push(code, register, 0, 0, immediate);
        if let Some((_, target)) = self.code.last_mut() {
            *target = to;
        }
    }

    fn label(&mut self) -> usize {
        self.labels.push(usize::MAX);
        self.labels.len() - 1
    }

    fn here(&mut self, label: usize) {
        self.labels[label] = self.code.len();
    }

    /// A frame that is shorter is none of ours.
    fn reaches(&mut self, len: i32) {
        self.push(COPY, EDGE, PACKET, 0, 0);
        self.push(ADD, EDGE, 0, 0, len);
        self.push(IF_GREATER, EDGE, END, 0, 0);
        if let Some((_, target)) = self.code.last_mut() {
            *target = To::Pass;
        }
    }

    /// One of our addresses is at `at`, or it is not for us.
    fn v4(&mut self, own: &[IpAddr], at: i16) {
        self.push(LOAD_WORD, VALUE, PACKET, at, 0);
        for address in own {
            if let IpAddr::V4(address) = address {
                let word = i32::from_ne_bytes(address.octets());
                self.jump(IF_EQUAL, VALUE, word, To::Redirect);
            }
        }
        self.jump(JUMP, 0, 0, To::Pass);
    }

    /// To one of our addresses, or a question for one.
    fn v6(&mut self, own: &[IpAddr]) {
        self.reaches(V6_END);
        self.any_v6(own, V6_DST);
        self.reaches(ND_END);
        for (at, value) in [
            (V6_NEXT_HEADER, i32::from(protocol::ICMPV6)),
            (ICMPV6_TYPE, NEIGHBOUR_SOLICITATION),
        ] {
            self.push(LOAD_BYTE, VALUE, PACKET, at, 0);
            self.jump(IF_DIFFERENT, VALUE, value, To::Pass);
        }
        self.any_v6(own, ND_TARGET);
        self.jump(JUMP, 0, 0, To::Pass);
    }

    fn any_v6(&mut self, own: &[IpAddr], at: i16) {
        for address in own {
            let IpAddr::V6(address) = address else {
                continue;
            };
            let other = self.label();
            let octets = address.octets();
            // The last word differs most: it is looked at first.
            for (position, word) in octets.as_chunks::<4>().0.iter().enumerate().rev() {
                self.push(LOAD_WORD, VALUE, PACKET, at + 4 * position as i16, 0);
                let word = i32::from_ne_bytes(*word);
                self.jump(IF_DIFFERENT, VALUE, word, To::Label(other));
            }
            self.jump(JUMP, 0, 0, To::Redirect);
            self.here(other);
        }
    }

    fn assemble(mut self, sockets: &OwnedFd) -> Vec<Instruction> {
        let pass = self.code.len();
        self.push(SET, R0, 0, 0, PASS);
        self.push(EXIT, 0, 0, 0, 0);
        let redirect = self.code.len();
        self.push(LOAD_WORD, 2, CONTEXT, QUEUE, 0);
        self.push(LOAD_MAP, R1, MAP_FD, 0, sockets.as_raw_fd());
        self.push(0, 0, 0, 0, 0);
        self.push(SET, 3, 0, 0, PASS);
        self.push(CALL, 0, 0, 0, REDIRECT_MAP);
        self.push(EXIT, 0, 0, 0, 0);
        let labels = &self.labels;
        let resolve = |(from, (mut instruction, to)): (usize, (Instruction, To))| {
            let target = match to {
                To::Next => return instruction,
                To::Pass => pass,
                To::Redirect => redirect,
                To::Label(label) => labels[label],
            };
            // A program for twelve addresses is far shorter.
            instruction.offset = (target - from - 1) as i16;
            instruction
        };
        self.code.iter().copied().enumerate().map(resolve).collect()
    }
}
