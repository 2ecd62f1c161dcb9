//! The two hosts, what runs on them, and a transfer between them.

use anabranch_interop::host::Host;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Endpoint, Side, Topology};
use anabranch_kernel::ethtool::{self, Offload};
use anabranch_kernel::sysctl;
use socket2::{SockRef, Socket};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use crate::cpu::{self, Meter};
use crate::server::{SINK, SOURCE, Server};
use crate::work::{Cell, Length, Sample};

const PATIENCE: Duration = Duration::from_secs(10);
const CHUNK: usize = 256 << 10;

/// Which way the bytes go, seen from the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    /// To the server.
    Upload,
    /// From the server.
    Download,
}

impl Direction {
    pub(crate) const BOTH: [Direction; 2] = [Direction::Upload, Direction::Download];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Direction::Upload => "to the server",
            Direction::Download => "from the server",
        }
    }
}

/// Where the two ends run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pinning {
    /// Both on core 0.
    One,
    /// Client on core 0, server on core 1.
    Two,
    /// Wherever the kernel puts them.
    Free,
}

impl Pinning {
    pub(crate) const ALL: [Pinning; 3] = [Pinning::One, Pinning::Two, Pinning::Free];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Pinning::One => "one core",
            Pinning::Two => "two cores",
            Pinning::Free => "not pinned",
        }
    }

    /// The cores of client and server.
    pub(crate) fn cores(self) -> (Option<usize>, Option<usize>) {
        match self {
            Pinning::One => (Some(0), Some(0)),
            Pinning::Two => (Some(0), Some(1)),
            Pinning::Free => (None, None),
        }
    }
}

/// Congestion control of the kernels' sockets; ours is CUBIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Controller {
    /// What the machine gives to sockets that do not ask.
    Default,
    Cubic,
}

impl Controller {
    /// Has `socket`, and those that come of it, use this.
    pub(crate) fn set(self, socket: &impl std::os::fd::AsFd) -> io::Result<()> {
        match self {
            Controller::Default => Ok(()),
            Controller::Cubic => use_congestion(socket, "cubic"),
        }
    }
}

/// Has a kernel's socket use this congestion control, with CAP_NET_ADMIN also where
/// `tcp_allowed_congestion_control` does not have it.
pub(crate) fn use_congestion(socket: &impl std::os::fd::AsFd, name: &str) -> io::Result<()> {
    SockRef::from(socket)
        .set_tcp_congestion(name.as_bytes())
        .map_err(|error| io::Error::new(error.kind(), format!("use {name}: {error}")))
}

/// Two hosts joined by two links, over which the client's kernel opens two subflows to the server's
/// one address.
pub(crate) fn two_links() -> io::Result<Topology> {
    let topology = Topology::new(2)?;
    topology.add_endpoint(topology.v4(Side::Client, 1), Endpoint::Subflow)?;
    Ok(topology)
}

/// Two hosts joined by two links, over which the client's kernel opens two subflows where the server
/// announces an address on the second.
pub(crate) fn two_links_announced() -> io::Result<Topology> {
    Topology::new(2)
}

/// Sets a kernel's setting on both hosts.
pub(crate) fn set_both(topology: &Topology, name: &str, value: &str) -> io::Result<()> {
    for host in [&topology.client, &topology.server] {
        host.run(|| sysctl::write(name, value))
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// From now on each packet on the links is one that would fit a wire: nothing merges or cuts
/// segments but the hosts themselves.
pub(crate) fn no_offload(topology: &Topology) -> io::Result<()> {
    for host in [&topology.client, &topology.server] {
        for link in 0..topology.links() {
            let name = topology.interface(link);
            for offload in [Offload::Receive, Offload::Tcp, Offload::Generic] {
                host.run(|| ethtool::set_offload(&name, offload, false))
                    .map_err(io::Error::other)?;
            }
        }
    }
    Ok(())
}

/// The client's kernel fills in checksums, as on a wire: XDP at the other end does not see that it
/// could have left them.
pub(crate) fn fill_in_checksums(topology: &Topology) -> io::Result<()> {
    for link in 0..topology.links() {
        let name = topology.interface(link);
        let fill_in = || ethtool::set_offload(&name, Offload::Checksum, false);
        topology.client.run(fill_in).map_err(io::Error::other)?;
    }
    Ok(())
}

/// A kernel client that moves bytes to or from a server as fast as they go.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) pinning: Pinning,
    pub(crate) direction: Direction,
    pub(crate) protocol: Protocol,
    pub(crate) controller: Controller,
    pub(crate) server: Server,
}

impl Transfer {
    /// Starts the server, moves bytes for a while and stops it.
    pub(crate) fn sample(&self, topology: &Topology, length: Length) -> io::Result<Sample> {
        let (client_core, server_core) = self.pinning.cores();
        let _process = Process::start(&topology.server, &self.server, server_core)?;
        let port = match self.direction {
            Direction::Upload => SINK,
            Direction::Download => SOURCE,
        };
        let to = SocketAddr::new(self.server.address(topology), port);
        topology.client.run(|| {
            cpu::pin(client_core)?;
            let stream = connect(self.protocol, self.controller, to)?;
            move_for(&stream, self.direction, length.warm_up())?;
            move_for(&stream, self.direction, length.seconds)
        })
    }
}

/// A server among those compared.
pub(crate) struct Compared {
    /// Its column.
    pub(crate) who: &'static str,
    pub(crate) server: Server,
    pub(crate) topology: Rc<Topology>,
}

/// Transfers to and from each server, wherever the ends may run.
pub(crate) fn transfers(
    compared: &[Compared],
    protocol: Protocol,
    controller: Controller,
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for pinning in Pinning::ALL {
        for direction in Direction::BOTH {
            let row = format!("{}, {}", pinning.name(), direction.name());
            for it in compared {
                let transfer = Transfer {
                    pinning,
                    direction,
                    protocol,
                    controller,
                    server: it.server.clone(),
                };
                let topology = Rc::clone(&it.topology);
                cells.push(Cell::new(row.clone(), it.who, move |length| {
                    transfer.sample(&topology, length)
                }));
            }
        }
    }
    cells
}

/// Connects a kernel socket that uses `controller`.
pub(crate) fn connect(
    protocol: Protocol,
    controller: Controller,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let number = match protocol {
        Protocol::Tcp => socket2::Protocol::TCP,
        Protocol::Mptcp => socket2::Protocol::MPTCP,
    };
    let domain = socket2::Domain::for_address(to);
    let socket = Socket::new(domain, socket2::Type::STREAM, Some(number))?;
    controller.set(&socket)?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Listens with kernel sockets that use `controller`.
pub(crate) fn listen(
    protocol: Protocol,
    controller: Controller,
    port: u16,
) -> io::Result<std::net::TcpListener> {
    let listener = socket::listen(protocol, (std::net::Ipv6Addr::UNSPECIFIED, port).into())?;
    controller.set(&listener)?;
    Ok(listener)
}

/// Reads or writes for so many seconds.
pub(crate) fn move_for(
    mut stream: &TcpStream,
    direction: Direction,
    seconds: f64,
) -> io::Result<Sample> {
    let mut buffer = vec![0; CHUNK];
    let mut meter = Meter::start()?;
    while meter.seconds() < seconds {
        let moved = match direction {
            Direction::Upload => stream.write(&buffer)?,
            Direction::Download => stream.read(&mut buffer)?,
        };
        if moved == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        meter.moved(moved);
    }
    meter.finish()
}

/// A server process; its standard input ends when this is dropped, and with that it cleans up.
pub(crate) struct Process(Child);

impl Process {
    /// This program once more, as a server in `host`'s namespace; returns when it serves.
    pub(crate) fn start(host: &Host, server: &Server, core: Option<usize>) -> io::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("server")
            .args(server.arguments())
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
            Err(io::Error::other(format!("{server:?} did not start")))
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
