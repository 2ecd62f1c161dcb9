//! What may befall a link.

use std::thread;
use std::time::Duration;

use anabranch_interop::fault::Fault;
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::Netlink;

use crate::world::client;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// The client takes its interface down.
    Down,
    /// The server does: the client's loses its carrier.
    NoCarrier,
    /// The client's address is removed.
    NoAddress,
    /// Packets vanish, and nobody says so.
    BlackHole,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [
        Kind::Down,
        Kind::NoCarrier,
        Kind::NoAddress,
        Kind::BlackHole,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Down => "link down",
            Kind::NoCarrier => "carrier lost",
            Kind::NoAddress => "address removed",
            Kind::BlackHole => "black hole",
        }
    }
}

/// A link in trouble.
pub(crate) struct Trouble<'a> {
    pub(crate) kind: Kind,
    topology: &'a Topology,
    link: usize,
    fault: Option<Fault<'a>>,
}

impl<'a> Trouble<'a> {
    pub(crate) fn befall(topology: &'a Topology, link: usize, kind: Kind) -> Trouble<'a> {
        let name = topology.interface(link);
        let mut fault = None;
        match kind {
            Kind::Down => topology.set_link(Side::Client, link, false).unwrap(),
            Kind::NoCarrier => topology.set_link(Side::Server, link, false).unwrap(),
            Kind::NoAddress => topology.client.run(|| {
                let netlink = Netlink::open().unwrap();
                let address = client(topology, link);
                netlink.delete_address(&name, address, 24).unwrap();
            }),
            Kind::BlackHole => fault = Some(Fault::blackhole(&topology.client, &name).unwrap()),
        }
        Trouble {
            kind,
            topology,
            link,
            fault,
        }
    }

    /// All is as it was: packets pass again. The kernel may take up to a second to say that an
    /// interface has its carrier back, and lets none pass before.
    pub(crate) fn end(mut self) {
        let side = match self.kind {
            Kind::NoCarrier => Side::Server,
            _ => Side::Client,
        };
        drop(self.fault.take());
        // Addresses and routes that went come back with it.
        self.topology.set_link(side, self.link, true).unwrap();
        if self.kind == Kind::NoCarrier {
            // The kernel has taken routes without carrier away.
            self.topology
                .set_link(Side::Client, self.link, true)
                .unwrap();
        }
        let name = self.topology.interface(self.link);
        let running = |side| {
            let link = || Netlink::open().unwrap().link(&name).unwrap();
            self.topology.host(side).run(link).running
        };
        while !(running(Side::Client) && running(Side::Server)) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
