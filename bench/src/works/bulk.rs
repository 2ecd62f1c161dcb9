//! Bytes in bulk over two subflows, to and from each server.

use crate::lab::{self, Compared, Controller};
use crate::server::{Device, Server};
use crate::work::{Cell, Goal, Unit, Work};
use anabranch_interop::socket::Protocol;
use std::io;
use std::rc::Rc;

pub(crate) const CUBIC: Work = Work {
    name: "bulk",
    about: "Bulk over two subflows, a kernel client, kernel sockets with CUBIC. TUN and packet \
            are anabranch over these devices, dumb is an endpoint without memory over the same: \
            what the device can carry.",
    unit: Unit::GBITS,
    goals: GOALS,
    cells: || cells(Controller::Cubic),
};

pub(crate) const DEFAULT: Work = Work {
    name: "bulk-default",
    about: "The same with what the machine gives to kernel sockets that do not ask \
            (`net.ipv4.tcp_congestion_control`).",
    unit: Unit::GBITS,
    goals: GOALS,
    cells: || cells(Controller::Default),
};

const GOALS: &[Goal] = &[
    Goal::times("TUN", 2.5, "kernel"),
    Goal::times("packet", 3.0, "kernel"),
    Goal::times("TUN", 0.8, "dumb TUN"),
    Goal::times("packet", 0.8, "dumb packet"),
    Goal::cpu("TUN", 0.40),
    Goal::cpu("packet", 0.40),
];

fn cells(controller: Controller) -> io::Result<Vec<Cell>> {
    let shared = Rc::new(lab::two_links()?);
    let announced = Rc::new(lab::two_links_announced()?);
    let kernel = Server::kernel(Protocol::Mptcp, controller);
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
    Ok(lab::transfers(&compared, Protocol::Mptcp, controller))
}
