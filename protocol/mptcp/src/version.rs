//! The versions of the protocol, and all that differs between them but for their hashes
//! ([`crate::keys`]) and the layout of options (`anabranch_wire::mptcp`).

use anabranch_tcp::packed;
use anabranch_wire::mptcp::{Capable, CapableFlags, Prio};
use std::fmt;
use std::str::FromStr;

/// Version of the protocol, agreed on for each connection by its handshake.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Version {
    /// RFC 6824.
    V0,
    /// RFC 8684.
    V1,
}

packed!(
    enum Version {
        V0,
        V1,
    }
);

impl Version {
    /// The version of a number in MP_CAPABLE.
    pub fn of(number: u8) -> Option<Version> {
        match number {
            0 => Some(Version::V0),
            1 => Some(Version::V1),
            _ => None,
        }
    }

    /// The number in MP_CAPABLE.
    pub fn number(self) -> u8 {
        match self {
            Version::V0 => 0,
            Version::V1 => 1,
        }
    }

    /// The initiator's key is on its SYN; otherwise it comes with the third ACK (RFC 8684
    /// Appendix E).
    pub fn key_on_syn(self) -> bool {
        self == Version::V0
    }

    /// The first data repeats both keys, and its mapping is in MP_CAPABLE. Without this a DSS is
    /// as good a proof that options pass.
    pub(crate) fn keys_on_data(self) -> bool {
        self == Version::V1
    }

    /// Flag C is defined: it was one of the bits that name algorithms.
    pub(crate) fn has_deny_join(self) -> bool {
        self == Version::V1
    }

    /// ADD_ADDR has an HMAC, and is echoed.
    pub(crate) fn proves_addresses(self) -> bool {
        self == Version::V1
    }

    /// MP_TCPRST exists.
    pub(crate) fn explains_resets(self) -> bool {
        self == Version::V1
    }

    /// MP_FASTCLOSE may stand on a RST: version 0 knows it on an ACK alone (RFC 6824 §3.5).
    pub(crate) fn fast_closes_on_reset(self) -> bool {
        self == Version::V1
    }

    /// Whether MP_PRIO has a form of this version: only version 0 names the address it means.
    pub(crate) fn has_form(self, prio: &Prio) -> bool {
        self == Version::V0 || prio.address_id.is_none()
    }

    /// Whether a SYN+ACK chose the one algorithm there is: exactly one bit is set (RFC 8684 §3.1).
    pub(crate) fn algorithm_chosen(self, flags: &CapableFlags) -> bool {
        let other = flags.reserved != 0 || flags.deny_join && !self.has_deny_join();
        flags.hmac && !other
    }
}

/// The versions a host speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    lowest: Version,
    highest: Version,
}

impl Default for Versions {
    fn default() -> Versions {
        Versions::ALL
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Versions::ALL {
            f.write_str("all")
        } else {
            write!(f, "{}", self.highest.number())
        }
    }
}

/// `0`, `1` or `all`.
impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Versions, String> {
        match text {
            "0" => Ok(Versions::only(Version::V0)),
            "1" => Ok(Versions::only(Version::V1)),
            "all" => Ok(Versions::ALL),
            _ => Err("expected 0, 1 or all".to_owned()),
        }
    }
}

impl Versions {
    /// Every version there is.
    pub const ALL: Versions = Versions {
        lowest: Version::V0,
        highest: Version::V1,
    };

    /// This version and no other.
    pub const fn only(version: Version) -> Versions {
        Versions {
            lowest: version,
            highest: version,
        }
    }

    /// Whether this version is one of them.
    pub fn contains(self, version: Version) -> bool {
        (self.lowest..=self.highest).contains(&version)
    }

    /// What an initiator offers: the highest (RFC 8684 §3.1).
    pub fn offer(self) -> Version {
        self.highest
    }

    /// Whether a SYN is to be ignored as a whole: flag B in version 0, whose sender will try again
    /// without it (RFC 6824 §3.1). Version 1 only has the option ignored.
    pub fn leaves_unanswered(self, syn: &Capable) -> bool {
        syn.version() == 0 && syn.flags().extensibility && self.contains(Version::V0)
    }

    /// The version that answers the MP_CAPABLE of a SYN: the highest of ours that is not above what
    /// is offered. `None`: there is none, or the option is to be taken for absent (flag B, no
    /// algorithm that we know, version 0 without a key).
    pub fn answer(self, syn: &Capable) -> Option<Version> {
        let Capable::Syn {
            version,
            flags,
            key,
        } = syn
        else {
            return None;
        };
        let offered = match version {
            0 => Version::V0,
            _ => Version::V1,
        };
        let understood = flags.hmac && !flags.extensibility;
        let complete = key.is_some() || !offered.key_on_syn();
        (understood && complete && offered >= self.lowest).then_some(offered.min(self.highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written() {
        for text in ["0", "1", "all"] {
            let versions: Versions = text.parse().expect("versions");
            assert_eq!(versions.to_string(), text);
        }
        let two: Result<Versions, _> = "2".parse();
        assert_eq!(two, Err("expected 0, 1 or all".to_owned()));
    }
}
