//! The kernel's own counters of a namespace, before and after.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Counters of `/proc/net/netstat` and `/proc/net/snmp` by the names `nstat` gives them, such as
/// `MPTcpExtMPJoinSynAckRx`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<String, u64>);

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
        let mut counters = BTreeMap::new();
        for file in ["netstat", "snmp"] {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
            counters.extend(parse(&text));
        }
        Ok(Self(counters))
    }

    /// The value of one counter; 0 if the kernel has none of that name.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// What rose since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let risen = self
            .0
            .iter()
            .map(|(name, now)| (name, now.saturating_sub(before.get(name))));
        Self(
            risen
                .filter(|(_, n)| *n > 0)
                .map(|(name, n)| (name.clone(), n))
                .collect(),
        )
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

/// Pairs of lines, `Group: name name …` and `Group: value value …`.
fn parse(text: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((group, names)) = names.split_once(": ") else {
            continue;
        };
        let values = values.split_whitespace().skip(1);
        for (name, value) in names.split_whitespace().zip(values) {
            // Some values are -1 (no limit); they are no counters.
            if let Ok(value) = value.parse() {
                counters.insert(format!("{group}{name}"), value);
            }
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_pair_up() {
        let text = "Tcp: MaxConn InSegs\nTcp: -1 7\nMPTcpExt: MPCapableSYNRX\nMPTcpExt: 3\n";
        let counters = Counters(parse(text));
        assert_eq!(counters.get("TcpInSegs"), 7);
        assert_eq!(counters.get("MPTcpExtMPCapableSYNRX"), 3);
        assert_eq!(counters.get("TcpMaxConn"), 0);
        assert_eq!(
            counters.nonzero(&["TcpInSegs", "TcpMaxConn"]),
            [("TcpInSegs", 7)]
        );
    }
}
