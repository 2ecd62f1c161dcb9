//! `struct sockaddr`.

use crate::{Errno, Result};
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A socket address of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// `AF_INET` or `AF_INET6`.
    Ip(SocketAddr),
    /// `AF_UNSPEC`.
    Unspecified,
}

impl Address {
    /// The IP address and port, if it is one.
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(addr) => Some(addr),
            Address::Unspecified => None,
        }
    }

    /// Reads one from its bytes in memory.
    ///
    /// # Errors
    /// `EINVAL` if there are too few of them, `EAFNOSUPPORT` for another family.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Address> {
        let short = Err(Errno(libc::EINVAL));
        let Some((family, rest)) = bytes.split_first_chunk() else {
            return short;
        };
        match i32::from(u16::from_ne_bytes(*family)) {
            libc::AF_UNSPEC => Ok(Address::Unspecified),
            libc::AF_INET => match rest.first_chunk() {
                Some(&[p, q, a, b, c, d]) => {
                    let port = u16::from_be_bytes([p, q]);
                    Ok(Address::Ip((Ipv4Addr::new(a, b, c, d), port).into()))
                }
                None => short,
            },
            libc::AF_INET6 => {
                // Port, flow label, address; a scope may follow.
                let (Some(port), Some(ip)) = (rest.first_chunk(), rest.get(6..22)) else {
                    return short;
                };
                let ip = <[u8; 16]>::try_from(ip).map_err(|_| Errno(libc::EINVAL))?;
                let port = u16::from_be_bytes(*port);
                Ok(Address::Ip((Ipv6Addr::from(ip), port).into()))
            }
            _ => Err(Errno(libc::EAFNOSUPPORT)),
        }
    }

    /// As it lies in memory.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let family = |family: i32| (family as u16).to_ne_bytes();
        let mut bytes = Vec::new();
        match self {
            Address::Unspecified => bytes.extend(family(libc::AF_UNSPEC)),
            Address::Ip(SocketAddr::V4(addr)) => {
                bytes.extend(family(libc::AF_INET));
                bytes.extend(addr.port().to_be_bytes());
                bytes.extend(addr.ip().octets());
                bytes.resize(size_of::<libc::sockaddr_in>(), 0);
            }
            Address::Ip(SocketAddr::V6(addr)) => bytes.extend(v6(addr)),
        }
        bytes
    }
}

fn v6(addr: SocketAddrV6) -> Vec<u8> {
    let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
    bytes.extend(addr.port().to_be_bytes());
    bytes.extend(addr.flowinfo().to_be_bytes());
    bytes.extend(addr.ip().octets());
    bytes.extend(addr.scope_id().to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_through_memory() {
        for text in ["192.0.2.1:8080", "[2001:db8::1]:443"] {
            let addr = Address::Ip(text.parse().unwrap());
            assert_eq!(Address::from_bytes(&addr.to_bytes()), Ok(addr));
        }
        let none = Address::Unspecified;
        assert_eq!(Address::from_bytes(&none.to_bytes()), Ok(none));
    }

    #[test]
    fn short_and_foreign_addresses_are_errors() {
        let whole = Address::Ip("192.0.2.1:80".parse().unwrap()).to_bytes();
        assert_eq!(Address::from_bytes(&whole[..7]), Err(Errno(libc::EINVAL)));
        assert_eq!(Address::from_bytes(&[]), Err(Errno(libc::EINVAL)));
        let unix = (libc::AF_UNIX as u16).to_ne_bytes();
        assert_eq!(Address::from_bytes(&unix), Err(Errno(libc::EAFNOSUPPORT)));
    }
}
