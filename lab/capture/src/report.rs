//! What a capture shows: connections, subflows, streams, and what is wrong with them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Serialize, Serializer};

use crate::keys::Version;

/// What a capture shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Packets read, of whatever protocol.
    pub packets: u64,
    /// TCP connections that never spoke of Multipath TCP.
    pub plain: u64,
    /// Connections with Multipath TCP on their SYN or later, in the order of their first packet.
    pub connections: Vec<Connection>,
    /// What is wrong outside of any connection.
    pub findings: Vec<Finding>,
}

/// One of the two hosts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// Who opened the connection.
    Client,
    /// Who accepted it.
    Server,
}

/// A connection.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// The version agreed on; `None` if there was no answer.
    pub version: Option<Version>,
    /// Whether DSS checksums are in use.
    pub checksums: bool,
    /// Why it went on as plain TCP, if it did.
    pub fallback: Option<Fallback>,
    /// Who opened it.
    pub client: Host,
    /// Who accepted it.
    pub server: Host,
    /// What the client sent.
    pub up: Stream,
    /// What the server sent.
    pub down: Stream,
    /// Subflows, the initial one first.
    pub subflows: Vec<Subflow>,
    /// Addresses announced.
    pub addresses: Vec<Address>,
    /// Signals, in order; of many only the first.
    pub signals: Vec<Signal>,
    /// What is wrong or strange, in order; of many only the first.
    pub findings: Vec<Finding>,
    /// Packets are missing in the capture: some were acknowledged that it does not have.
    pub incomplete: bool,
}

/// Why a connection went on as plain TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// Number of the packet that shows it, from 1.
    pub packet: u64,
    /// In words.
    pub reason: String,
}

/// A host, by its side of the first subflow.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Address and port on the initial subflow.
    pub addr: SocketAddr,
    /// Its key, if the capture has it.
    #[serde(serialize_with = "hex")]
    pub key: Option<u64>,
    /// The token that follows from the key.
    #[serde(serialize_with = "hex")]
    pub token: Option<u32>,
    /// The initial data sequence number that follows from the key.
    #[serde(serialize_with = "hex")]
    pub idsn: Option<u64>,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stream {
    /// Bytes, each counted once.
    pub bytes: u64,
    /// Bytes of the stream that are not in the capture.
    pub missing: u64,
    /// Bytes mapped again after they had been carried, mostly by another subflow.
    pub reinjected: u64,
    /// Mappings with a right checksum.
    pub checksums_right: u64,
    /// Mappings with a wrong checksum.
    pub checksums_wrong: u64,
    /// Bytes acknowledged by DATA_ACK.
    pub acknowledged: u64,
    /// DATA_FIN was sent.
    pub data_fin: bool,
    /// DATA_FIN was acknowledged.
    pub data_fin_acknowledged: bool,
}

/// A subflow.
#[derive(Clone, Debug, Serialize)]
pub struct Subflow {
    /// Who opened it.
    pub opener: End,
    /// Address and port of the opener.
    pub from: SocketAddr,
    /// Address and port of the other.
    pub to: SocketAddr,
    /// What a join told; `None` for the initial subflow.
    pub join: Option<Join>,
    /// Seconds from the first packet of the capture to its SYN.
    pub opened: f64,
    /// The same to the end of its handshake.
    pub established: Option<f64>,
    /// The same to its last packet.
    pub last: f64,
    /// What the client sent on it.
    pub up: Carried,
    /// What the server sent on it.
    pub down: Carried,
    /// How it ended, in words.
    pub ended: Option<String>,
}

/// MP_JOIN of a subflow, the opener's first.
#[derive(Clone, Debug, Serialize)]
pub struct Join {
    /// Address IDs.
    pub ids: [Option<u8>; 2],
    /// Whether the subflow is a backup.
    pub backup: [bool; 2],
    /// HMACs.
    pub hmacs: [Verdict; 2],
}

/// Bytes that a subflow carried in one direction.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Carried {
    /// Payload, however often.
    pub bytes: u64,
    /// Of these, sent again on this subflow.
    pub again: u64,
    /// Of these, new to the subflow and carried before, mostly by another.
    pub reinjected: u64,
    /// Of these, never mapped.
    pub unmapped: u64,
}

/// The result of computing something again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The capture does not show it, or not what it is computed from.
    #[default]
    Unknown,
    /// It is as it must be.
    Right,
    /// It is not.
    Wrong,
}

/// An announced address.
#[derive(Clone, Debug, Serialize)]
pub struct Address {
    /// Who announced it.
    pub from: End,
    /// Its ID.
    pub id: u8,
    /// The address.
    pub addr: IpAddr,
    /// A port, if one was announced with it.
    pub port: Option<u16>,
    /// How often it was announced.
    pub times: u32,
    /// Its HMAC; version 0 has none.
    pub hmac: Verdict,
    /// The other host echoed it.
    pub echoed: bool,
    /// It was withdrawn.
    pub removed: bool,
}

/// A signal: what an option told.
#[derive(Clone, Debug, Serialize)]
pub struct Signal {
    /// Number of the packet, from 1.
    pub packet: u64,
    /// Seconds from the first packet.
    pub time: f64,
    /// Who sent it.
    pub from: End,
    /// On which subflow, from 1.
    pub subflow: usize,
    /// In words.
    pub what: String,
}

/// Something wrong or strange.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Number of the packet, from 1.
    pub packet: u64,
    /// Seconds from the first packet.
    pub time: f64,
    /// On which subflow, from 1.
    pub subflow: Option<usize>,
    /// Who sent it. What is altered on the way to where the capture was made looks the same.
    pub from: Option<End>,
    /// Wrong; otherwise strange, but nothing forbids it.
    pub error: bool,
    /// What it is.
    pub kind: Kind,
    /// In words.
    pub text: String,
}

/// Kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An option of a length that its subtype cannot have, or of an unknown subtype.
    MalformedOption,
    /// A key is echoed that the other host never sent, or a host changed its own.
    WrongKey,
    /// The HMAC of an MP_JOIN.
    WrongJoinHmac,
    /// The HMAC of an ADD_ADDR.
    WrongAddAddrHmac,
    /// MP_FASTCLOSE with another key than the receiver's.
    WrongFastcloseKey,
    /// A token of no connection in the capture.
    UnknownToken,
    /// A join was answered without MP_JOIN.
    JoinNotAnswered,
    /// The first mapping is not that of the first byte.
    WrongIdsn,
    /// A DSS checksum.
    WrongChecksum,
    /// Checksums are in use and a mapping has none, or the reverse.
    ChecksumPresence,
    /// A mapping gives a byte of the subflow another place than an earlier one.
    ChangedMapping,
    /// A mapping of data sequence numbers far outside of the stream.
    DsnOutside,
    /// A place of the stream has two different bytes.
    UnequalBytes,
    /// A byte that was acknowledged long ago is probed with another: Linux does so.
    WindowProbe,
    /// Data beyond DATA_FIN, or a second DATA_FIN at another place.
    BeyondDataFin,
    /// A DATA_ACK of what was never sent.
    DataAckBeyond,
    /// Payload for which no mapping came.
    Unmapped,
    /// The echo of an address that nobody announced.
    EchoOfNothing,
}

impl Report {
    /// Whether something is wrong.
    pub fn is_wrong(&self) -> bool {
        self.errors() > 0
    }

    /// How many things are wrong.
    pub fn errors(&self) -> usize {
        let all = self.connections.iter().flat_map(|c| &c.findings);
        all.chain(&self.findings).filter(|f| f.error).count()
    }
}

impl End {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Numbers of 64 bits are strings in JSON: many readers have 53.
fn hex<T: fmt::LowerHex, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    let width = 2 + 2 * size_of::<T>();
    match value {
        Some(value) => to.serialize_some(&format!("{value:#0width$x}")),
        None => to.serialize_none(),
    }
}
