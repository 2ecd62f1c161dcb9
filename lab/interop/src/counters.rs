//! The kernel's own counters of a namespace, before and after.

use std::fs;
use std::io;

use anabranch_kernel::counters;

/// Counters by the names `nstat` gives them, such as `MPTcpExtMPJoinSynAckRx`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(counters::Counters);

/// What must not rise when nothing on the path interferes: fallbacks to TCP, data that was
/// mapped wrongly, failed authentication, refused joins.
pub const CLEAN: &[&str] = &[
    "MPTcpExtMPCapableFallbackACK",
    "MPTcpExtMPCapableFallbackSYNACK",
    "MPTcpExtMPCapableSYNTXDrop",
    "MPTcpExtMPCapableSYNTXDisabled",
    "MPTcpExtMPCapableDataFallback",
    "MPTcpExtMD5SigFallback",
    "MPTcpExtDssFallback",
    "MPTcpExtSimultConnectFallback",
    "MPTcpExtFallbackFailed",
    "MPTcpExtMPFallbackTokenInit",
    "MPTcpExtInfiniteMapTx",
    "MPTcpExtInfiniteMapRx",
    "MPTcpExtDSSNotMatching",
    "MPTcpExtDSSNoMatchTCP",
    "MPTcpExtDSSCorruptionFallback",
    "MPTcpExtDSSCorruptionReset",
    "MPTcpExtDataCsumErr",
    "MPTcpExtMPJoinNoTokenFound",
    "MPTcpExtMPJoinSynAckHMacFailure",
    "MPTcpExtMPJoinAckHMacFailure",
    "MPTcpExtMPJoinRejected",
    "MPTcpExtAddAddrDrop",
    "MPTcpExtMPFailTx",
    "MPTcpExtMPFailRx",
];

impl Counters {
    /// Reads the counters of the calling thread's network namespace.
    pub fn read() -> io::Result<Self> {
        counters::read().map(Self).map_err(io::Error::other)
    }

    /// The value of one counter; 0 if the kernel has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What rose since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self(counters::difference(&before.0, &self.0))
    }

    /// Those that begin with `prefix` and are not 0.
    pub fn with_prefix(&self, prefix: &str) -> Vec<(&str, u64)> {
        let matching = self
            .0
            .iter()
            .filter(|(name, n)| name.starts_with(prefix) && **n > 0);
        matching.map(|(name, n)| (name.as_str(), *n)).collect()
    }

    /// Those of `names` that are not 0.
    pub fn nonzero<'a>(&self, names: &[&'a str]) -> Vec<(&'a str, u64)> {
        names
            .iter()
            .map(|name| (*name, self.get(name)))
            .filter(|(_, n)| *n > 0)
            .collect()
    }
}

/// Bytes an interface of the calling thread's namespace has received and sent, IP packets with
/// their link headers.
pub fn interface_bytes(name: &str) -> io::Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}"));
    let line = text
        .lines()
        .find_map(|l| l.trim_start().strip_prefix(name)?.strip_prefix(':'));
    let mut fields = line.ok_or_else(missing)?.split_whitespace().map(str::parse);
    // Receive: bytes packets errs drop fifo frame compressed multicast; then the same for transmit.
    match (fields.next(), fields.nth(7)) {
        (Some(Ok(received)), Some(Ok(sent))) => Ok((received, sent)),
        _ => Err(missing()),
    }
}
