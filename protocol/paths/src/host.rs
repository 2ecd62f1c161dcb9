//! This host's interfaces, addresses and routes, and which of them a connection may use.

use crate::plan::{Metered, Rule};
use crate::{Endpoint, Kind, MAX_ADDRESSES, Policy, Prefix};
use std::net::{IpAddr, SocketAddr};

/// Interfaces, addresses and routes remembered, each; a host that has more is used as far as these.
const MAX_KNOWN: usize = 1024;

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Up, and with carrier.
    pub up: bool,
    /// What it carries is paid for by volume, as far as the system knows.
    pub metered: bool,
}

/// An address of an interface, reachable from other hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub addr: IpAddr,
    /// The interface's number.
    pub link: u32,
}

/// A network that an interface leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// The interface's number.
    pub link: u32,
    /// The network.
    pub to: Prefix,
}

/// Something changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostEvent {
    /// An interface is there, or is otherwise than before.
    LinkUp(Link),
    /// An interface is gone, and its addresses and routes with it.
    LinkDown(u32),
    /// An address is there.
    AddressUp(Address),
    /// An address is gone.
    AddressDown(Address),
    /// A route is there.
    RouteUp(Route),
    /// A route is gone.
    RouteDown(Route),
}

/// An address that a connection may use, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Source {
    /// Address and port; port 0 is any free one.
    pub addr: SocketAddr,
    /// Its ID towards peers, 1 to 255; 0 leaves it to the engine.
    pub id: u8,
    /// The number of its interface; 0 if that is not known.
    pub link: u32,
    /// The lesser, the better; 100 unless a rule says otherwise.
    pub rank: u8,
    /// Its subflows are backups.
    pub backup: bool,
    /// Subflows that a connection may have through its interface; 0 for any number.
    pub subflows: u8,
    /// A route leads from there to the peer's first address, as far as is known. Otherwise the
    /// peer may be told of it, but no subflow starts there.
    pub routed: bool,
}

impl Source {
    /// An address with any free port, of which nothing else is known.
    pub fn new(addr: IpAddr) -> Source {
        Source {
            addr: SocketAddr::new(addr, 0),
            id: 0,
            link: 0,
            rank: DEFAULT_RANK,
            backup: false,
            subflows: 0,
            routed: true,
        }
    }
}

pub(crate) const DEFAULT_RANK: u8 = 100;

/// What is known of this host.
#[derive(Clone, Default, Debug)]
pub struct Host {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    /// Somebody tells of routes: an address without one leads nowhere.
    routed: bool,
    /// The engine translates what leaves by an interface to an address of it.
    translates: bool,
    /// IDs given to addresses; they stay while the address is away, as far as there is room.
    ids: Vec<(IpAddr, u8)>,
}

impl Host {
    /// A host without anything.
    pub fn new() -> Host {
        Host::default()
    }

    /// Takes a change; whether it was one.
    pub fn on_event(&mut self, event: HostEvent) -> bool {
        match event {
            HostEvent::LinkUp(link) => self.link_up(link),
            HostEvent::LinkDown(index) => {
                let before = self.links.len();
                self.links.retain(|l| l.index != index);
                self.addresses.retain(|a| a.link != index);
                self.routes.retain(|r| r.link != index);
                self.links.len() < before
            }
            HostEvent::AddressUp(address) => {
                self.name(address.addr);
                insert(&mut self.addresses, address)
            }
            HostEvent::AddressDown(address) => remove(&mut self.addresses, &address),
            HostEvent::RouteUp(route) => {
                self.routed = true;
                insert(&mut self.routes, route)
            }
            HostEvent::RouteDown(route) => remove(&mut self.routes, &route),
        }
    }

    fn link_up(&mut self, link: Link) -> bool {
        if let Some(known) = self.links.iter_mut().find(|l| l.index == link.index) {
            let changed = *known != link;
            *known = link;
            return changed;
        }
        insert(&mut self.links, link)
    }

    /// Takes everything there is now in place of what was known; whether anything changed.
    pub fn replace(
        &mut self,
        links: Vec<Link>,
        addresses: Vec<Address>,
        routes: Vec<Route>,
    ) -> bool {
        let before = (&self.links, &self.addresses, &self.routes);
        let changed = before != (&links, &addresses, &routes);
        (self.links, self.addresses, self.routes) = (links, addresses, routes);
        self.links.truncate(MAX_KNOWN);
        self.addresses.truncate(MAX_KNOWN);
        self.routes.truncate(MAX_KNOWN);
        self.routed = true;
        for i in 0..self.addresses.len() {
            self.name(self.addresses[i].addr);
        }
        changed
    }

    /// Gives an address its ID: from the top, where endpoints count from 1.
    fn name(&mut self, addr: IpAddr) {
        if self.ids.iter().any(|(known, _)| *known == addr) {
            return;
        }
        let taken = |id: u8| self.ids.iter().any(|(_, known)| *known == id);
        let id = (1..=u8::MAX).rev().find(|id| !taken(*id));
        let id = id.or_else(|| {
            let here = |addr: &IpAddr| self.addresses.iter().any(|a| a.addr == *addr);
            let away = self.ids.iter().position(|(addr, _)| !here(addr))?;
            Some(self.ids.remove(away).1)
        });
        if let Some(id) = id {
            self.ids.push((addr, id));
        }
    }

    /// The engine can send from an address through an interface that does not have it, translated
    /// to one that it has; whether that is news.
    pub fn set_translates(&mut self, translates: bool) -> bool {
        std::mem::replace(&mut self.translates, translates) != translates
    }

    /// The interface of this number.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|l| l.index == index)
    }

    /// Every interface.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Every address, whether its interface works or not.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The addresses that a connection to `remote` may use by `policy` and `rules`, best first: the
    /// interface works, and no rule forbids it. Where routes are not told of, they are taken for
    /// granted; so they are for an address that [`Policy::sources`] names. One of the other family,
    /// which the peer may have too, needs a default route.
    ///
    /// A [`Kind::Server`] tells of every address that works: which of them a peer reaches, from
    /// wherever it may come, is the peer's to find out.
    pub fn sources(&self, policy: &Policy, rules: &[Rule], remote: IpAddr) -> Vec<Source> {
        let opens = policy.kind != Kind::Server;
        self.sources_for(policy, rules, Some(remote).filter(|_| opens))
    }

    /// Whether this is an address of an interface that works.
    pub fn works(&self, addr: IpAddr) -> bool {
        let mut here = self.addresses.iter().filter(|a| a.addr == addr);
        here.any(|a| self.link(a.link).is_some_and(|l| l.up))
    }

    /// As [`Host::sources`]; without `remote`, wherever interfaces that work lead.
    pub(crate) fn sources_for(
        &self,
        policy: &Policy,
        rules: &[Rule],
        remote: Option<IpAddr>,
    ) -> Vec<Source> {
        let all = self.addresses_of(policy).into_iter();
        let usable = all.filter(|a| self.link(a.link).is_some_and(|l| l.up));
        let mut sources: Vec<Source> = usable
            .filter_map(|a| self.source(&a, policy, rules, remote))
            .collect();
        if !policy.sources.is_empty() {
            sources.retain(|s| policy.sources.contains(&s.addr.ip()));
            let place = |s: &Source| policy.sources.iter().position(|a| *a == s.addr.ip());
            sources.sort_by_key(place);
        }
        sources.sort_by_key(|s| (!s.routed, s.backup, s.rank));
        sources.truncate(MAX_ADDRESSES);
        sources
    }

    /// Every address with its interface. One whose endpoint names an interface is at that one, and
    /// at no other.
    fn addresses_of(&self, policy: &Policy) -> Vec<Address> {
        let bound = || policy.endpoints.iter().filter(|e| e.is_bound());
        let is_free = |a: &&Address| !bound().any(|e| e.addr == a.addr);
        let free = self.addresses.iter().filter(is_free).copied();
        free.chain(bound().filter_map(|e| self.at_its_interface(e)))
            .collect()
    }

    fn at_its_interface(&self, endpoint: &Endpoint) -> Option<Address> {
        let addr = endpoint.addr;
        let mut links = self.links.iter();
        let link = links.find(|l| endpoint.dev.as_ref() == Some(&l.name))?;
        let any = |fits: &dyn Fn(&Address) -> bool| self.addresses.iter().any(fits);
        let usable = match self.translates {
            true => any(&|a| a.link == link.index && a.addr.is_ipv4() == addr.is_ipv4()),
            false => any(&|a| a.addr == addr),
        };
        let link = link.index;
        usable.then_some(Address { addr, link })
    }

    /// Whether its interface leads from there to `remote`.
    fn leads_to(&self, address: &Address, remote: Option<IpAddr>) -> bool {
        let Some(remote) = remote else {
            return true;
        };
        let ipv4 = address.addr.is_ipv4();
        let leads = |r: &Route| match ipv4 == remote.is_ipv4() {
            true => r.to.contains(remote),
            false => r.to.is_default() && r.to.is_ipv4() == ipv4,
        };
        let mut here = self.routes.iter().filter(|r| r.link == address.link);
        !self.routed || here.any(leads)
    }

    fn source(
        &self,
        address: &Address,
        policy: &Policy,
        rules: &[Rule],
        remote: Option<IpAddr>,
    ) -> Option<Source> {
        let Address { addr, link } = *address;
        let found = self.link(link)?;
        let settings = Rule::settings(rules, &found.name, addr, found.metered);
        let metered = settings.metered.unwrap_or(false);
        if settings.allow == Some(false) || (metered && policy.metered == Metered::Never) {
            return None;
        }
        let spared = metered && policy.metered == Metered::Backup;
        let of_endpoint = |e: &&Endpoint| e.addr == addr && e.port.is_none();
        let endpoint = policy.endpoints.iter().find(of_endpoint);
        let own = self.ids.iter().find(|(known, _)| *known == addr);
        Some(Source {
            id: endpoint.map_or(own.map_or(0, |(_, id)| *id), |e| e.id),
            link,
            rank: settings.rank.unwrap_or(DEFAULT_RANK),
            backup: settings.backup.unwrap_or(spared),
            subflows: settings.subflows.unwrap_or(0),
            routed: policy.sources.contains(&addr) || self.leads_to(address, remote),
            ..Source::new(addr)
        })
    }
}

fn insert<T: PartialEq>(list: &mut Vec<T>, item: T) -> bool {
    let is_new = !list.contains(&item) && list.len() < MAX_KNOWN;
    if is_new {
        list.push(item);
    }
    is_new
}

fn remove<T: PartialEq>(list: &mut Vec<T>, item: &T) -> bool {
    let before = list.len();
    list.retain(|known| known != item);
    list.len() < before
}
