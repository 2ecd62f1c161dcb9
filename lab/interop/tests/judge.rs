//! The judge over captures that were made up: who is told to be at fault, and where.

use std::net::Ipv4Addr;
use std::time::Duration;

use anabranch_capture::record::Capture;
use anabranch_capture::{Judge, Opinion};
use anabranch_interop::exchange::PLAN_LEN;
use anabranch_interop::pattern::Pattern;
use anabranch_interop::require;
use sha2::{Digest as _, Sha256};

const UP: Pattern = Pattern::new(11);
const KEYS: (u64, u64) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);

#[derive(Clone, Copy)]
struct Path {
    port: u16,
    isn: u32,
}

const FIRST: Path = Path {
    port: 40_000,
    isn: u32::MAX - 100,
};
const SECOND: Path = Path {
    port: 40_001,
    isn: 77,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A packet of the client.
fn packet(path: Path, seq: u32, flags: u8, option: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut options = option.to_vec();
    options.resize(options.len().next_multiple_of(4), 1);
    let tcp_len = 20 + options.len();
    let mut packet = vec![0x45, 0];
    packet.extend(((20 + tcp_len + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend(Ipv4Addr::new(10, 0, 0, 1).octets());
    packet.extend(Ipv4Addr::new(10, 0, 0, 2).octets());
    packet.extend(path.port.to_be_bytes());
    packet.extend(9000u16.to_be_bytes());
    packet.extend(path.isn.wrapping_add(seq).to_be_bytes());
    packet.extend([
        0,
        0,
        0,
        0,
        (tcp_len as u8 / 4) << 4,
        flags,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    packet.extend(options);
    packet.extend(payload);
    packet
}

fn capable_ack() -> Vec<u8> {
    let mut option = vec![30, 20, 0x01, 0x01];
    option.extend(KEYS.0.to_be_bytes());
    option.extend(KEYS.1.to_be_bytes());
    packet(FIRST, 1, ACK, &option, &[])
}

fn join_syn() -> Vec<u8> {
    let hash = Sha256::digest(KEYS.1.to_be_bytes());
    let mut option = vec![30, 12, 0x10, 1];
    option.extend(&hash[..4]);
    option.extend([0; 4]);
    packet(SECOND, 0, SYN, &option, &[])
}

/// A DSS with a 64-bit DSN that puts the segment at `offset` of the stream (plan included).
fn data(path: Path, ssn: u32, offset: u64, payload: &[u8]) -> Vec<u8> {
    let hash = Sha256::digest(KEYS.0.to_be_bytes());
    let idsn = u64::from_be_bytes(hash[24..].try_into().unwrap());
    let mut option = vec![30, 18, 0x20, 0x0c];
    option.extend((idsn.wrapping_add(1 + offset)).to_be_bytes());
    option.extend(ssn.to_be_bytes());
    option.extend((payload.len() as u16).to_be_bytes());
    packet(path, ssn, ACK, &option, payload)
}

/// The right bytes at `offset` of the stream.
fn bytes(offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    UP.after(PLAN_LEN as u64).fill(offset, &mut bytes);
    bytes
}

/// The first subflow up, and 32 + 1000 right bytes on it.
fn opening() -> Vec<Vec<u8>> {
    let syn = packet(FIRST, 0, SYN, &[30, 4, 0x01, 0x01], &[]);
    vec![
        syn,
        capable_ack(),
        data(FIRST, 1, 0, &bytes(0, 1032)),
        join_syn(),
    ]
}

fn judge(packets: &[Vec<u8>]) -> Judge {
    let mut judge = Judge::new(vec![UP], PLAN_LEN as u64);
    packets.iter().for_each(|p| judge.packet(Duration::ZERO, p));
    judge
}

#[test]
fn right_bytes_on_two_subflows_leave_only_the_receiver() {
    let mut packets = opening();
    packets.push(data(SECOND, 1, 1032, &bytes(1032, 500)));
    packets.push(data(FIRST, 1033, 1532, &bytes(1532, 500)));
    let report = judge(&packets).report(UP).unwrap();
    assert_eq!(report.opinion(2000), Opinion::Receiver, "{report}");
}

#[test]
fn a_reinjection_that_overlaps_is_no_fault_if_its_bytes_are_right() {
    // What Linux 6.18 sends, and puts together wrongly: a mapping whose head was sent before.
    let mut packets = opening();
    packets.push(data(SECOND, 1, 1032, &bytes(1032, 900)));
    packets.push(data(FIRST, 1033, 1000, &bytes(1000, 932)));
    let report = judge(&packets).report(UP).unwrap();
    assert_eq!(report.opinion(1900), Opinion::Receiver, "{report}");
}

#[test]
fn wrong_bytes_under_a_mapping_are_the_senders() {
    let mut packets = opening();
    packets.push(data(SECOND, 1, 1032, &bytes(1132, 500)));
    let report = judge(&packets).report(UP).unwrap();
    assert_eq!(report.opinion(1500), Opinion::Sender, "{report}");
    let wrong = &report.wrong[0];
    assert_eq!(
        (wrong.packet, wrong.offset, wrong.holds),
        (5, 1000, Some(1100))
    );
    assert_eq!(wrong.mapping, (1, 1000, 500));
}

#[test]
fn a_flipped_bit_is_found_where_it_is() {
    let mut packets = opening();
    let mut flipped = bytes(1032, 500);
    flipped[321] ^= 0x10;
    packets.push(data(FIRST, 1033, 1032, &flipped));
    let report = judge(&packets).report(UP).unwrap();
    assert_eq!(report.wrong[0].offset, 1321);
    assert_eq!(report.opinion(1500), Opinion::Sender);
}

#[test]
fn a_window_probe_may_carry_any_byte() {
    let mut packets = opening();
    packets.push(data(SECOND, 1, 1031, b"x"));
    assert_eq!(
        judge(&packets).report(UP).unwrap().opinion(1000),
        Opinion::Receiver
    );
    packets.push(data(SECOND, 2, 1032, b"x"));
    assert_eq!(
        judge(&packets).report(UP).unwrap().opinion(1001),
        Opinion::Sender
    );
}

#[test]
fn a_mapping_that_changes_is_the_senders_fault() {
    let mut packets = opening();
    packets.push(data(FIRST, 1033, 1032, &bytes(1032, 500)));
    packets.push(data(FIRST, 1033, 1532, &bytes(1532, 500)));
    let report = judge(&packets).report(UP).unwrap();
    assert_eq!(
        (report.changed_mappings, report.opinion(2000)),
        (1, Opinion::Sender)
    );
}

#[test]
fn a_capture_with_gaps_decides_nothing() {
    let mut packets = opening();
    packets.push(data(FIRST, 1533, 1532, &bytes(1532, 500)));
    let report = judge(&packets).report(UP).unwrap();
    assert_eq!(report.missing, [(1000, 1500)]);
    assert_eq!(report.opinion(2000), Opinion::Unknown);
}

#[test]
fn damaged_packets_do_no_harm() {
    let mut packets = opening();
    for cut in 0..packets[2].len() {
        packets.push(packets[2][..cut].to_vec());
    }
    let mut endless = packets[2].clone();
    endless[40] = 30;
    endless[41] = 0;
    packets.push(endless);
    assert!(judge(&packets).report(UP).unwrap().wrong.is_empty());
}

#[test]
fn a_recording_written_to_a_file_is_judged_alike() {
    if !require::lab() {
        return;
    }
    let namespace = anabranch_interop::host::Host::new().unwrap();
    let recording = namespace.run(|| {
        let capture = Capture::start(Judge::new(vec![UP], PLAN_LEN as u64)).unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .send_to(b"a packet", socket.local_addr().unwrap())
            .unwrap();
        socket.recv(&mut [0; 8]).unwrap();
        capture.stop().unwrap()
    });
    let path = std::env::temp_dir().join(format!("judge-{}.pcap", std::process::id()));
    recording.write_pcap(&path).unwrap();
    let judge = Judge::read(&path, vec![UP], PLAN_LEN as u64);
    std::fs::remove_file(&path).unwrap();
    assert!(judge.unwrap().reports().is_empty());
}
