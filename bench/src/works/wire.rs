//! Packets of 1500 bytes on the links, as on a wire.

use crate::lab::{self, Compared, Controller};
use crate::server::{Device, Server};
use crate::work::{Cell, Goal, Unit, Work};
use anabranch_interop::socket::Protocol;
use std::io;
use std::rc::Rc;

pub(crate) const WORK: Work = Work {
    name: "wire",
    about: "Bulk over two subflows, 1500-byte packets on the links: GRO, TSO and GSO are off on \
            both ends of them; kernel sockets with CUBIC. To XDP the client fills in checksums, as \
            on a wire, which to the others it leaves.",
    unit: Unit::GBITS,
    goals: &[
        Goal::times("TUN", 1.2, "kernel"),
        Goal::times("packet", 1.2, "kernel"),
        Goal::times("XDP", 1.2, "kernel"),
        Goal::times("TUN", 0.8, "dumb TUN"),
        Goal::times("packet", 0.8, "dumb packet"),
    ],
    cells,
};

fn cells() -> io::Result<Vec<Cell>> {
    let shared = Rc::new(lab::two_links()?);
    let announced = Rc::new(lab::two_links_announced()?);
    let filled_in = Rc::new(lab::two_links_announced()?);
    for topology in [&shared, &announced, &filled_in] {
        lab::no_offload(topology)?;
    }
    lab::fill_in_checksums(&filled_in)?;
    let kernel = Server::kernel(Protocol::Mptcp, Controller::Cubic);
    let servers = [
        ("TUN", Server::anabranch(Device::Tun), &shared),
        ("packet", Server::anabranch(Device::Packet), &announced),
        ("XDP", Server::anabranch(Device::Xdp), &filled_in),
        ("kernel", kernel, &shared),
        ("dumb TUN", Server::dumb(Device::Tun), &shared),
        ("dumb packet", Server::dumb(Device::Packet), &announced),
    ];
    let compared = servers.map(|(who, server, topology)| Compared {
        who,
        server,
        topology: Rc::clone(topology),
    });
    Ok(lab::transfers(
        &compared,
        Protocol::Mptcp,
        Controller::Cubic,
    ))
}
