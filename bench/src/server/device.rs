//! What packets of the servers in user space go through.

use anabranch::rps::Rps;
use anabranch_drivers::tun::TunConfig;
use anabranch_drivers::{Driver, Many, Own, Packet, PacketConfig, Tun, Xdp};
use anabranch_kernel::{Attach, AttachConfig, Netlink};
use clap::ValueEnum;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use super::{RELAY_SOURCE, SINK};

/// A device, and how it comes by its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Device {
    /// A TUN device, with the ports taken from the host's own addresses.
    Tun,
    /// Packet sockets (AF_PACKET) on each link, with an address of its own there.
    Packet,
    /// AF_XDP on each link, with an address of its own there.
    Xdp,
}

/// What lasts as long as the device serves.
pub(super) struct Served {
    _attached: Option<Attach>,
}

/// The address of its own that a packet device has on a link.
pub(crate) fn own_address(link: usize) -> IpAddr {
    Ipv4Addr::new(10, 77, link as u8, 3).into()
}

impl Device {
    /// Opens it, and gives it to `serve` on a thread of its own.
    pub(super) fn serve(
        self,
        serve: impl FnOnce(Device, Box<dyn Driver>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Served> {
        let (device, attached): (Box<dyn Driver>, _) = match self {
            Device::Tun => {
                let tun = Tun::open(&TunConfig::default())?;
                // As `anabranch serve` does it.
                let shared = Rps::Auto.apply(tun.name(), 1);
                shared.map_err(io::Error::other)?;
                let config = AttachConfig::new(tun.name(), [SINK..=RELAY_SOURCE]);
                let attached = Attach::install(config).map_err(io::Error::other)?;
                (Box::new(tun), Some(attached))
            }
            Device::Packet | Device::Xdp => (Box::new(self.all_links()?), None),
        };
        thread::spawn(move || {
            if let Err(error) = serve(self, device) {
                eprintln!("the server ended: {error}");
            }
        });
        Ok(Served {
            _attached: attached,
        })
    }

    fn all_links(self) -> io::Result<Many> {
        let open = |link| {
            let address = own_address(link);
            Ok::<_, io::Error>((vec![address], self.link(&name(link), address)?))
        };
        Many::new((0..links()?).map(open).collect::<io::Result<Vec<_>>>()?)
    }

    fn link(self, interface: &str, address: IpAddr) -> io::Result<Box<dyn Driver>> {
        let own = Own {
            address,
            prefix: 24,
        };
        let config = PacketConfig {
            // Nobody else is on these links.
            probe: Duration::ZERO,
            ..PacketConfig::new(interface, [own])
        };
        Ok(match self {
            // A link has one queue.
            Device::Xdp => Box::new(Xdp::open(&config)?.remove(0)),
            _ => Box::new(Packet::open(&config)?),
        })
    }
}

/// How many links there are on this host.
pub(super) fn links() -> io::Result<usize> {
    let netlink = Netlink::open().map_err(io::Error::other)?;
    Ok((0..)
        .take_while(|link| netlink.link(&name(*link)).is_ok())
        .count())
}

fn name(link: usize) -> String {
    format!("link{link}")
}
