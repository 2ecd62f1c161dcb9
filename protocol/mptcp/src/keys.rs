//! Keys, and what is derived from them (RFC 8684 §3.1, §3.2, §3.4.1; RFC 6824 for version 0).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Protocol version; it decides the hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Version {
    /// RFC 6824: SHA-1.
    V0,
    /// RFC 8684: SHA-256.
    V1,
}

impl Version {
    /// The number in MP_CAPABLE.
    pub fn number(self) -> u8 {
        match self {
            Version::V0 => 0,
            Version::V1 => 1,
        }
    }
}

/// Token and initial data sequence number of a key: both ends of its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Derived {
    /// Names the connection in a join: the most significant 32 bits.
    pub token: u32,
    /// Initial data sequence number: the least significant 64 bits.
    pub idsn: u64,
}

/// Token and IDSN of a key (RFC 8684 §3.1).
pub fn derive(version: Version, key: u64) -> Derived {
    let key = key.to_be_bytes();
    match version {
        Version::V0 => ends(&Sha1::digest(key)),
        Version::V1 => ends(&Sha256::digest(key)),
    }
}

fn ends(hash: &[u8]) -> Derived {
    let token = hash.first_chunk().copied().map_or(0, u32::from_be_bytes);
    let idsn = hash.last_chunk().copied().map_or(0, u64::from_be_bytes);
    Derived { token, idsn }
}

/// HMAC over `message` with `sender`'s key before `receiver`'s, its leftmost 160 bits at least.
fn mac(version: Version, sender: u64, receiver: u64, message: &[u8]) -> [u8; 32] {
    let key = (u128::from(sender) << 64 | u128::from(receiver)).to_be_bytes();
    let mut out = [0; 32];
    match version {
        Version::V0 => {
            let mut m = Hmac::<Sha1>::new_from_slice(&key).expect("HMAC takes keys of any length");
            m.update(message);
            out[..20].copy_from_slice(&m.finalize().into_bytes());
        }
        Version::V1 => {
            let mut m =
                Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
            m.update(message);
            out.copy_from_slice(&m.finalize().into_bytes());
        }
    }
    out
}

/// Keys and nonces of a join, seen from the side that computes the HMAC.
#[derive(Clone, Copy, Debug)]
pub struct JoinSecret {
    /// Hash to use.
    pub version: Version,
    /// Key of the side that sends the HMAC.
    pub sender_key: u64,
    /// Key of the side that checks it.
    pub receiver_key: u64,
    /// Nonce of the side that sends the HMAC.
    pub sender_nonce: u32,
    /// Nonce of the side that checks it.
    pub receiver_nonce: u32,
}

impl JoinSecret {
    fn mac(&self) -> [u8; 32] {
        let message =
            (u64::from(self.sender_nonce) << 32 | u64::from(self.receiver_nonce)).to_be_bytes();
        mac(self.version, self.sender_key, self.receiver_key, &message)
    }

    /// The HMAC of the third ACK: leftmost 160 bits (RFC 8684 §3.2).
    pub fn full(&self) -> [u8; 20] {
        let mut out = [0; 20];
        out.copy_from_slice(&self.mac()[..20]);
        out
    }

    /// The HMAC of the SYN+ACK: leftmost 64 bits (RFC 8684 §3.2).
    pub fn truncated(&self) -> u64 {
        self.mac()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_be_bytes)
    }
}

/// The HMAC of an ADD_ADDR: rightmost 64 bits over address ID, address and port, 0 if absent
/// (RFC 8684 §3.4.1). Version 0 has none.
pub fn add_addr_hmac(
    sender_key: u64,
    receiver_key: u64,
    address_id: u8,
    addr: IpAddr,
    port: Option<u16>,
) -> u64 {
    let mut message = Vec::with_capacity(19);
    message.push(address_id);
    match addr {
        IpAddr::V4(a) => message.extend_from_slice(&a.octets()),
        IpAddr::V6(a) => message.extend_from_slice(&a.octets()),
    }
    message.extend_from_slice(&port.unwrap_or(0).to_be_bytes());
    mac(Version::V1, sender_key, receiver_key, &message)
        .last_chunk()
        .copied()
        .map_or(0, u64::from_be_bytes)
}

/// Equality in a time that does not depend on where the first difference is.
pub fn same(a: &[u8; 20], b: &[u8; 20]) -> bool {
    let difference = a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y));
    std::hint::black_box(difference) == 0
}

/// [`same`] for truncated HMACs and keys.
pub fn same_u64(a: u64, b: u64) -> bool {
    std::hint::black_box(a ^ b) == 0
}
