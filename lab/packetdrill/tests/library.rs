//! The library as packetdrill uses it: through the table of C calls, from the name it looks up.

use anabranch_cabi::{Address, Caller, Errno};
use anabranch_packetdrill::packetdrill_interface_init;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions};
use anabranch_wire::{Build, Packet, Seq};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const PEER: &str = "192.0.2.1:40000";
const HERE: &str = "192.168.0.1:8080";

struct Net {
    calls: Caller,
    here: SocketAddr,
    peer: SocketAddr,
}

impl Net {
    fn new() -> Net {
        Net {
            calls: Caller::new(packetdrill_interface_init, "192.168.0.1"),
            here: HERE.parse().unwrap(),
            peer: PEER.parse().unwrap(),
        }
    }

    /// A segment from the peer.
    fn inject(&self, flags: Flags, seq: u32, ack: Seq, payload: &[u8]) {
        let options = if flags.has(Flags::SYN) {
            Options::Syn(SynOptions {
                mss: Some(1000),
                ..SynOptions::default()
            })
        } else {
            Options::Segment(SegmentOptions::default())
        };
        let build = Build {
            src: self.peer,
            dst: self.here,
            ttl: 64,
            traffic_class: 0,
            ident: 0,
            seq: Seq(seq),
            ack,
            flags,
            window: 30_000,
            urgent: 0,
            options: &options,
            mptcp: &[],
        };
        let payload = [Bytes::copy_from_slice(payload)].into_iter().collect();
        let mut packet = build.transmit(payload, 0).unwrap();
        packet.finish_checksum();
        self.calls.packet_in(&packet.to_bytes()).unwrap();
    }

    /// The next segment of the stack, with its payload.
    fn sniff(&self) -> (Packet, Vec<u8>) {
        let (bytes, _) = self.calls.packet_out().unwrap();
        let packet = Packet::parse_verified(&bytes).unwrap();
        let payload = bytes[packet.payload.clone()].to_vec();
        (packet, payload)
    }

    /// A listener and a connection accepted from it; the peer's last sequence number is 0.
    fn accept(&self) -> (i32, i32, Seq) {
        let listener = self.listen();
        let iss = self.handshake();
        let (socket, peer) = self.calls.accept(listener).unwrap();
        assert_eq!(peer, Address::Ip(self.peer));
        (listener, socket, iss)
    }

    fn listen(&self) -> i32 {
        let calls = &self.calls;
        let listener = calls.socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        calls.bind(listener, Address::Ip(self.here)).unwrap();
        calls.listen(listener, 1).unwrap();
        listener
    }

    fn handshake(&self) -> Seq {
        self.inject(Flags::SYN, 0, Seq(0), b"");
        let (answer, _) = self.sniff();
        assert_eq!(answer.flags, Flags::SYN.with(Flags::ACK));
        assert_eq!(answer.ack, Seq(1));
        self.inject(Flags::ACK, 1, answer.seq + 1, b"");
        answer.seq
    }
}

#[test]
fn a_connection_is_accepted_and_carries_bytes_both_ways() {
    let net = Net::new();
    let (listener, socket, iss) = net.accept();
    net.inject(Flags::ACK.with(Flags::PSH), 1, iss + 1, b"question");
    assert_eq!(net.calls.ioctl(socket, 0x541b), Ok(8));
    assert_eq!(net.calls.read(socket, 100).unwrap(), b"question");
    assert_eq!(net.calls.write(socket, b"answer"), Ok(6));
    let (mut segment, mut payload) = net.sniff();
    while payload.is_empty() {
        (segment, payload) = net.sniff();
    }
    assert_eq!((segment.seq, segment.ack), (iss + 1, Seq(9)));
    assert_eq!(payload, b"answer");
    net.inject(Flags::ACK.with(Flags::FIN), 9, iss + 7, b"");
    assert_eq!(net.calls.read(socket, 100).unwrap(), b"");
    net.calls.close(socket).unwrap();
    net.calls.close(listener).unwrap();
}

#[test]
fn a_connection_is_opened() {
    let net = Net::new();
    let calls = &net.calls;
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let socket = calls
        .socket(libc::AF_INET, kind, libc::IPPROTO_TCP)
        .unwrap();
    let connected = calls.connect(socket, Address::Ip(net.peer));
    assert_eq!(connected, Err(Errno(libc::EINPROGRESS)));
    let (syn, _) = net.sniff();
    assert_eq!((syn.flags, syn.dst), (Flags::SYN, net.peer));
    let net = Net {
        here: syn.src,
        ..net
    };
    net.inject(Flags::SYN.with(Flags::ACK), 0, syn.seq + 1, b"");
    let (ack, _) = net.sniff();
    assert_eq!((ack.flags, ack.ack), (Flags::ACK, Seq(1)));
    net.calls.close(socket).unwrap();
}

#[test]
fn errors_are_those_of_c() {
    let net = Net::new();
    let calls = &net.calls;
    assert_eq!(calls.read(999, 1), Err(Errno(libc::EBADF)));
    let datagrams = calls.socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
    assert_eq!(datagrams, Err(Errno(libc::EPROTONOSUPPORT)));
    let socket = calls.socket(libc::AF_INET6, libc::SOCK_STREAM, 0).unwrap();
    assert_eq!(calls.read(socket, 1), Err(Errno(libc::ENOTCONN)));
    assert_eq!(calls.accept(socket), Err(Errno(libc::EINVAL)));
    calls
        .fcntl(socket, libc::F_SETFL, libc::O_NONBLOCK)
        .unwrap();
    calls.close(socket).unwrap();
    assert_eq!(calls.close(socket), Err(Errno(libc::EBADF)));
}

#[test]
fn time_goes_by_in_sleep_and_at_each_look_at_the_clock() {
    let net = Net::new();
    let start = net.calls.now();
    assert!(net.calls.now() > start);
    net.calls.sleep(Duration::from_secs(3600));
    let slept = net.calls.now() - start;
    assert!(slept >= Duration::from_secs(3600) && slept < Duration::from_secs(3601));
}

/// A call that blocks returns at the time of what it waited for, however late its thread runs.
#[test]
fn a_blocked_call_returns_when_what_it_waits_for_happens() {
    let net = Net::new();
    let (_, socket, iss) = net.accept();
    let begun = Barrier::new(2);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            begun.wait();
            let data = net.calls.read(socket, 100).unwrap();
            (data, net.calls.now())
        });
        begun.wait();
        net.calls.sleep(Duration::from_secs(5));
        let sent = net.calls.now();
        net.inject(Flags::ACK, 1, iss + 1, b"late");
        net.calls.sleep(Duration::from_secs(5));
        let (data, returned) = reader.join().unwrap();
        assert_eq!(data, b"late");
        assert!(returned >= sent);
    });
}

#[test]
fn tcp_info_has_the_state_first() {
    let net = Net::new();
    let (listener, socket, _) = net.accept();
    let state = |fd| {
        let info = net
            .calls
            .get_option(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 500);
        info.unwrap()[0]
    };
    assert_eq!((state(socket), state(listener)), (1, 10));
}
