//! A client, a server, paths between them, and what must come out of it.

use crate::app::{Plan, Progress, Step};
use crate::host::Host;
use crate::link::LinkConfig;
use crate::middlebox::Nat;
use crate::network::{Hop, LinkId, Middlebox, Network, NodeId, Stuck};
use anabranch_mptcp::Versions;
use anabranch_stack::{
    CloseReason, Config, ConnectConfig, FlowInfo, Instant, ListenConfig, LocalAddrs,
};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Port of the server.
pub const PORT: u16 = 443;

/// A pair of addresses, and a link each way between them.
#[derive(Clone, Debug)]
pub struct Path {
    /// Client to server.
    pub there: LinkConfig,
    /// Server to client.
    pub back: LinkConfig,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// The client joins over it so long after the connection is established; the first path
    /// carries the connection itself. `None`: not of its own accord.
    pub join: Option<Duration>,
    /// Joined as a backup.
    pub backup: bool,
    /// The client's address is translated to another of the same family; `inside` is filled in.
    pub nat: Option<Nat>,
}

impl Path {
    /// A path whose directions are alike, joined at once.
    pub fn new(link: LinkConfig) -> Path {
        Path {
            there: link.clone(),
            back: link,
            v6: false,
            join: Some(Duration::ZERO),
            backup: false,
            nat: None,
        }
    }
}

/// A middlebox, and where it stands.
pub struct Placed {
    /// Number of the path.
    pub path: usize,
    /// What passes it.
    pub way: Way,
    /// What it does.
    pub middlebox: Box<dyn Middlebox>,
}

impl Placed {
    /// A box on a path.
    pub fn new(path: usize, way: Way, middlebox: impl Middlebox + 'static) -> Placed {
        let middlebox = Box::new(middlebox);
        Placed {
            path,
            way,
            middlebox,
        }
    }
}

/// Packets of which direction pass a middlebox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// Client to server; before the link.
    There,
    /// Server to client; before the link.
    Back,
    /// Both: one box beside the server.
    Both,
}

/// One connection in a small network.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Decides all chances of links and hosts.
    pub seed: u64,
    /// At least one.
    pub paths: Vec<Path>,
    /// What the client does; it sends the pattern of key 0.
    pub client: Plan,
    /// What the server does; it sends the pattern of key 1.
    pub server: Plan,
    /// The client offers Multipath TCP.
    pub mptcp: bool,
    /// The server answers it.
    pub server_mptcp: bool,
    /// Both stacks; addresses are filled in.
    pub config: Config,
    /// The server's stack if it is to be another.
    pub server_config: Option<Config>,
    /// Receive offload of both hosts, see [`Host::new`].
    pub coalesce: Option<Duration>,
    /// Virtual time after which the scene must be over.
    pub limit: Duration,
    /// Where to write what passes; the variable `ANABRANCH_CAPTURE` if it is set.
    pub capture: Option<PathBuf>,
}

/// A scene set up.
pub struct World {
    /// The network.
    pub network: Network<Host>,
    /// The client's node.
    pub client: NodeId,
    /// The server's node.
    pub server: NodeId,
    /// Links of each path, there and back.
    pub links: Vec<(LinkId, LinkId)>,
    limit: Duration,
}

/// A scene that is over.
#[derive(Clone, Debug)]
pub struct Report {
    /// The client's application.
    pub client: Progress,
    /// The server's.
    pub server: Progress,
    /// The client's connection just before its end.
    pub client_info: Option<FlowInfo>,
    /// The server's.
    pub server_info: Option<FlowInfo>,
    /// Virtual time until both applications were through.
    pub elapsed: Duration,
    /// See [`crate::Tap::hash`].
    pub trace: u64,
}

/// A scene that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    what: String,
    detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.what, self.detail)
    }
}

impl Scene {
    /// Multipath TCP over these paths; nothing is sent until plans say so.
    pub fn new(seed: u64, paths: Vec<Path>) -> Scene {
        Scene {
            seed,
            paths,
            client: Plan::default(),
            server: Plan {
                key: 1,
                ..Plan::default()
            },
            mptcp: true,
            server_mptcp: true,
            config: Config {
                gso_max: 65_000,
                ..Config::default()
            },
            server_config: None,
            coalesce: Some(Duration::from_micros(20)),
            limit: Duration::from_secs(600),
            capture: std::env::var_os("ANABRANCH_CAPTURE").map(PathBuf::from),
        }
    }

    /// Versions of Multipath TCP that either end speaks; after `config` and `server_config`.
    #[must_use]
    pub fn versions(mut self, client: Versions, server: Versions) -> Scene {
        let other = self
            .server_config
            .get_or_insert_with(|| self.config.clone());
        other.mptcp.versions = server;
        self.config.mptcp.versions = client;
        self
    }

    /// Both ends send so many bytes as fast as they can.
    #[must_use]
    pub fn bulk(mut self, up: u64, down: u64) -> Scene {
        self.client.send = up;
        self.server.send = down;
        self
    }

    /// Addresses of client and server on path number `n`.
    pub fn addresses(&self, n: usize) -> (IpAddr, IpAddr) {
        let pair = |host: u8| -> IpAddr {
            if self.paths[n].v6 {
                Ipv6Addr::new(0xfd00, n as u16, 0, 0, 0, 0, 0, u16::from(host)).into()
            } else {
                Ipv4Addr::new(10, 0, n as u8, host).into()
            }
        };
        (pair(1), pair(2))
    }

    /// Sets the network up, and the client connecting.
    pub fn build(&self) -> World {
        self.build_with(Vec::new())
    }

    /// The same, with middleboxes.
    pub fn build_with(&self, boxes: Vec<Placed>) -> World {
        let mut network = Network::new(self.seed);
        let client = self.add_host(&mut network, "client", 0, |(a, _)| a);
        let server = self.add_host(&mut network, "server", 1, |(_, b)| b);
        let mut hops: Vec<(Vec<Hop>, Vec<Hop>)> = vec![Default::default(); self.paths.len()];
        let mut gates = vec![Vec::new(); self.paths.len()];
        for Placed {
            path,
            way,
            middlebox,
        } in boxes
        {
            let hop = Hop::Box(network.add_boxed(middlebox));
            match way {
                Way::There => hops[path].0.push(hop),
                Way::Back => hops[path].1.push(hop),
                Way::Both => {
                    gates[path].push(hop);
                    hops[path].1.insert(0, hop);
                }
            }
        }
        let mut links = Vec::new();
        for (n, (mut there, mut back)) in hops.into_iter().enumerate() {
            let (a, b) = self.addresses(n);
            let up = network.add_link(self.paths[n].there.clone());
            let down = network.add_link(self.paths[n].back.clone());
            if let Some(nat) = self.paths[n].nat {
                let id = network.add_box(Nat { inside: a, ..nat });
                there.push(Hop::Box(id));
                back.push(Hop::Box(id));
                network.add_route(b, nat.outside, &[&back[..], &[Hop::Link(down)]].concat());
            }
            there.push(Hop::Link(up));
            there.append(&mut gates[n]);
            back.push(Hop::Link(down));
            network.add_route(a, b, &there);
            network.add_route(b, a, &back);
            links.push((up, down));
        }
        if let Some(path) = &self.capture
            && let Err(error) = network.capture(path)
        {
            eprintln!("no capture in {}: {error}", path.display());
        }
        self.start(&mut network, client, server);
        World {
            network,
            client,
            server,
            links,
            limit: self.limit,
        }
    }

    fn add_host(
        &self,
        network: &mut Network<Host>,
        name: &str,
        part: u64,
        mine: fn((IpAddr, IpAddr)) -> IpAddr,
    ) -> NodeId {
        let addresses: Vec<_> = (0..self.paths.len())
            .map(|n| mine(self.addresses(n)))
            .collect();
        let other = self.server_config.as_ref().filter(|_| part == 1);
        let config = Config {
            local: LocalAddrs::List(addresses.clone()),
            ..other.unwrap_or(&self.config).clone()
        };
        let seed = self.seed.wrapping_mul(2).wrapping_add(part);
        let host = Host::new(config, seed, self.coalesce, Instant(0));
        network.add_node(name, &addresses, host)
    }

    fn start(&self, network: &mut Network<Host>, client: NodeId, server: NodeId) {
        let listen = ListenConfig {
            mptcp: self.server_mptcp,
            ..ListenConfig::port(PORT)
        };
        let served = network.node_mut(server).serve(listen, self.server.clone());
        assert!(served.is_ok(), "{served:?}");
        let mut plan = self.client.clone();
        for (n, path) in self.paths.iter().enumerate().skip(1) {
            let (Some(after), true) = (path.join, self.mptcp) else {
                continue;
            };
            let (local, remote) = self.addresses(n);
            let join = Step::Join {
                local: SocketAddr::new(local, 0),
                remote: SocketAddr::new(remote, PORT),
                backup: path.backup,
            };
            plan.steps.push((after, join));
        }
        let (local, remote) = self.addresses(0);
        let connected = network.node_mut(client).connect(
            Instant(0),
            SocketAddr::new(local, 0),
            SocketAddr::new(remote, PORT),
            ConnectConfig {
                mptcp: self.mptcp,
                ..ConnectConfig::default()
            },
            plan,
        );
        assert!(connected.is_ok(), "{connected:?}");
    }

    /// Runs the scene and requires that both ends read every byte and the end, and that both
    /// connections finish orderly.
    ///
    /// # Errors
    /// What went wrong, and how far everything had come.
    pub fn run(&self) -> Result<Report, Failure> {
        let mut world = self.build();
        let report = world.run()?;
        world.require(report.client.received == self.server.send, "bytes down")?;
        world.require(report.server.received == self.client.send, "bytes up")?;
        world.settle()?;
        Ok(report)
    }
}

impl World {
    /// Runs until both applications are through, and requires an orderly end with right bytes.
    ///
    /// # Errors
    /// What went wrong, and how far everything had come.
    pub fn run(&mut self) -> Result<Report, Failure> {
        let report = self.run_to_end()?;
        for progress in [&report.client, &report.server] {
            self.require(progress.eof.is_some(), "end not read")?;
            let orderly = matches!(progress.closed, Some((_, CloseReason::Finished)));
            self.require(orderly, "no orderly end")?;
        }
        Ok(report)
    }

    /// Runs until both applications are through, however they end; wrong bytes are a failure.
    ///
    /// # Errors
    /// What went wrong, and how far everything had come.
    pub fn run_to_end(&mut self) -> Result<Report, Failure> {
        let (client, server) = (self.client, self.server);
        let mut infos = (None, None);
        let stuck = self.network.run(self.limit, |network| {
            let (a, b) = (network.node(client), network.node(server));
            let keep = |old: &mut Option<FlowInfo>, host: &Host| {
                let new = host.flow(0).and_then(|flow| host.stack.info(flow));
                let richer = new.as_ref().is_some_and(|new| !new.subflows.is_empty());
                if richer {
                    *old = new;
                }
            };
            let done = a.is_done() && b.is_done() && b.progress().next().is_some();
            if !done {
                keep(&mut infos.0, a);
                keep(&mut infos.1, b);
            }
            done || a.progress().chain(b.progress()).any(|p| p.wrong.is_some())
        });
        if let Err(stuck) = stuck {
            return Err(self.failure(&stuck.to_string()));
        }
        for id in [client, server] {
            let wrong = self.network.node(id).progress().find_map(|p| p.wrong);
            if let Some(wrong) = wrong {
                return Err(self.failure(&format!("wrong bytes: {wrong:?}")));
            }
        }
        let progress = |id| self.network.node(id).progress().next().cloned();
        Ok(Report {
            client: progress(client).unwrap_or_default(),
            server: progress(server).unwrap_or_default(),
            client_info: infos.0,
            server_info: infos.1,
            elapsed: self.network.now().since(Instant(0)),
            trace: self.network.tap().hash(),
        })
    }

    /// Runs until both stacks have forgotten everything: nothing may be left of a connection.
    ///
    /// # Errors
    /// What is left.
    pub fn settle(&mut self) -> Result<(), Failure> {
        match self.network.run(Duration::from_secs(1000), |_| false) {
            Err(Stuck::Quiet(_)) => {}
            other => return Err(self.failure(&format!("no rest after the end: {other:?}"))),
        }
        for id in [self.client, self.server] {
            let stack = &self.network.node(id).stack;
            let (left, memory) = (stack.connections().count(), stack.memory());
            self.require(left == 0, "connections left")?;
            self.require(memory == 0, "memory left")?;
        }
        Ok(())
    }

    fn require(&self, holds: bool, what: &str) -> Result<(), Failure> {
        if holds {
            Ok(())
        } else {
            Err(self.failure(what))
        }
    }

    /// Everything there is to know now.
    pub fn failure(&self, what: &str) -> Failure {
        let mut detail = String::new();
        for (name, id) in [("client", self.client), ("server", self.server)] {
            let host = self.network.node(id);
            for progress in host.progress() {
                detail += &format!("{name}: {progress:?}\n");
            }
            for info in host.stack.connections() {
                detail += &format!("{name}: {info:#?}\n");
            }
            detail += &format!("{name}: memory {}\n", host.stack.memory());
        }
        for (n, (there, back)) in self.links.iter().enumerate() {
            detail += &format!("path {n} there: {:?}\n", self.network.link_stats(*there));
            detail += &format!("path {n} back: {:?}\n", self.network.link_stats(*back));
        }
        Failure {
            what: what.to_owned(),
            detail,
        }
    }
}
