//! A network in which users share links, each to a server of its own.

use anabranch_sim::Step;
use anabranch_sim::scene::PORT;
use anabranch_sim::{Hop, Host, LinkConfig, LinkId, Network, NodeId, Plan, Queue};
use anabranch_stack::{
    Config, Congestion, ConnectConfig, Instant, ListenConfig, LocalAddrs, Steering,
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What a full packet carries for TCP, of its bytes.
const PAYLOAD: f64 = 1448.0 / 1500.0;

/// A kind of congestion control, and what those have who use one path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) beside: &'static str,
}

pub(crate) struct Town {
    pub(crate) kind: Kind,
    network: Network<Host>,
    back: LinkId,
    /// The server of each user.
    servers: Vec<NodeId>,
}

/// What was carried in the time that counts, Mbit/s.
pub(crate) struct Measured {
    /// Of each user.
    pub(crate) users: Vec<f64>,
    /// Through each link that was asked for, as payload of TCP.
    pub(crate) links: Vec<f64>,
}

impl Town {
    pub(crate) fn new(kind: Kind) -> Town {
        let mut network = Network::new(1);
        let back = network.add_link(LinkConfig {
            rate: None,
            delay: Duration::from_millis(20),
            ..LinkConfig::new(1, 0)
        });
        Town {
            kind,
            network,
            back,
            servers: Vec::new(),
        }
    }

    /// A link of so many Mbit/s, 20 ms one way, with 120 ms of queue that drops early, at random;
    /// where all go by delay, at its tail.
    pub(crate) fn link(&mut self, mbit: f64) -> LinkId {
        let packets = (mbit * 10.0) as usize;
        self.network.add_link(LinkConfig {
            rate: Some((mbit * 1e6) as u64),
            delay: Duration::from_millis(20),
            queue: match self.kind.beside {
                "wvegas" => Queue::Packets(packets),
                _ => Queue::Early(packets),
            },
            ..LinkConfig::new(1, 0)
        })
    }

    /// A user on one path.
    pub(crate) fn tcp(&mut self, link: LinkId) {
        self.user(self.kind.beside, &[&[link]]);
    }

    /// A user with a subflow over each of these routes.
    pub(crate) fn multipath(&mut self, routes: &[&[LinkId]]) {
        self.user(self.kind.name, routes);
    }

    /// A user who sends without end. One route is for TCP, but for what couples even there.
    fn user(&mut self, kind: &str, routes: &[&[LinkId]]) {
        let n = self.servers.len() as u8 + 1;
        let remote = self.serve(n);
        let addr = |route: usize| IpAddr::V4(Ipv4Addr::new(10, n, 0, route as u8 + 1));
        let addresses: Vec<_> = (0..routes.len()).map(addr).collect();
        let node = host(&addresses, kind, u64::from(n));
        let node = self.network.add_node(&format!("user{n}"), &addresses, node);
        for (address, route) in addresses.iter().zip(routes) {
            let hops: Vec<_> = route.iter().map(|link| Hop::Link(*link)).collect();
            self.network.add_route(*address, remote.ip(), &hops);
            self.network
                .add_route(remote.ip(), *address, &[Hop::Link(self.back)]);
        }
        let plan = Plan {
            key: 2 * u64::from(n),
            send: 1 << 40,
            steps: addresses[1..].iter().map(|it| join(*it, remote)).collect(),
            ..Plan::default()
        };
        let connect = ConnectConfig {
            mptcp: routes.len() > 1 || kind == "wvegas",
            ..ConnectConfig::default()
        };
        let (now, local) = (self.network.now(), SocketAddr::new(addresses[0], 0));
        let connected = self
            .network
            .node_mut(node)
            .connect(now, local, remote, connect, plan);
        assert!(connected.is_ok(), "{connected:?}");
        // Nobody starts at the same time as another.
        self.network.run_for(Duration::from_millis(97));
    }

    /// The server of user `n`.
    fn serve(&mut self, n: u8) -> SocketAddr {
        let address = IpAddr::V4(Ipv4Addr::new(10, 200, 0, n));
        let mut server = host(&[address], "cubic", 1000 + u64::from(n));
        let plan = Plan {
            key: 2 * u64::from(n) + 1,
            ..Plan::default()
        };
        let served = server.serve(ListenConfig::port(PORT), plan);
        assert!(served.is_ok(), "{served:?}");
        let name = format!("server{n}");
        let server = self.network.add_node(&name, &[address], server);
        self.servers.push(server);
        SocketAddr::new(address, PORT)
    }

    pub(crate) fn measure(
        &mut self,
        warm_up: Duration,
        time: Duration,
        links: &[LinkId],
    ) -> Measured {
        self.network.run_for(warm_up);
        let before = self.look(links);
        self.network.run_for(time);
        let after = self.look(links);
        let rates: Vec<f64> = before
            .iter()
            .zip(after)
            .map(|(before, after)| (after - before) * 8.0 / time.as_secs_f64() / 1e6)
            .collect();
        let (users, links) = rates.split_at(self.servers.len());
        Measured {
            users: users.to_vec(),
            links: links.to_vec(),
        }
    }

    /// Bytes of each user, and of each of these links.
    fn look(&self, links: &[LinkId]) -> Vec<f64> {
        let users = self.servers.iter().map(|server| {
            let mut accepted = self.network.node(*server).progress();
            accepted.next().map_or(0.0, |it| it.received as f64)
        });
        let carried = |link: &LinkId| self.network.link_stats(*link).delivered_bytes as f64;
        let links = links.iter().map(|link| carried(link) * PAYLOAD);
        users.chain(links).collect()
    }
}

fn join(local: IpAddr, remote: SocketAddr) -> (Duration, Step) {
    let step = Step::Join {
        local: SocketAddr::new(local, 0),
        remote,
        backup: false,
    };
    (Duration::ZERO, step)
}

fn host(addresses: &[IpAddr], kind: &str, seed: u64) -> Host {
    let mut config = Config {
        local: LocalAddrs::List(addresses.to_vec()),
        gso_max: 65_000,
        ..Config::default()
    };
    config.mptcp.steering = Steering::OFF;
    match kind.parse().expect("a kind") {
        Congestion::Alone(algorithm) => config.tcp.congestion.algorithm = algorithm,
        Congestion::Coupled(kind) => config.mptcp.coupling = Some(kind),
    }
    Host::new(config, seed, Some(Duration::from_micros(20)), Instant(0))
}
