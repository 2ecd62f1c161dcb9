//! Keys, and what is derived from them (RFC 8684 §3.1, §3.2, §3.4.1; RFC 6824 for version 0).

use anabranch_tcp::packed;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use crate::version::Version;

/// Token and initial data sequence number of a key: both ends of its hash.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Derived {
    /// Names the connection in a join: the most significant 32 bits.
    pub token: u32,
    /// Initial data sequence number: the least significant 64 bits.
    pub idsn: u64,
}

packed!(Derived { token, idsn });

/// Token and IDSN of a key (RFC 8684 §3.1).
pub fn derive(version: Version, key: u64) -> Derived {
    let key = key.to_be_bytes();
    match version {
        Version::V0 => ends(&Sha1::digest(key)),
        Version::V1 => ends(&Sha256::digest(key)),
    }
}

/// A key of ours, with what follows from it; wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct LocalKey {
    /// The key.
    pub key: u64,
    /// Its token and IDSN in the version that it is used in.
    #[zeroize(skip)]
    pub derived: Derived,
}

impl LocalKey {
    /// A key for a connection of this version.
    pub fn new(version: Version, key: u64) -> LocalKey {
        LocalKey {
            key,
            derived: derive(version, key),
        }
    }

    /// It, with nothing of it left where it was: what moves by itself leaves its bytes behind.
    #[must_use]
    pub fn take(&mut self) -> LocalKey {
        let taken = self.clone();
        self.key.zeroize();
        taken
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

fn ends(hash: &[u8]) -> Derived {
    let token = hash.first_chunk().copied().map_or(0, u32::from_be_bytes);
    let idsn = hash.last_chunk().copied().map_or(0, u64::from_be_bytes);
    Derived { token, idsn }
}

/// HMAC over `message` with `sender`'s key before `receiver`'s, its leftmost 160 bits at least.
fn mac(version: Version, sender: u64, receiver: u64, message: &[u8]) -> [u8; 32] {
    let key = Zeroizing::new((u128::from(sender) << 64 | u128::from(receiver)).to_be_bytes());
    let mut out = [0; 32];
    match version {
        Version::V0 => {
            let mut m = Hmac::<Sha1>::new_from_slice(&*key).expect("HMAC takes keys of any length");
            m.update(message);
            out[..20].copy_from_slice(&m.finalize().into_bytes());
        }
        Version::V1 => {
            let mut m =
                Hmac::<Sha256>::new_from_slice(&*key).expect("HMAC takes keys of any length");
            m.update(message);
            out.copy_from_slice(&m.finalize().into_bytes());
        }
    }
    out
}

/// Keys and nonces of a join, seen from the side that computes the HMAC; wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct JoinSecret {
    /// Hash to use.
    #[zeroize(skip)]
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

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinSecret").finish_non_exhaustive()
    }
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

/// Whether what a peer sent is the secret: HMAC, key or cookie. The time that it takes does not
/// depend on where the first difference is; that of slices depends on their lengths.
pub fn same<T: ConstantTimeEq + ?Sized>(sent: &T, secret: &T) -> bool {
    sent.ct_eq(secret).into()
}
