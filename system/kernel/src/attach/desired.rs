//! What one process wants in the kernel's tables, given what the host has now.

use super::{AttachConfig, Bound};
use crate::link::{Address, Link};
use crate::route::{LOCAL, MAIN, Protocol};
use crate::rule::Action;
use crate::{Netlink, Result, Route, Rule};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Our rules for ports go before the table of local addresses.
pub(super) const PORTS: u32 = 10;

/// Addresses bound to an interface, right behind the local table and what it is moved for.
const BOUND: u32 = 102;
const BOUND_ONLY: u32 = 103;

/// Our source routing goes right before the main table, behind any rules of the host's own.
const MAIN_BUT_DEFAULT: u32 = 32_764;
const BY_SOURCE: u32 = 32_765;

/// First of our tables ("ana" in ASCII), and how many each process may use.
const TABLES: u32 = 0x616e_6100;
const TABLES_EACH: u32 = 64;

/// Metric of IPv6 routes that nobody gave one; given, so that what is read back is what was set.
const IPV6_METRIC: u32 = 1024;

/// What the host has.
pub(super) struct Snapshot {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
    pub(super) routes: Vec<Route>,
    pub(super) rules: Vec<Rule>,
}

impl Snapshot {
    pub(super) fn take(netlink: &Netlink) -> Result<Snapshot> {
        Ok(Snapshot {
            links: netlink.links()?,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
            rules: netlink.rules()?,
        })
    }

    fn index(&self, name: &str) -> Option<u32> {
        Some(self.links.iter().find(|link| link.name == name)?.index)
    }

    /// What leads through an interface: its routes in the main table, and a default route of any
    /// other table but ours if there is none.
    fn routes_through(&self, link: &str, ipv4: bool) -> Vec<Route> {
        let Some(index) = self.index(link) else {
            return Vec::new();
        };
        let others = self.routes.iter().filter(|it| {
            let ours = it.protocol == Protocol::ANABRANCH;
            !ours && it.link == Some(index) && it.is_ipv4() == ipv4 && it.table != LOCAL
        });
        let (main, elsewhere): (Vec<_>, Vec<_>) = others.cloned().partition(|it| it.table == MAIN);
        let is_default = |it: &Route| it.destination.1 == 0;
        let mut found = main;
        if !found.iter().any(is_default) {
            found.extend(elsewhere.into_iter().find(is_default));
        }
        found
    }

    /// The default routes of the main table of a family, by interface.
    fn default_routes(&self, ipv4: bool) -> BTreeMap<u32, &Route> {
        let mut defaults = BTreeMap::new();
        let is_default =
            |it: &&Route| it.table == MAIN && it.is_ipv4() == ipv4 && it.destination.1 == 0;
        for route in self.routes.iter().filter(is_default) {
            let Some(link) = route.link else { continue };
            let best = defaults.entry(link).or_insert(route);
            if route.metric < best.metric {
                *best = route;
            }
        }
        defaults
    }
}

/// One process's share.
pub(super) struct Instance<'a> {
    pub(super) slot: u32,
    pub(super) config: &'a AttachConfig,
}

impl Instance<'_> {
    /// The addresses whose ports are taken.
    pub(super) fn addresses(&self, snapshot: &Snapshot) -> Vec<IpAddr> {
        let own = self.own(snapshot).map(|own| own.address);
        let bound = self.bound().map(|bound| bound.address);
        let mut addresses: Vec<IpAddr> = own.chain(bound).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    fn own<'b>(&'b self, snapshot: &'b Snapshot) -> impl Iterator<Item = &'b Address> {
        let config = self.config;
        let tun = snapshot.index(&config.tun);
        snapshot.addresses.iter().filter(move |own| {
            let address = own.address;
            own.global
                && !address.is_loopback()
                && Some(own.link) != tun
                && (if address.is_ipv4() {
                    config.ipv4
                } else {
                    config.ipv6
                })
                && (config.addresses.is_empty() || config.addresses.contains(&address))
        })
    }

    fn bound(&self) -> impl Iterator<Item = &Bound> {
        let config = self.config;
        let wanted = |bound: &&Bound| match bound.address.is_ipv4() {
            true => config.ipv4,
            false => config.ipv6,
        };
        config.bound.iter().filter(wanted)
    }

    /// The bound addresses that are not their interface's: it would get no answers to them.
    pub(super) fn foreign(&self, snapshot: &Snapshot) -> Vec<Bound> {
        let foreign = self.bound().filter(|bound| {
            let link = snapshot.index(&bound.link);
            let mut here = snapshot.addresses.iter();
            !here.any(|own| own.address == bound.address && Some(own.link) == link)
        });
        foreign.cloned().collect()
    }

    /// Makes the tables of this process what they should be; what is right already is not touched.
    pub(super) fn reconcile(&self, netlink: &Netlink, snapshot: &Snapshot) -> Result<()> {
        let (routes, rules) = self.wanted(snapshot);
        let (old_routes, old_rules) = held(self.slot, &self.config.tun, snapshot);
        for route in routes.iter().filter(|route| !old_routes.contains(route)) {
            netlink.add_route(route)?;
        }
        for rule in rules.iter().filter(|rule| !old_rules.contains(rule)) {
            netlink.add_rule(rule)?;
        }
        for rule in old_rules.iter().filter(|rule| !rules.contains(rule)) {
            netlink.delete_rule(rule)?;
        }
        for route in old_routes.iter().filter(|route| !routes.contains(route)) {
            netlink.delete_route(route)?;
        }
        Ok(())
    }

    fn wanted(&self, snapshot: &Snapshot) -> (Vec<Route>, Vec<Rule>) {
        let (mut routes, mut rules) = (Vec::new(), Vec::new());
        let Some(tun) = snapshot.index(&self.config.tun) else {
            return (routes, rules);
        };
        for address in self.addresses(snapshot) {
            let prefix = if address.is_ipv4() { 32 } else { 128 };
            // Programs of this host that connect to it keep the address as their source, if they may.
            let is_own = snapshot.addresses.iter().any(|own| own.address == address);
            routes.push(self.route(Route {
                link: Some(tun),
                source: Some(address).filter(|_| is_own),
                metric: if address.is_ipv4() { 0 } else { IPV6_METRIC },
                table: self.table(0),
                ..Route::to(address, prefix)
            }));
        }
        for (ipv4, wanted) in [(true, self.config.ipv4), (false, self.config.ipv6)] {
            if !wanted {
                continue;
            }
            for ports in &self.config.ports {
                let tcp_ports = Some(ports.clone());
                rules.push(Rule {
                    tcp_ports,
                    ..self.rule(ipv4, PORTS, self.lookup(0))
                });
            }
            if self.config.source_routing {
                self.by_source(snapshot, ipv4, &mut routes, &mut rules);
            }
        }
        self.by_interface(snapshot, &mut routes, &mut rules);
        (routes, rules)
    }

    /// Addresses bound to an interface: the routes through it, and no others.
    fn by_interface(&self, snapshot: &Snapshot, routes: &mut Vec<Route>, rules: &mut Vec<Rule>) {
        for (number, bound) in (0..TABLES_EACH).rev().zip(self.bound()) {
            let ipv4 = bound.address.is_ipv4();
            let through = snapshot.routes_through(&bound.link, ipv4).into_iter();
            let through = through.map(|route| {
                let table = self.table(number);
                self.route(Route { table, ..route })
            });
            routes.extend(through);
            for (preference, action) in [
                (BOUND, self.lookup(number)),
                (BOUND_ONLY, Action::Blackhole),
            ] {
                rules.push(Rule {
                    input: Some(self.config.tun.clone()),
                    from: Some((bound.address, if ipv4 { 32 } else { 128 })),
                    ..self.rule(ipv4, preference, action)
                });
            }
        }
    }

    /// Source routing, where it can make a difference.
    fn by_source(
        &self,
        snapshot: &Snapshot,
        ipv4: bool,
        routes: &mut Vec<Route>,
        rules: &mut Vec<Rule>,
    ) {
        let defaults = snapshot.default_routes(ipv4);
        if defaults.len() < 2 {
            return;
        }
        let input = Some(self.config.tun.clone());
        let specific = Action::LookupSpecific(MAIN);
        rules.push(Rule {
            input: input.clone(),
            ..self.rule(ipv4, MAIN_BUT_DEFAULT, specific)
        });
        for (number, (link, route)) in (1..TABLES_EACH).zip(defaults) {
            routes.push(self.route(Route {
                table: self.table(number),
                ..route.clone()
            }));
            let here = self
                .own(snapshot)
                .filter(|own| own.link == link && own.address.is_ipv4() == ipv4);
            for own in here {
                let from = Some((own.address, if ipv4 { 32 } else { 128 }));
                let action = self.lookup(number);
                rules.push(Rule {
                    input: input.clone(),
                    from,
                    ..self.rule(ipv4, BY_SOURCE, action)
                });
            }
        }
    }

    fn table(&self, number: u32) -> u32 {
        TABLES + self.slot * TABLES_EACH + number
    }

    fn lookup(&self, number: u32) -> Action {
        Action::Lookup(self.table(number))
    }

    fn route(&self, route: Route) -> Route {
        Route {
            protocol: Protocol::ANABRANCH,
            ..route
        }
    }

    fn rule(&self, ipv4: bool, preference: u32, action: Action) -> Rule {
        Rule {
            protocol: Protocol::ANABRANCH,
            ..Rule::new(ipv4, preference, action)
        }
    }
}

/// The routes and rules in force that belong to a process.
fn held(slot: u32, tun: &str, snapshot: &Snapshot) -> (Vec<Route>, Vec<Rule>) {
    let first = TABLES + slot * TABLES_EACH;
    let tables = first..first + TABLES_EACH;
    let ours = |protocol| protocol == Protocol::ANABRANCH;
    let is_route = |it: &&Route| ours(it.protocol) && tables.contains(&it.table);
    let is_rule = |it: &&Rule| {
        let to_our_table = matches!(it.action, Action::Lookup(table) if tables.contains(&table));
        let of_device = [MAIN_BUT_DEFAULT, BOUND_ONLY].contains(&it.preference)
            && it.input.as_deref() == Some(tun);
        ours(it.protocol) && (to_our_table || of_device)
    };
    let routes = snapshot.routes.iter().filter(is_route).cloned().collect();
    let rules = snapshot.rules.iter().filter(is_rule).cloned().collect();
    (routes, rules)
}

/// Removes all that belongs to a process; what cannot be removed does not keep the rest. What
/// belongs to the device stays if it is `shared` with others.
pub(super) fn clear(netlink: &Netlink, slot: u32, tun: &str, shared: bool) -> Result<()> {
    let (routes, rules) = held(slot, tun, &Snapshot::take(netlink)?);
    let mut outcome = Ok(());
    let stays = |rule: &&Rule| shared && rule.preference == MAIN_BUT_DEFAULT;
    for rule in rules.iter().filter(|rule| !stays(rule)) {
        outcome = outcome.and(netlink.delete_rule(rule));
    }
    for route in &routes {
        outcome = outcome.and(netlink.delete_route(route));
    }
    outcome
}
