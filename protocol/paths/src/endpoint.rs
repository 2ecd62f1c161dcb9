//! Endpoints, as Linux's path manager has them: addresses of this host and what each is for.

use std::fmt;
use std::net::IpAddr;
use std::ops::BitOr;

/// What an endpoint is for; the bits are those of `linux/mptcp.h`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u32);

impl Flags {
    /// Announced to the peer.
    pub const SIGNAL: Flags = Flags(1);
    /// A further subflow starts there, to the address of the first one.
    pub const SUBFLOW: Flags = Flags(1 << 1);
    /// Its subflows are backups.
    pub const BACKUP: Flags = Flags(1 << 2);
    /// Subflows start there to every address of the peer.
    pub const FULLMESH: Flags = Flags(1 << 3);
    /// Made by the engine itself for an address in use.
    pub const IMPLICIT: Flags = Flags(1 << 4);
    /// When the peer announces an address, one subflow starts there, once.
    pub const LAMINAR: Flags = Flags(1 << 5);

    /// Each flag with its name in the words of `ip mptcp`.
    pub const NAMES: [(&'static str, Flags); 6] = [
        ("signal", Flags::SIGNAL),
        ("subflow", Flags::SUBFLOW),
        ("backup", Flags::BACKUP),
        ("fullmesh", Flags::FULLMESH),
        ("implicit", Flags::IMPLICIT),
        ("laminar", Flags::LAMINAR),
    ];

    /// Whether every one of `other` is set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With those of `other` too, or without them.
    #[must_use]
    pub fn with(self, other: Flags, set: bool) -> Flags {
        Flags(if set {
            self.0 | other.0
        } else {
            self.0 & !other.0
        })
    }

    /// The flag of this name.
    pub fn by_name(name: &str) -> Option<Flags> {
        let mut names = Flags::NAMES.into_iter();
        names.find(|(n, _)| *n == name).map(|(_, flag)| flag)
    }

    /// The names of those set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let set = Flags::NAMES.into_iter().filter(move |(_, f)| self.has(*f));
        set.map(|(name, _)| name)
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        self.names().try_for_each(|name| {
            write!(f, "{space}{name}")?;
            space = " ";
            Ok(())
        })
    }
}

/// An address and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The address.
    pub addr: IpAddr,
    /// Its ID towards peers, 1 to 255; 0 until one is given.
    pub id: u8,
    /// What it is for.
    pub flags: Flags,
    /// The port to announce; `None`: that of the connection.
    pub port: Option<u16>,
    /// The interface that subflows from the address leave by, by name; `None`: whichever has it.
    pub dev: Option<String>,
    /// The address is not this host's but leads here, through a translator in front of it:
    /// announced whether an interface has it or not.
    pub external: bool,
}

/// Why an endpoint cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointError {
    /// A port goes with `signal`, and not with `subflow`, `fullmesh` or `laminar`.
    Port,
    /// `signal` and `fullmesh` exclude each other.
    SignalFullmesh,
    /// `implicit` is the engine's own.
    Implicit,
    /// The address has an endpoint already.
    Exists,
    /// The ID is that of another endpoint.
    IdTaken,
    /// There are as many as there may be.
    Full,
    /// No endpoint has this ID or address.
    Missing,
    /// Packets from other hosts never come to such an address.
    Address,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EndpointError::Port => {
                "a port goes with the flag signal, and without subflow, fullmesh and laminar"
            }
            EndpointError::SignalFullmesh => "the flags signal and fullmesh exclude each other",
            EndpointError::Implicit => "the flag implicit cannot be given",
            EndpointError::Exists => {
                "the address has an endpoint already: change or delete that one"
            }
            EndpointError::IdTaken => "another endpoint has this ID",
            EndpointError::Full => "there are as many endpoints as there may be",
            EndpointError::Missing => "there is no such endpoint",
            EndpointError::Address => "no packet from another host comes to this address",
        })
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// An endpoint without ID, port and interface.
    pub fn new(addr: IpAddr, flags: Flags) -> Endpoint {
        Endpoint {
            addr,
            id: 0,
            flags,
            port: None,
            dev: None,
            external: false,
        }
    }

    /// Whether subflows from its address leave by one interface only.
    pub fn is_bound(&self) -> bool {
        self.dev.is_some() && self.port.is_none() && !self.external
    }

    /// Refuses what Linux refuses.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn check(&self) -> Result<(), EndpointError> {
        let sources = Flags::SUBFLOW | Flags::FULLMESH | Flags::LAMINAR;
        let is_source = self.flags.0 & sources.0 != 0;
        if self.addr.is_loopback() || self.addr.is_multicast() || self.addr.is_unspecified() {
            return Err(EndpointError::Address);
        }
        if self.port.is_some() && (is_source || !self.flags.has(Flags::SIGNAL)) {
            return Err(EndpointError::Port);
        }
        if self.flags.has(Flags::SIGNAL | Flags::FULLMESH) {
            return Err(EndpointError::SignalFullmesh);
        }
        if self.flags.has(Flags::IMPLICIT) {
            return Err(EndpointError::Implicit);
        }
        Ok(())
    }
}

/// Adds an endpoint to `list`, with the least free ID unless it has one; returns its ID.
pub(crate) fn add(list: &mut Vec<Endpoint>, mut new: Endpoint) -> Result<u8, EndpointError> {
    new.check()?;
    if list.len() >= crate::MAX_ADDRESSES {
        return Err(EndpointError::Full);
    }
    let same = |e: &Endpoint| e.addr == new.addr && (e.port == new.port || new.port.is_none());
    if list.iter().any(same) {
        return Err(EndpointError::Exists);
    }
    let taken = |id: u8| list.iter().any(|e| e.id == id);
    if new.id == 0 {
        new.id = (1..=u8::MAX).find(|id| !taken(*id)).unwrap_or(u8::MAX);
    } else if taken(new.id) {
        return Err(EndpointError::IdTaken);
    }
    let id = new.id;
    list.push(new);
    Ok(id)
}
