//! Two hosts, two paths between them, and a relay in each.

use anabranch_drivers::Tun;
use anabranch_drivers::tun::{Offload, TunConfig};
use anabranch_interop::host::Host;
use anabranch_kernel::mptcp::{Endpoint, Flags, Limits, PathManager};
use anabranch_kernel::route::Route;
use anabranch_kernel::rule::{Action, Rule};
use anabranch_kernel::{Netlink, sched, sysctl};
use anabranch_sim::LinkConfig;
use anabranch_sim::relay::Relay;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Table of what the client sends from its second address.
const SECOND: u32 = 102;
/// The address of Linux's server, and that of ours.
pub(crate) const KERNEL: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 2);
pub(crate) const STACK: Ipv4Addr = Ipv4Addr::new(10, 80, 9, 2);
/// Those which they announce, if any; the client reaches them over the second path.
pub(crate) const KERNEL_SECOND: Ipv4Addr = Ipv4Addr::new(10, 80, 1, 2);
pub(crate) const STACK_SECOND: Ipv4Addr = Ipv4Addr::new(10, 80, 1, 3);

/// How the client comes by its second subflow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Second {
    /// From its second address to the one address that the server has.
    Own,
    /// The same, as a backup.
    Backup,
    /// To the second address that the server announces.
    Announced,
}

/// A client host and a server host with two paths between TUN devices that take no offload. The
/// client opens a subflow over the second, see [`Second`]. Dropping it removes everything.
pub(crate) struct Paths {
    pub(crate) client: Host,
    pub(crate) server: Host,
    /// When the first relay began to count.
    pub(crate) started: Instant,
    stop: Arc<AtomicBool>,
    relays: Vec<JoinHandle<io::Result<()>>>,
}

impl Paths {
    /// Paths as `links` say in both directions; their schedules count from now.
    pub(crate) fn new(links: [LinkConfig; 2], second: Second, seed: u64) -> io::Result<Paths> {
        let (client, server) = (Host::new()?, Host::new()?);
        for host in [&client, &server] {
            let settle = || {
                for whom in ["all", "default"] {
                    sysctl::write(&format!("net/ipv4/conf/{whom}/rp_filter"), "0")?;
                }
                sysctl::write("net/ipv4/tcp_no_metrics_save", "1")?;
                // Until sockets say otherwise: one that does not pace, for a controller that was
                // set first leaves its pacing on.
                sysctl::write("net/ipv4/tcp_congestion_control", "reno")?;
                sysctl::write("net/ipv4/ip_forward", "1")
            };
            host.run(settle).map_err(io::Error::other)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (mut relays, mut started) = (Vec::new(), None);
        for (n, link) in links.into_iter().enumerate() {
            let number = n as u8;
            let near = device(&client, &name(n), client_address(number), Offload::None)?;
            let far = device(&server, &name(n), server_address(number), Offload::None)?;
            let mut relay = Relay::new(
                near.into(),
                far.into(),
                (link.clone(), link),
                seed + n as u64,
            )?;
            started.get_or_insert_with(Instant::now);
            let flag = Arc::clone(&stop);
            relays.push(thread::spawn(move || {
                // Without the right to it, the relay is less exact.
                let _ = sched::come_first();
                relay.run(&flag)
            }));
        }
        let paths = Paths {
            client,
            server,
            started: started.unwrap_or_else(Instant::now),
            stop,
            relays,
        };
        paths.route()?;
        paths.manage(second)?;
        Ok(paths)
    }

    /// What the client sends from its second address goes over the second path, all else over the
    /// first.
    fn route(&self) -> io::Result<()> {
        let second = IpAddr::V4(client_address(1));
        self.client
            .run(|| {
                let netlink = Netlink::open()?;
                let through = |n: usize, table| -> anabranch_kernel::Result<Route> {
                    let net = Ipv4Addr::new(10, 80, 0, 0).into();
                    Ok(Route {
                        link: Some(netlink.link(&name(n))?.index),
                        table,
                        ..Route::to(net, 16)
                    })
                };
                netlink.add_route(&Route {
                    table: anabranch_kernel::route::MAIN,
                    ..through(0, 0)?
                })?;
                netlink.add_route(&through(1, SECOND)?)?;
                netlink.add_rule(&Rule {
                    from: Some((second, 32)),
                    ..Rule::new(true, 1000, Action::Lookup(SECOND))
                })
            })
            .map_err(io::Error::other)
    }

    /// What the path managers of both kernels do.
    fn manage(&self, second: Second) -> io::Result<()> {
        let announced = second == Second::Announced;
        let limits = Limits {
            subflows: 2,
            add_addr_accepted: announced.into(),
        };
        let address = IpAddr::V4(client_address(1));
        let client = || {
            let manager = PathManager::open()?;
            manager.set_limits(limits)?;
            let flags = match second {
                Second::Own => Flags::SUBFLOW,
                Second::Backup => Flags(Flags::SUBFLOW.0 | Flags::BACKUP.0),
                Second::Announced => return Ok(()),
            };
            manager.add(&Endpoint::new(address, flags))
        };
        self.client.run(client).map_err(io::Error::other)?;
        if !announced {
            return Ok(());
        }
        let server = || {
            let manager = PathManager::open()?;
            manager.set_limits(limits)?;
            manager.add(&Endpoint::new(KERNEL_SECOND.into(), Flags::SIGNAL))
        };
        self.server.run(server).map_err(io::Error::other)
    }

    /// A TUN device on the server's host for a stack of ours.
    pub(crate) fn attach(&self) -> io::Result<Tun> {
        let near = Ipv4Addr::new(10, 80, 9, 1);
        let tun = device(&self.server, "stack", near, Offload::Segmentation)?;
        let route = || {
            let netlink = Netlink::open()?;
            netlink.add_route(&Route {
                link: Some(netlink.link("stack")?.index),
                ..Route::to(STACK_SECOND.into(), 32)
            })
        };
        self.server.run(route).map_err(io::Error::other)?;
        Ok(tun)
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for relay in self.relays.drain(..) {
            let _ = relay.join();
        }
    }
}

fn name(path: usize) -> String {
    format!("path{path}")
}

fn client_address(path: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 80, path, 1)
}

fn server_address(path: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 80, path, 2)
}

/// A TUN device in `host` with an address of its own there.
fn device(host: &Host, name: &str, address: Ipv4Addr, offload: Offload) -> io::Result<Tun> {
    host.run(|| {
        let tun = Tun::open(&TunConfig {
            name: name.into(),
            offload,
            ..TunConfig::default()
        })?;
        let netlink = Netlink::open().map_err(io::Error::other)?;
        netlink
            .add_address(name, address.into(), 24)
            .map_err(io::Error::other)?;
        Ok(tun)
    })
}
