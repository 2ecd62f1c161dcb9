//! The end of a run: a table, or JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::text;

/// Which way a file went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// From the server to the client.
    Down,
    /// From the client to the server.
    Up,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Down => "down",
            Way::Up => "up",
        })
    }
}

/// One transfer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Transfer {
    /// Who served: `anabranch` or `linux`.
    pub(crate) server: &'static str,
    pub(crate) way: Way,
    /// Bytes that arrived.
    pub(crate) bytes: u64,
    /// Digest of what was sent and of what arrived, hexadecimal; none in a simulation, which
    /// compares byte by byte.
    pub(crate) sha256_sent: Option<String>,
    pub(crate) sha256_received: Option<String>,
    /// All bytes arrived, each as it was sent.
    pub(crate) equal: bool,
    pub(crate) seconds: f64,
    /// The longest time in which nothing arrived.
    pub(crate) longest_stall_seconds: f64,
    pub(crate) goodput_bits_per_second: f64,
    /// Bytes each link carried this way, with all headers.
    pub(crate) link_bytes: Vec<u64>,
    /// Subflows the connection had.
    pub(crate) subflows: u64,
}

impl Transfer {
    /// Goodput of `bytes` in `elapsed`.
    pub(crate) fn goodput(bytes: u64, elapsed: Duration) -> f64 {
        bytes as f64 * 8.0 / elapsed.as_secs_f64().max(1e-9)
    }
}

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// `namespaces` or `simulation`.
    pub(crate) network: &'static str,
    /// Why it was simulated, if that was not asked for.
    pub(crate) reason: Option<String>,
    pub(crate) size_bytes: u64,
    pub(crate) link_bits_per_second: u64,
    pub(crate) seed: u64,
    pub(crate) transfers: Vec<Transfer>,
}

impl Report {
    /// Whether every transfer moved every byte.
    pub(crate) fn all_equal(&self) -> bool {
        self.transfers.iter().all(|t| t.equal)
    }

    /// The report as one JSON object.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data always has a JSON form")
    }
}

const COLUMNS: [&str; 8] = [
    "server",
    "way",
    "bytes",
    "SHA-256",
    "longest stall",
    "goodput",
    "over each link",
    "subflows",
];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        rows.extend(self.transfers.iter().map(row));
        let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        });
        for row in &rows {
            let cells = row
                .iter()
                .zip(widths)
                .enumerate()
                .map(|(n, (cell, width))| match n {
                    0 | 1 | 3 => format!("{cell:<width$}"),
                    _ => format!("{cell:>width$}"),
                });
            let cells: Vec<String> = cells.collect();
            writeln!(f, "{}", cells.join("   ").trim_end())?;
        }
        Ok(())
    }
}

fn row(t: &Transfer) -> [String; COLUMNS.len()] {
    let links: Vec<String> = t.link_bytes.iter().map(|n| text::bytes(*n)).collect();
    [
        t.server.to_owned(),
        t.way.to_string(),
        text::bytes(t.bytes),
        match (t.equal, &t.sha256_sent) {
            (true, Some(_)) => "equal".to_owned(),
            (true, None) => "each byte equal".to_owned(),
            (false, _) => "DIFFERENT".to_owned(),
        },
        text::time(Duration::from_secs_f64(t.longest_stall_seconds)),
        text::rate(t.goodput_bits_per_second),
        links.join(" + "),
        t.subflows.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(equal: bool) -> Report {
        let transfer = Transfer {
            server: "anabranch",
            way: Way::Down,
            bytes: 1 << 30,
            sha256_sent: Some("ab".into()),
            sha256_received: Some("ab".into()),
            equal,
            seconds: 5.0,
            longest_stall_seconds: 0.25,
            goodput_bits_per_second: 1.7e9,
            link_bytes: vec![700 << 20, 350 << 20],
            subflows: 2,
        };
        Report {
            network: "namespaces",
            reason: None,
            size_bytes: 1 << 30,
            link_bits_per_second: 1_000_000_000,
            seed: 1,
            transfers: vec![transfer],
        }
    }

    #[test]
    fn a_table_of_what_counts() {
        let text = report(true).to_string();
        let expected = "\
server      way       bytes   SHA-256   longest stall       goodput      over each link   subflows
anabranch   down   1.00 GiB   equal            250 ms   1.70 Gbit/s   700 MiB + 350 MiB          2
";
        assert_eq!(text, expected);
    }

    #[test]
    fn different_bytes_cannot_be_overlooked() {
        assert!(report(false).to_string().contains("DIFFERENT"));
        assert!(!report(false).all_equal());
    }

    #[test]
    fn json_has_the_same_figures() {
        let json: serde_json::Value = serde_json::from_str(&report(true).json()).unwrap();
        assert_eq!(json["transfers"][0]["way"], "down");
        assert_eq!(json["transfers"][0]["link_bytes"][1], 350 << 20);
    }
}
