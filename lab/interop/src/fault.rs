//! What networks do to connections: packets that vanish, options that are stripped. Made with
//! nftables in the namespace of one side.

use std::io;

use crate::host::Host;
use crate::tool::{feed, tool};

/// A fault that lasts until it is dropped.
#[derive(Debug)]
pub struct Fault<'a> {
    host: &'a Host,
    table: &'static str,
}

/// Which packets lose their MPTCP options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strip {
    /// Of SYNs.
    Syn,
    /// Of SYN+ACKs.
    SynAck,
    /// Of all segments but SYNs and SYN+ACKs, from the client.
    AfterSyn,
    /// Of all.
    All,
}

impl<'a> Fault<'a> {
    /// Drops everything that crosses the interface, in silence and both ways.
    pub fn blackhole(host: &'a Host, interface: &str) -> io::Result<Self> {
        let rules = format!(
            "add chain inet blackhole in {{ type filter hook prerouting priority -400; }}
             add chain inet blackhole out {{ type filter hook postrouting priority 400; }}
             add rule inet blackhole in iifname {interface} drop
             add rule inet blackhole out oifname {interface} drop"
        );
        Self::apply(host, "blackhole", &rules)
    }

    /// Strips the MPTCP options of segments that enter the server's `host` or leave it.
    pub fn strip(host: &'a Host, what: Strip) -> io::Result<Self> {
        let rules = match what {
            Strip::Syn => "in tcp flags & (syn|ack) == syn",
            Strip::SynAck => "out tcp flags & (syn|ack) == (syn|ack)",
            Strip::AfterSyn => "in tcp flags & syn == 0",
            Strip::All => "in tcp flags & syn >= 0",
        };
        let also = match what {
            Strip::All => "add rule inet strip out reset tcp option mptcp",
            _ => "",
        };
        let rules = format!(
            "add chain inet strip in {{ type filter hook prerouting priority -400; }}
             add chain inet strip out {{ type filter hook postrouting priority 400; }}
             add rule inet strip {rules} reset tcp option mptcp
             {also}"
        );
        Self::apply(host, "strip", &rules)
    }

    fn apply(host: &'a Host, table: &'static str, rules: &str) -> io::Result<Self> {
        host.run(|| feed("nft", "-f -", &format!("add table inet {table}\n{rules}\n")))?;
        Ok(Self { host, table })
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        let removed = self
            .host
            .run(|| tool("nft", &format!("delete table inet {}", self.table)));
        if let Err(error) = removed {
            eprintln!("the fault stays: {error}");
        }
    }
}
