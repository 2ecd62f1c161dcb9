//! Ports for connections that this host opens: ports of its own addresses that nobody uses.

use super::{Attach, AttachConfig};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;

/// Where to look, from the end: beyond what Linux gives to connections unless told otherwise
/// (`ip_local_port_range` is 32768 to 60999). A rule cannot have port 65535.
const RANGE: RangeInclusive<u16> = 61_000..=65_534;

/// The TCP sockets of the current namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];

impl Attach {
    /// Takes `count` ports in a row that no socket of the host has and no other process has taken,
    /// whatever `config` says of ports; see [`Attach::ports`]. Answers to connections from these
    /// ports come to the device.
    ///
    /// # Errors
    /// Those of [`Attach::install`]; [`Error::Taken`] if there are none left.
    pub fn install_client(config: AttachConfig, count: u16) -> Result<Attach> {
        let used = used_ports()?;
        let blocks = RANGE.rev().step_by(count.max(1).into());
        for end in blocks {
            let start = end.saturating_sub(count.max(1) - 1);
            if !RANGE.contains(&start) || used.range(start..=end).next().is_some() {
                continue;
            }
            let config = AttachConfig {
                ports: vec![start..=end],
                ..config.clone()
            };
            match Attach::install(config) {
                Err(Error::Taken { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Taken {
            what: format!("{count} ports in a row between {RANGE:?}"),
            by: "other programs".into(),
        })
    }
}

/// Local ports of all TCP sockets, those in TIME-WAIT included.
fn used_ports() -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for table in TABLES {
        let text = match fs::read_to_string(table) {
            // A kernel without IPv6.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            text => text.map_err(|source| Error::System {
                what: format!("read {table}"),
                source,
            })?,
        };
        ports.extend(text.lines().skip(1).filter_map(local_port));
    }
    Ok(ports)
}

/// Of a line such as `0: 0100007F:1F90 00000000:0000 0A ...`.
fn local_port(line: &str) -> Option<u16> {
    let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
    u16::from_str_radix(port, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_from_its_line() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000";
        let v6 = "   1: 00000000000000000000000000000000:0016 0000:0000 0A";
        assert_eq!((local_port(v4), local_port(v6)), (Some(8080), Some(22)));
        assert_eq!(local_port(""), None);
    }
}
