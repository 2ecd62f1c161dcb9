//! The addresses of this host that a connection may use, and what becomes of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use anabranch_kernel::{Monitor, Netlink, Route};
use anabranch_sockets::Host;
use anabranch_sockets::policy::Source;

use super::args::ConnectArgs;
use crate::cli::Failure;
use crate::device::refused;
use crate::own::AttachArgs;
use crate::ports::Ports;

/// Which addresses are wanted.
#[derive(Debug)]
pub(super) struct Uplinks {
    /// All with a route to the server if empty.
    from: Vec<IpAddr>,
    backup: Vec<IpAddr>,
    remote: SocketAddr,
    /// Whose addresses these are.
    device: AttachArgs,
    /// Those there are now.
    present: BTreeSet<IpAddr>,
}

impl Uplinks {
    /// Those wanted that the host has now.
    ///
    /// # Errors
    /// One line: the host has none of them, or not one that was named.
    pub(super) fn find(args: &ConnectArgs, remote: SocketAddr) -> Result<Uplinks, Failure> {
        let mut uplinks = Uplinks {
            from: args.from.clone(),
            backup: args.backup.clone(),
            remote,
            device: args.device.clone(),
            present: BTreeSet::new(),
        };
        uplinks.present = uplinks.usable().map_err(refused)?;
        let missing = |(_, addr): &(_, IpAddr)| !uplinks.present.contains(addr);
        if let Some((name, addr)) = args.addresses().find(missing) {
            return Err(Failure::Usage(format!(
                "{name} {addr}: this host has no such address on an interface that is up"
            )));
        }
        let fits = |addr: &&IpAddr| addr.is_ipv4() == remote.is_ipv4();
        if !uplinks.present.iter().any(|addr| fits(&addr)) {
            return Err(Failure::Failed(format!(
                "no address of this host has a route to {}; name one with --from",
                remote.ip()
            )));
        }
        Ok(uplinks)
    }

    /// Those there are, the named ones in the order they were named.
    pub(super) fn paths(&self) -> Vec<Source> {
        let named = self.from.iter().copied();
        let others = self.present.iter().filter(|addr| !self.from.contains(addr));
        named
            .chain(others.copied())
            .filter(|addr| self.present.contains(addr))
            .map(|addr| self.path(addr))
            .collect()
    }

    /// Addresses to take ports of; none for all.
    pub(super) fn named(&self) -> Vec<IpAddr> {
        if self.from.is_empty() {
            return Vec::new();
        }
        self.from.iter().chain(&self.backup).copied().collect()
    }

    /// Has `host` and `ports` follow changes; never returns.
    pub(super) async fn follow(&mut self, host: &Host, ports: Option<&Ports>) {
        if let Err(error) = self.follow_while_watched(host, ports).await {
            tracing::warn!("changes of addresses and routes are not followed any more: {error}");
        }
        std::future::pending().await
    }

    async fn follow_while_watched(
        &mut self,
        host: &Host,
        ports: Option<&Ports>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let monitor = Monitor::open()?;
        let ready = anabranch_sockets::watch(monitor.as_fd())?;
        loop {
            // Once before the first word: something may have changed since the start.
            if let Some(ports) = ports {
                ports.refresh();
            }
            let now = self.usable()?;
            for addr in self.present.difference(&now) {
                tracing::debug!("{addr} is gone");
                host.address_gone(*addr);
            }
            for addr in now.difference(&self.present) {
                tracing::debug!("{addr} is there");
                host.address_back(self.path(*addr));
            }
            self.present = now;
            while !monitor.drain()? {
                ready.readable().await?.clear_ready();
            }
        }
    }

    fn path(&self, addr: IpAddr) -> Source {
        Source {
            backup: self.backup.contains(&addr),
            ..Source::new(addr)
        }
    }

    /// The wanted addresses whose interface works.
    fn usable(&self) -> anabranch_kernel::Result<BTreeSet<IpAddr>> {
        let netlink = Netlink::open()?;
        let links = netlink.links()?;
        let (own, routes) = self.device.world(&netlink)?;
        let works = |index: u32| {
            let link = links.iter().find(|link| link.index == index);
            link.is_some_and(|link| link.running && !link.loopback)
        };
        let own = own.into_iter().filter(|own| own.global && works(own.link));
        let wanted = own.filter(|own| {
            let named = self.from.contains(&own.address) || self.backup.contains(&own.address);
            let routed = || {
                let mut here = routes.iter().filter(|route| route.link == Some(own.link));
                here.any(|route| self.leads_there(route, own.address))
            };
            named || self.from.is_empty() && routed()
        });
        Ok(wanted.map(|own| own.address).collect())
    }

    /// Whether a route can carry packets from `addr` to the server, or anywhere if that is of the
    /// other family: it may announce an address of this one.
    fn leads_there(&self, route: &Route, addr: IpAddr) -> bool {
        let (network, prefix) = route.destination;
        if network.is_ipv4() != addr.is_ipv4() {
            return false;
        }
        match (network, self.remote.ip()) {
            (IpAddr::V4(network), IpAddr::V4(to)) => {
                let bits = u32::from(network) ^ u32::from(to);
                bits.leading_zeros() >= prefix.into()
            }
            (IpAddr::V6(network), IpAddr::V6(to)) => {
                let bits = u128::from(network) ^ u128::from(to);
                bits.leading_zeros() >= prefix.into()
            }
            _ => prefix == 0,
        }
    }
}
