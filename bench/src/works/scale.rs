//! Many connections in one stack, and what they take from each other.

use crate::lab::Direction;
use crate::work::{Cell, Goal, Length, Sample, Unit, Work};
use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;

pub(crate) const GOODPUT: Work = Work {
    name: "scale",
    about: "Bulk over 1,000 connections with two subflows each, in turn super-frames of 60,000 bytes \
            in batches of 64, alone and beside 100,000 idle ones of the same stack, which have two \
            subflows and a keepalive timer each. The peers are a stack in memory, in virtual time, so \
            that the work is always the same; the clock runs only while the server has its turn.",
    unit: Unit {
        name: "Gbit/s of the server's time",
        decimals: 1,
        cpu: None,
    },
    goals: &[Goal::times("and 100,000 idle", 0.9, "1,000 busy")],
    cells: goodput,
};

pub(crate) const COSTS: Work = Work {
    name: "scale-costs",
    about: "What a stack does for each packet or timer, among so many connections with two subflows: \
            a timer is moved to any time within two hours; the next one expires and is set anew; the \
            connection of a segment of any subflow is found; that of a token. All of them are chosen \
            at random, so that nothing is in the processor's cache that does not fit.",
    unit: Unit {
        name: "ns",
        decimals: 0,
        cpu: None,
    },
    goals: &[],
    cells: costs,
};

pub(crate) const MEMORY: Work = Work {
    name: "scale-memory",
    about: "Heap for each of 100,000 idle connections with two subflows, allocator and tables \
            included: all that a host holds for it, that is its stack, its sockets, and the task \
            that waits to read.",
    unit: Unit {
        name: "bytes",
        decimals: 0,
        cpu: None,
    },
    goals: &[Goal::at_most("anabranch", 2048.0)],
    cells: memory,
};

/// Connections: idle ones, busy ones.
fn numbers(length: Length) -> (usize, usize) {
    match length.quick {
        true => (1000, 100),
        false => (100_000, 1000),
    }
}

fn goodput() -> io::Result<Vec<Cell>> {
    let hosts = [false, true].map(|with_idle| {
        let name = if with_idle {
            "and 100,000 idle"
        } else {
            "1,000 busy"
        };
        // Started with the first sample, and used for all of them.
        (name, with_idle, Rc::new(RefCell::new(None::<Scale>)))
    });
    let mut cells = Vec::new();
    for direction in Direction::BOTH {
        for (who, with_idle, host) in &hosts {
            let (with_idle, host) = (*with_idle, Rc::clone(host));
            cells.push(Cell::new(direction.name(), who, move |length| {
                let (idle, busy) = numbers(length);
                let mut host = host.borrow_mut();
                let scale = match &mut *host {
                    Some(scale) => scale,
                    none => none.insert(Scale::busy(busy, if with_idle { idle } else { 0 })?),
                };
                let way = match direction {
                    Direction::Upload => "to",
                    Direction::Download => "from",
                };
                let value = scale.ask(&format!("{way} {}", length.seconds))?;
                Ok(Sample { value, cpu: None })
            }));
        }
    }
    Ok(cells)
}

fn memory() -> io::Result<Vec<Cell>> {
    let sample = |length: Length| {
        let (idle, _) = numbers(length);
        let held = |idle: usize| once(&["host", &idle.to_string()]);
        let (with, without) = (held(idle)?, held(0)?);
        let value = (with - without) / idle as f64;
        Ok(Sample { value, cpu: None })
    };
    Ok(vec![Cell::new("an idle connection", "anabranch", sample)])
}

fn costs() -> io::Result<Vec<Cell>> {
    let rows = [
        ("move a timer", "set"),
        ("a timer expires, and is set", "expire"),
        ("find the connection of a segment", "segment"),
        ("find the connection of a token", "token"),
    ];
    let mut cells = Vec::new();
    for (row, name) in rows {
        for (who, connections) in [("1", 1), ("1,000", 1000), ("100,000", 100_000)] {
            cells.push(Cell::new(row, who, move |length: Length| {
                let connections = connections.min(numbers(length).0);
                let value = once(&["costs", &connections.to_string(), name])?;
                Ok(Sample { value, cpu: None })
            }));
        }
    }
    Ok(cells)
}

/// What the program prints when it is asked for one figure.
fn once(arguments: &[&str]) -> io::Result<f64> {
    let output = command()?
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()?;
    number(&String::from_utf8_lossy(&output.stdout))
}

/// The program that does it, which was built with this one.
fn command() -> io::Result<Command> {
    let path = std::env::current_exe()?.with_file_name("anabranch-scale");
    Ok(Command::new(path))
}

fn number(line: &str) -> io::Result<f64> {
    line.trim()
        .parse()
        .map_err(|_| io::Error::other(format!("anabranch-scale said {line:?}")))
}

/// A stack with its peers, in a process.
struct Scale {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Scale {
    fn busy(busy: usize, idle: usize) -> io::Result<Scale> {
        let mut child = command()?
            .args(["busy", &busy.to_string(), &idle.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut scale = Scale {
            to: child.stdin.take().expect("standard input is piped"),
            from: BufReader::new(child.stdout.take().expect("standard output is piped")),
            child,
        };
        match scale.line()?.trim() {
            "ready" => Ok(scale),
            other => Err(io::Error::other(format!("anabranch-scale said {other:?}"))),
        }
    }

    fn ask(&mut self, line: &str) -> io::Result<f64> {
        writeln!(self.to, "{line}")?;
        number(&self.line()?)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(line)
    }
}

impl Drop for Scale {
    fn drop(&mut self) {
        // It holds nothing but memory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
