//! What networks do to connections: packets that vanish, options that are stripped. Made with
//! nftables in the namespace of one side.

use std::io;

use crate::host::Host;
use crate::tool::{feed, output, tool};

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

    /// Marks every `nth` packet that `host` forwards and that may be marked as having met
    /// congestion (RFC 3168). The host of the server forwards all that it serves, both ways.
    pub fn congestion(host: &'a Host, nth: u32) -> io::Result<Self> {
        let rules = format!(
            "add chain inet congestion on {{ type filter hook forward priority 0; }}
             add rule inet congestion on ip ecn {{ ect0, ect1 }} \
             numgen inc mod {nth} 0 ip ecn set ce
             add rule inet congestion on ip6 ecn {{ ect0, ect1 }} \
             numgen inc mod {nth} 0 ip6 ecn set ce
             add counter inet congestion client
             add counter inet congestion server
             add rule inet congestion on iifname link0 \
             tcp flags & (syn | cwr) == cwr counter name client
             add rule inet congestion on iifname anabranch0 \
             tcp flags & (syn | cwr) == cwr counter name server"
        );
        Self::apply(host, "congestion", &rules)
    }

    /// Has a router say nothing of packets that are too large for its next link.
    pub fn no_packet_too_big(host: &'a Host) -> io::Result<Self> {
        let rules = "add chain inet silence out { type filter hook output priority 0; }
             add rule inet silence out icmp type destination-unreachable drop
             add rule inet silence out icmpv6 type packet-too-big drop";
        Self::apply(host, "silence", rules)
    }

    /// How many packets it has counted under a name.
    pub fn counted(&self, name: &str) -> io::Result<u64> {
        let what = format!("list counter inet {} {name}", self.table);
        let text = self.host.run(|| output("nft", &what))?;
        let packets = text.split_once("packets ").map(|(_, rest)| rest);
        let number = packets.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other(format!("no count in {text}")))
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
