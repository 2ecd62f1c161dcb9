//! Names and networks that rules are about.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A name with `*` for any characters and `?` for any one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern; every text is one.
    pub fn new(text: impl Into<String>) -> Pattern {
        Pattern(text.into())
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }
}

/// Goes back to the last `*` only, which is enough and takes no more than the product of both
/// lengths.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// Its first address.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many bits of an address count.
    #[expect(
        clippy::len_without_is_empty,
        reason = "the length of a prefix is no size"
    )]
    pub fn len(&self) -> u8 {
        self.len
    }
}

/// What is wrong with a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixError {
    /// Not `ADDRESS` nor `ADDRESS/LENGTH`.
    Shape,
    /// Longer than the address.
    Length,
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrefixError::Shape => "expected a network, such as 192.0.2.0/24 or 2001:db8::/32",
            PrefixError::Length => "the length after / is at most 32 for IPv4, 128 for IPv6",
        })
    }
}

impl std::error::Error for PrefixError {}

impl Prefix {
    /// The network of the first `len` bits of `addr`.
    ///
    /// # Errors
    /// [`PrefixError::Length`].
    pub fn new(addr: IpAddr, len: u8) -> Result<Prefix, PrefixError> {
        let longest = if addr.is_ipv4() { 32 } else { 128 };
        if len > longest {
            return Err(PrefixError::Length);
        }
        Ok(Prefix { addr, len })
    }

    /// Whether it holds every address of its family.
    pub fn is_default(&self) -> bool {
        self.len == 0
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.addr.is_ipv4()
    }

    /// Whether `addr` is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let common = match (self.addr, addr) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
            _ => return false,
        };
        common >= self.len.into()
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| PrefixError::Shape)?;
        let whole = if addr.is_ipv4() { 32 } else { 128 };
        let len = match len {
            Some(len) => len.parse().map_err(|_| PrefixError::Shape)?,
            None => whole,
        };
        Prefix::new(addr, len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, fits) in [
            ("eth0", "eth0", true),
            ("eth0", "eth01", false),
            ("wwan*", "wwan0", true),
            ("wwan*", "wlan0", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?th?", "eth0", true),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxxbc", false),
            ("a*b*c", "abcbc", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).matches(name),
                fits,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (prefix, addr, holds) in [
            ("192.0.2.0/24", "192.0.2.200", true),
            ("192.0.2.0/24", "192.0.3.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let parsed: Prefix = prefix.parse().unwrap();
            assert_eq!(
                parsed.contains(addr.parse().unwrap()),
                holds,
                "{prefix} {addr}"
            );
        }
        for (text, error) in [
            ("192.0.2.0/33", PrefixError::Length),
            ("2001:db8::/129", PrefixError::Length),
            ("192.0.2.0/", PrefixError::Shape),
            ("eth0", PrefixError::Shape),
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(error), "{text}");
        }
    }
}
