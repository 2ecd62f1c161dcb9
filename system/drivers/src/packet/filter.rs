//! A classic BPF program that lets through what concerns our addresses and nothing else, so that
//! the rest of the host's traffic wakes nobody here.

use crate::link::{ETHER_LEN, Mac, ethertype, solicited_node};
use anabranch_wire::ip::{V6_LEN, protocol};
use libc::sock_filter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More would take jumps that a program cannot make.
pub(crate) const MAX_ADDRESSES: usize = 12;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const TO_INDEX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_EQUAL_INDEX: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X) as u16;
const IF_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where in a frame.
const ARP_SENDER: u32 = ETHER_LEN as u32 + 14;
const ARP_TARGET: u32 = ETHER_LEN as u32 + 24;
const V4_DST: u32 = ETHER_LEN as u32 + 16;
const V6_NEXT_HEADER: u32 = ETHER_LEN as u32 + 6;
const V6_DST: u32 = ETHER_LEN as u32 + 24;
const ICMPV6_TYPE: u32 = ETHER_LEN as u32 + V6_LEN as u32;

const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

/// Where a jump goes.
#[derive(Clone, Copy)]
enum To {
    Next,
    Accept,
    Drop,
    /// Set by [`Program::here`].
    Label(usize),
}

#[derive(Default)]
struct Program {
    code: Vec<(u16, u32, To, To)>,
    labels: Vec<usize>,
}

/// The program for frames to `mac` and groups that concern any of `own`, at most
/// [`MAX_ADDRESSES`].
pub(super) fn program(mac: Mac, own: &[IpAddr]) -> Vec<sock_filter> {
    let v4: Vec<Ipv4Addr> = own
        .iter()
        .filter_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })
        .collect();
    let v6: Vec<Ipv6Addr> = own
        .iter()
        .filter_map(|address| match address {
            IpAddr::V6(v6) => Some(*v6),
            IpAddr::V4(_) => None,
        })
        .collect();
    let mut program = Program::default();
    program.station(mac);
    program.load(LOAD_HALF, 12);
    let (arp, ipv4, ipv6) = (program.label(), program.label(), program.label());
    for (kind, label) in [
        (ethertype::IPV4, ipv4),
        (ethertype::IPV6, ipv6),
        (ethertype::ARP, arp),
    ] {
        program.jump(IF_EQUAL, kind.into(), To::Label(label), To::Next);
    }
    program.end(To::Drop);
    program.here(ipv4);
    program.load(LOAD_WORD, V4_DST);
    program.any_of(&v4);
    program.here(arp);
    program.arp(&v4);
    program.here(ipv6);
    program.ipv6(&v6);
    program.assemble()
}

impl Program {
    fn load(&mut self, size: u16, at: u32) {
        self.code.push((size, at, To::Next, To::Next));
    }

    fn jump(&mut self, test: u16, value: u32, then: To, otherwise: To) {
        self.code.push((test, value, then, otherwise));
    }

    /// Whatever was loaded last.
    fn end(&mut self, to: To) {
        self.jump(IF_EQUAL, 0, to, to);
    }

    fn label(&mut self) -> usize {
        self.labels.push(usize::MAX);
        self.labels.len() - 1
    }

    fn here(&mut self, label: usize) {
        self.labels[label] = self.code.len();
    }

    /// To us or to a group, and without a VLAN tag: what has one is of another network.
    fn station(&mut self, mac: Mac) {
        let tag = libc::SKF_AD_OFF + libc::SKF_AD_VLAN_TAG_PRESENT;
        self.load(LOAD_BYTE, tag as u32);
        self.jump(IF_EQUAL, 0, To::Next, To::Drop);
        let group = self.label();
        self.load(LOAD_BYTE, 0);
        self.jump(IF_BIT, 1, To::Label(group), To::Next);
        let [a, b, c, d, e, f] = mac.0;
        self.load(LOAD_WORD, 0);
        self.jump(
            IF_EQUAL,
            u32::from_be_bytes([a, b, c, d]),
            To::Next,
            To::Drop,
        );
        self.load(LOAD_HALF, 4);
        self.jump(
            IF_EQUAL,
            u16::from_be_bytes([e, f]).into(),
            To::Next,
            To::Drop,
        );
        self.here(group);
    }

    /// Accepts one of our addresses, drops all else.
    fn any_of(&mut self, own: &[Ipv4Addr]) {
        for address in own {
            self.jump(IF_EQUAL, u32::from(*address), To::Accept, To::Next);
        }
        self.end(To::Drop);
    }

    /// About an address of ours, whoever claims it; or somebody tells the link of a change.
    fn arp(&mut self, own: &[Ipv4Addr]) {
        if own.is_empty() {
            self.end(To::Drop);
            return;
        }
        self.load(LOAD_WORD, ARP_SENDER);
        for address in own {
            self.jump(IF_EQUAL, u32::from(*address), To::Accept, To::Next);
        }
        self.code.push((TO_INDEX, 0, To::Next, To::Next));
        self.load(LOAD_WORD, ARP_TARGET);
        self.jump(IF_EQUAL_INDEX, 0, To::Accept, To::Next);
        self.any_of(own);
    }

    /// To us, or neighbour discovery in our groups.
    fn ipv6(&mut self, own: &[Ipv6Addr]) {
        for address in own {
            self.v6_destination(*address, To::Accept);
            self.v6_destination(solicited_node(*address), To::Accept);
        }
        if !own.is_empty() {
            let all_nodes = self.label();
            let everyone = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            self.v6_destination(everyone, To::Label(all_nodes));
            self.end(To::Drop);
            self.here(all_nodes);
            self.load(LOAD_BYTE, V6_NEXT_HEADER);
            self.jump(IF_EQUAL, protocol::ICMPV6.into(), To::Next, To::Drop);
            self.load(LOAD_BYTE, ICMPV6_TYPE);
            self.jump(IF_EQUAL, NEIGHBOUR_ADVERTISEMENT, To::Accept, To::Next);
        }
        self.end(To::Drop);
    }

    /// The last word differs most: it is looked at first.
    fn v6_destination(&mut self, address: Ipv6Addr, to: To) {
        let other = self.label();
        let octets = address.octets();
        let words = octets.as_chunks::<4>().0;
        for (position, word) in words.iter().enumerate().rev() {
            self.load(LOAD_WORD, V6_DST + 4 * position as u32);
            let then = if position == 0 { to } else { To::Next };
            let word = u32::from_be_bytes(*word);
            self.jump(IF_EQUAL, word, then, To::Label(other));
        }
        self.here(other);
    }

    fn assemble(self) -> Vec<sock_filter> {
        let accept = self.code.len();
        let distance = |from: usize, to: To| {
            let target = match to {
                To::Next => from + 1,
                To::Accept => accept,
                To::Drop => accept + 1,
                To::Label(label) => self.labels[label],
            };
            u8::try_from(target - from - 1).expect("MAX_ADDRESSES keeps programs short")
        };
        let mut assembled: Vec<sock_filter> = Vec::with_capacity(accept + 2);
        for (from, &(code, k, then, otherwise)) in self.code.iter().enumerate() {
            let (jt, jf) = (distance(from, then), distance(from, otherwise));
            assembled.push(sock_filter { code, jt, jf, k });
        }
        for k in [u32::MAX, 0] {
            assembled.push(sock_filter {
                code: RETURN,
                jt: 0,
                jf: 0,
                k,
            });
        }
        assembled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::socket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    /// What the kernel lets through of `frames`: sockets of every kind take such programs.
    fn passes(own: &[&str], frame: &[u8]) -> bool {
        let own: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
        let (from, to) = UnixDatagram::pair().unwrap();
        socket::attach_filter(to.as_fd(), &program(MAC, &own)).unwrap();
        to.set_nonblocking(true).unwrap();
        // Refused or passed in silence.
        let _ = from.send(frame);
        to.recv(&mut [0; 128]).is_ok()
    }

    fn frame(dst: Mac, kind: u16, packet: &[u8]) -> Vec<u8> {
        [&dst.0[..], &[2, 0, 0, 0, 0, 1], &kind.to_be_bytes(), packet].concat()
    }

    fn v4(dst: [u8; 4]) -> Vec<u8> {
        [&[0x45; 16][..], &dst].concat()
    }

    fn v6(dst: &str, kind: u8) -> Vec<u8> {
        let dst: Ipv6Addr = dst.parse().unwrap();
        let mut packet = vec![0x60; 24];
        packet[6] = 58;
        packet.extend(dst.octets());
        packet.push(kind);
        packet
    }

    fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        [&[0; 14][..], &sender, &[0; 6], &target].concat()
    }

    #[test]
    fn packets_to_our_addresses_pass() {
        let own = ["192.0.2.7", "fd00::7", "192.0.2.8"];
        let pass = |dst, kind, packet: &[u8]| passes(&own, &frame(dst, kind, packet));
        assert!(pass(MAC, ethertype::IPV4, &v4([192, 0, 2, 7])));
        assert!(pass(MAC, ethertype::IPV4, &v4([192, 0, 2, 8])));
        assert!(!pass(MAC, ethertype::IPV4, &v4([192, 0, 2, 9])));
        assert!(pass(MAC, ethertype::IPV6, &v6("fd00::7", 0)));
        assert!(!pass(MAC, ethertype::IPV6, &v6("fd00::8", 0)));
        assert!(!pass(MAC, 0x88cc, &v4([192, 0, 2, 7])));
        let elsewhere = Mac([2, 0, 0, 0, 0, 8]);
        assert!(!pass(elsewhere, ethertype::IPV4, &v4([192, 0, 2, 7])));
        assert!(!pass(MAC, ethertype::IPV4, &[]));
    }

    #[test]
    fn who_asks_for_us_or_tells_of_a_change_is_heard() {
        let own = ["192.0.2.7", "fd00::7"];
        let pass = |dst, kind, packet: &[u8]| passes(&own, &frame(dst, kind, packet));
        let (us, they, other) = ([192, 0, 2, 7], [192, 0, 2, 1], [192, 0, 2, 2]);
        assert!(pass(Mac::BROADCAST, ethertype::ARP, &arp(they, us)));
        assert!(
            pass(Mac::BROADCAST, ethertype::ARP, &arp(us, other)),
            "a claim"
        );
        assert!(
            pass(Mac::BROADCAST, ethertype::ARP, &arp(they, they)),
            "moved"
        );
        assert!(!pass(Mac::BROADCAST, ethertype::ARP, &arp(they, other)));
        let group = Mac::of_group("ff02::1:ff00:7".parse().unwrap());
        assert!(pass(group, ethertype::IPV6, &v6("ff02::1:ff00:7", 135)));
        assert!(!pass(group, ethertype::IPV6, &v6("ff02::1:ff00:8", 135)));
        let all = Mac::of_group("ff02::1".parse().unwrap());
        assert!(pass(all, ethertype::IPV6, &v6("ff02::1", 136)), "moved");
        assert!(!pass(all, ethertype::IPV6, &v6("ff02::1", 134)));
    }

    #[test]
    fn of_a_family_without_addresses_nothing_passes() {
        let pass = |own: &[&str], kind, packet: &[u8]| passes(own, &frame(MAC, kind, packet));
        assert!(!pass(&["fd00::7"], ethertype::ARP, &arp([0; 4], [0; 4])));
        assert!(!pass(&["fd00::7"], ethertype::IPV4, &v4([0; 4])));
        assert!(!pass(&["192.0.2.7"], ethertype::IPV6, &v6("ff02::1", 136)));
    }

    #[test]
    fn as_many_addresses_as_allowed_make_a_program() {
        let own: Vec<IpAddr> = (0..MAX_ADDRESSES as u16)
            .map(|n| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into())
            .collect();
        assert!(program(MAC, &own).len() < 256);
        let mixed: Vec<IpAddr> = (0..MAX_ADDRESSES as u16)
            .map(|n| match n % 2 {
                0 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n).into(),
                _ => IpAddr::from([192, 0, 2, n as u8]),
            })
            .collect();
        assert!(program(MAC, &mixed).len() < 256);
    }
}
