//! A client whose paths are managed, and a server that is Linux alone.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

pub(crate) use anabranch_interop::eventually::{Folder, PATIENCE, eventually};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::mptcp::{Endpoint, PathManager, sockets};

pub(crate) const PORT: u16 = 7710;
pub(crate) const MANAGER: &str = "net/mptcp/path_manager";

/// A client whose paths are managed, and a server that is Linux alone.
pub(crate) struct World {
    pub(crate) topology: Topology,
    pub(crate) folder: Folder,
    pub(crate) listener: TcpListener,
}

/// A connection of the client, both ends.
pub(crate) struct Connection {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
}

impl World {
    pub(crate) fn new(links: usize) -> World {
        let topology = Topology::new(links).unwrap();
        let at = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
        let listener = topology
            .server
            .run(|| socket::listen(Protocol::Mptcp, at).unwrap());
        World {
            topology,
            folder: Folder::new(),
            listener,
        }
    }

    pub(crate) fn manage(&self, arguments: &[&str]) -> Anabranch {
        Anabranch::manage(&self.topology.client, self.folder.path(), arguments).unwrap()
    }

    /// Connects, and moves a byte both ways.
    pub(crate) fn connect(&self) -> Connection {
        let to = SocketAddr::new(self.topology.v4(Side::Server, 0), PORT);
        let client = self
            .topology
            .client
            .run(|| socket::connect(Protocol::Mptcp, None, to, PATIENCE).unwrap());
        let (server, _) = socket::accept_within(&self.listener, PATIENCE)
            .unwrap()
            .unwrap();
        let connection = Connection { client, server };
        connection.carry();
        connection
    }

    pub(crate) fn on_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.topology.client.run(work)
    }

    /// The client's addresses that have a subflow.
    pub(crate) fn subflows(&self) -> Vec<IpAddr> {
        let subflows = self.on_client(|| sockets::subflows().unwrap());
        let mut from: Vec<IpAddr> = subflows.iter().map(|it| it.local.ip()).collect();
        from.sort();
        from
    }

    /// Waits until those of the client's addresses, and no others, have a subflow.
    pub(crate) fn await_subflows(&self, what: &str, from: &[IpAddr]) {
        eventually(what, || (self.subflows() == from).then_some(()));
    }

    pub(crate) fn v4(&self, link: usize) -> IpAddr {
        self.topology.v4(Side::Client, link)
    }

    /// Writes a file of what is wanted, for `--config`.
    pub(crate) fn plan(&self, name: &str, text: &str) -> String {
        self.folder.write(name, text)
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.on_client(|| PathManager::open().unwrap().endpoints().unwrap())
    }
}

impl Connection {
    pub(crate) fn carry(&self) {
        for (mut from, mut to) in [(&self.client, &self.server), (&self.server, &self.client)] {
            from.write_all(b"1").unwrap();
            to.read_exact(&mut [0]).unwrap();
        }
    }
}
