//! Connections a second: connect, a byte each way, close.

use crate::cpu;
use crate::lab::{self, Controller, Process};
use crate::server::{Device, ECHO, Server};
use crate::work::{Cell, Figure, Goal, Length, Sample, Unit, Work};
use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::Topology;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread;
use std::time::Instant;

pub(crate) const WORK: Work = Work {
    name: "rate",
    about: "Connect, a byte each way, close: 8 kernel clients at once, each with one connection after \
            the other; server and clients not pinned. Kernel sockets and anabranch are served by the \
            same loop of one thread.",
    unit: Unit {
        name: "connections/s",
        decimals: 0,
        cpu: Some("CPU µs each"),
    },
    goals: &[
        Goal::times("TUN", 1.0, "kernel"),
        Goal::times("packet", 1.0, "kernel"),
        Goal::times("TUN", 1.0, "kernel").less(Figure::Cpu),
        Goal::times("packet", 1.0, "kernel").less(Figure::Cpu),
    ],
    cells,
};

const CLIENTS: usize = 8;

fn cells() -> io::Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let rows = [
        ("plain TCP", Protocol::Tcp, Topology::new(1)?, None),
        ("one subflow", Protocol::Mptcp, Topology::new(1)?, None),
        (
            "two subflows",
            Protocol::Mptcp,
            lab::two_links()?,
            Some(lab::two_links_announced()?),
        ),
    ];
    for (row, protocol, shared, announced) in rows {
        for topology in [Some(&shared), announced.as_ref()].into_iter().flatten() {
            // Ports of connections that are over can be used again.
            lab::set_both(topology, "net/ipv4/tcp_max_tw_buckets", "1000")?;
            lab::set_both(topology, "net/ipv4/ip_local_port_range", "1024 65000")?;
        }
        let shared = Rc::new(shared);
        let announced = announced.map_or_else(|| Rc::clone(&shared), Rc::new);
        let servers = [
            ("TUN", Server::anabranch(Device::Tun), &shared),
            ("packet", Server::anabranch(Device::Packet), &announced),
            (
                "kernel",
                Server::kernel(protocol, Controller::Cubic),
                &shared,
            ),
        ];
        for (who, server, topology) in servers {
            let topology = Rc::clone(topology);
            cells.push(Cell::new(row, who, move |length| {
                sample(&topology, &server, protocol, length)
            }));
        }
    }
    Ok(cells)
}

fn sample(
    topology: &Topology,
    server: &Server,
    protocol: Protocol,
    length: Length,
) -> io::Result<Sample> {
    let _process = Process::start(&topology.server, server, None)?;
    let to = SocketAddr::new(server.address(topology), ECHO);
    topology.client.run(|| {
        let (start, busy) = (Instant::now(), cpu::busy_seconds()?);
        let client = || -> io::Result<u64> {
            let mut connections = 0;
            while start.elapsed().as_secs_f64() < length.seconds {
                exchange(protocol, to)?;
                connections += 1;
            }
            Ok(connections)
        };
        let connections: u64 = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            let join = |client: thread::ScopedJoinHandle<'_, io::Result<u64>>| {
                client.join().expect("a client does not panic")
            };
            clients.into_iter().map(join).sum::<io::Result<u64>>()
        })?;
        let (seconds, busy) = (start.elapsed().as_secs_f64(), cpu::busy_seconds()? - busy);
        Ok(Sample {
            value: connections as f64 / seconds,
            cpu: Some(busy * 1e6 / connections as f64),
        })
    })
}

/// One connection.
fn exchange(protocol: Protocol, to: SocketAddr) -> io::Result<()> {
    let mut stream = lab::connect(protocol, Controller::Cubic, to)?;
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}
