//! One connection of ours, the acceptor, against segments written by hand.

use crate::world::{Rng, SERVER_PORT, client_addr, server_addr};
use anabranch_mptcp::keys::{JoinSecret, Version, derive};
use anabranch_mptcp::{Config, Connection, Event, Outgoing, Path, Refusal, Start, SubflowId};
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{
    Capable, CapableData, CapableFlags, Dsn, Dss, DssMapping, Join, MptcpOption,
};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const OUR_KEY: u64 = 0x0102_0304_0506_0708;
pub(crate) const PEER_KEY: u64 = 0xa1a2_a3a4_a5a6_a7a8;
const OUR_ISS: u32 = 0xffff_f000;
const PEER_ISS: u32 = 0x7fff_ff00;

/// The scripted peer's subflow: what it says and what it heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) id: SubflowId,
    pub(crate) our_iss: Seq,
    pub(crate) peer_iss: Seq,
    /// Acknowledgement the peer sends: of everything it was sent so far.
    pub(crate) ack: Seq,
    pub(crate) window: u16,
}

pub(crate) struct Script {
    pub(crate) now: Instant,
    pub(crate) conn: Connection,
    pub(crate) lines: Vec<Line>,
    pub(crate) events: Vec<Event>,
    pub(crate) peer_key: u64,
    pub(crate) version: Version,
    serial: u32,
}

pub(crate) fn flags(checksum: bool) -> CapableFlags {
    CapableFlags {
        checksum,
        hmac: true,
        ..CapableFlags::default()
    }
}

pub(crate) fn plain() -> Options {
    Options::Segment(SegmentOptions::default())
}

fn syn_options() -> Options {
    Options::Syn(SynOptions {
        mss: Some(1460),
        window_scale: Some(0),
        sack_permitted: true,
        ..SynOptions::default()
    })
}

pub(crate) fn segment(seq: Seq, ack: Seq, flags: Flags, len: usize) -> Segment {
    let syn = flags.has(Flags::SYN);
    Segment {
        seq,
        ack,
        wnd: 65_000,
        flags,
        len: len as u32,
        gso_size: 0,
        options: if syn { syn_options() } else { plain() },
        ecn: 0,
        signal_only: false,
    }
}

impl Script {
    /// After the SYN: the SYN+ACK is to be taken with [`Script::out`].
    pub(crate) fn syn(config: Config, peer_key: u64, syn: &Capable) -> Script {
        let now = Instant(5_000_000_000);
        let peer_iss = Seq(PEER_ISS);
        let path = path(0);
        let start = Start {
            iss: Seq(OUR_ISS),
            ts_offset: 0,
            mss: 1460,
            known_mss: None,
        };
        let segment = segment(peer_iss, Seq(0), Flags::SYN, 0);
        let config = Arc::new(config);
        let version = config.versions.answer(syn).unwrap_or(Version::V1);
        let conn = Connection::accept(now, &config, OUR_KEY, path, &segment, syn, start);
        let ack = Seq(OUR_ISS) + 1;
        let line = Line {
            id: SubflowId(0),
            our_iss: Seq(OUR_ISS),
            peer_iss,
            ack,
            window: 65_000,
        };
        Script {
            now,
            conn,
            lines: vec![line],
            events: Vec::new(),
            peer_key,
            version,
            serial: 1,
        }
    }

    /// Established, keys known, nothing to say.
    pub(crate) fn new() -> Script {
        Script::with(Config::default(), PEER_KEY)
    }

    pub(crate) fn with(config: Config, peer_key: u64) -> Script {
        Script::speaking(Version::V1, config, peer_key)
    }

    /// The same in any version.
    pub(crate) fn speaking(version: Version, config: Config, peer_key: u64) -> Script {
        let capable = Script::offer(version, config.checksum, peer_key);
        let mut s = Script::syn(config, peer_key, &capable);
        s.out();
        let ack = s.capable_ack(None);
        s.ack(0, vec![ack]);
        s.out();
        s
    }

    /// MP_CAPABLE of the peer's SYN.
    pub(crate) fn offer(version: Version, checksum: bool, peer_key: u64) -> Capable {
        Capable::Syn {
            version: version.number(),
            flags: flags(checksum),
            key: (version == Version::V0).then_some(peer_key),
        }
    }

    pub(crate) fn capable_ack(&self, data: Option<CapableData>) -> MptcpOption {
        MptcpOption::Capable(Capable::Ack {
            version: self.version.number(),
            flags: flags(false),
            sender_key: self.peer_key,
            receiver_key: OUR_KEY,
            data,
        })
    }

    /// The peer's data sequence number of a position.
    pub(crate) fn dsn(&self, position: u64) -> u64 {
        derive(self.version, self.peer_key)
            .idsn
            .wrapping_add(1)
            .wrapping_add(position)
    }

    /// Our data sequence number of a position.
    pub(crate) fn our_dsn(position: u64) -> u64 {
        Script::our_dsn_in(Version::V1, position)
    }

    pub(crate) fn our_dsn_in(version: Version, position: u64) -> u64 {
        derive(version, OUR_KEY)
            .idsn
            .wrapping_add(1)
            .wrapping_add(position)
    }

    pub(crate) fn mapping(&self, position: u64, rel: u64, len: u16) -> DssMapping {
        DssMapping {
            dsn: Dsn::Long(self.dsn(position)),
            ssn: rel as u32 + 1,
            len,
            checksum: None,
        }
    }

    /// DSS with the peer's DATA_ACK (of what we sent so far: `acked`) and a mapping.
    pub(crate) fn dss(&self, acked: u64, mapping: Option<DssMapping>) -> MptcpOption {
        MptcpOption::Dss(Dss {
            data_ack: Some(Dsn::Long(Script::our_dsn_in(self.version, acked))),
            mapping,
            data_fin: false,
        })
    }

    /// A segment from the peer.
    pub(crate) fn put(
        &mut self,
        line: usize,
        rel: u64,
        extra: Flags,
        payload: &[u8],
        options: Vec<MptcpOption>,
    ) {
        let l = self.lines[line];
        let seq = l.peer_iss + 1 + rel as u32;
        let mut seg = segment(seq, l.ack, Flags::ACK.with(extra), payload.len());
        seg.wnd = l.window;
        let payload = Bytes::copy_from_slice(payload);
        self.conn.on_segment(self.now, l.id, seg, &options, payload);
        self.take_events();
    }

    /// Data at a subflow position with these options.
    pub(crate) fn data(
        &mut self,
        line: usize,
        rel: u64,
        payload: &[u8],
        options: Vec<MptcpOption>,
    ) {
        self.put(line, rel, Flags::PSH, payload, options);
    }

    /// Data with a mapping of its own: data position `position`.
    pub(crate) fn mapped(&mut self, line: usize, rel: u64, position: u64, payload: &[u8]) {
        let mapping = self.mapping(position, rel, payload.len() as u16);
        let dss = self.dss(0, Some(mapping));
        self.data(line, rel, payload, vec![dss]);
    }

    /// A pure ACK; `rel` is where the peer's stream is.
    pub(crate) fn ack_at(&mut self, line: usize, rel: u64, options: Vec<MptcpOption>) {
        self.put(line, rel, Flags(0), &[], options);
    }

    /// A pure ACK of a peer that sent nothing.
    pub(crate) fn ack(&mut self, line: usize, options: Vec<MptcpOption>) {
        self.ack_at(line, 0, options);
    }

    /// One byte of data (so that TCP takes the window as newer) with this DSS beside its mapping.
    pub(crate) fn mapped_window(&mut self, line: usize, ack: MptcpOption) {
        let MptcpOption::Dss(dss) = ack else {
            panic!("{ack:?}")
        };
        let mapping = Some(self.mapping(0, 0, 1));
        self.data(
            line,
            0,
            b"x",
            vec![MptcpOption::Dss(Dss { mapping, ..dss })],
        );
        self.out();
    }

    /// A pure ACK that acknowledges nothing we sent after the handshake.
    pub(crate) fn ack_behind(&mut self, line: usize, options: Vec<MptcpOption>) {
        let known = self.lines[line].ack;
        self.lines[line].ack = self.lines[line].our_iss + 1;
        self.ack(line, options);
        self.lines[line].ack = known;
    }

    fn take_events(&mut self) {
        while let Some(event) = self.conn.poll_event() {
            self.events.push(event);
        }
    }

    /// What we send now; the peer's next segments acknowledge it.
    pub(crate) fn out(&mut self) -> Vec<Outgoing> {
        let mut out = Vec::new();
        while let Some(o) = self.conn.poll_transmit(self.now) {
            if let Some(line) = self.lines.iter_mut().find(|l| l.id == o.subflow) {
                let len = (o.emit.rel.end - o.emit.rel.start) as u32;
                let fin = u32::from(o.emit.flags.has(Flags::FIN));
                let syn = u32::from(o.emit.flags.has(Flags::SYN));
                let end = o.emit.seq + len + fin + syn;
                if line.ack.lt(end) {
                    line.ack = end;
                }
            }
            out.push(o);
        }
        self.take_events();
        out
    }

    /// Let time pass, timers included; what was sent meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Outgoing> {
        let until = self.now + time;
        let mut out = self.out();
        while let Some(at) = self.conn.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.conn.on_deadline(self.now);
            out.extend(self.out());
        }
        self.now = until;
        out
    }

    /// Everything that can be read.
    pub(crate) fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = self.conn.recv(self.now, usize::MAX) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    /// The peer's SYN of a join over link `link`.
    pub(crate) fn join_syn(&mut self, link: usize, nonce: u32) -> Result<usize, Refusal> {
        self.serial += 1;
        let token = derive(self.version, OUR_KEY).token;
        let join = Join::Syn {
            backup: false,
            address_id: link as u8,
            token,
            nonce,
        };
        let peer_iss = Seq(PEER_ISS) + 0x1000_0000 * self.serial;
        let our_iss = Seq(OUR_ISS) + 0x0700_0000 * self.serial;
        let syn = segment(peer_iss, Seq(0), Flags::SYN, 0);
        let start = Start {
            iss: our_iss,
            ts_offset: 0,
            mss: 1460,
            known_mss: None,
        };
        let path = path(link);
        let id = self
            .conn
            .join_passive(self.now, path, &syn, &join, start, self.serial)?;
        let ack = our_iss + 1;
        self.lines.push(Line {
            id,
            our_iss,
            peer_iss,
            ack,
            window: 65_000,
        });
        Ok(self.lines.len() - 1)
    }

    /// The HMAC the peer sends in its third ACK.
    pub(crate) fn join_hmac(&self, peer_nonce: u32, our_nonce: u32) -> [u8; 20] {
        JoinSecret {
            version: self.version,
            sender_key: self.peer_key,
            receiver_key: OUR_KEY,
            sender_nonce: peer_nonce,
            receiver_nonce: our_nonce,
        }
        .full()
    }

    /// A whole join.
    pub(crate) fn join(&mut self, link: usize) -> usize {
        let nonce = Rng(link as u64).next() as u32;
        let line = self.join_syn(link, nonce).expect("a join");
        let our_nonce = self.serial;
        self.out();
        let hmac = self.join_hmac(nonce, our_nonce);
        self.ack(line, vec![MptcpOption::Join(Join::Ack { hmac })]);
        self.out();
        line
    }

    /// The DATA_ACK we would send now, as a position of the peer's stream.
    pub(crate) fn data_acked(&self, out: &[Outgoing]) -> Option<u64> {
        let acks = out.iter().flat_map(|o| &o.mptcp).filter_map(|o| match o {
            MptcpOption::Dss(dss) => dss.data_ack,
            _ => None,
        });
        acks.last()
            .map(|ack| ack.expand(self.dsn(0)).wrapping_sub(self.dsn(0)))
    }
}

fn path(link: usize) -> Path {
    Path {
        local: SocketAddr::new(server_addr(link), SERVER_PORT),
        remote: SocketAddr::new(client_addr(link), 5000 + link as u16),
    }
}
