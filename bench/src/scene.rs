//! Two hosts, two links, a kernel client on one and each server in turn on the other.

use anabranch_interop::host::Host;
use anabranch_interop::require;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Endpoint, Side, Topology};
use anabranch_kernel::sysctl;
use serde::Serialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Arguments, SINK, SOURCE, Server, cpu, report};

const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 256 << 10;

/// Which way the bytes go, seen from the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    /// To the server.
    Upload,
    /// From the server.
    Download,
}

/// Where the two ends run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pinning {
    /// Both on core 0.
    One,
    /// Client on core 0, server on core 1.
    Two,
    /// Wherever the kernel puts them.
    Free,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) pinning: Pinning,
    pub(crate) direction: Direction,
    pub(crate) server: &'static str,
    /// Payload, Gbit/s.
    pub(crate) gbits: f64,
    /// Seconds of the machine's cores for 10⁹ bytes of payload.
    pub(crate) cpu_per_gb: f64,
}

/// Everything, interleaved: each round measures each server once in every situation.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    if !require::lab() {
        return Ok(());
    }
    let (rounds, seconds) = if arguments.quick {
        (1, 0.3)
    } else {
        (arguments.rounds.max(1), arguments.seconds)
    };
    let topology = Topology::new(2)?;
    let controller = choose_controller(&topology)?;
    topology.add_endpoint(topology.v4(Side::Client, 1), Endpoint::Subflow)?;
    let mut samples = Vec::new();
    for round in 0..rounds {
        for pinning in [Pinning::One, Pinning::Two, Pinning::Free] {
            for direction in [Direction::Upload, Direction::Download] {
                for server in servers(arguments.plain) {
                    let situation = Situation {
                        pinning,
                        direction,
                        plain: arguments.plain,
                    };
                    let sample = measure(&topology, situation, *server, seconds)?;
                    eprintln!(
                        "{}/{rounds} {pinning:?} {direction:?} {:<9} {:6.2} Gbit/s {:5.2} s/GB",
                        round + 1,
                        sample.server,
                        sample.gbits,
                        sample.cpu_per_gb,
                    );
                    samples.push(sample);
                }
            }
        }
    }
    report::print(&samples, rounds, seconds, controller, arguments.plain);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&samples)?)?;
    }
    Ok(())
}

/// Who is compared. The dumb endpoint speaks Multipath TCP only.
pub(crate) fn servers(plain: bool) -> &'static [Server] {
    match plain {
        true => &[Server::Anabranch, Server::Kernel],
        false => &[Server::Anabranch, Server::Kernel, Server::Dumb],
    }
}

/// What is measured of each server.
#[derive(Clone, Copy)]
struct Situation {
    pinning: Pinning,
    direction: Direction,
    plain: bool,
}

/// The kernels' congestion control: CUBIC, as ours; Reno where the machine does not let a namespace
/// choose CUBIC (`net.ipv4.tcp_allowed_congestion_control`). Never one that paces, which costs the
/// kernel's super-frames.
fn choose_controller(topology: &Topology) -> io::Result<&'static str> {
    let set = |name| -> Result<(), anabranch_kernel::Error> {
        for host in [&topology.client, &topology.server] {
            host.run(|| sysctl::write("net/ipv4/tcp_congestion_control", name))?;
        }
        Ok(())
    };
    if set("cubic").is_ok() {
        return Ok("CUBIC");
    }
    set("reno").map_err(io::Error::other)?;
    Ok("Reno")
}

fn measure(
    topology: &Topology,
    situation: Situation,
    server: Server,
    seconds: f64,
) -> io::Result<Sample> {
    let Situation {
        pinning,
        direction,
        plain,
    } = situation;
    let (client_core, server_core) = match pinning {
        Pinning::One => (Some(0), Some(0)),
        Pinning::Two => (Some(0), Some(1)),
        Pinning::Free => (None, None),
    };
    let _process = Process::start(&topology.server, server, plain, server_core)?;
    let protocol = match plain {
        true => Protocol::Tcp,
        false => Protocol::Mptcp,
    };
    let port = match direction {
        Direction::Upload => SINK,
        Direction::Download => SOURCE,
    };
    let to = SocketAddr::new(topology.v4(Side::Server, 0), port);
    let (bytes, elapsed, busy) = topology.client.run(|| {
        cpu::pin(client_core)?;
        let stream = socket::connect(protocol, None, to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // Slow start and the second subflow's join are not what is measured.
        move_for(&stream, direction, (seconds / 4.0).min(0.5))?;
        move_for(&stream, direction, seconds)
    })?;
    Ok(Sample {
        pinning,
        direction,
        server: server.name(),
        gbits: bytes as f64 * 8.0 / elapsed / 1e9,
        cpu_per_gb: busy / (bytes as f64 / 1e9),
    })
}

/// Reads or writes for so many seconds; returns bytes, seconds and busy seconds of all cores.
fn move_for(
    mut stream: &TcpStream,
    direction: Direction,
    seconds: f64,
) -> io::Result<(u64, f64, f64)> {
    let mut buffer = vec![0; CHUNK];
    let (start, busy) = (Instant::now(), cpu::busy_seconds()?);
    let mut bytes = 0;
    while start.elapsed().as_secs_f64() < seconds {
        let moved = match direction {
            Direction::Upload => stream.write(&buffer)?,
            Direction::Download => stream.read(&mut buffer)?,
        };
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes += moved as u64;
    }
    Ok((
        bytes,
        start.elapsed().as_secs_f64(),
        cpu::busy_seconds()? - busy,
    ))
}

/// A server process; its standard input ends when this is dropped, and with that it cleans up.
struct Process(Child);

impl Process {
    fn start(host: &Host, kind: Server, plain: bool, core: Option<usize>) -> io::Result<Process> {
        let name = format!("{kind:?}").to_lowercase();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["server", &name])
            .args(plain.then_some("--plain"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = host.run(|| {
            cpu::pin(core)?;
            command.spawn()
        })?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let process = Process(child);
        if line.trim() == "ready" {
            Ok(process)
        } else {
            Err(io::Error::other(format!("the {name} server did not start")))
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // How it ended changes no figure.
        let _ = self.0.wait();
    }
}
