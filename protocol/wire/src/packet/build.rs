//! Writing TCP packets.

use crate::frame::{HeaderBytes, Transmit};
use crate::ip::{IpBuild, protocol};
use crate::mptcp::MptcpOption;
use crate::tcp::{self, Flags, Options};
use crate::writer::Writer;
use crate::{BuildError, Seq, checksum};
use bytes::Bytes;
use smallvec::SmallVec;
use std::net::SocketAddr;

/// A TCP packet to be written. Options come out in the order of Linux: MSS, SACK permitted,
/// timestamps, window scale, Fast Open, SACK, then `mptcp` as given, each padded to four bytes.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// Source address and port.
    pub src: SocketAddr,
    /// Destination address and port, of the same family.
    pub dst: SocketAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP (upper six bits) and ECN (lower two).
    pub traffic_class: u8,
    /// IPv4 identification; any value will do, as "don't fragment" is set (RFC 6864 §4.1).
    pub ident: u16,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window field as on the wire.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// TCP's own options, of the class that `flags` say.
    pub options: &'a Options,
    /// MPTCP options, in the order they shall have.
    pub mptcp: &'a [MptcpOption],
}

/// The headers of one packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// IP and TCP headers with options. The TCP checksum field holds the pseudo-header sum only,
    /// folded and uncomplemented.
    pub bytes: HeaderBytes,
    /// Where the TCP header starts.
    pub ip_len: u8,
}

impl Build<'_> {
    /// Writes the headers of a packet with `payload_len` bytes of payload.
    pub fn emit(&self, payload_len: usize) -> Result<Header, BuildError> {
        let options_len = self.options.padded_len() + crate::mptcp::padded_len(self.mptcp);
        let len = tcp::HEADER_LEN + options_len + payload_len;
        let mut bytes = Writer::new();
        self.ip().emit(len, &mut bytes)?;
        let ip_len = bytes.len() as u8;
        self.emit_tcp(len, options_len, &mut bytes);
        tcp::emit(self.flags, self.options, self.mptcp, &mut bytes)?;
        Ok(Header {
            bytes: bytes.finish(),
            ip_len,
        })
    }

    /// The packet with its payload, ready for a device. `gso_size` is the payload of each wire
    /// segment if `payload` may exceed one, else 0.
    pub fn transmit(
        &self,
        payload: SmallVec<[Bytes; 4]>,
        gso_size: u16,
    ) -> Result<Transmit, BuildError> {
        let payload_len = payload.iter().map(Bytes::len).sum();
        let header = self.emit(payload_len)?;
        Ok(Transmit {
            header: header.bytes,
            ip_len: header.ip_len,
            payload,
            gso_size: if payload_len > usize::from(gso_size) {
                gso_size
            } else {
                0
            },
            needs_checksum: true,
        })
    }

    fn ip(&self) -> IpBuild {
        IpBuild {
            src: self.src.ip(),
            dst: self.dst.ip(),
            protocol: protocol::TCP,
            ttl: self.ttl,
            traffic_class: self.traffic_class,
            ident: self.ident,
        }
    }

    fn emit_tcp(&self, len: usize, options_len: usize, out: &mut Writer) {
        let (src, dst) = (self.src.ip(), self.dst.ip());
        let pseudo = checksum::pseudo_header(src, dst, protocol::TCP, len as u32);
        let words = ((tcp::HEADER_LEN + options_len) / 4) as u8;
        out.u16(self.src.port());
        out.u16(self.dst.port());
        out.u32(self.seq.0);
        out.u32(self.ack.0);
        let [high, low] = self.flags.0.to_be_bytes();
        out.put(&[words << 4 | high & 1, low]);
        out.u16(self.window);
        out.u16(pseudo);
        out.u16(self.urgent);
    }
}
