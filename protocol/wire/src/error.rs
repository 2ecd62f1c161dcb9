//! Why bytes are no packet, and why a description cannot become one.

use std::fmt;

/// Why a received packet is dropped. Small and without data, so that each kind can be a counter:
/// `error as usize` indexes an array of [`Error::COUNT`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Error {
    /// Fewer bytes than the headers, or the length they state, need.
    Truncated,
    /// Neither IPv4 nor IPv6.
    BadVersion,
    /// An IP or TCP header length below the minimum or beyond the packet.
    BadHeaderLength,
    /// The IPv4 header checksum is wrong.
    BadIpChecksum,
    /// The TCP or ICMP checksum is wrong.
    BadChecksum,
    /// A fragment: reassembly is not done here.
    Fragment,
    /// IPv6 extension headers that a host must not skip (RFC 8200 §4.2, §4.4), or too many.
    ExtensionHeader,
    /// Well-formed, but another protocol than was asked for.
    OtherProtocol,
    /// A device's packet header (virtio-net) that contradicts the packet.
    BadVnetHeader,
}

impl Error {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Error; Error::COUNT] = [
        Error::Truncated,
        Error::BadVersion,
        Error::BadHeaderLength,
        Error::BadIpChecksum,
        Error::BadChecksum,
        Error::Fragment,
        Error::ExtensionHeader,
        Error::OtherProtocol,
        Error::BadVnetHeader,
    ];
    /// How many kinds there are.
    pub const COUNT: usize = 9;

    /// A short name, for counters and logs.
    pub fn name(self) -> &'static str {
        match self {
            Error::Truncated => "truncated",
            Error::BadVersion => "bad IP version",
            Error::BadHeaderLength => "bad header length",
            Error::BadIpChecksum => "bad IP checksum",
            Error::BadChecksum => "bad checksum",
            Error::Fragment => "fragment",
            Error::ExtensionHeader => "extension header",
            Error::OtherProtocol => "other protocol",
            Error::BadVnetHeader => "bad virtio-net header",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for Error {}

/// Why a [`crate::Build`] is no packet: a mistake of the caller, never of the network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BuildError {
    /// Options exceed 40 bytes.
    OptionSpace,
    /// An option that this class of segment cannot carry, or that no peer could read back.
    OptionClass,
    /// Source and destination are of different families.
    AddressFamily,
    /// Headers and payload exceed the 65,535 bytes that an IP length can state.
    TooLong,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BuildError::OptionSpace => "options exceed 40 bytes",
            BuildError::OptionClass => "option does not fit this class of segment",
            BuildError::AddressFamily => "addresses of different families",
            BuildError::TooLong => "packet exceeds 65,535 bytes",
        })
    }
}

impl std::error::Error for BuildError {}
