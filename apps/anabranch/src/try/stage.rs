//! Two hosts in namespaces, a file server on one, and a client on the other.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::counters::{Counters, interface_bytes};
use anabranch_interop::pattern::Pattern;
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Endpoint, Side, Topology};

use super::args::Rate;
use super::http::{self, Exchange, FileServer};
use super::report::{Transfer, Way};
use super::text;
use super::view::{LinkState, View};

const LINKS: usize = 2;
/// The link that is cut.
const CUT: usize = 1;
/// The port clients connect to.
const PORT: u16 = 80;
/// The file server's own port, behind `anabranch serve`.
const BEHIND: u16 = 8080;
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(20);
/// A transfer of which nothing arrives for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Service {
    /// This program, in front of a TCP file server.
    Anabranch,
    /// Linux's own Multipath TCP, the file server listening itself.
    Linux,
}

impl Service {
    /// Its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Anabranch => "anabranch",
            Service::Linux => "linux",
        }
    }
}

/// Everything for one service; gone when dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    service: Service,
    down: Arc<Exchange>,
    up: Arc<Exchange>,
    // In the order they must go: the program under test, the service behind it, the network.
    anabranch: Option<Anabranch>,
    _files: FileServer,
    topology: Topology,
}

impl Stage {
    /// Builds the hosts and starts the servers.
    pub(crate) fn new(service: Service, size: u64, rate: Rate, seed: u64) -> io::Result<Stage> {
        let topology = Topology::new(LINKS)?;
        for link in 0..LINKS {
            topology.set_rate(link, rate.0)?;
        }
        topology.add_endpoint(topology.v4(Side::Client, CUT), Endpoint::Subflow)?;
        let down = Exchange::new(Pattern::new(seed), size);
        let up = Exchange::new(Pattern::new(!seed), size);
        let (protocol, port) = match service {
            Service::Anabranch => (Protocol::Tcp, BEHIND),
            Service::Linux => (Protocol::Mptcp, PORT),
        };
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let (d, u) = (Arc::clone(&down), Arc::clone(&up));
        let files = topology
            .server
            .run(|| FileServer::start(protocol, any, d, u))?;
        let anabranch = match service {
            Service::Anabranch => Some(Anabranch::start_program(
                std::env::current_exe()?,
                &topology.server,
                PORT,
                SocketAddr::from(([127, 0, 0, 1], BEHIND)),
                &[],
            )?),
            Service::Linux => None,
        };
        Ok(Stage {
            service,
            down,
            up,
            anabranch,
            _files: files,
            topology,
        })
    }

    /// Moves the file one way while the second link is cut halfway and comes back; shows progress.
    pub(crate) fn transfer(&self, way: Way, cancel: &AtomicBool) -> Result<Transfer, String> {
        let mut watch = Watch::new(self, way).map_err(|e| e.to_string())?;
        let give_up = AtomicBool::new(false);
        let ended = thread::scope(|scope| {
            let client = scope.spawn(|| self.topology.client.run(|| self.client(way, &give_up)));
            while !client.is_finished() {
                if cancel.load(Ordering::Relaxed) || watch.tick().is_err() {
                    give_up.store(true, Ordering::Relaxed);
                }
                thread::sleep(TICK);
            }
            client
                .join()
                .unwrap_or_else(|_| Err("the client panicked".to_owned()))
        });
        let log = || {
            self.anabranch
                .as_ref()
                .map(Anabranch::log)
                .unwrap_or_default()
        };
        let failed = |e: String| format!("{} {way}: {e}\n{}", self.service.name(), log());
        let elapsed = ended.map_err(failed)?;
        watch.finish(elapsed).map_err(|e| e.to_string())
    }

    fn exchange(&self, way: Way) -> &Arc<Exchange> {
        match way {
            Way::Down => &self.down,
            Way::Up => &self.up,
        }
    }

    /// The client's part, in its namespace: how long it took.
    fn client(&self, way: Way, give_up: &AtomicBool) -> Result<Duration, String> {
        let to = SocketAddr::new(self.topology.v4(Side::Server, 0), PORT);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let started = Instant::now();
        let stream = socket::connect(Protocol::Mptcp, None, to, PATIENCE)
            .map_err(|e| format!("cannot connect: {e}"))?;
        let exchange = self.exchange(way);
        runtime.block_on(async {
            let transfer = async {
                match way {
                    Way::Down => http::get(stream, exchange).await,
                    Way::Up => http::put(stream, exchange).await,
                }
            };
            tokio::select! {
                result = transfer => result.map(|()| started.elapsed()),
                why = patience(exchange, give_up) => Err(why),
            }
        })
    }
}

/// Ends when the transfer should be given up, with the reason.
async fn patience(exchange: &Exchange, give_up: &AtomicBool) -> String {
    let started = Instant::now();
    loop {
        tokio::time::sleep(TICK).await;
        let last = exchange.meter.read().last.unwrap_or(started);
        if give_up.load(Ordering::Relaxed) {
            return "given up".to_owned();
        }
        if last.elapsed() > PATIENCE {
            let bytes = text::bytes(exchange.meter.read().bytes);
            return format!(
                "nothing arrived for {}, after {bytes}",
                text::time(PATIENCE)
            );
        }
    }
}

/// What the second link goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    Whole,
    Cut,
    Restored,
}

/// Looks at a transfer as it goes, and cuts and restores the link.
struct Watch<'a> {
    stage: &'a Stage,
    way: Way,
    view: View,
    link: Link,
    counters: Counters,
    carried: Vec<u64>,
}

impl<'a> Watch<'a> {
    fn new(stage: &'a Stage, way: Way) -> io::Result<Watch<'a>> {
        let title = format!("{} {way}", stage.service.name());
        let size = stage.exchange(way).size;
        Ok(Watch {
            stage,
            way,
            view: View::new(title, size),
            link: Link::Whole,
            counters: stage.topology.client.run(Counters::read)?,
            carried: carried(&stage.topology, way)?,
        })
    }

    fn tick(&mut self) -> io::Result<()> {
        let Stage { topology, .. } = self.stage;
        let exchange = self.stage.exchange(self.way);
        let done = exchange.meter.read().bytes;
        let next = match self.link {
            Link::Whole if done >= exchange.size / 2 => Link::Cut,
            Link::Cut if done >= exchange.size / 4 * 3 => Link::Restored,
            same => same,
        };
        if next != self.link {
            topology.set_link(Side::Server, CUT, next == Link::Restored)?;
            self.link = next;
        }
        let links = self
            .carried_since()?
            .into_iter()
            .enumerate()
            .map(|(n, bytes)| LinkState {
                bytes,
                cut: n == CUT && self.link == Link::Cut,
            });
        self.view
            .update(Instant::now(), done, &links.collect::<Vec<_>>());
        Ok(())
    }

    fn carried_since(&self) -> io::Result<Vec<u64>> {
        let now = carried(&self.stage.topology, self.way)?;
        Ok(now
            .iter()
            .zip(&self.carried)
            .map(|(now, before)| now - before)
            .collect())
    }

    fn finish(mut self, elapsed: Duration) -> io::Result<Transfer> {
        let Stage {
            topology, service, ..
        } = self.stage;
        if self.link == Link::Cut {
            topology.set_link(Side::Server, CUT, true)?;
            self.link = Link::Restored;
        }
        let exchange = self.stage.exchange(self.way);
        let (sent, received) = (exchange.sent(), exchange.received());
        let reading = exchange.meter.read();
        let counters = topology.client.run(Counters::read)?.since(&self.counters);
        let goodput = Transfer::goodput(reading.bytes, elapsed);
        self.view.end(&format!(
            "{} in {}, {}",
            text::bytes(reading.bytes),
            text::time(elapsed),
            text::rate(goodput)
        ));
        Ok(Transfer {
            server: service.name(),
            way: self.way,
            bytes: reading.bytes,
            sha256_sent: sent.map(|d| text::hex(&d.sha256)),
            sha256_received: received.map(|d| text::hex(&d.sha256)),
            equal: sent.is_some() && sent == received && reading.bytes == exchange.size,
            seconds: elapsed.as_secs_f64(),
            longest_stall_seconds: reading.longest_stall.as_secs_f64(),
            goodput_bits_per_second: goodput,
            link_bytes: self.carried_since()?,
            subflows: 1 + counters.get("MPTcpExtMPJoinSynAckRx"),
        })
    }
}

/// Bytes that each link has carried one way, with all headers.
fn carried(topology: &Topology, way: Way) -> io::Result<Vec<u64>> {
    let names: Vec<String> = (0..LINKS).map(|link| topology.interface(link)).collect();
    topology.client.run(|| {
        names
            .iter()
            .map(|name| interface_bytes(name))
            .map(|bytes| {
                bytes.map(|(received, sent)| if way == Way::Down { received } else { sent })
            })
            .collect()
    })
}
