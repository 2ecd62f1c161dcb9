//! Addresses of our own on interfaces of the host (`--attach packet` or `xdp`), for `serve` and `connect`.

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

use anabranch_drivers::{Driver, Mac, Many, Own, Packet, PacketConfig, Xdp};
use anabranch_kernel::{Address, Monitor, Netlink, Route, sysctl};
use clap::{Args, ValueEnum};

use crate::cli::Failure;
use crate::device::refused;
use crate::rps::Rps;

/// Where packets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Mode {
    /// Ports of the host's own addresses, routed to a TUN device
    #[default]
    Tun,
    /// Addresses of our own on Ethernet interfaces of the host, by packet sockets
    Packet,
    /// The same by AF_XDP, past the host's kernel: for network cards without offload
    Xdp,
}

/// How packets reach this program.
#[derive(Args, Debug, Clone, Default)]
pub struct AttachArgs {
    /// Where packets come from
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        default_value_t,
        help_heading = "Attachment"
    )]
    pub attach: Mode,

    /// Address that this program has on an interface, and that neither this host nor another has;
    /// with --attach packet or xdp (repeatable)
    #[arg(
        long,
        value_name = "ADDR/PREFIX%INTERFACE",
        help_heading = "Attachment"
    )]
    pub address: Vec<OwnAddress>,

    /// Where packets from such addresses to other networks go (repeatable) [default: the host's own
    /// gateway on the interface]
    #[arg(long, value_name = "ADDR", help_heading = "Attachment")]
    pub gateway: Vec<IpAddr>,

    /// Hardware address to have with such addresses, in place of the interface's own: the host's
    /// kernel then ignores what is for them even where it forwards packets; switches of clouds and
    /// wireless links may not deliver to it
    #[arg(long, value_name = "MAC", help_heading = "Attachment")]
    pub mac: Option<Mac>,

    /// Look for packets for so long before sleeping, as an idle core allows: answers come
    /// earlier, and a core is busy for that long after each packet [default: sleep at once]
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Attachment",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub busy_poll: Option<u32>,

    /// Processors that do the host's work with packets this program writes to its TUN device: auto
    /// (those it may use beyond one for each of its threads), off (its own threads wait for that
    /// work), or a list such as 0-3,6
    #[arg(
        long,
        value_name = "auto|off|CPUS",
        help_heading = "Attachment",
        default_value = "auto"
    )]
    pub rps: Rps,
}

/// An address of ours, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnAddress {
    /// The address.
    pub own: Own,
    /// Name of the interface.
    pub interface: String,
}

impl FromStr for OwnAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<OwnAddress, String> {
        let shape = || "expected ADDR/PREFIX%INTERFACE, such as 192.0.2.7/24%eth0".to_owned();
        let (own, interface) = text.split_once('%').ok_or_else(shape)?;
        if interface.is_empty() {
            return Err(shape());
        }
        Ok(OwnAddress {
            own: own.parse().map_err(|_| shape())?,
            interface: interface.to_owned(),
        })
    }
}

impl fmt::Display for OwnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Own { address, prefix } = self.own;
        write!(f, "{address}/{prefix}%{}", self.interface)
    }
}

/// Addresses, and routes from them.
type Known = (Vec<Address>, Vec<Route>);

/// A device, and the addresses that it has.
type Addressed = (Vec<IpAddr>, Box<dyn Driver>);

impl AttachArgs {
    /// Whether the host's own addresses are used.
    pub(crate) fn is_tun(&self) -> bool {
        self.attach == Mode::Tun
    }

    /// How long to look for packets before sleeping.
    pub(crate) fn busy_poll(&self) -> Duration {
        Duration::from_micros(self.busy_poll.unwrap_or(0).into())
    }

    /// The addresses that are ours alone.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.address.iter().map(|it| it.own.address).collect()
    }

    /// Refuses what does not go together.
    ///
    /// # Errors
    /// One line naming the argument.
    pub fn check(&self) -> Result<(), String> {
        if self.is_tun() {
            let address = self.address.first().map(|it| format!("--address {it}"));
            let gateway = self.gateway.first().map(|it| format!("--gateway {it}"));
            let mac = self.mac.map(|it| format!("--mac {it}"));
            return match address.or(gateway).or(mac) {
                None => Ok(()),
                Some(given) => Err(format!("{given} needs --attach packet or xdp")),
            };
        }
        if self.address.is_empty() {
            return Err("--attach packet or xdp needs an --address of its own".to_owned());
        }
        if matches!(self.rps, Rps::Cpus(_)) {
            return Err("--rps: with --attach packet or xdp there is no TUN device".to_owned());
        }
        for (position, address) in self.address.iter().enumerate() {
            let same = |other: &OwnAddress| other.own.address == address.own.address;
            if self.address[..position].iter().any(same) {
                return Err(format!("--address {} is given twice", address.own.address));
            }
        }
        let is_near = |gateway: &IpAddr| self.address.iter().any(|it| it.own.is_near(*gateway));
        match self.gateway.iter().find(|gateway| !is_near(gateway)) {
            Some(gateway) => Err(format!(
                "--gateway {gateway}: it is not in the network of any --address"
            )),
            None => Ok(()),
        }
    }

    /// Takes the addresses: a device for each of `queues` threads.
    ///
    /// # Errors
    /// One line naming the address or the interface.
    pub(crate) fn open(&self, queues: usize) -> Result<Vec<Box<dyn Driver>>, Failure> {
        self.check_host()?;
        let mut devices: Vec<Vec<Addressed>> = (0..queues).map(|_| Vec::new()).collect();
        for (interface, own) in self.interfaces() {
            let addresses: Vec<IpAddr> = own.iter().map(|own| own.address).collect();
            let mut config = PacketConfig::new(interface, own);
            config.gateways = self.gateways(interface, &config.addresses)?;
            for gateway in config
                .gateways
                .iter()
                .filter(|it| !self.gateway.contains(it))
            {
                tracing::info!("gateway on {interface}: {gateway}, as the host has");
            }
            config.mac = self.mac;
            let opened = self.open_interface(&config, queues)?;
            for (devices, device) in devices.iter_mut().zip(opened) {
                devices.push((addresses.clone(), device));
            }
        }
        let joined = devices.into_iter().map(|mut devices| match devices.len() {
            1 => Ok(devices.remove(0).1),
            _ => Many::new(devices).map(|many| Box::new(many) as Box<dyn Driver>),
        });
        joined.collect::<io::Result<_>>().map_err(not_opened)
    }

    fn open_interface(
        &self,
        config: &PacketConfig,
        queues: usize,
    ) -> Result<Vec<Box<dyn Driver>>, Failure> {
        if self.attach != Mode::Xdp {
            let opened = Packet::open_queues(config, queues).map_err(not_opened)?;
            return Ok(opened.into_iter().map(|it| Box::new(it) as _).collect());
        }
        let opened = Xdp::open(config).map_err(not_opened)?;
        let (name, has) = (&config.interface, opened.len());
        if has != queues {
            return Err(Failure::Failed(format!(
                "{name} has {has} receive queue(s), one for each thread: give `serve` --threads \
                 {has}, or `ethtool -L {name} combined {queues}`"
            )));
        }
        Ok(opened.into_iter().map(|it| Box::new(it) as _).collect())
    }

    /// Each interface with its addresses.
    fn interfaces(&self) -> Vec<(&str, Vec<Own>)> {
        let mut interfaces: Vec<(&str, Vec<Own>)> = Vec::new();
        for OwnAddress { own, interface } in &self.address {
            match interfaces.iter_mut().find(|(name, _)| name == interface) {
                Some((_, addresses)) => addresses.push(*own),
                None => interfaces.push((interface, vec![*own])),
            }
        }
        interfaces
    }

    /// Those given that are on the link; of a family without, the host's own.
    fn gateways(&self, interface: &str, own: &[Own]) -> Result<Vec<IpAddr>, Failure> {
        let netlink = Netlink::open().map_err(refused)?;
        let index = netlink.link(interface).map_err(refused)?.index;
        let routes = netlink.routes().map_err(refused)?;
        Ok(self.gateways_among(own, index, routes))
    }

    fn gateways_among(&self, own: &[Own], index: u32, mut routes: Vec<Route>) -> Vec<IpAddr> {
        let is_near = |gateway: &IpAddr| own.iter().any(|own| own.is_near(*gateway));
        let given = self.gateway.iter().copied().filter(is_near);
        let mut gateways: Vec<IpAddr> = given.collect();
        routes.retain(|route| route.link == Some(index) && route.destination.1 == 0);
        routes.sort_by_key(|route| route.metric);
        for gateway in routes.iter().filter_map(|route| route.gateway) {
            let has_one = gateways.iter().any(|it| it.is_ipv4() == gateway.is_ipv4());
            if !has_one && is_near(&gateway) {
                gateways.push(gateway);
            }
        }
        gateways
    }

    /// The addresses that connections may come from, and where these lead: the host's, or our own.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn world(&self, netlink: &Netlink) -> anabranch_kernel::Result<Known> {
        let of_host = netlink.routes()?;
        if self.is_tun() {
            return Ok((netlink.addresses()?, of_host));
        }
        let (mut addresses, mut routes) = (Vec::new(), Vec::new());
        let links = netlink.links()?;
        for (name, own) in self.interfaces() {
            let Some(link) = links.iter().find(|link| link.name == name) else {
                continue;
            };
            let gateways = self.gateways_among(&own, link.index, of_host.clone());
            let near = own.iter().map(|own| Route::to(own.address, own.prefix));
            let far = gateways.into_iter().map(Route::default_through);
            routes.extend(near.chain(far).map(|route| Route {
                link: Some(link.index),
                ..route
            }));
            addresses.extend(own.iter().map(|own| Address {
                link: link.index,
                address: own.address,
                prefix: own.prefix,
                global: true,
            }));
        }
        Ok((addresses, routes))
    }

    /// Refuses addresses of the host, and warns where its kernel would meddle.
    fn check_host(&self) -> Result<(), Failure> {
        let netlink = Netlink::open().map_err(refused)?;
        let of_host = netlink.addresses().map_err(refused)?;
        for it in &self.address {
            let own = it.own.address;
            if of_host.iter().any(|address| address.address == own) {
                return Err(Failure::Usage(format!(
                    "--address {own}: this host has it itself; take another one, or --attach tun"
                )));
            }
            let family = if own.is_ipv4() { "ipv4" } else { "ipv6" };
            let forwards = sysctl::read(&format!("net/{family}/conf/{}/forwarding", it.interface));
            if forwards.is_ok_and(|value| value.trim() == "1") {
                let bits = if own.is_ipv4() { 32 } else { 128 };
                tracing::warn!(
                    "this host forwards packets, and would send those for {own} back to the link: \
                     `ip route add blackhole {own}/{bits}` stops that"
                );
            }
        }
        Ok(())
    }

    /// Waits until an interface is gone, and tells its name.
    pub(crate) async fn gone(&self) -> Result<String, Box<dyn std::error::Error>> {
        let monitor = Monitor::open()?;
        let ready = anabranch_sockets::watch(monitor.as_fd())?;
        loop {
            let links = Netlink::open()?.links()?;
            let is_there = |name: &str| links.iter().any(|link| link.name == name);
            if let Some((name, _)) = self.interfaces().iter().find(|(name, _)| !is_there(name)) {
                return Ok((*name).to_owned());
            }
            while !monitor.drain()? {
                ready.readable().await?.clear_ready();
            }
        }
    }
}

fn not_opened(error: io::Error) -> Failure {
    Failure::Failed(match error.kind() {
        io::ErrorKind::PermissionDenied => NO_PERMISSION.to_owned(),
        _ => error.to_string(),
    })
}

const NO_PERMISSION: &str = "this needs the capability CAP_NET_RAW: run it with sudo, or give it to \
     the binary (sudo setcap cap_net_raw+ep PATH), or in a systemd unit set \
     AmbientCapabilities=CAP_NET_RAW";
