//! `anabranch ss`: what a running server's connections are doing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::cli::Failure;
use crate::control::{Answer, Connection, Request, Subflow, client};
use crate::serve::args::CONTROL_PATH;

/// Show the connections of a running server and their subflows.
///
/// Each connection is a line; below it, each network path that it uses (subflow) is an indented
/// one. `id` names a connection to `anabranch set` and `anabranch why`. `sent` and `received` are payload bytes, `rtx` counts segments sent again, `rtt` is the
/// smoothed round-trip time and `cwnd` the congestion window.
#[derive(Args, Debug, Clone)]
pub struct SsArgs {
    /// Print JSON, one connection a line (the fields are those of docs/control.md)
    #[arg(long)]
    pub json: bool,

    /// Add a line with all figures of TCP to each connection and path, in the words of `ss -i`
    #[arg(long, short, conflicts_with_all = ["json", "counters"])]
    pub info: bool,

    /// Show what the server has counted instead of its connections
    #[arg(long)]
    pub counters: bool,

    /// The server's control socket
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
}

/// Asks the server and prints its answer on standard output.
///
/// # Errors
/// One line: no server there, or it cannot be spoken to.
pub fn run(args: &SsArgs) -> Result<(), Failure> {
    let request = if args.counters {
        Request::Counters
    } else {
        Request::Connections
    };
    let mut answers = Vec::new();
    client::ask(&args.control, &request, |answer| answers.push(answer)).map_err(Failure::Failed)?;
    let text = if args.json {
        as_json(&answers)
    } else {
        as_columns(&answers, args.info)
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads us has seen enough (`anabranch ss | head`).
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::Failed(format!("cannot print: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn as_json(answers: &[Answer]) -> String {
    let mut text = String::new();
    for answer in answers {
        let line = match answer {
            Answer::Connection(connection) => serde_json::to_string(connection),
            Answer::Counters(counters) => serde_json::to_string(counters),
            _ => continue,
        };
        text.push_str(&line.expect("plain data with string keys always has a JSON form"));
        text.push('\n');
    }
    text
}

fn as_columns(answers: &[Answer], info: bool) -> String {
    let mut table = Table {
        info,
        ..Table::default()
    };
    for answer in answers {
        match answer {
            Answer::Connection(connection) => table.connection(connection),
            Answer::Counters(counters) => return counter_lines(counters),
            _ => {}
        }
    }
    table.print()
}

fn counter_lines(counters: &BTreeMap<String, u64>) -> String {
    let width = counters.keys().map(String::len).max().unwrap_or(0);
    counters
        .iter()
        .fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<width$}  {value}");
            text
        })
}

const COLUMNS: usize = 11;
const HEAD: [&str; COLUMNS] = [
    "id", "proto", "state", "local", "peer", "rtt", "cwnd", "recv-q", "send-q", "sent", "received",
];

/// Rows of cells; the first five columns are aligned left, figures right.
#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Each row of a TCP connection has a line of its figures below.
    info: bool,
}

/// A line of cells with remarks, and perhaps one below.
struct Row {
    cells: [String; COLUMNS],
    remarks: String,
    below: Option<String>,
}

impl Table {
    fn connection(&mut self, c: &Connection) {
        let alone = (c.protocol == "tcp").then(|| c.subflows.first()).flatten();
        let (rtt, cwnd) = match alone {
            Some(s) => (time(s.srtt_us), bytes(s.cwnd)),
            None => (String::new(), String::new()),
        };
        let cells = [
            c.id.clone(),
            c.protocol.clone(),
            c.state.clone(),
            address(c.local),
            address(c.peer),
            rtt,
            cwnd,
            bytes(c.recv_queue),
            bytes(c.send_queue),
            bytes(c.bytes_acked),
            bytes(c.bytes_received),
        ];
        self.rows.push(Row {
            cells,
            remarks: match alone {
                Some(subflow) => remarks(subflow),
                None => of_connection(c),
            },
            below: alone.and_then(|s| self.figures(s)),
        });
        if alone.is_none() {
            c.subflows.iter().for_each(|s| self.subflow(s));
        }
    }

    fn subflow(&mut self, s: &Subflow) {
        let cells = [
            String::new(),
            "  path".to_owned(),
            s.state.clone(),
            address(s.local),
            address(s.peer),
            time(s.srtt_us),
            bytes(s.cwnd),
            String::new(),
            bytes(s.in_flight),
            bytes(s.bytes_sent),
            bytes(s.bytes_received),
        ];
        self.rows.push(Row {
            cells,
            remarks: remarks(s),
            below: self.figures(s),
        });
    }

    fn figures(&self, s: &Subflow) -> Option<String> {
        self.info.then(|| format!("\t{}", s.tcp.line()))
    }

    fn print(&self) -> String {
        let head = HEAD.map(str::to_owned);
        let mut widths = HEAD.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = cell.len().max(*width);
            }
        }
        let mut text = String::new();
        let rows = self
            .rows
            .iter()
            .map(|row| (&row.cells, row.remarks.as_str(), row.below.as_ref()));
        for (cells, remarks, below) in std::iter::once((&head, "remarks", None)).chain(rows) {
            let mut line = String::new();
            for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
                let _ = match i {
                    0..5 => write!(line, "{cell:<width$}  "),
                    _ => write!(line, "{cell:>width$}  "),
                };
            }
            line.push_str(remarks);
            text.push_str(line.trim_end());
            text.push('\n');
            if let Some(below) = below {
                text.push_str(below);
                text.push('\n');
            }
        }
        text
    }
}

/// Version, scheduler, congestion control, and what is wrong.
fn of_connection(c: &Connection) -> String {
    let mut remarks = Vec::new();
    remarks.extend(c.version.map(|version| format!("version {version}")));
    remarks.extend(c.scheduler.clone());
    if !c.congestion.is_empty() {
        remarks.push(c.congestion.clone());
    }
    remarks.extend(c.stuck.as_ref().map(|why| format!("STUCK: {why}")));
    remarks.join(", ")
}

fn remarks(s: &Subflow) -> String {
    let mut remarks = Vec::new();
    if s.backup {
        remarks.push("backup".to_owned());
    }
    if s.retransmissions > 0 {
        remarks.push(format!("rtx {}", s.retransmissions));
    }
    remarks.join(", ")
}

/// IPv4 written as such where an IPv6 socket address carries it.
fn address(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn time(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 1000 => format!("{us}us"),
        Some(us) if us < 10_000 => format!("{}.{}ms", us / 1000, us % 1000 / 100),
        Some(us) => format!("{}ms", us / 1000),
    }
}

/// Three digits and a unit: 999, 12.3K, 4.56M (of 1024).
fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if n < 1024 {
        return n.to_string();
    }
    let mut value = n as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subflow(local: &str, backup: bool) -> Subflow {
        Subflow {
            state: "ESTABLISHED".into(),
            local: local.parse().unwrap(),
            peer: "192.0.2.1:40000".parse().unwrap(),
            backup,
            srtt_us: Some(1234),
            cwnd: 14_480,
            in_flight: 2896,
            bytes_sent: 5 << 20,
            bytes_received: 100,
            retransmissions: 3 * u64::from(backup),
            tcp: Box::default(),
        }
    }

    fn connection(protocol: &str, subflows: Vec<Subflow>) -> Answer {
        Answer::Connection(Box::new(Connection {
            token: None,
            id: "3.1".into(),
            scheduler: (protocol == "mptcp").then(|| "minrtt".into()),
            congestion: "cubic".into(),
            stuck: None,
            scheduling: BTreeMap::new(),
            protocol: protocol.into(),
            version: (protocol == "mptcp").then_some(1),
            state: "ESTABLISHED".into(),
            local: subflows[0].local,
            peer: subflows[0].peer,
            recv_queue: 0,
            send_queue: 2896,
            bytes_received: 100,
            bytes_acked: 5 << 20,
            subflows,
        }))
    }

    #[test]
    fn a_connection_is_a_line_and_each_of_its_paths_another() {
        let subflows = vec![subflow("10.0.0.1:80", false), subflow("10.0.1.1:80", true)];
        let text = as_columns(&[connection("mptcp", subflows)], false);
        let words: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(words[0], [&HEAD[..], &["remarks"]].concat());
        assert_eq!(
            words[1],
            [
                "3.1",
                "mptcp",
                "ESTABLISHED",
                "10.0.0.1:80",
                "192.0.2.1:40000",
                "0",
                "2.83K",
                "5.00M",
                "100",
                "version",
                "1,",
                "minrtt,",
                "cubic"
            ]
        );
        assert_eq!(
            words[3],
            [
                "path",
                "ESTABLISHED",
                "10.0.1.1:80",
                "192.0.2.1:40000",
                "1.2ms",
                "14.1K",
                "2.83K",
                "5.00M",
                "100",
                "backup,",
                "rtx",
                "3"
            ]
        );
    }

    #[test]
    fn plain_tcp_is_one_line_with_its_own_figures() {
        let text = as_columns(
            &[connection("tcp", vec![subflow("[2001:db8::1]:80", false)])],
            false,
        );
        assert_eq!(text.lines().count(), 2);
        let line = text.lines().nth(1).unwrap();
        assert!(
            line.contains("[2001:db8::1]:80") && line.contains("1.2ms"),
            "{line}"
        );
    }

    #[test]
    fn figures_stand_below_what_they_are_of() {
        let subflows = vec![subflow("10.0.0.1:80", false), subflow("10.0.1.1:80", true)];
        let text = as_columns(&[connection("mptcp", subflows)], true);
        let below: Vec<_> = text.lines().map(|l| l.starts_with('\t')).collect();
        assert_eq!(below, [false, false, false, true, false, true]);
        assert!(text.contains(" rto:0 "), "{text}");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let text = as_columns(
            &[
                connection("tcp", vec![subflow("10.0.0.1:80", false)]),
                connection(
                    "mptcp",
                    vec![subflow("[2001:db8:1111:2222::1]:65535", true)],
                ),
            ],
            false,
        );
        let at: Vec<_> = text
            .lines()
            .map(|l| l.find("192.0.2.1").or(l.find("peer")))
            .collect();
        assert!(at.iter().all(|&p| p.is_some() && p == at[0]), "{text}");
    }

    #[test]
    fn json_lines_are_the_control_protocols_own() {
        let answers = [connection("tcp", vec![subflow("10.0.0.1:80", false)])];
        let Answer::Connection(sent) = &answers[0] else {
            unreachable!("made above")
        };
        let read: Connection = serde_json::from_str(as_json(&answers).trim()).unwrap();
        assert_eq!(read, **sent);
    }

    #[test]
    fn figures_have_three_digits() {
        let shown: Vec<_> = [0, 1023, 1024, 20_000, 999 << 10, 1 << 30]
            .map(bytes)
            .into();
        assert_eq!(shown, ["0", "1023", "1.00K", "19.5K", "999K", "1.00G"]);
    }
}
