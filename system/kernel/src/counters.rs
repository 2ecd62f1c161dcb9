//! The kernel's own counters, as `nstat` shows them.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// Counters of the current network namespace by name, such as `MPTcpExtMPCapableSYNRX`,
/// `TcpExtTCPTimeouts`, `TcpOutRsts`.
pub type Counters = BTreeMap<String, u64>;

/// Reads all of `/proc/net/{snmp,netstat,snmp6}`.
///
/// # Errors
/// [`Error::System`] without `/proc`.
pub fn read() -> Result<Counters> {
    let mut counters = Counters::new();
    // `thread-self`: `/proc/net` is the namespace of the process's first thread.
    for file in ["snmp", "netstat"] {
        parse_pairs(&load(file)?, &mut counters);
    }
    // Absent without IPv6.
    if let Ok(text) = load("snmp6") {
        parse_lines(&text, &mut counters);
    }
    Ok(counters)
}

/// What has been added between two readings; counters that stand still are left out.
pub fn difference(before: &Counters, after: &Counters) -> Counters {
    let since = |name: &String, value: &u64| value.wrapping_sub(*before.get(name).unwrap_or(&0));
    after
        .iter()
        .map(|(name, value)| (name.clone(), since(name, value)))
        .filter(|(_, value)| *value != 0)
        .collect()
}

fn load(file: &str) -> Result<String> {
    let path = format!("/proc/thread-self/net/{file}");
    std::fs::read_to_string(&path).map_err(|error| Error::net(format!("read {path}"), error))
}

/// Lines come in pairs, `Group: names…` and `Group: values…`.
fn parse_pairs(text: &str, counters: &mut Counters) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((group, names)) = names.split_once(':') else {
            continue;
        };
        let Some((_, values)) = values.split_once(':') else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            // Tcp's MaxConn is -1; no counter is.
            if let Ok(value) = value.parse() {
                counters.insert(format!("{group}{name}"), value);
            }
        }
    }
}

fn parse_lines(text: &str, counters: &mut Counters) {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse)) {
            counters.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_stand_on_lines_of_their_own() {
        let mut counters = Counters::new();
        parse_pairs(
            "Tcp: MaxConn OutRsts\nTcp: -1 7\nMPTcpExt: MPCapableSYNRX Bad\nMPTcpExt: 3\n",
            &mut counters,
        );
        parse_lines("Ip6InReceives  \t 12\n", &mut counters);
        let expected = [
            ("Ip6InReceives", 12),
            ("MPTcpExtMPCapableSYNRX", 3),
            ("TcpOutRsts", 7),
        ];
        assert!(
            counters
                .iter()
                .map(|(name, value)| (name.as_str(), *value))
                .eq(expected)
        );
    }

    #[test]
    fn a_difference_leaves_out_what_stands_still() {
        let before = Counters::from([("a".into(), 1), ("b".into(), 2)]);
        let after = Counters::from([("a".into(), 1), ("b".into(), 5), ("c".into(), 1)]);
        let expected = Counters::from([("b".into(), 3), ("c".into(), 1)]);
        assert_eq!(difference(&before, &after), expected);
    }
}
