//! What happens, and what is seen of it at the server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::fault::{Fault, Strip};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::tool;
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::Netlink;
use anabranch_kernel::mptcp::{Endpoint, Flags, Limits, PathManager, sockets};

use crate::manager::{Client, Manager, Wish};

pub(crate) const PORT: u16 = 7720;
/// An announced port of the server's.
const OTHER_PORT: u16 = 7721;
/// How long what was found before may take to come about.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long what is new is waited for.
const SETTLE: Duration = Duration::from_millis(2500);

/// What the server announces of its second address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Nothing,
    Address,
    Port,
}

/// What happens when the connection has the subflows it will have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The server withdraws its second address.
    Withdrawn,
    /// The client's second address is removed; and comes back.
    AddressGone,
    AddressBack,
    /// The client's second link goes down; and up again.
    LinkDown,
    LinkUp,
    /// The server resets the second subflow.
    Reset,
}

/// One row.
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    wish: Wish,
    signal: Signal,
    strips: bool,
    then: Then,
}

const fn scene(name: &'static str, wish: Wish, signal: Signal, then: Then) -> Scene {
    Scene {
        name,
        wish,
        signal,
        strips: false,
        then,
    }
}

pub(crate) const SCENES: &[Scene] = &[
    scene(
        "a second address",
        Wish::Second,
        Signal::Nothing,
        Then::Nothing,
    ),
    scene("as a backup", Wish::Backup, Signal::Nothing, Then::Nothing),
    scene(
        "the server announces a second address",
        Wish::Announced,
        Signal::Address,
        Then::Nothing,
    ),
    scene(
        "with a port of its own",
        Wish::Announced,
        Signal::Port,
        Then::Nothing,
    ),
    scene(
        "and withdraws it",
        Wish::Announced,
        Signal::Address,
        Then::Withdrawn,
    ),
    scene(
        "full mesh, two addresses at either end",
        Wish::Mesh,
        Signal::Address,
        Then::Nothing,
    ),
    scene(
        "laminar: the second address for what is announced",
        Wish::Laminar,
        Signal::Address,
        Then::Nothing,
    ),
    scene(
        "full mesh with a limit of two subflows",
        Wish::MeshOfTwo,
        Signal::Address,
        Then::Nothing,
    ),
    Scene {
        strips: true,
        ..scene(
            "options are stripped: plain TCP",
            Wish::Second,
            Signal::Nothing,
            Then::Nothing,
        )
    },
    scene(
        "the second address is removed",
        Wish::Second,
        Signal::Nothing,
        Then::AddressGone,
    ),
    scene(
        "and comes back",
        Wish::Second,
        Signal::Nothing,
        Then::AddressBack,
    ),
    scene(
        "the second link goes down",
        Wish::Second,
        Signal::Nothing,
        Then::LinkDown,
    ),
    scene(
        "and comes back up",
        Wish::Second,
        Signal::Nothing,
        Then::LinkUp,
    ),
    scene(
        "the server resets the second subflow",
        Wish::Second,
        Signal::Nothing,
        Then::Reset,
    ),
];

impl Scene {
    /// Plays it, and says what subflows the connection has in the end; or at once, when they are
    /// those `expected`.
    pub(crate) fn run(&self, manager: Manager, expected: Option<&str>) -> String {
        let topology = Topology::new(2).unwrap();
        let _strips = self
            .strips
            .then(|| Fault::strip(&topology.server, Strip::SynAck).unwrap());
        let listener = self.prepare_server(&topology);
        let Some(client) = Client::start(manager, self.wish, &topology) else {
            return "–".to_owned();
        };
        let to = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
        let _connection = client.connect(&topology, to, &listener);
        let view = View {
            topology: &topology,
            // Which come first is a race between the handshake and the announcement.
            counts: self.wish == Wish::MeshOfTwo,
        };
        if self.then == Then::Nothing {
            return view.watch(expected);
        }
        view.await_second();
        self.happen(&view, expected)
    }

    fn prepare_server(&self, topology: &Topology) -> TcpListener {
        let second = topology.v4(Side::Server, 1);
        topology.server.run(|| {
            let manager = PathManager::open().unwrap();
            let all = Limits {
                subflows: 8,
                add_addr_accepted: 8,
            };
            manager.set_limits(all).unwrap();
            let signal = Endpoint::new(second, Flags::SIGNAL);
            match self.signal {
                Signal::Nothing => {}
                Signal::Address => manager.add(&signal).unwrap(),
                Signal::Port => {
                    let port = OTHER_PORT;
                    manager.add(&Endpoint { port, ..signal }).unwrap();
                }
            }
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORT);
            socket::listen(Protocol::Mptcp, any).unwrap()
        })
    }

    fn happen(&self, view: &View<'_>, expected: Option<&str>) -> String {
        let topology = view.topology;
        let second = topology.v4(Side::Client, 1);
        let link = topology.interface(1);
        let on_client = |work: &(dyn Fn(&Netlink) + Sync)| {
            topology.client.run(|| work(&Netlink::open().unwrap()));
        };
        match self.then {
            Then::Nothing => {}
            Then::Withdrawn => topology.server.run(|| {
                let manager = PathManager::open().unwrap();
                let endpoints = manager.endpoints().unwrap();
                manager.remove(endpoints[0].id).unwrap();
            }),
            Then::AddressGone | Then::AddressBack => {
                on_client(&|netlink| netlink.delete_address(&link, second, 24).unwrap());
            }
            Then::LinkDown | Then::LinkUp => {
                topology.set_link(Side::Client, 1, false).unwrap();
            }
            Then::Reset => topology.server.run(|| {
                tool::output("ss", &format!("-K -t dst {second}")).unwrap();
            }),
        }
        if !matches!(self.then, Then::AddressBack | Then::LinkUp) {
            return view.watch(expected);
        }
        // Long enough for a manager to have noticed.
        thread::sleep(Duration::from_secs(1));
        topology.set_link(Side::Client, 1, true).unwrap();
        view.watch(expected)
    }
}

/// Waits until something holds.
///
/// # Panics
/// If it never does.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The connection as the server sees it.
struct View<'a> {
    topology: &'a Topology,
    /// Only how many subflows there are is told.
    counts: bool,
}

impl View<'_> {
    /// Waits until there are two subflows, if there ever are: those that cannot be are a result too.
    fn await_second(&self) {
        let deadline = Instant::now() + SETTLE;
        while subflows(self.topology).len() < 2 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // So that what announcements still bring has come.
        thread::sleep(Duration::from_millis(200));
    }

    /// The subflows, when they are those expected and stay so for a while, or when patience is
    /// over.
    fn watch(&self, expected: Option<&str>) -> String {
        let Some(expected) = expected else {
            thread::sleep(SETTLE);
            return self.describe();
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.describe() == expected {
                thread::sleep(Duration::from_millis(300));
                if self.describe() == expected {
                    return expected.to_owned();
                }
            }
            if Instant::now() > deadline {
                return self.describe();
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn describe(&self) -> String {
        let subflows = subflows(self.topology);
        if self.counts {
            return format!("{} subflows", subflows.len());
        }
        describe(&subflows)
    }
}

/// Subflows as the server's kernel has them: links of client and server, port, backup.
fn subflows(topology: &Topology) -> Vec<(u8, u8, u16, bool)> {
    let all = topology.server.run(|| sockets::subflows().unwrap());
    let link = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets()[2],
        IpAddr::V6(_) => u8::MAX,
    };
    let mut found: Vec<_> = all
        .iter()
        .map(|it| {
            let (client, server) = (link(it.remote.ip()), link(it.local.ip()));
            (client, server, it.local.port(), it.backup)
        })
        .collect();
    found.sort_unstable();
    found
}

/// `A`, `B` are the addresses of the client, `a`, `b` those of the server.
fn describe(subflows: &[(u8, u8, u16, bool)]) -> String {
    if subflows.is_empty() {
        return "none".to_owned();
    }
    let name = |link: u8, first: u8| char::from(first + link.min(1));
    let words = subflows.iter().map(|&(client, server, port, backup)| {
        let port = if port == PORT { "" } else { "′" };
        let backup = if backup { " backup" } else { "" };
        format!("{}{}{port}{backup}", name(client, b'A'), name(server, b'a'))
    });
    words.collect::<Vec<_>>().join(", ")
}
