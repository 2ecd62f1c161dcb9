//! A connection's policy in words: a step is a time, what happens then, and what is to be done.
//!
//! Addresses are short: `a`, `b`, `c` are 10.0.0.1, 10.0.1.1, 10.0.2.1 and `a6` is fd00::1, ours;
//! `S`, `T`, `U` are 10.9.0.1:80, 10.9.1.1:80, 10.9.2.1:80 and `S6` is [fd00::9]:80, the peer's.
//! The first subflow goes from `a` to `S`.

use anabranch_paths::{
    Command, Connection, Ends, Event, Facts, Kind, Loss, Policy, Quality, Side, Source, State, Time,
};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const OURS: [(&str, &str); 4] = [
    ("a", "10.0.0.1"),
    ("b", "10.0.1.1"),
    ("c", "10.0.2.1"),
    ("a6", "fd00::1"),
];
const THEIRS: [(&str, &str); 4] = [
    ("S", "10.9.0.1:80"),
    ("T", "10.9.1.1:80"),
    ("U", "10.9.2.1:80"),
    ("S6", "[fd00::9]:80"),
];

pub(crate) fn ours(name: &str) -> IpAddr {
    let known = OURS.iter().find(|(short, _)| *short == name);
    known.map_or(name, |(_, addr)| addr).parse().unwrap()
}

pub(crate) fn theirs(name: &str) -> SocketAddr {
    let known = THEIRS.iter().find(|(short, _)| *short == name);
    known.map_or(name, |(_, addr)| addr).parse().unwrap()
}

fn our_name(addr: IpAddr) -> String {
    let known = OURS.iter().find(|(_, long)| *long == addr.to_string());
    known.map_or(addr.to_string(), |(short, _)| (*short).to_owned())
}

fn their_name(addr: SocketAddr) -> String {
    let known = THEIRS.iter().find(|(_, long)| *long == addr.to_string());
    known.map_or(addr.to_string(), |(short, _)| (*short).to_owned())
}

/// An address of ours: its name, and `backup`, `rank=N`, `link=N`, `id=N`, `max=N`.
pub(crate) fn source(text: &str) -> Source {
    let mut words = text.split_whitespace();
    let mut source = Source::new(ours(words.next().unwrap()));
    for word in words {
        match word.split_once('=') {
            None if word == "unrouted" => source.routed = false,
            None => source.backup = word == "backup",
            Some(("rank", n)) => source.rank = n.parse().unwrap(),
            Some(("link", n)) => source.link = n.parse().unwrap(),
            Some(("id", n)) => source.id = n.parse().unwrap(),
            Some(("max", n)) => source.subflows = n.parse().unwrap(),
            Some(other) => panic!("{other:?}"),
        }
    }
    source
}

pub(crate) struct Table {
    pub(crate) connection: Connection,
    ports: u16,
}

/// Runs a table from the beginning of the connection on.
pub(crate) fn run(policy: Policy, sources: &[&str], steps: &[(u64, &str, &str)]) -> Table {
    let mut table = Table::new(policy, sources);
    table.steps(steps);
    table
}

impl Table {
    pub(crate) fn new(policy: Policy, sources: &[&str]) -> Table {
        let sources: Vec<Source> = sources.iter().map(|text| source(text)).collect();
        let side = match policy.kind {
            Kind::Server => Side::Server,
            _ => Side::Client,
        };
        let facts = Facts {
            side,
            local: SocketAddr::new(ours("a"), 4000),
            remote: theirs("S"),
            process: None,
            cgroup: None,
        };
        Table {
            connection: Connection::new(Time::ZERO, Arc::new(policy), &facts, &sources),
            ports: 40_000,
        }
    }

    pub(crate) fn steps(&mut self, steps: &[(u64, &str, &str)]) {
        for (ms, event, expected) in steps {
            let now = Duration::from_millis(*ms);
            for event in event.split(';').map(str::trim).filter(|e| !e.is_empty()) {
                self.happens(now, event);
            }
            let done = self.drain(now);
            assert_eq!(done.join("; "), *expected, "at {ms} ms, {event:?}");
        }
    }

    /// What is to be done now, each thing carried out.
    pub(crate) fn drain(&mut self, now: Time) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(command) = self.connection.next(now, usize::MAX) {
            done.push(self.say(&command));
            if let Command::Create { from, to, .. } = command {
                self.ports += 1;
                let mut local = from.addr;
                if local.port() == 0 {
                    local.set_port(self.ports);
                }
                let ends = Ends { local, remote: to };
                let local_id = None;
                self.connection
                    .on_event(now, Event::Begun { ends, local_id });
            }
            assert!(done.len() < 1000, "there is no end: {done:?}");
        }
        let due = self.connection.deadline();
        assert!(due.is_none_or(|at| at > now), "{due:?} at {now:?}");
        done
    }

    fn say(&self, command: &Command) -> String {
        let ends = |e: &Ends| {
            let (ours, theirs) = (our_name(e.local.ip()), their_name(e.remote));
            format!("{ours}>{theirs}")
        };
        match command {
            Command::Announce { id, addr, port } => {
                let port = port.map_or(String::new(), |p| format!(":{p}"));
                format!("announce {id} {}{port}", our_name(*addr))
            }
            Command::Remove { id } => format!("remove {id}"),
            Command::Create {
                from, to, backup, ..
            } => {
                let backup = if *backup { " backup" } else { "" };
                format!(
                    "create {}>{}{backup}",
                    our_name(from.addr.ip()),
                    their_name(*to)
                )
            }
            Command::Destroy { ends: e, at_once } => {
                let how = if *at_once { " at once" } else { "" };
                format!("destroy {}{how}", ends(e))
            }
            Command::SetPriority { ends: e, backup } => {
                let what = if *backup { "backup" } else { "normal" };
                format!("{what} {}", ends(e))
            }
            Command::Probe { ends: e } => format!("probe {}", ends(e)),
            Command::SetLimits {
                subflows,
                add_addr_accepted,
            } => format!("limits {subflows} {add_addr_accepted}"),
        }
    }

    /// The subflow between two addresses; of several the latest.
    fn ends(&self, text: &str) -> Ends {
        let (local, remote) = text.split_once('>').expect(text);
        let (local, remote) = (ours(local), theirs(remote));
        let there = |e: &Ends| e.local.ip() == local && e.remote == remote;
        let known = self.connection.subflows().map(|s| s.ends).filter(there);
        known.last().unwrap_or(Ends {
            local: SocketAddr::new(local, 0),
            remote,
        })
    }

    pub(crate) fn happens(&mut self, now: Time, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let quality = |quality| Event::Quality {
            ends: self.ends(words[1]),
            quality,
        };
        let event = match words[0] {
            "wait" => return,
            "established" => Event::Established {
                deny_join: words.len() > 1,
            },
            "closed" => Event::Closed,
            "announced" => {
                let whole = words[2].parse::<SocketAddr>().ok();
                let named = whole.or_else(|| {
                    let known = THEIRS.iter().any(|(short, _)| *short == words[2]);
                    known.then(|| theirs(words[2]))
                });
                Event::Announced {
                    id: words[1].parse().unwrap(),
                    addr: named.map_or_else(|| words[2].parse().unwrap(), |a| a.ip()),
                    port: whole.map(|a| a.port()),
                }
            }
            "removed" => Event::Removed {
                id: words[1].parse().unwrap(),
            },
            "up" => Event::SubflowUp {
                ends: self.ends(words[1]),
                local_id: words.get(2).map_or(7, |id| id.parse().unwrap()),
                ours: true,
                backup: false,
            },
            "joined" => {
                self.ports += 1;
                Event::SubflowUp {
                    ends: Ends {
                        local: SocketAddr::new(ours(words[1]), 80),
                        remote: SocketAddr::new("10.9.0.77".parse().unwrap(), self.ports),
                    },
                    local_id: 0,
                    ours: false,
                    backup: false,
                }
            }
            "passing" | "lasting" | "reset" | "forbidden" | "refused" => {
                let ends = self.ends(words[1]);
                let loss = match words[0] {
                    "lasting" => Loss::Lasting,
                    "reset" => Loss::Reset,
                    "forbidden" => Loss::Forbidden,
                    _ => Loss::Passing,
                };
                Event::SubflowDown { ends, loss }
            }
            "local" if words[1] == "up" => Event::LocalUp(source(&words[2..].join(" "))),
            "local" => Event::LocalDown(ours(words[2])),
            "carried" => Event::Carried(words[1].parse().unwrap()),
            "slow" => quality(Quality {
                srtt: Some(Duration::from_millis(700)),
                ..Quality::default()
            }),
            "late" => quality(Quality {
                rto: Some(Duration::from_millis(1600)),
                ..Quality::default()
            }),
            "stale" => quality(Quality {
                stale: true,
                ..Quality::default()
            }),
            "well" => quality(Quality {
                srtt: Some(Duration::from_millis(20)),
                rto: Some(Duration::from_millis(200)),
                ..Quality::default()
            }),
            "heard" => quality(Quality {
                heard: Some(now),
                ..Quality::default()
            }),
            "hands" => Event::Hands {
                ends: self.ends(words[2]),
                off: words[1] == "off",
            },
            _ => panic!("{text}"),
        };
        self.connection.on_event(now, event);
    }

    /// Subflows that are up.
    pub(crate) fn up(&self) -> usize {
        let up = |s: &anabranch_paths::SubflowState| matches!(s.state, State::Up(_));
        self.connection.subflows().filter(up).count()
    }
}
