//! What DSS checksums cost (RFC 8684 §3.3.1).

use crate::lab::{self, Compared, Controller};
use crate::server::{Device, Server};
use crate::work::{Cell, Goal, Unit, Work};
use anabranch_interop::socket::Protocol;
use std::io;
use std::rc::Rc;

pub(crate) const WORK: Work = Work {
    name: "checksum",
    about: "Bulk over two subflows with DSS checksums, which the kernel client asks for, and \
            without; kernel sockets with CUBIC.",
    unit: Unit::GBITS,
    goals: &[
        Goal::times("with", 0.85, "without"),
        Goal::times("with", 1.0, "kernel with"),
    ],
    cells,
};

fn cells() -> io::Result<Vec<Cell>> {
    let without = Rc::new(lab::two_links()?);
    let with = Rc::new(lab::two_links()?);
    lab::set_both(&with, "net/mptcp/checksum_enabled", "1")?;
    let ours = || Server::anabranch(Device::Tun);
    let kernel = || Server::kernel(Protocol::Mptcp, Controller::Cubic);
    let compared = [
        ("with", ours(), &with),
        ("without", ours(), &without),
        ("kernel with", kernel(), &with),
        ("kernel without", kernel(), &without),
    ];
    let compared = compared.map(|(who, server, topology)| Compared {
        who,
        server,
        topology: Rc::clone(topology),
    });
    let cubic = Controller::Cubic;
    Ok(lab::transfers(&compared, Protocol::Mptcp, cubic))
}
