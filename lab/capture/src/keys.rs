//! What follows from keys: tokens, initial data sequence numbers, HMACs.

use std::net::IpAddr;

use hmac::{Hmac, Mac as _};
use serde::Serialize;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Which Multipath TCP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Version {
    /// RFC 6824: SHA-1.
    #[serde(rename = "0")]
    V0,
    /// RFC 8684: SHA-256.
    #[serde(rename = "1")]
    V1,
}

impl Version {
    /// The version of this number, if there is one.
    pub fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            _ => None,
        }
    }

    /// 0 or 1.
    pub fn number(self) -> u8 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }
}

/// Token and IDSN of a key: the first 32 and the last 64 bits of its hash (RFC 8684 §3.1, §3.2).
pub(crate) fn derive(version: Version, key: u64) -> (u32, u64) {
    let key = key.to_be_bytes();
    let hash = match version {
        Version::V0 => Sha1::digest(key).to_vec(),
        Version::V1 => Sha256::digest(key).to_vec(),
    };
    let last = hash.len() - 8;
    let token = hash[..4].iter().fold(0, |n, b| n << 8 | u32::from(*b));
    let idsn = hash[last..].iter().fold(0, |n, b| n << 8 | u64::from(*b));
    (token, idsn)
}

/// The keys and nonces of a join, the sender of the HMAC first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JoinSecret {
    pub(crate) keys: (u64, u64),
    pub(crate) nonces: (u32, u32),
}

/// The HMAC of a join, as it stands on the third ACK; the SYN+ACK has its first 8 bytes
/// (RFC 8684 §3.2).
pub(crate) fn join_hmac(version: Version, secret: JoinSecret) -> [u8; 20] {
    let mut key = secret.keys.0.to_be_bytes().to_vec();
    key.extend(secret.keys.1.to_be_bytes());
    let mut message = secret.nonces.0.to_be_bytes().to_vec();
    message.extend(secret.nonces.1.to_be_bytes());
    let hash = match version {
        Version::V0 => sha1_hmac(&key, &message),
        Version::V1 => sha256_hmac(&key, &message),
    };
    std::array::from_fn(|i| hash[i])
}

/// The HMAC of an ADD_ADDR of version 1: the last 64 bits (RFC 8684 §3.4.1).
pub(crate) fn add_addr_hmac(keys: (u64, u64), id: u8, addr: IpAddr, port: Option<u16>) -> u64 {
    let mut key = keys.0.to_be_bytes().to_vec();
    key.extend(keys.1.to_be_bytes());
    let mut message = vec![id];
    match addr {
        IpAddr::V4(addr) => message.extend(addr.octets()),
        IpAddr::V6(addr) => message.extend(addr.octets()),
    }
    message.extend(port.unwrap_or(0).to_be_bytes());
    let hash = sha256_hmac(&key, &message);
    hash[24..].iter().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn sha1_hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn sha256_hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}
