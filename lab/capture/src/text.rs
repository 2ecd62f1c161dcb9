//! A report for people.

use std::fmt::{self, Display, Formatter};

use crate::report::{
    Address, Carried, Connection, End, Finding, Host, Report, Stream, Subflow, Verdict,
};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, connection) in self.connections.iter().enumerate() {
            writeln!(f, "connection {}: {connection}", i + 1)?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let (packets, plain) = (self.packets, self.plain);
        let connections = self.connections.len();
        write!(
            f,
            "{packets} packets, {connections} connections of Multipath TCP, {plain} of plain TCP: "
        )?;
        match self.errors() {
            0 => writeln!(f, "nothing is wrong"),
            1 => writeln!(f, "1 thing is wrong"),
            n => writeln!(f, "{n} things are wrong"),
        }
    }
}

impl Display for Connection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "version {}", version.number())?,
            None => write!(f, "no version")?,
        }
        let checksums = if self.checksums {
            "checksums"
        } else {
            "no checksums"
        };
        write!(f, ", {checksums}, {} subflows", self.subflows.len())?;
        writeln!(
            f,
            "{}",
            if self.incomplete {
                ", packets are missing"
            } else {
                ""
            }
        )?;
        writeln!(f, "  client {}", self.client)?;
        writeln!(f, "  server {}", self.server)?;
        if let Some(fallback) = &self.fallback {
            let (reason, packet) = (&fallback.reason, fallback.packet);
            writeln!(f, "  plain TCP from packet {packet} on: {reason}")?;
        }
        writeln!(f, "  client to server: {}", self.up)?;
        writeln!(f, "  server to client: {}", self.down)?;
        for (i, subflow) in self.subflows.iter().enumerate() {
            writeln!(f, "  subflow {}: {subflow}", i + 1)?;
        }
        for address in &self.addresses {
            writeln!(f, "  {address}")?;
        }
        for s in &self.signals {
            writeln!(
                f,
                "  packet {}, {:.6} s, {} on subflow {}: {}",
                s.packet, s.time, s.from, s.subflow, s.what
            )?;
        }
        for finding in &self.findings {
            writeln!(f, "  {finding}")?;
        }
        Ok(())
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.addr)?;
        if let Some(key) = self.key {
            write!(f, ", key {key:#018x}")?;
        }
        if let (Some(token), Some(idsn)) = (self.token, self.idsn) {
            write!(f, ", token {token:#010x}, IDSN {idsn:#018x}")?;
        }
        Ok(())
    }
}

impl Display for Stream {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        if self.missing > 0 {
            write!(f, ", {} more are not in the capture", self.missing)?;
        }
        if self.reinjected > 0 {
            write!(f, ", {} mapped twice", self.reinjected)?;
        }
        write!(f, ", {} acknowledged", self.acknowledged)?;
        if self.checksums_right + self.checksums_wrong > 0 {
            let (right, wrong) = (self.checksums_right, self.checksums_wrong);
            write!(f, ", {right} checksums right, {wrong} wrong")?;
        }
        match (self.data_fin, self.data_fin_acknowledged) {
            (false, _) => Ok(()),
            (true, false) => write!(f, ", DATA_FIN not acknowledged"),
            (true, true) => write!(f, ", DATA_FIN acknowledged"),
        }
    }
}

impl Display for Subflow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        match &self.join {
            None => write!(f, ", the initial one")?,
            Some(join) => {
                let id = |id: Option<u8>| id.map_or("?".to_owned(), |id| id.to_string());
                let (from, to) = (id(join.ids[0]), id(join.ids[1]));
                write!(
                    f,
                    ", joined by the {}, addresses {from} to {to}",
                    self.opener
                )?;
                if join.backup.contains(&true) {
                    write!(f, ", backup")?;
                }
                let (ack, syn_ack) = (join.hmacs[0], join.hmacs[1]);
                write!(f, ", HMAC on SYN+ACK {syn_ack}, on third ACK {ack}")?;
            }
        }
        let established = self.established;
        let up = established.map_or("never up".to_owned(), |at| format!("up at {at:.6} s"));
        write!(f, "\n    {:.6} s to {:.6} s, {up}", self.opened, self.last)?;
        write!(f, ", {}", self.ended.as_deref().unwrap_or("open"))?;
        let (client, server) = (self.up, self.down);
        write!(f, "\n    client: {client}\n    server: {server}")
    }
}

impl Display for Carried {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        let parts = [
            (self.again, "sent again"),
            (self.reinjected, "mapped before"),
            (self.unmapped, "without a mapping"),
        ];
        for (bytes, what) in parts.iter().filter(|(bytes, _)| *bytes > 0) {
            write!(f, ", {bytes} {what}")?;
        }
        Ok(())
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "address {} of the {}: {}", self.id, self.from, self.addr)?;
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        write!(f, ", announced {} times, HMAC {}", self.times, self.hmac)?;
        let echoed = if self.echoed { "echoed" } else { "not echoed" };
        let removed = if self.removed { ", withdrawn" } else { "" };
        write!(f, ", {echoed}{removed}")
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let what = if self.error { "WRONG" } else { "strange" };
        write!(f, "{what}: ")?;
        if self.packet > 0 {
            write!(f, "packet {}, {:.6} s, ", self.packet, self.time)?;
        }
        if let (Some(from), Some(subflow)) = (self.from, self.subflow) {
            write!(f, "{} on subflow {subflow}: ", whose(from))?;
        }
        write!(f, "{}", self.text)
    }
}

fn whose(end: End) -> &'static str {
    match end {
        End::Client => "the client",
        End::Server => "the server",
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "not seen",
            Self::Right => "right",
            Self::Wrong => "WRONG",
        })
    }
}
