//! The virtio-net header (`struct virtio_net_hdr`, Virtio 1.3 §5.1.6) in front of each packet of a
//! TUN device with `IFF_VNET_HDR` or a packet socket with `PACKET_VNET_HDR`: checksum and
//! segmentation offload. Fields are in the byte order of the machine, those devices' default.

use crate::Error;
use crate::frame::{Frame, Transmit};
use crate::ip::{V4_LEN, V6_LEN, protocol};
use crate::tcp::{CHECKSUM_AT, Flags, HEADER_LEN};
use bytes::Bytes;

/// Length of the header.
pub const LEN: usize = 10;
/// Length with the count of buffers that "mergeable receive buffers" adds.
pub const LEN_MERGEABLE: usize = 12;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// What a packet is cut into.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(missing_docs)]
pub enum GsoType {
    /// One packet.
    #[default]
    None,
    TcpV4,
    TcpV6,
}

/// The header, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct VnetHdr {
    /// The checksum at `csum_start + csum_offset` is partial: a pseudo-header sum.
    pub needs_csum: bool,
    /// The device has verified the checksum.
    pub data_valid: bool,
    /// Segmentation.
    pub gso_type: GsoType,
    /// The super-frame carries CWR, to stand on its first segment only.
    pub ecn: bool,
    /// Length of all headers: a hint.
    pub hdr_len: u16,
    /// Payload of each segment.
    pub gso_size: u16,
    /// Where the transport header starts.
    pub csum_start: u16,
    /// Where in it the checksum stands.
    pub csum_offset: u16,
}

impl VnetHdr {
    /// Reads a header; kinds of segmentation that were not asked for (UDP) are refused.
    pub fn decode(bytes: &[u8; LEN]) -> Result<VnetHdr, Error> {
        let gso_type = match bytes[1] & !GSO_ECN {
            GSO_NONE => GsoType::None,
            GSO_TCPV4 => GsoType::TcpV4,
            GSO_TCPV6 => GsoType::TcpV6,
            _ => return Err(Error::BadVnetHeader),
        };
        let field = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Ok(VnetHdr {
            needs_csum: bytes[0] & NEEDS_CSUM != 0,
            data_valid: bytes[0] & DATA_VALID != 0,
            gso_type,
            ecn: bytes[1] & GSO_ECN != 0,
            hdr_len: field(2),
            gso_size: field(4),
            csum_start: field(6),
            csum_offset: field(8),
        })
    }

    /// Writes the header.
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = if self.needs_csum { NEEDS_CSUM } else { 0 };
        bytes[0] |= if self.data_valid { DATA_VALID } else { 0 };
        bytes[1] = match self.gso_type {
            GsoType::None => GSO_NONE,
            GsoType::TcpV4 => GSO_TCPV4,
            GsoType::TcpV6 => GSO_TCPV6,
        };
        bytes[1] |= if self.ecn { GSO_ECN } else { 0 };
        let fields = [
            self.hdr_len,
            self.gso_size,
            self.csum_start,
            self.csum_offset,
        ];
        for (place, field) in bytes[2..].as_chunks_mut::<2>().0.iter_mut().zip(fields) {
            *place = field.to_ne_bytes();
        }
        bytes
    }

    /// Writes the header with a count of one buffer behind it.
    pub fn encode_mergeable(&self) -> [u8; LEN_MERGEABLE] {
        let mut bytes = [0; LEN_MERGEABLE];
        bytes[..LEN].copy_from_slice(&self.encode());
        bytes[LEN..].copy_from_slice(&1u16.to_ne_bytes());
        bytes
    }

    /// The header that goes before this packet, so that the device completes checksum and
    /// segmentation.
    pub fn for_transmit(transmit: &Transmit) -> VnetHdr {
        if !transmit.needs_checksum {
            return VnetHdr::default();
        }
        let mut header = VnetHdr {
            needs_csum: true,
            hdr_len: transmit.header.len() as u16,
            csum_start: u16::from(transmit.ip_len),
            csum_offset: CHECKSUM_AT as u16,
            ..VnetHdr::default()
        };
        if transmit.gso_size != 0 && transmit.payload_len() > usize::from(transmit.gso_size) {
            let flags = transmit.header.get(usize::from(transmit.ip_len) + 13);
            header.ecn = flags.is_some_and(|&flags| Flags(flags.into()).has(Flags::CWR));
            header.gso_type = if transmit.is_ipv6() {
                GsoType::TcpV6
            } else {
                GsoType::TcpV4
            };
            header.gso_size = transmit.gso_size;
        }
        header
    }

    /// The frame that this header and the packet behind it make.
    ///
    /// # Errors
    /// [`Error::BadVnetHeader`] where the header contradicts the packet: another IP version, a
    /// super-frame without segment size or checksum offload, a checksum outside of the packet or
    /// elsewhere than TCP has it.
    pub fn frame(&self, data: Bytes) -> Result<Frame, Error> {
        if self.needs_csum {
            self.check_place(&data)?;
        }
        let version = match self.gso_type {
            GsoType::None => {
                let checksum_ok = self.needs_csum || self.data_valid;
                return Ok(Frame {
                    data,
                    checksum_ok,
                    gso_size: 0,
                });
            }
            GsoType::TcpV4 => 4,
            GsoType::TcpV6 => 6,
        };
        let same_version = data.first().is_some_and(|byte| byte >> 4 == version);
        if !same_version || self.gso_size == 0 || !(self.needs_csum || self.data_valid) {
            return Err(Error::BadVnetHeader);
        }
        Ok(Frame {
            data,
            checksum_ok: true,
            gso_size: self.gso_size,
        })
    }

    /// A partial checksum of a TCP packet must be TCP's: `checksum_ok` is said of nothing else.
    fn check_place(&self, data: &[u8]) -> Result<(), Error> {
        let start = usize::from(self.csum_start);
        let end = start + usize::from(self.csum_offset) + 2;
        let (is_tcp, ip_len) = match data.first().map_or(0, |byte| byte >> 4) {
            4 if data.len() >= V4_LEN => {
                let header_len = usize::from(data[0] & 0x0f) * 4;
                (data[9] == protocol::TCP, header_len..=header_len)
            }
            // Extension headers may stand between.
            6 if data.len() >= V6_LEN => (data[6] == protocol::TCP, V6_LEN..=data.len()),
            _ => return Err(Error::BadVnetHeader),
        };
        let is_tcp_place = ip_len.contains(&start)
            && usize::from(self.csum_offset) == CHECKSUM_AT
            && data.len() >= start + HEADER_LEN;
        if end > data.len() || (is_tcp && !is_tcp_place) {
            return Err(Error::BadVnetHeader);
        }
        Ok(())
    }
}
