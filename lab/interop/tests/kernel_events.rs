//! What Linux tells a path manager in userspace, and does at its word: each command for single
//! connections, and the event that follows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anabranch_interop::require;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::mptcp::{
    Endpoint, Event, Events, Flags, LocalEnd, PathManager, SubflowEvent, sockets,
};
use anabranch_kernel::sysctl;
use nix::poll::{PollFd, PollFlags, PollTimeout};

const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 7700;

/// Waits for the event that `wanted` recognises; others pass by.
fn await_event<T>(events: &mut Events, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        while let Some(event) = events.poll().unwrap() {
            if let Some(found) = wanted(&event) {
                return found;
            }
            seen.push(event);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no such event; there were {seen:#?}");
        let timeout = PollTimeout::try_from(left).unwrap();
        nix::poll::poll(
            &mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)],
            timeout,
        )
        .unwrap();
    }
}

/// A connection between two kernels over two links, the client's without a policy of its own.
struct Pair {
    topology: Topology,
    client: TcpStream,
    _server: TcpStream,
    /// Linux takes joins only where somebody listens.
    _listener: TcpListener,
    token: u32,
    local: SocketAddr,
    remote: SocketAddr,
    events: Events,
}

impl Pair {
    fn new() -> Pair {
        let topology = Topology::new(2).unwrap();
        let remote = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
        let listener = topology
            .server
            .run(|| socket::listen(Protocol::Mptcp, remote).unwrap());
        let (client, server, events, established) = topology.client.run(|| {
            sysctl::write("net/mptcp/path_manager", "userspace").unwrap();
            let mut events = Events::open().unwrap();
            let client = socket::connect(Protocol::Mptcp, None, remote, PATIENCE).unwrap();
            let (server, _) = socket::accept_within(&listener, PATIENCE).unwrap().unwrap();
            // The client knows that the server has the keys when data was acknowledged.
            for (mut from, mut to) in [(&client, &server), (&server, &client)] {
                from.write_all(b"1").unwrap();
                to.read_exact(&mut [0]).unwrap();
            }
            let established = await_event(&mut events, |event| match *event {
                Event::Established {
                    token,
                    local,
                    remote,
                    passive,
                    denies_join,
                } => Some((token, local, remote, passive, denies_join)),
                _ => None,
            });
            (client, server, events, established)
        });
        let (token, local, seen, passive, denies_join) = established;
        assert_eq!((seen, passive, denies_join), (remote, false, false));
        assert_eq!(local, client.local_addr().unwrap());
        Pair {
            topology,
            client,
            _server: server,
            _listener: listener,
            token,
            local,
            remote,
            events,
        }
    }

    fn second(&self) -> LocalEnd {
        LocalEnd {
            address: SocketAddr::new(self.topology.v4(Side::Client, 1), 0),
            id: 3,
            backup: false,
            link: 0,
        }
    }

    /// Opens a subflow over the second link, and waits until it is there.
    fn join(&mut self) -> SubflowEvent {
        let (token, remote, from) = (self.token, self.remote, self.second());
        let events = &mut self.events;
        self.topology.client.run(|| {
            let manager = PathManager::open().unwrap();
            manager.create_subflow(token, &from, remote).unwrap();
            await_event(events, |event| match event {
                Event::SubflowEstablished(subflow) => Some(subflow.clone()),
                _ => None,
            })
        })
    }
}

#[test]
fn a_subflow_is_opened_made_a_backup_and_closed() {
    if !require::lab() {
        return;
    }
    let mut pair = Pair::new();
    let joined = pair.join();
    assert_eq!(joined.token, pair.token);
    assert_eq!(joined.local.ip(), pair.second().address.ip());
    assert_eq!(
        (joined.remote, joined.local_id, joined.backup),
        (pair.remote, 3, false)
    );
    let (token, events) = (pair.token, &mut pair.events);
    pair.topology.client.run(|| {
        let manager = PathManager::open().unwrap();
        manager
            .set_backup(token, joined.local, joined.remote, true)
            .unwrap();
        let subflows = sockets::subflows().unwrap();
        let second = subflows.iter().find(|it| it.local == joined.local).unwrap();
        assert!(second.backup && second.joined && !second.passive);
        manager
            .destroy_subflow(token, joined.local, joined.remote)
            .unwrap();
        let closed = await_event(events, |event| match event {
            Event::SubflowClosed(subflow) => Some(subflow.clone()),
            _ => None,
        });
        assert_eq!((closed.token, closed.local), (token, joined.local));
        let again = manager.destroy_subflow(token, joined.local, joined.remote);
        let again = again.unwrap_err().to_string();
        assert!(again.contains(&joined.local.to_string()), "{again}");
    });
}

#[test]
fn an_address_is_announced_and_withdrawn() {
    if !require::lab() {
        return;
    }
    let pair = Pair::new();
    let address = pair.topology.v4(Side::Client, 1);
    let mut heard = pair.topology.server.run(|| Events::open().unwrap());
    let token = pair.token;
    let endpoint = Endpoint {
        id: 9,
        port: 7701,
        ..Endpoint::new(address, Flags::SIGNAL)
    };
    pair.topology.client.run(|| {
        let manager = PathManager::open().unwrap();
        manager.announce(token, &endpoint).unwrap();
        let addresses = manager.addresses(token).unwrap();
        assert_eq!(addresses, std::slice::from_ref(&endpoint));
    });
    let (id, remote) = await_event(&mut heard, |event| match *event {
        Event::Announced { id, remote, .. } => Some((id, remote)),
        _ => None,
    });
    assert_eq!((id, remote), (9, SocketAddr::new(address, 7701)));
    pair.topology.client.run(|| {
        let manager = PathManager::open().unwrap();
        manager.withdraw(token, 9).unwrap();
        assert_eq!(manager.addresses(token).unwrap(), []);
        manager.withdraw(token, 9).unwrap_err();
    });
    let gone = await_event(&mut heard, |event| match *event {
        Event::Removed { id, .. } => Some(id),
        _ => None,
    });
    assert_eq!(gone, 9);
}

#[test]
fn what_there_is_can_be_asked_anew() {
    if !require::lab() {
        return;
    }
    let mut pair = Pair::new();
    let joined = pair.join();
    let (token, local, remote) = (pair.token, pair.local, pair.remote);
    pair.topology.client.run(|| {
        let connections = sockets::connections().unwrap();
        let [connection] = &connections[..] else {
            panic!("one connection, not {connections:?}");
        };
        assert_eq!(connection.token, token);
        assert_eq!((connection.local, connection.remote), (local, remote));
        assert!(!connection.fallback && connection.inode != 0);
        let mut subflows = sockets::subflows().unwrap();
        subflows.sort_by_key(|subflow| subflow.joined);
        let ends: Vec<_> = subflows
            .iter()
            .map(|it| (it.token, it.local, it.local_id))
            .collect();
        assert_eq!(ends, [(token, local, 0), (token, joined.local, 3)]);
    });
}

#[test]
fn the_end_of_a_connection_is_told() {
    if !require::lab() {
        return;
    }
    let mut pair = Pair::new();
    socket::close_resets(&pair.client).unwrap();
    drop(pair.client);
    let token = pair.token;
    await_event(&mut pair.events, |event| {
        (*event == Event::Closed { token }).then_some(())
    });
    pair.topology.client.run(|| {
        assert_eq!(sockets::connections().unwrap(), []);
        let late = PathManager::open().unwrap().addresses(token).unwrap_err();
        assert!(late.to_string().contains(&format!("{token:08x}")), "{late}");
    });
}

#[test]
fn what_overflows_is_told_as_lost() {
    if !require::lab() {
        return;
    }
    let mut pair = Pair::new();
    pair.topology.client.run(|| {
        pair.events = Events::with_buffer(1).unwrap();
    });
    // Each coming and going is an event, and nobody reads them.
    for _ in 0..100 {
        let (token, from, remote) = (pair.token, pair.second(), pair.remote);
        pair.topology.client.run(|| {
            let manager = PathManager::open().unwrap();
            manager
                .announce(
                    token,
                    &Endpoint {
                        id: from.id,
                        ..Endpoint::new(from.address.ip(), Flags::SIGNAL)
                    },
                )
                .unwrap();
            manager.withdraw(token, from.id).unwrap();
            manager.create_subflow(token, &from, remote).unwrap();
            let subflows = sockets::subflows().unwrap();
            for subflow in subflows.iter().filter(|it| it.joined) {
                let _ = manager.destroy_subflow(token, subflow.local, subflow.remote);
            }
        });
    }
    let events = &mut pair.events;
    await_event(events, |event| (*event == Event::Lost).then_some(()));
    // Reading goes on after it.
    while events.poll().unwrap().is_some() {}
    pair.join();
}
