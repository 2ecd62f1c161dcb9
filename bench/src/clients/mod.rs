//! Clients in user space, to a kernel server: each is this process's own stack over a TUN device,
//! with an address behind either link.

mod anabranch;
mod mptcp_rs;

use ::anabranch::rps::Rps;
use anabranch_drivers::Tun;
use anabranch_drivers::tun::{Offload, TunConfig};
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::route::Route;
use anabranch_kernel::rule::{Action, Rule};
use anabranch_kernel::{Netlink, sysctl};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::cpu;
use crate::lab::{Direction, Pinning, Process};
use crate::server::{SINK, SOURCE, Server};
use crate::work::{Length, Sample};

/// The stack's own addresses, one behind each link, and the host's address on the device.
const OURS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 0, 2)];
const HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 254);

/// Whose stack the client is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Anabranch,
    MptcpRs,
}

/// Has what comes from either address of the stack leave by a link of its own, and come back.
pub(crate) fn prepare(topology: &Topology) -> io::Result<()> {
    let client = || {
        sysctl::write("net/ipv4/ip_forward", "1")?;
        let netlink = Netlink::open()?;
        for (link, from) in (0..).zip(OURS) {
            // The topology's own tables: out by that link.
            let action = Action::Lookup(100 + link);
            netlink.add_rule(&Rule {
                from: Some((from.into(), 32)),
                ..Rule::new(true, 1100 + link, action)
            })?;
        }
        Ok::<_, anabranch_kernel::Error>(())
    };
    topology.client.run(client).map_err(io::Error::other)?;
    let server = || {
        let netlink = Netlink::open()?;
        for (link, to) in OURS.into_iter().enumerate() {
            netlink.add_route(&Route {
                gateway: Some(topology.v4(Side::Client, link)),
                ..Route::to(to.into(), 32)
            })?;
        }
        Ok::<_, anabranch_kernel::Error>(())
    };
    topology.server.run(server).map_err(io::Error::other)
}

impl Client {
    /// Moves bytes to or from a kernel server.
    pub(crate) fn sample(
        self,
        topology: &Topology,
        (pinning, direction): (Pinning, Direction),
        server: &Server,
        length: Length,
    ) -> io::Result<Sample> {
        let (client_core, server_core) = pinning.cores();
        let _process = Process::start(&topology.server, server, server_core)?;
        let port = match direction {
            Direction::Upload => SINK,
            Direction::Download => SOURCE,
        };
        let to = SocketAddr::new(server.address(topology), port);
        topology.client.run(|| {
            cpu::pin(client_core)?;
            match self {
                Client::Anabranch => {
                    anabranch::transfer(device(Offload::Segmentation)?, to, direction, length)
                }
                Client::MptcpRs => {
                    mptcp_rs::transfer(device(Offload::None)?.into(), to, direction, length)
                }
            }
        })
    }
}

/// A TUN device in the client's namespace.
fn device(offload: Offload) -> io::Result<Tun> {
    let tun = Tun::open(&TunConfig {
        name: "stack".into(),
        offload,
        ..TunConfig::default()
    })?;
    if offload != Offload::None {
        // As `anabranch connect` does it.
        let shared = Rps::Auto.apply(tun.name(), 1);
        shared.map_err(io::Error::other)?;
    }
    let netlink = Netlink::open().map_err(io::Error::other)?;
    netlink
        .add_address("stack", IpAddr::V4(HOST), 24)
        .map_err(io::Error::other)?;
    Ok(tun)
}
