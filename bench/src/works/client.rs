//! Clients of a kernel server: ours, the only other Rust stack, and Linux's own.

use crate::clients::{self, Client};
use crate::lab::{self, Controller, Direction, Pinning, Transfer};
use crate::server::Server;
use crate::work::{Cell, Goal, Unit, Work};
use anabranch_interop::socket::Protocol;
use std::io;
use std::rc::Rc;

pub(crate) const WORK: Work = Work {
    name: "client",
    about: "Clients of a kernel server (CUBIC), two subflows: anabranch over TUN, the crate \
            `mptcp-rs` over TUN with packets of 1500 bytes as its own TUN client drives it, and the \
            kernel's.",
    unit: Unit::GBITS,
    goals: &[
        Goal::times("anabranch", 5.0, "mptcp-rs"),
        Goal::times("anabranch", 1.0, "kernel"),
    ],
    cells,
};

fn cells() -> io::Result<Vec<Cell>> {
    let topology = Rc::new(lab::two_links()?);
    clients::prepare(&topology)?;
    let controller = Controller::Cubic;
    let server = Server::kernel(Protocol::Mptcp, controller);
    let mut cells = Vec::new();
    for pinning in Pinning::ALL {
        for direction in Direction::BOTH {
            let row = format!("{}, {}", pinning.name(), direction.name());
            let users = [
                ("anabranch", Client::Anabranch),
                ("mptcp-rs", Client::MptcpRs),
            ];
            for (who, client) in users {
                let (topology, server) = (Rc::clone(&topology), server.clone());
                cells.push(Cell::new(row.clone(), who, move |length| {
                    client.sample(&topology, (pinning, direction), &server, length)
                }));
            }
            let transfer = Transfer {
                pinning,
                direction,
                protocol: Protocol::Mptcp,
                controller,
                server: server.clone(),
            };
            let topology = Rc::clone(&topology);
            cells.push(Cell::new(row, "kernel", move |length| {
                transfer.sample(&topology, length)
            }));
        }
    }
    Ok(cells)
}
