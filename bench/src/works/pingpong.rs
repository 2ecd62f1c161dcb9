//! How long a byte takes there and back.

use crate::cpu;
use crate::lab::{self, Controller, Pinning, Process};
use crate::server::{Device, ECHO, Server};
use crate::work::{Bound, Cell, Figure, Goal, Length, Sample, Unit, Work};
use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::Topology;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub(crate) const WORK: Work = Work {
    name: "pingpong",
    about: "A byte there and back, one after the other, over one connection of Multipath TCP with a \
            kernel client: the median time. Polling: `--busy-poll 100`.",
    unit: Unit {
        name: "µs",
        decimals: 1,
        cpu: None,
    },
    goals: &[Goal {
        who: "TUN",
        rows: "two cores",
        figure: Figure::Value,
        of: Some("kernel"),
        bound: Bound::AtMost(1.2),
    }],
    cells,
};

/// Microseconds without a packet before the server sleeps.
const POLL: u64 = 100;

fn cells() -> io::Result<Vec<Cell>> {
    let topology = Rc::new(Topology::new(1)?);
    let mut cells = Vec::new();
    for pinning in Pinning::ALL {
        let servers = [
            ("TUN", Server::anabranch(Device::Tun)),
            ("TUN, polling", Server::polling(Device::Tun, POLL)),
            ("kernel", Server::kernel(Protocol::Mptcp, Controller::Cubic)),
        ];
        for (who, server) in servers {
            let topology = Rc::clone(&topology);
            cells.push(Cell::new(pinning.name(), who, move |length| {
                sample(&topology, &server, pinning, length)
            }));
        }
    }
    Ok(cells)
}

fn sample(
    topology: &Topology,
    server: &Server,
    pinning: Pinning,
    length: Length,
) -> io::Result<Sample> {
    let (client_core, server_core) = pinning.cores();
    let _process = Process::start(&topology.server, server, server_core)?;
    let to = SocketAddr::new(server.address(topology), ECHO);
    topology.client.run(|| {
        cpu::pin(client_core)?;
        let mut stream = lab::connect(Protocol::Mptcp, Controller::Cubic, to)?;
        stream.set_nodelay(true)?;
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed().as_secs_f64() < length.seconds {
            let sent = Instant::now();
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])?;
            times.push(sent.elapsed());
        }
        Ok(Sample {
            value: median(times).as_secs_f64() * 1e6,
            cpu: None,
        })
    })
}

/// Of at least one.
fn median(mut times: Vec<Duration>) -> Duration {
    let middle = times.len() / 2;
    *times.select_nth_unstable(middle).1
}
