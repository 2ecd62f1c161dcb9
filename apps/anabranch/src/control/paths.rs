//! What is said of paths over the control socket, by either engine.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// An endpoint; words and their order are those of `ip mptcp`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// Its ID towards peers; 0 until it has one.
    #[serde(default)]
    pub id: u8,
    /// The port to announce; absent: that of the connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub port: Option<u16>,
    /// `signal`, `subflow`, `backup`, `fullmesh`, `implicit`, `laminar`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// The interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dev: Option<String>,
    /// It is not configured: the policy makes it for an address that there is.
    #[serde(default)]
    pub derived: bool,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        write!(f, " id {}", self.id)?;
        self.flags
            .iter()
            .try_for_each(|flag| write!(f, " {flag}"))?;
        if let Some(dev) = &self.dev {
            write!(f, " dev {dev}")?;
        }
        if self.derived {
            f.write_str(" (by policy)")?;
        }
        Ok(())
    }
}

/// How many of what, for each connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Addresses that the peer may announce to some effect.
    pub add_addr_accepted: u32,
    /// Further subflows.
    pub subflows: u32,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limits {
            add_addr_accepted,
            subflows,
        } = self;
        write!(
            f,
            "add_addr_accepted {add_addr_accepted} subflows {subflows}"
        )
    }
}

/// Something happened to the paths of a connection.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct PathNews {
    /// `established`, `closed`, `announced`, `removed`, `sf_established`, `sf_closed`,
    /// `sf_priority`, `fallback`, `lost` (so many events were not read in time); of the kernel also
    /// `created`, `listener_created`, `listener_closed`.
    pub event: String,
    /// [`super::Connection::id`].
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub connection: String,
    /// Token of the connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<u32>,
    /// The peer's address ID.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote_id: Option<u8>,
    /// Our address ID.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local_id: Option<u8>,
    /// Our address and port.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub local: Option<SocketAddr>,
    /// The peer's, or the one it announced.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote: Option<SocketAddr>,
    /// A backup.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backup: Option<bool>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

impl fmt::Display for PathNews {
    /// As `ip mptcp monitor` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:>14}]", self.event.to_uppercase())?;
        if let Some(token) = self.token {
            write!(f, " token={token:08x}")?;
        }
        if let Some(id) = self.remote_id {
            write!(f, " remid={id}")?;
        }
        if let Some(id) = self.local_id {
            write!(f, " locid={id}")?;
        }
        let family = |addr: &SocketAddr| if addr.is_ipv4() { 4 } else { 6 };
        if let Some(local) = &self.local {
            write!(f, " saddr{}={}", family(local), local.ip())?;
        }
        if let Some(remote) = &self.remote {
            write!(f, " daddr{}={}", family(remote), remote.ip())?;
        }
        if let Some(local) = &self.local {
            write!(f, " sport={}", local.port())?;
        }
        if let Some(remote) = &self.remote {
            write!(f, " dport={}", remote.port())?;
        }
        if let Some(backup) = self.backup {
            write!(f, " backup={}", u8::from(backup))?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// What would be done with a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Would {
    /// [`super::Connection::id`].
    pub connection: String,
    /// Our address and port, of its first subflow.
    pub local: SocketAddr,
    /// The peer's.
    pub peer: SocketAddr,
    /// What, one thing each; nothing if all is as it should be.
    pub commands: Vec<String>,
}
