//! Sessions of version 0 between kernels, replayed to either end of ours: with the keys, nonces and
//! sequence numbers of the kernel it stands for, it says the same and reads the same bytes.

use anabranch_mptcp::keys::derive;
use anabranch_mptcp::{Config, Connection, Outgoing, Path, Start, SubflowId, Version, Versions};
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::mptcp::{Capable, Dsn, Join, MptcpOption, MptcpOptions};
use anabranch_wire::tcp::{Flags, Options};
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A packet of the session.
struct Taken {
    at: Instant,
    packet: Packet,
    payload: Bytes,
}

/// Every packet of a capture, or `None` with the reason printed.
fn session(file: &str) -> Option<Vec<Taken>> {
    let shared = std::env::var_os("ANABRANCH_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("captures").join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Some(read(&bytes)),
        Err(e) => {
            let ci = std::env::var("CI").is_ok_and(|v| v == "true");
            assert!(!ci, "{}: {e}", path.display());
            println!("skipped: {}: {e}", path.display());
            None
        }
    }
}

/// A classic pcap file: a header of 24 bytes, then records of 16 bytes and a packet each.
fn read(bytes: &[u8]) -> Vec<Taken> {
    let field = |at: usize| {
        let four: [u8; 4] = bytes[at..at + 4].try_into().expect("four bytes");
        match bytes[0] {
            0xd4 | 0x4d => u32::from_le_bytes(four),
            _ => u32::from_be_bytes(four),
        }
    };
    let link = match field(20) {
        1 => 14,
        101 => 0,
        113 => 16,
        276 => 20,
        other => panic!("link type {other}"),
    };
    let nanos = if field(0) & 0xff == 0x4d { 1 } else { 1000 };
    let start = u64::from(field(24));
    let (mut packets, mut at) = (Vec::new(), 24);
    while at < bytes.len() {
        let (secs, fraction) = (u64::from(field(at)) - start, u64::from(field(at + 4)));
        let kept = field(at + 8) as usize;
        let data = Bytes::copy_from_slice(&bytes[at + 16 + link..at + 16 + kept]);
        at += 16 + kept;
        if let Ok(packet) = Packet::parse(&data) {
            let payload = data.slice(packet.payload.clone());
            let at = Instant((secs + 1) * 1_000_000_000 + fraction * nanos);
            packets.push(Taken {
                at,
                packet,
                payload,
            });
        }
    }
    packets
}

fn is_syn(packet: &Packet) -> bool {
    packet.flags.has(Flags::SYN) && !packet.flags.has(Flags::ACK)
}

fn is_syn_ack(packet: &Packet) -> bool {
    packet.flags.has(Flags::SYN) && packet.flags.has(Flags::ACK)
}

/// MP_CAPABLE and MP_JOIN of a segment.
fn opening(options: &[MptcpOption]) -> Vec<MptcpOption> {
    let opens = |o: &&MptcpOption| matches!(o, MptcpOption::Capable(_) | MptcpOption::Join(_));
    options.iter().filter(opens).cloned().collect()
}

fn join(options: &[MptcpOption]) -> Option<&Join> {
    options.iter().find_map(|o| match o {
        MptcpOption::Join(join) => Some(join),
        _ => None,
    })
}

/// The bytes one side sent, placed by their mappings alone.
fn stream(session: &[&Taken], key: u64) -> Vec<u8> {
    let first = derive(Version::V0, key).idsn.wrapping_add(1);
    let mut isn = BTreeMap::new();
    let mut maps = BTreeMap::<_, Vec<(u32, u64, u32)>>::new();
    let mut image = Vec::<Option<u8>>::new();
    for taken in session {
        let packet = &taken.packet;
        let path = (packet.src, packet.dst);
        if packet.flags.has(Flags::SYN) {
            isn.insert(path, packet.seq);
        }
        let Some(isn) = isn.get(&path) else { continue };
        let maps = maps.entry(path).or_default();
        for option in &packet.mptcp {
            if let MptcpOption::Dss(dss) = option
                && let Some(m) = dss.mapping
                && m.ssn > 0
            {
                let position = m.dsn.expand(first).wrapping_sub(first);
                maps.push((m.ssn, position, u32::from(m.len)));
            }
        }
        for (i, byte) in taken.payload.iter().enumerate() {
            let ssn = (packet.seq + i as u32).since(*isn) as u32;
            let of = |m: &&(u32, u64, u32)| m.0 <= ssn && ssn < m.0 + m.2;
            let Some(m) = maps.iter().rev().find(of) else {
                continue;
            };
            let at = (m.1 + u64::from(ssn - m.0)) as usize;
            if image.len() <= at {
                image.resize(at + 1, None);
            }
            image[at] = Some(*byte);
        }
    }
    image.into_iter().map_while(|byte| byte).collect()
}

/// One end of ours, and what it heard and said.
struct Replay {
    conn: Connection,
    received: Vec<u8>,
    said: Vec<Outgoing>,
}

impl Replay {
    fn start(packet: &Packet) -> Start {
        Start {
            iss: packet.seq,
            ts_offset: 0,
            mss: 1460,
            known_mss: None,
        }
    }

    fn drain(&mut self, now: Instant) {
        while self.conn.deadline().is_some_and(|at| at <= now) {
            self.conn.on_deadline(now);
            self.said
                .extend(std::iter::from_fn(|| self.conn.poll_transmit(now)));
        }
        while let Some(bytes) = self.conn.recv(now, usize::MAX) {
            self.received.extend_from_slice(&bytes);
        }
        self.said
            .extend(std::iter::from_fn(|| self.conn.poll_transmit(now)));
        while self.conn.poll_event().is_some() {}
    }

    fn subflow(&self, path: Path) -> Option<SubflowId> {
        let mut ids = self.conn.subflows();
        ids.find(|id| self.conn.path(*id) == Some(path))
    }

    /// What the other end sent, but for acknowledgements of what only the kernel had to say.
    fn hear(&mut self, taken: &Taken, iss: Seq, our_key: u64) {
        let (packet, path) = (&taken.packet, our_path(&taken.packet));
        let Some(id) = self.subflow(path) else {
            return;
        };
        let mut options: MptcpOptions = packet.mptcp.clone();
        for option in &mut options {
            if let MptcpOption::Dss(dss) = option {
                let first = derive(Version::V0, our_key).idsn.wrapping_add(1);
                dss.data_ack = dss.data_ack.map(|_| Dsn::new(first, false));
            }
        }
        let mut segment = segment(packet, &taken.payload);
        segment.ack = iss + 1;
        self.conn
            .on_segment(taken.at, id, segment, &options, taken.payload.clone());
        self.drain(taken.at);
    }
}

/// The path of a packet that we receive.
fn our_path(packet: &Packet) -> Path {
    Path {
        local: packet.dst,
        remote: packet.src,
    }
}

/// Timestamps and SACK are about what the kernel sent.
fn segment(packet: &Packet, payload: &Bytes) -> Segment {
    let mut options = packet.options.clone();
    match &mut options {
        Options::Syn(options) => options.timestamps = None,
        Options::Segment(options) => {
            options.timestamps = None;
            options.sack.clear();
        }
    }
    Segment {
        seq: packet.seq,
        ack: packet.ack,
        wnd: packet.window,
        flags: packet.flags,
        len: payload.len() as u32,
        gso_size: 0,
        options,
        ecn: 0,
        signal_only: false,
    }
}

fn config(checksum: bool) -> std::sync::Arc<Config> {
    let mut config = Config {
        versions: Versions::only(Version::V0),
        checksum,
        initial_window: 8 << 20,
        ..Config::default()
    };
    config.tcp.recv_buffer = 8 << 20;
    config.tcp.timestamps = false;
    std::sync::Arc::new(config)
}

/// SYN and SYN+ACK of each subflow, the initial one first; its keys.
struct Opened<'a> {
    pairs: Vec<(&'a Taken, &'a Taken)>,
    client: u64,
    server: u64,
    checksum: bool,
}

fn opened(session: &[Taken]) -> Opened<'_> {
    let mut pairs = Vec::<(&Taken, &Taken)>::new();
    for syn in session.iter().filter(|t| is_syn(&t.packet)) {
        let answers = |t: &&Taken| {
            is_syn_ack(&t.packet)
                && (t.packet.dst, t.packet.src) == (syn.packet.src, syn.packet.dst)
        };
        let known = pairs.iter().any(|p| p.0.packet.src == syn.packet.src);
        if let (Some(answer), false) = (session.iter().find(answers), known) {
            pairs.push((syn, answer));
        }
    }
    let key = |t: &Taken| match t.packet.mptcp.first() {
        Some(MptcpOption::Capable(Capable::Syn { key, flags, .. })) => {
            (key.expect("a key"), flags.checksum)
        }
        Some(MptcpOption::Capable(Capable::SynAck { key, flags, .. })) => (*key, flags.checksum),
        other => panic!("{other:?}"),
    };
    let ((client, a), (server, b)) = (key(pairs[0].0), key(pairs[0].1));
    Opened {
        pairs,
        client,
        server,
        checksum: a || b,
    }
}

/// Ours in the place of the server.
fn replay_server(session: &[Taken]) {
    let Opened {
        pairs,
        client,
        server,
        ..
    } = opened(session);
    let (syn, syn_ack) = pairs[0];
    let MptcpOption::Capable(capable) = &syn.packet.mptcp[0] else {
        panic!("{:?}", syn.packet)
    };
    let mut ours = Replay {
        conn: Connection::accept(
            syn.at,
            &config(false),
            server,
            our_path(&syn.packet),
            &segment(&syn.packet, &syn.payload),
            capable,
            Replay::start(&syn_ack.packet),
        ),
        received: Vec::new(),
        said: Vec::new(),
    };
    ours.drain(syn.at);
    assert_eq!(ours.said[0].mptcp, syn_ack.packet.mptcp);
    let iss: BTreeMap<_, _> = pairs
        .iter()
        .map(|(syn, answer)| (syn.packet.src, answer))
        .collect();
    let from_client: Vec<&Taken> = session
        .iter()
        .filter(|t| iss.contains_key(&t.packet.src))
        .collect();
    for taken in &from_client {
        let packet = &taken.packet;
        let answer = &iss[&packet.src].packet;
        match join(&packet.mptcp) {
            Some(join @ Join::Syn { token, .. }) if ours.subflow(our_path(packet)).is_none() => {
                assert_eq!(*token, ours.conn.local_token());
                let Some(Join::SynAck { nonce, hmac, .. }) = self::join(&answer.mptcp) else {
                    panic!("{answer:?}")
                };
                let (seg, start) = (segment(packet, &taken.payload), Replay::start(answer));
                ours.conn
                    .join_passive(taken.at, our_path(packet), &seg, join, start, *nonce)
                    .expect("a join");
                ours.drain(taken.at);
                let said = ours.said.last().expect("a SYN+ACK");
                let Some(Join::SynAck { hmac: proof, .. }) = self::join(&said.mptcp) else {
                    panic!("{said:?}")
                };
                assert_eq!(proof, hmac);
            }
            _ if is_syn(packet) => {}
            _ => ours.hear(taken, answer.seq, server),
        }
    }
    finish(&ours, &stream(&from_client, client), pairs.len());
}

/// Ours in the place of the client.
fn replay_client(session: &[Taken]) {
    let Opened {
        pairs,
        client,
        server,
        checksum,
    } = opened(session);
    let (syn, _) = pairs[0];
    let path = |packet: &Packet| Path {
        local: packet.src,
        remote: packet.dst,
    };
    let start = Replay::start(&syn.packet);
    let config = config(checksum);
    let mut ours = Replay {
        conn: Connection::connect(syn.at, &config, client, path(&syn.packet), start),
        received: Vec::new(),
        said: Vec::new(),
    };
    ours.drain(syn.at);
    assert_eq!(ours.said[0].mptcp, syn.packet.mptcp);
    let iss: BTreeMap<_, _> = pairs.iter().map(|p| (p.0.packet.src, p.0)).collect();
    for taken in session {
        let packet = &taken.packet;
        if let Some(syn) = iss.get(&packet.dst) {
            ours.hear(taken, syn.packet.seq, client);
        } else if let Some(Join::Syn { nonce, .. }) = join(&packet.mptcp)
            && ours.subflow(path(packet)).is_none()
        {
            let start = Replay::start(packet);
            ours.conn
                .join_active(taken.at, path(packet), 0, start, *nonce, false)
                .expect("a join");
            ours.drain(taken.at);
        }
    }
    // Every proof the kernel gave of its joins, and the third ACK's keys, are ours too.
    let said: Vec<MptcpOption> = ours.said.iter().flat_map(|o| opening(&o.mptcp)).collect();
    let third = session
        .iter()
        .filter(|t| iss.contains_key(&t.packet.src) && !is_syn(&t.packet))
        .flat_map(|t| opening(&t.packet.mptcp));
    for proof in third {
        assert!(said.contains(&proof), "{proof:?} not in {said:?}");
    }
    let from_server: Vec<&Taken> = session
        .iter()
        .filter(|t| iss.contains_key(&t.packet.dst))
        .collect();
    finish(&ours, &stream(&from_server, server), pairs.len());
}

fn finish(ours: &Replay, expected: &[u8], subflows: usize) {
    let info = ours.conn.info();
    assert_eq!((info.version, info.fallback), (0, None));
    assert_eq!(info.counters.checksum_failures, 0);
    assert_eq!(info.counters.join_hmac_failures, 0);
    assert_eq!(info.counters.mapping_conflicts, 0);
    assert!(subflows > 1 && !expected.is_empty());
    assert_eq!(ours.received.len(), expected.len(), "{info:?}");
    assert!(ours.received == expected);
}

const FILES: [&str; 2] = ["tcpdump-v0.pcap", "v0-pair-csum.pcap"];

#[test]
fn ours_in_the_place_of_a_server_reads_what_its_client_sent() {
    for session in FILES.iter().filter_map(|file| session(file)) {
        replay_server(&session);
    }
}

#[test]
fn ours_in_the_place_of_a_client_reads_what_its_server_sent() {
    for session in FILES.iter().filter_map(|file| session(file)) {
        replay_client(&session);
    }
}
