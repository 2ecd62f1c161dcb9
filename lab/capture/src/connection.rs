//! One connection: what its packets say, in order.

use std::net::SocketAddr;

use crate::analyser::Observer;
use crate::keys::{self, Version};
use crate::option::{Class, Mptcp};
use crate::packet::{RST, Segment};
use crate::report::{self, Address, End, Fallback, Finding, Kind, Signal};
use crate::stream::Stream;
use crate::subflow::Subflow;

/// Signals and findings kept of a connection; the first ones tell the story.
const LOG_MAX: usize = 200;
/// Findings of one kind.
const KIND_MAX: usize = 20;

/// A packet of the capture, on a subflow, from one end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) packet: u64,
    pub(crate) time: f64,
    pub(crate) subflow: usize,
    pub(crate) from: End,
}

/// What is known of one host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Host {
    pub(crate) key: Option<u64>,
    pub(crate) derived: Option<(u32, u64)>,
}

/// Signals and findings.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) signals: Vec<Signal>,
    pub(crate) findings: Vec<Finding>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// Its number, from 0.
    pub(crate) number: usize,
    pub(crate) version: Option<Version>,
    pub(crate) checksums: bool,
    /// By [`End`].
    pub(crate) hosts: [Host; 2],
    pub(crate) subflows: Vec<Subflow>,
    /// By sender.
    pub(crate) streams: [Stream; 2],
    pub(crate) addresses: Vec<Address>,
    pub(crate) fallback: Option<Fallback>,
    pub(crate) log: Log,
    pub(crate) incomplete: bool,
    /// The client has shown that options pass.
    pub(crate) proved: bool,
}

impl Connection {
    /// A connection that `client` opens, with the initial sequence number of its SYN.
    pub(crate) fn new(
        number: usize,
        ends: (SocketAddr, SocketAddr),
        isn: Option<u32>,
        kept: usize,
    ) -> Self {
        Self {
            number,
            version: None,
            checksums: false,
            hosts: [Host::default(); 2],
            subflows: vec![Subflow::new(End::Client, ends, isn)],
            streams: [Stream::new(kept), Stream::new(kept)],
            addresses: Vec::new(),
            fallback: None,
            log: Log::default(),
            incomplete: false,
            proved: false,
        }
    }

    /// The owner of a key, once the version says what follows from it.
    pub(crate) fn learn_key(&mut self, owner: End, key: u64) {
        let host = &mut self.hosts[owner as usize];
        host.key.get_or_insert(key);
        if let (Some(version), Some(key)) = (self.version, host.key) {
            let (token, idsn) = keys::derive(version, key);
            host.derived = Some((token, idsn));
            self.streams[owner as usize].begin(idsn.wrapping_add(1));
        }
    }

    /// The next packet on one of the subflows.
    pub(crate) fn segment(&mut self, at: At, segment: &Segment<'_>, observer: &mut dyn Observer) {
        let subflow = &mut self.subflows[at.subflow];
        subflow.times.last = at.time;
        for (subtype, len) in &segment.malformed {
            let text = format!("an option of subtype {subtype} and {len} bytes");
            self.log.wrong(at, Kind::MalformedOption, text);
        }
        match segment.class() {
            Class::Syn => return self.syn(at, segment),
            Class::SynAck => return self.syn_ack(at, segment),
            Class::Other => {}
        }
        self.watch_acks(at, segment);
        for option in &segment.mptcp {
            self.option(at, option, segment);
        }
        self.data(at, segment, observer);
        if segment.has(RST) {
            self.reset(at, segment);
        }
    }

    fn option(&mut self, at: At, option: &Mptcp, segment: &Segment<'_>) {
        match option {
            Mptcp::Capable { .. } => self.capable_ack(at, option, segment),
            Mptcp::JoinAck { hmac } => self.join_ack(at, hmac),
            Mptcp::AddAddr(address) => self.add_addr(at, address),
            Mptcp::RemoveAddr(ids) => self.remove_addr(at, ids),
            Mptcp::Prio { backup, id } => {
                let what = if *backup { "backup" } else { "no backup" };
                let which = id.map_or(String::new(), |id| format!(" address {id}"));
                self.log.signal(at, format!("MP_PRIO{which}: {what}"));
            }
            Mptcp::Fail(dsn) => {
                let text = format!("MP_FAIL from {dsn:#018x} on");
                self.log.signal(at, text);
            }
            Mptcp::FastClose(key) => self.fastclose(at, *key, segment),
            Mptcp::Reset { flags, reason } if segment.has(RST) => {
                let subflow = &mut self.subflows[at.subflow];
                let transient = if flags & 1 != 0 { ", transient" } else { "" };
                let why = format!(": {}{transient}", reason_name(*reason));
                self.log.signal(at, format!("MP_TCPRST{why}"));
                subflow.reset.get_or_insert((at.from, why));
            }
            // The others concern data, or are of a handshake's first packets.
            _ => {}
        }
    }

    /// An acknowledgement of what the capture does not have.
    fn watch_acks(&mut self, at: At, segment: &Segment<'_>) {
        let flow = &mut self.subflows[at.subflow].flows[at.from.other() as usize];
        let acked = flow.relative(segment.ack);
        // The end of what was sent, and a FIN.
        let beyond = acked.is_some_and(|ack| ack < u64::MAX / 2 && ack > flow.highest.max(1) + 1);
        self.incomplete |= beyond && segment.has(crate::packet::ACK);
    }

    fn fastclose(&mut self, at: At, key: u64, segment: &Segment<'_>) {
        let owner = self.hosts[at.from.other() as usize].key;
        if owner.is_some_and(|owner| owner != key) {
            let text = "MP_FASTCLOSE with a key that is not the receiver's".to_owned();
            return self.log.wrong(at, Kind::WrongFastcloseKey, text);
        }
        self.log.signal(at, "MP_FASTCLOSE".to_owned());
        if segment.has(RST) {
            let subflow = &mut self.subflows[at.subflow];
            subflow
                .reset
                .get_or_insert((at.from, ": MP_FASTCLOSE".to_owned()));
        }
    }

    fn reset(&mut self, at: At, segment: &Segment<'_>) {
        let told = |o: &Mptcp| matches!(o, Mptcp::Reset { .. } | Mptcp::FastClose(_));
        if !segment.mptcp.iter().any(told) {
            self.log.signal(at, "RST".to_owned());
        }
    }

    pub(crate) fn fall_back(&mut self, at: At, reason: &str) {
        self.fallback.get_or_insert(Fallback {
            packet: at.packet,
            reason: reason.to_owned(),
        });
    }

    pub(crate) fn report(&self) -> report::Connection {
        let ends = self.subflows[0].ends;
        let host = |end: End, addr: SocketAddr| {
            let host = self.hosts[end as usize];
            report::Host {
                addr,
                key: host.key,
                token: host.derived.map(|d| d.0),
                idsn: host.derived.map(|d| d.1),
            }
        };
        let mut report = report::Connection {
            version: self.version,
            checksums: self.checksums,
            fallback: self.fallback.clone(),
            client: host(End::Client, ends.0),
            server: host(End::Server, ends.1),
            up: self.streams[0].report(),
            down: self.streams[1].report(),
            subflows: Vec::new(),
            addresses: self.addresses.clone(),
            signals: self.log.signals.clone(),
            findings: self.log.findings.clone(),
            incomplete: self.incomplete,
        };
        let plain = self.fallback.is_some();
        report.subflows = self.subflows.iter().map(|s| s.report(plain)).collect();
        report.findings.extend(unmapped(&report));
        // Where packets are missing, whole subflows may be.
        if self.incomplete || report.up.missing + report.down.missing > 0 {
            let beyond = |f: &&mut Finding| f.kind == Kind::DataAckBeyond;
            report
                .findings
                .iter_mut()
                .filter(beyond)
                .for_each(|f| f.error = false);
        }
        report
    }
}

/// Payload for which no mapping came.
fn unmapped(connection: &report::Connection) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, subflow) in connection.subflows.iter().enumerate() {
        for (from, carried) in [(End::Client, subflow.up), (End::Server, subflow.down)] {
            if carried.unmapped > 0 {
                findings.push(Finding {
                    packet: 0,
                    time: subflow.last,
                    subflow: Some(i + 1),
                    from: Some(from),
                    error: false,
                    kind: Kind::Unmapped,
                    text: format!("{} bytes without a mapping", carried.unmapped),
                });
            }
        }
    }
    findings
}

impl Log {
    pub(crate) fn signal(&mut self, at: At, what: String) {
        if self.signals.len() < LOG_MAX {
            self.signals.push(Signal {
                packet: at.packet,
                time: at.time,
                from: at.from,
                subflow: at.subflow + 1,
                what,
            });
        }
    }

    /// Something that the RFCs forbid.
    pub(crate) fn wrong(&mut self, at: At, kind: Kind, text: String) {
        self.find(at, kind, text, true);
    }

    /// Something strange.
    pub(crate) fn strange(&mut self, at: At, kind: Kind, text: String) {
        self.find(at, kind, text, false);
    }

    fn find(&mut self, at: At, kind: Kind, text: String, error: bool) {
        let same = self.findings.iter().filter(|f| f.kind == kind).count();
        if self.findings.len() < LOG_MAX && same < KIND_MAX {
            self.findings.push(Finding {
                packet: at.packet,
                time: at.time,
                subflow: Some(at.subflow + 1),
                from: Some(at.from),
                error,
                kind,
                text,
            });
        }
    }
}

/// Reasons of MP_TCPRST (RFC 8684 §3.6).
fn reason_name(reason: u8) -> &'static str {
    match reason {
        0 => "unspecified",
        1 => "Multipath TCP error",
        2 => "lack of resources",
        3 => "administratively prohibited",
        4 => "too much outstanding data",
        5 => "unacceptable performance",
        6 => "middlebox interference",
        _ => "unknown reason",
    }
}
