//! Plain TCP in bulk, one connection.

use crate::lab::{self, Compared, Controller};
use crate::server::{Device, Server};
use crate::work::{Cell, Goal, Unit, Work};
use anabranch_interop::socket::Protocol;
use std::io;
use std::rc::Rc;

pub(crate) const WORK: Work = Work {
    name: "plain",
    about: "Plain TCP, one connection over one link, a kernel client, kernel sockets with CUBIC. Dumb \
            is an endpoint without memory: what the device can carry.",
    unit: Unit::GBITS,
    goals: &[
        Goal::times("TUN", 0.9, "kernel").in_rows("one core"),
        Goal::times("TUN", 1.3, "kernel").in_rows("two cores"),
        Goal::times("packet", 0.9, "kernel").in_rows("one core"),
        Goal::times("packet", 1.3, "kernel").in_rows("two cores"),
        Goal::times("TUN", 0.8, "dumb TUN"),
        Goal::times("packet", 0.8, "dumb packet"),
    ],
    cells,
};

fn cells() -> io::Result<Vec<Cell>> {
    let shared = Rc::new(lab::two_links()?);
    let announced = Rc::new(lab::two_links_announced()?);
    let kernel = Server::kernel(Protocol::Tcp, Controller::Cubic);
    let servers = [
        ("TUN", Server::anabranch(Device::Tun), &shared),
        ("packet", Server::anabranch(Device::Packet), &announced),
        ("kernel", kernel, &shared),
        ("dumb TUN", Server::dumb(Device::Tun), &shared),
        ("dumb packet", Server::dumb(Device::Packet), &announced),
    ];
    let compared = servers.map(|(who, server, topology)| Compared {
        who,
        server,
        topology: Rc::clone(topology),
    });
    Ok(lab::transfers(&compared, Protocol::Tcp, Controller::Cubic))
}
