//! The host as its kernel describes it, in the words of the policy.

use anabranch_kernel::{Netlink, Route};
use anabranch_paths::{Address, Host, Link, Prefix};

use crate::own::AttachArgs;

/// Interfaces, addresses and routes there are now.
pub(crate) struct World {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<anabranch_paths::Route>,
}

impl World {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn read() -> anabranch_kernel::Result<World> {
        World::of(&AttachArgs::default())
    }

    /// The same with the addresses of our own, where there are such, in place of the host's.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn of(device: &AttachArgs) -> anabranch_kernel::Result<World> {
        let netlink = Netlink::open()?;
        let found = netlink.links()?.into_iter().filter(|link| !link.loopback);
        let links: Vec<Link> = found
            .map(|link| Link {
                index: link.index,
                name: link.name,
                up: link.running,
                metered: false,
            })
            .collect();
        let known = |index: u32| links.iter().any(|link| link.index == index);
        let (found, routes) = device.world(&netlink)?;
        let addresses = found.into_iter().filter(|it| it.global && known(it.link));
        let addresses = addresses.map(|it| Address {
            addr: it.address,
            link: it.link,
        });
        Ok(World {
            addresses: addresses.collect(),
            routes: routes.iter().filter_map(leads).collect(),
            links,
        })
    }

    /// Tells `host`; whether that was news.
    pub(crate) fn tell(self, host: &mut Host) -> bool {
        host.replace(self.links, self.addresses, self.routes)
    }
}

fn leads(route: &Route) -> Option<anabranch_paths::Route> {
    let (network, prefix) = route.destination;
    Some(anabranch_paths::Route {
        link: route.link?,
        to: Prefix::new(network, prefix).ok()?,
    })
}
