//! Through a relay to a TCP service of the server's host, and from it.

use crate::cpu;
use crate::lab::{self, Controller, Direction, Pinning, Process};
use crate::server::{Device, RELAY_SINK, RELAY_SOURCE, Server};
use crate::work::{Cell, Goal, Unit, Work};
use anabranch_interop::socket::Protocol;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

pub(crate) const WORK: Work = Work {
    name: "relay",
    about: "Through the relay of `anabranch serve` to a TCP service on the same host and back, a \
            kernel client with two subflows; beside it kernel sockets (CUBIC, and what the machine \
            gives by default) and tokio's `copy_bidirectional` with buffers as large.",
    unit: Unit::GBITS,
    goals: &[
        Goal::times("TUN", 2.0, "kernel"),
        Goal::times("TUN", 2.0, "kernel, default"),
    ],
    cells,
};

fn cells() -> io::Result<Vec<Cell>> {
    let topology = Rc::new(lab::two_links()?);
    let mut cells = Vec::new();
    for pinning in Pinning::ALL {
        for direction in Direction::BOTH {
            let row = format!("{}, {}", pinning.name(), direction.name());
            let servers = [
                ("TUN", Server::anabranch(Device::Tun)),
                ("kernel", Server::kernel(Protocol::Mptcp, Controller::Cubic)),
                (
                    "kernel, default",
                    Server::kernel(Protocol::Mptcp, Controller::Default),
                ),
            ];
            for (who, server) in servers {
                let controller = match who {
                    "kernel, default" => Controller::Default,
                    _ => Controller::Cubic,
                };
                let topology = Rc::clone(&topology);
                cells.push(Cell::new(row.clone(), who, move |length| {
                    let (client_core, server_core) = pinning.cores();
                    let _process = Process::start(&topology.server, &server, server_core)?;
                    let port = match direction {
                        Direction::Upload => RELAY_SINK,
                        Direction::Download => RELAY_SOURCE,
                    };
                    let to = SocketAddr::new(server.address(&topology), port);
                    topology.client.run(|| {
                        cpu::pin(client_core)?;
                        let stream = lab::connect(Protocol::Mptcp, controller, to)?;
                        lab::move_for(&stream, direction, length.warm_up())?;
                        lab::move_for(&stream, direction, length.seconds)
                    })
                }));
            }
        }
    }
    Ok(cells)
}
