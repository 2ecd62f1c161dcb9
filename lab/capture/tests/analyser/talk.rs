//! Packets of a connection that was made up, to be spoilt one at a time.

use std::net::Ipv4Addr;
use std::time::Duration;

use anabranch_capture::Analyser;
use anabranch_capture::report::{End, Kind, Report};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// The client's key and the server's.
pub(crate) const KEYS: [u64; 2] = [0x0102_0304_0506_0708, 0x1112_1314_1516_1718];
const NONCES: [u32; 2] = [0xa1a2_a3a4, 0xb1b2_b3b4];
/// Initial sequence numbers, close to the wrap.
const ISNS: [u32; 2] = [u32::MAX - 40, 77];

/// Whose packet on which path: the first path is the initial subflow's.
#[derive(Clone, Copy)]
pub(crate) struct Way(pub(crate) End, pub(crate) u8);

pub(crate) const UP: Way = Way(End::Client, 1);
pub(crate) const DOWN: Way = Way(End::Server, 1);
pub(crate) const UP_2: Way = Way(End::Client, 2);
pub(crate) const DOWN_2: Way = Way(End::Server, 2);

fn hash(key: u64) -> [u8; 32] {
    Sha256::digest(key.to_be_bytes()).into()
}

fn mac(parts: &[&[u8]], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&parts.concat()).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// A packet; numbers are relative.
pub(crate) fn packet(
    way: Way,
    flags: u8,
    seq: u32,
    ack: u32,
    option: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let Way(from, path) = way;
    let mut options = option.to_vec();
    options.resize(options.len().next_multiple_of(4), 1);
    let tcp_len = 20 + options.len();
    let client = (Ipv4Addr::new(10, 0, path, 1), 40_000 + u16::from(path));
    let server = (Ipv4Addr::new(10, 0, path, 2), 9000);
    let (source, to) = match from {
        End::Client => (client, server),
        End::Server => (server, client),
    };
    let mut packet = vec![0x45, 0];
    packet.extend(((20 + tcp_len + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend(source.0.octets());
    packet.extend(to.0.octets());
    packet.extend(source.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend(ISNS[from as usize].wrapping_add(seq).to_be_bytes());
    packet.extend(ISNS[from.other() as usize].wrapping_add(ack).to_be_bytes());
    packet.extend([(tcp_len as u8 / 4) << 4, flags, 1, 0, 0, 0, 0, 0]);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// SYN, SYN+ACK and third ACK of the first subflow, with checksums.
pub(crate) fn opening() -> Vec<Vec<u8>> {
    let mut syn_ack = vec![30, 12, 0x01, 0x81];
    syn_ack.extend(KEYS[1].to_be_bytes());
    vec![
        packet(UP, SYN, 0, 0, &[30, 4, 0x01, 0x81], &[]),
        packet(DOWN, SYN | ACK, 0, 1, &syn_ack, &[]),
        packet(UP, ACK, 1, 1, &capable_ack(KEYS), &[]),
    ]
}

pub(crate) fn capable_ack(keys: [u64; 2]) -> Vec<u8> {
    let mut option = vec![30, 20, 0x01, 0x81];
    option.extend(keys[0].to_be_bytes());
    option.extend(keys[1].to_be_bytes());
    option
}

/// The same of the second subflow.
pub(crate) fn joining() -> Vec<Vec<u8>> {
    let mut syn = vec![30, 12, 0x10, 5];
    syn.extend(&hash(KEYS[1])[..4]);
    syn.extend(NONCES[0].to_be_bytes());
    let [client, server] = KEYS.map(u64::to_be_bytes);
    let [mine, yours] = NONCES.map(u32::to_be_bytes);
    let mut syn_ack = vec![30, 16, 0x11, 6];
    syn_ack.extend(&mac(&[&server, &client], &[yours, mine].concat())[..8]);
    syn_ack.extend(yours);
    let mut ack = vec![30, 24, 0x10, 0];
    ack.extend(&mac(&[&client, &server], &[mine, yours].concat())[..20]);
    vec![
        packet(UP_2, SYN, 0, 0, &syn, &[]),
        packet(DOWN_2, SYN | ACK, 0, 1, &syn_ack, &[]),
        packet(UP_2, ACK, 1, 1, &ack, &[]),
    ]
}

pub(crate) fn dsn(from: End, offset: u64) -> u64 {
    let hash = hash(KEYS[from as usize]);
    let idsn = u64::from_be_bytes(hash[24..].try_into().unwrap());
    idsn.wrapping_add(1).wrapping_add(offset)
}

/// A DSS with the checksum of `payload`, which may not be what is sent.
pub(crate) fn mapping(from: End, ssn: u32, offset: u64, payload: &[u8]) -> Vec<u8> {
    let mut option = vec![30, 20, 0x20, 0x0c];
    option.extend(dsn(from, offset).to_be_bytes());
    option.extend(ssn.to_be_bytes());
    option.extend((payload.len() as u16).to_be_bytes());
    let mut sum = 0;
    for pair in option[4..].chunks(2).chain(payload.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    option.extend((!(sum as u16)).to_be_bytes());
    option
}

/// A segment with a right mapping.
pub(crate) fn data(way: Way, ssn: u32, offset: u64, payload: &[u8]) -> Vec<u8> {
    let option = mapping(way.0, ssn, offset, payload);
    packet(way, ACK, ssn, 1, &option, payload)
}

/// A pure acknowledgement with a DATA_ACK.
pub(crate) fn data_ack(way: Way, seq: u32, ack: u32, offset: u64) -> Vec<u8> {
    let mut option = vec![30, 12, 0x20, 0x03];
    option.extend(dsn(way.0.other(), offset).to_be_bytes());
    packet(way, ACK, seq, ack, &option, &[])
}

/// DATA_FIN alone, after `offset` bytes.
pub(crate) fn data_fin(way: Way, seq: u32, offset: u64) -> Vec<u8> {
    let mut option = mapping(way.0, 0, offset, &[]);
    // One number and no byte: the length counts in the checksum too.
    option[17] = 1;
    let sum = u16::from_be_bytes([option[18], option[19]]).wrapping_sub(1);
    option[18..].copy_from_slice(&sum.to_be_bytes());
    option[3] |= 0x10;
    packet(way, ACK, seq, 1, &option, &[])
}

/// ADD_ADDR of 10.0.9.2, ID 3.
pub(crate) fn add_addr(way: Way) -> Vec<u8> {
    let [ours, theirs] = [way.0, way.0.other()].map(|end| KEYS[end as usize].to_be_bytes());
    let hmac = mac(&[&ours, &theirs], &[3, 10, 0, 9, 2, 0, 0]);
    let mut option = vec![30, 16, 0x30, 3, 10, 0, 9, 2];
    option.extend(&hmac[24..]);
    packet(way, ACK, 1, 1, &option, &[])
}

/// Two subflows that are ready.
pub(crate) fn joined() -> Vec<Vec<u8>> {
    [opening(), joining()].concat()
}

pub(crate) fn report(packets: &[Vec<u8>]) -> Report {
    let mut analyser = Analyser::new();
    for (i, packet) in packets.iter().enumerate() {
        analyser.packet(Duration::from_millis(10 * i as u64), packet);
    }
    analyser.report()
}

/// What is wrong, and who is told to have sent it in which packet.
pub(crate) fn errors(report: &Report) -> Vec<(Kind, End, u64)> {
    let all = report.connections.iter().flat_map(|c| &c.findings);
    let wrong = all.filter(|f| f.error);
    wrong
        .map(|f| (f.kind, f.from.expect("an end"), f.packet))
        .collect()
}
