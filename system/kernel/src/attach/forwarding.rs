//! Forwarding on the interfaces our packets come by: turned on where it was off, and back off.

use crate::{Error, Result, sysctl};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// IPv6 forwards on every interface or on none, before Linux 6.17 brought `force_forwarding`.
const IPV6_ALL: &str = "net/ipv6/conf/all/forwarding";

/// How things stood before.
#[derive(Serialize, Deserialize, Default, Clone, PartialEq, Eq, Debug)]
pub(super) struct Former {
    /// Interfaces that did not forward, of IPv4 and IPv6.
    guarded_v4: BTreeSet<String>,
    guarded_v6: BTreeSet<String>,
    /// Kernel parameters by name: the value before, and ours.
    sysctls: BTreeMap<String, (String, String)>,
    /// If IPv6 forwarding was turned on for all: `forwarding` of each interface before, and of
    /// "default".
    ipv6_all: Option<BTreeMap<String, String>>,
}

/// Parameters to be written, in order.
#[must_use]
#[derive(Default, Debug)]
pub(super) struct Change(Vec<(String, String)>);

impl Change {
    /// Writes them. Interfaces that have vanished meanwhile are no error.
    pub(super) fn make(&self) -> Result<()> {
        self.0
            .iter()
            .try_for_each(|(name, value)| present(sysctl::write(name, value)).map(drop))
    }
}

impl Former {
    /// What must change for these interfaces to forward to our device; written down here first.
    pub(super) fn plan(&mut self, ipv4: bool, links: &[&str]) -> Result<Change> {
        let mut change = Change::default();
        if ipv4 {
            for link in links {
                let name = format!("net/ipv4/conf/{link}/forwarding");
                if self.want(name, "1", &mut change)? {
                    self.guarded_v4.insert((*link).into());
                }
            }
            return Ok(change);
        }
        let everywhere = present(sysctl::read(IPV6_ALL))?;
        if everywhere.is_none() {
            // A kernel without IPv6 gets no packets of it.
            return Ok(change);
        }
        if present(sysctl::read("net/ipv6/conf/all/force_forwarding"))?.is_none() {
            self.plan_everywhere(links, everywhere.as_deref() == Some("1"), &mut change)?;
        } else if everywhere.as_deref() != Some("1") {
            for link in links {
                let name = format!("net/ipv6/conf/{link}/force_forwarding");
                if self.want(name, "1", &mut change)? {
                    self.guarded_v6.insert((*link).into());
                }
            }
        }
        Ok(change)
    }

    /// Turns IPv6 forwarding on for all interfaces, without making them routers in other respects.
    fn plan_everywhere(&mut self, links: &[&str], on: bool, change: &mut Change) -> Result<()> {
        if on && self.ipv6_all.is_none() {
            return Ok(());
        }
        let mut former = self.ipv6_all.take().unwrap_or_default();
        for link in links.iter().copied().chain(["default"]) {
            let name = format!("net/ipv6/conf/{link}/forwarding");
            let Some(value) = present(sysctl::read(&name))? else {
                continue;
            };
            // One that came after the change has been born with ours.
            let before = if on {
                former.get("default").cloned()
            } else {
                Some(value)
            };
            let before = former
                .entry(link.into())
                .or_insert(before.unwrap_or_else(|| "0".into()));
            if before == "0" && link != "default" {
                self.guarded_v6.insert(link.into());
                // Router advertisements are ignored by what forwards, unless this is 2.
                let name = format!("net/ipv6/conf/{link}/accept_ra");
                if present(sysctl::read(&name))?.as_deref() == Some("1") {
                    self.want(name, "2", change)?;
                }
            }
        }
        self.ipv6_all = Some(former);
        if !on {
            change.0.push((IPV6_ALL.into(), "1".into()));
        }
        Ok(())
    }

    /// Plans one parameter; false if it has the value already without our doing.
    fn want(&mut self, name: String, value: &str, change: &mut Change) -> Result<bool> {
        let Some(current) = present(sysctl::read(&name))? else {
            return Ok(false);
        };
        if current != value {
            change.0.push((name.clone(), value.into()));
            self.sysctls.entry(name).or_insert((current, value.into()));
            return Ok(true);
        }
        Ok(self.sysctls.contains_key(&name))
    }

    /// Takes interfaces that turned out to be devices of ours off the list; says which were on it.
    /// How they stood before does not matter: they vanish with their process.
    pub(super) fn forget(&mut self, ipv4: bool, devices: &[String]) -> Vec<String> {
        let guarded = if ipv4 {
            &mut self.guarded_v4
        } else {
            &mut self.guarded_v6
        };
        let known = devices.iter().filter(|device| guarded.remove(*device));
        known.cloned().collect()
    }

    /// Interfaces that did not forward.
    pub(super) fn guarded(&self, ipv4: bool) -> &BTreeSet<String> {
        if ipv4 {
            &self.guarded_v4
        } else {
            &self.guarded_v6
        }
    }

    /// Puts every parameter back that still has our value: another's change since is respected.
    pub(super) fn restore(&self) -> Result<()> {
        let mut outcome = Ok(());
        if let Some(former) = &self.ipv6_all
            && sysctl::read(IPV6_ALL).is_ok_and(|value| value == "1")
        {
            // It takes every interface with it, so those come after.
            outcome = sysctl::write(IPV6_ALL, "0");
            for (link, before) in former {
                let name = format!("net/ipv6/conf/{link}/forwarding");
                let restored = present(sysctl::replace(&name, before)).map(drop);
                outcome = outcome.and(restored);
            }
        }
        for (name, (before, ours)) in &self.sysctls {
            if sysctl::read(name).is_ok_and(|value| value == *ours) {
                outcome = outcome.and(sysctl::write(name, before));
            }
        }
        outcome
    }
}

/// `None` for what is not there, or no more.
fn present<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Netlink, Netns};

    /// In a namespace with the interfaces `e0` and `e1`; skipped, with the reason, without root.
    fn on_a_host(work: impl FnOnce() + Send) {
        let netns = match Netns::new() {
            Ok(netns) => netns,
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
                return eprintln!("skipped: {error}");
            }
        };
        let host = || {
            Netlink::open().unwrap().add_veth("e0", "e1", None).unwrap();
            work();
        };
        netns.run(host).unwrap();
    }

    fn parameters() -> Vec<String> {
        let names = ["all", "default", "e0", "e1"].map(|link| {
            [
                format!("net/ipv6/conf/{link}/forwarding"),
                format!("net/ipv6/conf/{link}/accept_ra"),
            ]
        });
        names
            .iter()
            .flatten()
            .map(|name| sysctl::read(name).unwrap())
            .collect()
    }

    /// As before Linux 6.17.
    fn everywhere(former: &mut Former) -> Change {
        let on = sysctl::read(IPV6_ALL).unwrap() == "1";
        let mut change = Change::default();
        former
            .plan_everywhere(&["e0", "e1"], on, &mut change)
            .unwrap();
        change
    }

    #[test]
    fn ipv6_that_forwards_everywhere_or_nowhere_still_heeds_router_advertisements() {
        on_a_host(|| {
            sysctl::write("net/ipv6/conf/e1/accept_ra", "0").unwrap();
            let before = parameters();
            let mut former = Former::default();
            everywhere(&mut former).make().unwrap();
            assert_eq!(
                former.guarded_v6,
                BTreeSet::from(["e0".to_owned(), "e1".to_owned()])
            );
            assert_eq!(sysctl::read(IPV6_ALL).unwrap(), "1");
            assert_eq!(sysctl::read("net/ipv6/conf/e0/accept_ra").unwrap(), "2");
            assert_eq!(sysctl::read("net/ipv6/conf/e1/accept_ra").unwrap(), "0");
            assert_eq!(sysctl::read("net/ipv6/conf/e1/forwarding").unwrap(), "1");
            let again = former.clone();
            assert!(everywhere(&mut former).0.is_empty());
            assert_eq!(former, again);
            former.restore().unwrap();
            assert_eq!(parameters(), before);
        });
    }

    #[test]
    fn an_interface_that_comes_later_is_guarded_too() {
        on_a_host(|| {
            let mut former = Former::default();
            everywhere(&mut former).make().unwrap();
            Netlink::open().unwrap().add_veth("e2", "e3", None).unwrap();
            assert_eq!(sysctl::read("net/ipv6/conf/e2/forwarding").unwrap(), "1");
            let mut change = Change::default();
            former
                .plan_everywhere(&["e0", "e1", "e2"], true, &mut change)
                .unwrap();
            assert!(former.guarded_v6.contains("e2"));
        });
    }

    #[test]
    fn a_router_is_left_as_it_is() {
        on_a_host(|| {
            sysctl::write(IPV6_ALL, "1").unwrap();
            let before = parameters();
            let mut former = Former::default();
            everywhere(&mut former).make().unwrap();
            assert_eq!(
                (former.clone(), parameters()),
                (Former::default(), before.clone())
            );
            former.restore().unwrap();
            assert_eq!(parameters(), before);
        });
    }

    #[test]
    fn what_another_has_changed_since_stays() {
        on_a_host(|| {
            let mut former = Former::default();
            former.plan(true, &["e0", "e1"]).unwrap().make().unwrap();
            assert_eq!(sysctl::read("net/ipv4/conf/e0/forwarding").unwrap(), "1");
            let name = "net/ipv4/conf/e0/forwarding";
            former.sysctls.insert(name.into(), ("1".into(), "0".into()));
            former.restore().unwrap();
            assert_eq!(sysctl::read(name).unwrap(), "1");
            assert_eq!(sysctl::read("net/ipv4/conf/e1/forwarding").unwrap(), "0");
        });
    }
}
