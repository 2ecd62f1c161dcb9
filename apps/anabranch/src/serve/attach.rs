//! What `serve` sets up on the host, and removes again: a TUN device and the routes of its ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use anabranch_drivers::IcmpErrors;
use anabranch_drivers::tun::{Tun, TunConfig};
use anabranch_kernel::attach::STATE_DIR;
use anabranch_kernel::{Attach, AttachConfig, Monitor, Netlink};
use anabranch_sockets::{Announcement, Host};
use tokio::net::TcpSocket;

use super::args::{Listen, ServeArgs};
use super::backend::Backend;
use crate::cli::Failure;

const NO_PERMISSION: &str = "serving needs the capability CAP_NET_ADMIN: run it with sudo, or give \
     it to the binary (sudo setcap cap_net_admin,cap_net_raw+ep PATH), or in a systemd unit set \
     AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW";

/// Refuses addresses that this host does not have.
///
/// # Errors
/// One line naming the argument.
pub(super) fn check_addresses(args: &ServeArgs) -> Result<(), Failure> {
    let ours: Vec<IpAddr> = host_addresses()?;
    let of_listen = args
        .listen
        .iter()
        .filter_map(|listen| listen.addr.map(|a| ("--listen", a)));
    let of_announce = args.announce.iter().map(|&addr| ("--announce", addr));
    match of_listen
        .chain(of_announce)
        .find(|(_, addr)| !ours.contains(addr))
    {
        Some((name, addr)) => Err(Failure::Usage(format!(
            "{name} {addr}: this host has no such address"
        ))),
        None => Ok(()),
    }
}

/// Refuses services that this server would itself be, connecting to itself without end.
///
/// # Errors
/// One line naming the argument.
pub(super) fn check_loops(pairs: &[(Listen, Backend)]) -> Result<(), Failure> {
    let ours = host_addresses()?;
    for (_, backend) in pairs {
        let found = backend.addresses();
        let own = |to: &SocketAddr| pairs.iter().any(|(listen, _)| listen.takes(*to, &ours));
        if found.iter().any(own) {
            return Err(Failure::Usage(format!(
                "--to {}: this server serves that port itself; the service may use it on 127.0.0.1",
                backend.target()
            )));
        }
    }
    Ok(())
}

fn host_addresses() -> Result<Vec<IpAddr>, Failure> {
    let addresses = Netlink::open()
        .and_then(|netlink| netlink.addresses())
        .map_err(refused)?;
    Ok(addresses.iter().map(|own| own.address).collect())
}

/// What an Ethernet takes, bytes: where nothing else is known.
const USUAL_MTU: u16 = 1500;

/// The least that any path of IPv6 takes (RFC 8200 §5), bytes; `--mtu` takes no less either.
const LEAST_MTU: u16 = 1280;

/// The largest packet to send: what was asked for, or what every interface of the host takes.
///
/// # Errors
/// One line.
pub(super) fn mtu(args: &ServeArgs) -> Result<u16, Failure> {
    if let Some(mtu) = args.mtu {
        return Ok(mtu);
    }
    let least = Netlink::open()
        .and_then(|netlink| netlink.uplink_mtu())
        .map_err(refused)?;
    Ok(least.map_or(USUAL_MTU, |mtu| {
        u16::try_from(mtu).unwrap_or(u16::MAX).max(LEAST_MTU)
    }))
}

/// Lets `host` have the ICMP errors about its connections, which the kernel gets: without them,
/// paths that take smaller packets only are not found out.
pub(super) fn hear_icmp(host: &Host, args: &ServeArgs) {
    for (ipv6, name) in [(false, "ICMP"), (true, "ICMPv6")] {
        let ports = args.listen.iter().map(|listen| listen.port);
        let heard = IcmpErrors::open(ipv6, ports).and_then(|errors| host.hear(errors));
        match heard {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                tracing::warn!("without CAP_NET_RAW, ICMP errors do not reach connections");
                return;
            }
            Err(error) => tracing::warn!("{name} errors do not reach connections: {error}"),
        }
    }
}

/// Opens the TUN device.
///
/// # Errors
/// One line; without permission, what to do.
pub(super) fn open_device(args: &ServeArgs, mtu: u16) -> Result<Tun, Failure> {
    let config = TunConfig {
        name: args.tun.clone(),
        mtu,
        ..TunConfig::default()
    };
    Tun::open(&config).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::Failed(NO_PERMISSION.to_owned()),
        std::io::ErrorKind::ResourceBusy => Failure::Failed(format!(
            "--tun {}: another server has this device; give each its own name",
            args.tun
        )),
        _ => Failure::Failed(format!("--tun {}: {error}", args.tun)),
    })
}

/// The addresses to announce, with the identifiers they have on every connection; 0 is that of the
/// initial subflow (RFC 8684 §3.4.1).
pub(super) fn announcements(addresses: &[IpAddr]) -> Vec<Announcement> {
    let numbered = (1..=u8::MAX).zip(addresses);
    numbered
        .map(|(id, &addr)| Announcement {
            id,
            addr,
            port: None,
        })
        .collect()
}

/// Ports of the host's addresses that are routed to a TUN device until this is dropped.
pub(super) struct Attached {
    /// One for each set of addresses.
    attached: Vec<Attach>,
}

impl Attached {
    /// Takes the ports of `args`, after removing what a crash has left behind.
    ///
    /// # Errors
    /// One line; nothing is left changed then.
    pub(super) fn new(args: &ServeArgs) -> Result<Attached, Failure> {
        let left = Attach::recover(STATE_DIR.as_ref()).map_err(refused)?;
        if left > 0 {
            tracing::warn!("removed what {left} server(s) that ended without cleaning up had left");
        }
        warn_of_hidden_listeners(&args.listen)?;
        let mut attached = Vec::new();
        for (addresses, ports) in by_addresses(&args.listen) {
            let mut config = AttachConfig::new(&args.tun, ports.into_iter().map(|p| p..=p));
            if !addresses.is_empty() {
                config.ipv4 = addresses.iter().any(IpAddr::is_ipv4);
                config.ipv6 = addresses.iter().any(IpAddr::is_ipv6);
            }
            config.addresses = addresses;
            attached.push(Attach::install(config).map_err(refused)?);
        }
        Ok(Attached { attached })
    }

    /// Follows changes of the host's addresses and routes; never returns.
    pub(super) async fn follow(&mut self) {
        if let Err(error) = self.follow_while_watched().await {
            tracing::warn!("changes of addresses and routes are not followed any more: {error}");
        }
        std::future::pending().await
    }

    async fn follow_while_watched(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let monitor = Monitor::open()?;
        let ready = anabranch_sockets::watch(monitor.as_fd())?;
        loop {
            ready.readable().await?.clear_ready();
            if monitor.drain()? {
                self.refresh();
            }
        }
    }

    fn refresh(&mut self) {
        for attach in &mut self.attached {
            if let Err(error) = attach.refresh() {
                tracing::warn!("cannot follow a change of addresses or routes: {error}");
            }
        }
    }

    /// Gives the ports back.
    ///
    /// # Errors
    /// One line: what could not be undone.
    pub(super) fn detach(self) -> Result<(), Failure> {
        let outcomes: Vec<_> = self.attached.into_iter().map(Attach::remove).collect();
        outcomes
            .into_iter()
            .collect::<Result<(), _>>()
            .map_err(refused)
    }
}

/// Ports by the addresses that they are served on, which are empty for all of the host's. A port
/// served on all addresses is not listed with single ones.
fn by_addresses(listens: &[Listen]) -> BTreeMap<Vec<IpAddr>, Vec<u16>> {
    let mut ports: BTreeMap<u16, Option<Vec<IpAddr>>> = BTreeMap::new();
    for listen in listens {
        let addresses = ports.entry(listen.port).or_insert_with(|| Some(Vec::new()));
        match (addresses.as_mut(), listen.addr) {
            (Some(list), Some(addr)) => list.push(addr),
            (_, None) => *addresses = None,
            (None, _) => {}
        }
    }
    let mut groups: BTreeMap<Vec<IpAddr>, Vec<u16>> = BTreeMap::new();
    for (port, addresses) in ports {
        let mut addresses = addresses.unwrap_or_default();
        addresses.sort();
        groups.entry(addresses).or_default().push(port);
    }
    groups
}

/// A program of this host that listens on a port we take goes on running, but no client reaches it
/// any more but those on the host that use its loopback address.
fn warn_of_hidden_listeners(listens: &[Listen]) -> Result<(), Failure> {
    let ours = host_addresses()?;
    for listen in listens {
        let mut addresses = ours.iter().filter(|addr| match listen.addr {
            Some(one) => one == **addr,
            None => !addr.is_loopback(),
        });
        if addresses.any(|&addr| is_listened_on(SocketAddr::new(addr, listen.port))) {
            tracing::warn!(
                "another program of this host listens on {listen}: while this server runs, clients \
                 reach this server instead, and that program only over a loopback address"
            );
        }
    }
    Ok(())
}

/// Whether the kernel has a listener that a connection to `address` would reach.
fn is_listened_on(address: SocketAddr) -> bool {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let bound = socket.and_then(|socket| {
        // So that connections still closing are not in the way.
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    });
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

fn refused(error: anabranch_kernel::Error) -> Failure {
    Failure::Failed(match error {
        anabranch_kernel::Error::Permission { .. } => NO_PERMISSION.to_owned(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(listens: &[&str]) -> Vec<(Vec<String>, Vec<u16>)> {
        let listens: Vec<Listen> = listens.iter().map(|text| text.parse().unwrap()).collect();
        let names = |list: Vec<IpAddr>| list.iter().map(IpAddr::to_string).collect();
        by_addresses(&listens)
            .into_iter()
            .map(|(list, ports)| (names(list), ports))
            .collect()
    }

    fn group(addresses: &[&str], ports: &[u16]) -> (Vec<String>, Vec<u16>) {
        (
            addresses.iter().map(|&a| a.to_owned()).collect(),
            ports.to_vec(),
        )
    }

    #[test]
    fn ports_of_the_same_addresses_are_taken_together() {
        assert_eq!(grouped(&["80", "443"]), [group(&[], &[80, 443])]);
        let both = [
            "192.0.2.2:80",
            "192.0.2.1:80",
            "192.0.2.1:443",
            "192.0.2.2:443",
        ];
        assert_eq!(
            grouped(&both),
            [group(&["192.0.2.1", "192.0.2.2"], &[80, 443])]
        );
    }

    #[test]
    fn no_port_is_taken_on_an_address_that_was_not_named_for_it() {
        let apart = ["192.0.2.1:80", "192.0.2.2:81", "82"];
        let expected = [
            group(&[], &[82]),
            group(&["192.0.2.1"], &[80]),
            group(&["192.0.2.2"], &[81]),
        ];
        assert_eq!(grouped(&apart), expected);
    }

    #[test]
    fn a_port_on_every_address_includes_the_single_ones() {
        assert_eq!(grouped(&["192.0.2.1:80", "80"]), [group(&[], &[80])]);
        assert_eq!(grouped(&["80", "192.0.2.1:80"]), [group(&[], &[80])]);
    }

    #[test]
    fn identifiers_count_from_one() {
        let announced = announcements(&["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(announced.iter().map(|a| a.id).collect::<Vec<_>>(), [1, 2]);
    }
}
