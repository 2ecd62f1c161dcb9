//! The ceiling: an endpoint that does as little as the peer's kernel lets it, over the same
//! device. It keeps no retransmission queue and no reassembly, believes every segment to be in
//! order, and starts again from the last acknowledgement when all falls silent.

use anabranch_drivers::Driver;
use anabranch_mptcp::keys::{self, Version};
use anabranch_wire::Seq;
use anabranch_wire::frame::Transmit;
use anabranch_wire::mptcp::{
    Capable, CapableFlags, Dsn, Dss, DssMapping, MptcpOption, MptcpOptions,
};
use anabranch_wire::packet::{Build, Packet};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions, Timestamps};
use bytes::Bytes;
use nix::poll::{PollFd, PollFlags, poll};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::{Device, SOURCE};

const KEY: u64 = 0x0123_4567_89ab_cdef;
const SCALE: u8 = 14;
/// Payload of a wire segment beside timestamps and a DSS with 64-bit numbers; 45 of them make the
/// largest super-frame of whole segments.
const MSS: u32 = 1500 - 40 - 12 - 28;
const RUN: u32 = 45 * MSS;
/// More in flight overruns the receive ring of a veth, and there is nobody to retransmit.
const IN_FLIGHT: u32 = 24 * RUN;

/// Reads what comes to any port, writes to who connects to [`SOURCE`], until the device ends.
pub(super) fn serve(_: Device, mut device: Box<dyn Driver>) -> io::Result<()> {
    let mut endpoint = Endpoint {
        connections: HashMap::new(),
        zeroes: Bytes::from(vec![0; RUN as usize]),
    };
    let mut frames = Vec::with_capacity(64);
    let mut out = VecDeque::new();
    loop {
        match device.receive(&mut frames, 64) {
            Ok(_) => {
                for frame in frames.drain(..) {
                    if let Ok(packet) = Packet::parse(&frame.data) {
                        endpoint.receive(&packet, &mut out)?;
                    }
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && !device.is_waiting() => {
                let fd = device.fd().expect("the device has a descriptor");
                if poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], STALL)? == 0 {
                    endpoint.go_back(&mut out)?;
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        match device.send_all(&mut out) {
            // What is lost here is lost: there is no queue to keep it in.
            Err(e) if e.kind() == ErrorKind::WouldBlock => out.clear(),
            sent => sent?,
        }
    }
}

/// So long without any packet means that what was in flight is lost.
const STALL: u16 = 20;

struct Endpoint {
    connections: HashMap<(SocketAddr, u16), Connection>,
    zeroes: Bytes,
}

struct Connection {
    local: SocketAddr,
    remote: SocketAddr,
    mptcp: bool,
    timestamps: bool,
    /// Payload bytes sent so far; the ISN is 0, the first payload byte 1.
    sent: u64,
    peer_acked: u64,
    peer_window: u32,
    peer_scale: u8,
    rcv_nxt: Seq,
    data_ack: u64,
    ts_recent: u32,
}

impl Endpoint {
    fn go_back(&mut self, out: &mut VecDeque<Transmit>) -> io::Result<()> {
        let sources = self.connections.values_mut();
        for connection in sources.filter(|c| c.local.port() == SOURCE) {
            connection.sent = connection.peer_acked;
            connection.fill(out, &self.zeroes)?;
        }
        Ok(())
    }

    fn receive(&mut self, packet: &Packet, out: &mut VecDeque<Transmit>) -> io::Result<()> {
        let id = (packet.src, packet.dst.port());
        if packet.flags.has(Flags::RST) {
            self.connections.remove(&id);
            return Ok(());
        }
        if packet.flags.has(Flags::SYN) {
            // A join is not answered: one subflow is enough for the ceiling.
            if !matches!(packet.mptcp.first(), Some(MptcpOption::Join(_))) {
                let connection = Connection::open(packet);
                connection.send_syn_ack(out)?;
                self.connections.insert(id, connection);
            }
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        connection.note(packet);
        if !packet.payload.is_empty() || packet.flags.has(Flags::FIN) {
            connection.send(out, Flags::ACK, None)?;
        }
        if packet.dst.port() == SOURCE {
            connection.fill(out, &self.zeroes)?;
        }
        Ok(())
    }
}

impl Connection {
    fn open(syn: &Packet) -> Connection {
        let Options::Syn(options) = &syn.options else {
            unreachable!("options of a SYN are of its class");
        };
        Connection {
            local: syn.dst,
            remote: syn.src,
            mptcp: matches!(
                syn.mptcp.first(),
                Some(MptcpOption::Capable(Capable::Syn { version: 1, .. }))
            ),
            timestamps: options.timestamps.is_some(),
            sent: 0,
            peer_acked: 0,
            peer_window: 0,
            peer_scale: options.window_scale.unwrap_or(0),
            rcv_nxt: syn.seq + 1,
            data_ack: 0,
            ts_recent: options.timestamps.map_or(0, |t| t.val),
        }
    }

    /// Data sequence number of the first byte we send.
    fn first() -> u64 {
        keys::derive(Version::V1, KEY).idsn.wrapping_add(1)
    }

    /// Believes what the segment says.
    fn note(&mut self, packet: &Packet) {
        if let Options::Segment(SegmentOptions {
            timestamps: Some(t),
            ..
        }) = &packet.options
        {
            self.ts_recent = t.val;
        }
        let acked = packet.ack.0.wrapping_sub(1);
        let unacked = (self.sent as u32).wrapping_sub(acked);
        self.peer_acked = self.sent.saturating_sub(u64::from(unacked));
        self.peer_window = u32::from(packet.window) << self.peer_scale;
        let end = packet.seq + packet.seq_len();
        if self.rcv_nxt.lt(end) {
            self.rcv_nxt = end;
        }
        for option in &packet.mptcp {
            if let MptcpOption::Dss(Dss {
                data_ack: Some(ack),
                ..
            }) = option
            {
                // The window counts from here (RFC 8684 §3.3.5).
                let near = Connection::first().wrapping_add(self.sent);
                self.peer_acked = ack.expand(near).wrapping_sub(Connection::first());
            }
            match option {
                MptcpOption::Dss(Dss {
                    mapping: Some(m), ..
                }) => {
                    let end = m.dsn.expand(self.data_ack) + u64::from(m.len);
                    self.data_ack = self.data_ack.max(end);
                }
                MptcpOption::Capable(Capable::Ack {
                    sender_key, data, ..
                }) => {
                    let first = keys::derive(Version::V1, *sender_key).idsn.wrapping_add(1);
                    self.data_ack = first + data.map_or(0, |d| u64::from(d.len));
                }
                _ => {}
            }
        }
    }

    fn fill(&mut self, out: &mut VecDeque<Transmit>, zeroes: &Bytes) -> io::Result<()> {
        let window = self.peer_window.min(IN_FLIGHT);
        loop {
            let outstanding = self.sent.saturating_sub(self.peer_acked);
            let room = u64::from(window).saturating_sub(outstanding);
            let room = room.min(u64::from(RUN)) as u32;
            let len = room - room % MSS;
            // Less than a whole run only where nothing else will make the peer answer.
            if len == 0 || (len < RUN && outstanding > 0) {
                return Ok(());
            }
            self.send(out, Flags::ACK, Some(zeroes.slice(..len as usize)))?;
            self.sent += u64::from(len);
        }
    }

    fn send_syn_ack(&self, out: &mut VecDeque<Transmit>) -> io::Result<()> {
        let options = Options::Syn(SynOptions {
            mss: Some(1460),
            window_scale: Some(SCALE),
            timestamps: self.timestamps.then_some(self.now()),
            ..SynOptions::default()
        });
        let mut mptcp = MptcpOptions::new();
        if self.mptcp {
            mptcp.push(MptcpOption::Capable(Capable::SynAck {
                version: 1,
                flags: CapableFlags {
                    hmac: true,
                    ..CapableFlags::default()
                },
                key: KEY,
            }));
        }
        let build = Build {
            seq: Seq(0),
            flags: Flags::SYN.with(Flags::ACK),
            mptcp: &mptcp,
            ..self.build(&options)
        };
        put(out, &build, SmallVec::new(), 0)
    }

    fn send(
        &self,
        out: &mut VecDeque<Transmit>,
        flags: Flags,
        payload: Option<Bytes>,
    ) -> io::Result<()> {
        let options = Options::Segment(SegmentOptions {
            timestamps: self.timestamps.then_some(self.now()),
            ..SegmentOptions::default()
        });
        let mut mptcp = MptcpOptions::new();
        if self.mptcp {
            mptcp.push(MptcpOption::Dss(Dss {
                data_ack: Some(Dsn::Long(self.data_ack)),
                mapping: payload.as_ref().map(|p| self.mapping(p.len() as u16)),
                data_fin: false,
            }));
        }
        let build = Build {
            flags,
            mptcp: &mptcp,
            ..self.build(&options)
        };
        put(out, &build, payload.into_iter().collect(), MSS as u16)
    }

    fn mapping(&self, len: u16) -> DssMapping {
        DssMapping {
            dsn: Dsn::Long(Connection::first().wrapping_add(self.sent)),
            ssn: self.sent.wrapping_add(1) as u32,
            len,
            checksum: None,
        }
    }

    fn now(&self) -> Timestamps {
        Timestamps {
            val: self.ts_recent,
            ecr: self.ts_recent,
        }
    }

    fn build<'a>(&self, options: &'a Options) -> Build<'a> {
        Build {
            src: self.local,
            dst: self.remote,
            ttl: 64,
            traffic_class: 0,
            ident: 0,
            seq: Seq(self.sent.wrapping_add(1) as u32),
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: 1024,
            urgent: 0,
            options,
            mptcp: &[],
        }
    }
}

fn put(
    out: &mut VecDeque<Transmit>,
    build: &Build<'_>,
    payload: SmallVec<[Bytes; 4]>,
    gso_size: u16,
) -> io::Result<()> {
    let transmit = build
        .transmit(payload, gso_size)
        .map_err(|e| io::Error::other(format!("{e:?}")))?;
    out.push_back(transmit);
    Ok(())
}
