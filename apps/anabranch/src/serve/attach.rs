//! What `serve` sets up on the host, and removes again: a TUN device and the routes of its ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use anabranch_drivers::Driver;
use anabranch_drivers::tun::{Tun, TunConfig};
use anabranch_kernel::attach::STATE_DIR;
use anabranch_kernel::{Attach, AttachConfig, Netlink};
use anabranch_sockets::Announcement;
use tokio::net::TcpSocket;

use super::args::{Listen, ServeArgs};
use super::backend::Backend;
use crate::cli::Failure;
use crate::device::{NO_PERMISSION, refused};
use crate::own::AttachArgs;
use crate::ports::Ports;

/// Refuses addresses that this host, or this program, does not have.
///
/// # Errors
/// One line naming the argument.
pub(super) fn check_addresses(args: &ServeArgs) -> Result<(), Failure> {
    let (ours, who) = match args.device.is_tun() {
        true => (host_addresses()?, "this host has no such address"),
        false => (args.device.addresses(), "no --address says so"),
    };
    let of_listen = args
        .listen
        .iter()
        .filter_map(|listen| listen.addr.map(|a| ("--listen", a)));
    let of_announce = args.announce.iter().map(|&addr| ("--announce", addr));
    match of_listen
        .chain(of_announce)
        .find(|(_, addr)| !ours.contains(addr))
    {
        Some((name, addr)) => Err(Failure::Usage(format!("{name} {addr}: {who}"))),
        None => Ok(()),
    }
}

/// Refuses services that this server would itself be, connecting to itself without end.
///
/// # Errors
/// One line naming the argument.
pub(super) fn check_loops(args: &ServeArgs, pairs: &[(Listen, Backend)]) -> Result<(), Failure> {
    let ours = match args.device.is_tun() {
        true => host_addresses()?,
        false => args.device.addresses(),
    };
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

/// Opens the TUN device, or takes the addresses: a device for each thread.
///
/// # Errors
/// One line; without permission, what to do.
pub(super) fn open_devices(args: &ServeArgs, mtu: u16) -> Result<Vec<Box<dyn Driver>>, Failure> {
    if !args.device.is_tun() {
        return args.device.open(args.threads());
    }
    let queues = open_tun(args, mtu)?;
    let shared = args.device.rps.apply(queues[0].name(), queues.len());
    shared.map_err(crate::rps::refused)?;
    let queues = queues.into_iter();
    Ok(queues.map(|queue| Box::new(queue) as _).collect())
}

fn open_tun(args: &ServeArgs, mtu: u16) -> Result<Vec<Tun>, Failure> {
    let config = TunConfig {
        name: args.tun.clone(),
        mtu,
        ..TunConfig::default()
    };
    Tun::open_queues(&config, args.threads()).map_err(|error| match error.kind() {
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

/// What brings packets here until this is dropped.
pub(super) enum Attached {
    /// Ports of the host's addresses, routed to a TUN device: one for each set of addresses.
    Ports(Ports),
    /// Addresses of our own: nothing of the host's.
    Own(AttachArgs),
}

impl Attached {
    /// Takes the ports of `args`, after removing what a crash has left behind.
    ///
    /// # Errors
    /// One line; nothing is left changed then.
    pub(super) fn new(args: &ServeArgs) -> Result<Attached, Failure> {
        if !args.device.is_tun() {
            return Ok(Attached::Own(args.device.clone()));
        }
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
        Ok(Attached::Ports(Ports::new(attached)))
    }

    /// Follows changes of the host's addresses and routes.
    ///
    /// # Errors
    /// One line: the interface of our own addresses is gone. There is no other end.
    pub(super) async fn follow(&mut self) -> Result<(), Failure> {
        match self {
            // They follow with the paths, which are asked first.
            Attached::Ports(_) => {}
            Attached::Own(device) => match device.gone().await {
                Ok(name) => {
                    let message = format!("the interface {name} is gone");
                    return Err(Failure::Failed(message));
                }
                Err(error) => tracing::warn!("interfaces are not followed any more: {error}"),
            },
        }
        std::future::pending().await
    }

    /// Gives the ports back.
    ///
    /// # Errors
    /// One line: what could not be undone.
    pub(super) fn detach(self) -> Result<(), Failure> {
        match self {
            Attached::Ports(ports) => ports.remove().map_err(refused),
            Attached::Own(_) => Ok(()),
        }
    }

    /// What has packets leave by the interface that they should.
    pub(super) fn ports(&self) -> Option<Ports> {
        match self {
            Attached::Ports(ports) => Some(ports.clone()),
            Attached::Own(_) => None,
        }
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
