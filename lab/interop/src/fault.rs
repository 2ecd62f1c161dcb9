//! What networks do to connections: packets that vanish, options that are stripped. Made with
//! nftables in the namespace of one side.

use std::io;

use crate::host::Host;
use crate::tool::{feed, output, tool};

/// A fault that lasts until it is dropped.
#[derive(Debug)]
pub struct Fault<'a> {
    host: &'a Host,
    table: String,
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
        // Several interfaces may be black holes at once.
        let table = format!("blackhole-{interface}");
        let rules = format!(
            "add chain inet {table} in {{ type filter hook prerouting priority -400; }}
             add chain inet {table} out {{ type filter hook postrouting priority 400; }}
             add rule inet {table} in iifname {interface} drop
             add rule inet {table} out oifname {interface} drop"
        );
        Self::apply(host, &table, &rules)
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

    /// Drops SYNs with an MPTCP option that enter the server's `host`, in silence.
    pub fn drop_capable_syns(host: &'a Host) -> io::Result<Self> {
        let rules = "add chain inet syns in { type filter hook prerouting priority -400; }
             add rule inet syns in tcp flags & (syn|ack) == syn tcp option mptcp exists drop";
        Self::apply(host, "syns", rules)
    }

    /// Strips the MPTCP options of all that enters or leaves `host` by an interface.
    pub fn strip_link(host: &'a Host, interface: &str) -> io::Result<Self> {
        let rules = format!(
            "add chain inet strip in {{ type filter hook prerouting priority -400; }}
             add chain inet strip out {{ type filter hook postrouting priority 400; }}
             add rule inet strip in iifname {interface} reset tcp option mptcp
             add rule inet strip out oifname {interface} reset tcp option mptcp"
        );
        Self::apply(host, "strip", &rules)
    }

    /// Alters two bytes of the payload of one large packet in 50 that enters (`in`) or leaves
    /// (`out`) `host` by an interface; the TCP checksum is mended. Counts them as `altered`.
    pub fn alter(host: &'a Host, chain: &str, interface: &str) -> io::Result<Self> {
        let (hook, priority, end) = match chain {
            "in" => ("prerouting", -400, "iifname"),
            _ => ("postrouting", 400, "oifname"),
        };
        // No TCP header is longer than 60 bytes.
        let rules = format!(
            "add chain inet alter {chain} {{ type filter hook {hook} priority {priority}; }}
             add counter inet alter altered
             add rule inet alter {chain} {end} {interface} meta l4proto tcp \
             meta length > 1000 numgen inc mod 50 20 @th,512,16 set 0x5a5a counter name altered"
        );
        Self::apply(host, "alter", &rules)
    }

    /// Alters two bytes, 64 bytes after the start of the TCP header, of one small packet with
    /// payload that enters (`in`) or leaves (`out`) `host`: the one after `spared` others. The TCP
    /// checksum is mended. Counts it as `altered`.
    pub fn alter_once(host: &'a Host, chain: &str, spared: u32) -> io::Result<Self> {
        let (hook, priority, end) = match chain {
            "in" => ("prerouting", -400, "iifname"),
            _ => ("postrouting", 400, "oifname"),
        };
        let rules = format!(
            "add chain inet alter {chain} {{ type filter hook {hook} priority {priority}; }}
             add counter inet alter altered
             add rule inet alter {chain} {end} link0 meta l4proto tcp meta length 300-1000 \
             numgen inc mod 1000000 {spared} @th,512,16 set 0x5a5a counter name altered"
        );
        Self::apply(host, "alter", &rules)
    }

    /// Resets SYNs with an MPTCP option that reach the server's `host`.
    pub fn reset_capable_syns(host: &'a Host) -> io::Result<Self> {
        let rules = "add chain inet resets in { type filter hook input priority 0; }
             add rule inet resets in tcp flags & (syn|ack) == syn tcp option mptcp exists \
             reject with tcp reset";
        Self::apply(host, "resets", rules)
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

    fn apply(host: &'a Host, table: &str, rules: &str) -> io::Result<Self> {
        host.run(|| feed("nft", "-f -", &format!("add table inet {table}\n{rules}\n")))?;
        let table = table.to_owned();
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
