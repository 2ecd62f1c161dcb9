//! A server's namespace with two uplinks to a client's, and a device to take ports for.

use anabranch_drivers::Tun;
use anabranch_drivers::tun::TunConfig;
use anabranch_kernel::{Attach, AttachConfig, Netlink, Netns, Result, Route, Rule};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A folder of this test alone, removed with it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-attach-{}-{number}", std::process::id());
        Folder(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server has 10.1.0.1 and fd01::1 on `s1`, 10.2.0.1 and fd02::1 on `s2`; the client ends in
/// .2 on `c1` and `c2`.
pub(crate) struct Hosts {
    pub(crate) server: Netns,
    pub(crate) client: Netns,
    pub(crate) folder: Folder,
}

impl Hosts {
    pub(crate) fn new() -> Hosts {
        Hosts::build().unwrap()
    }

    fn build() -> Result<Hosts> {
        let (server, client) = (Netns::new()?, Netns::new()?);
        server.run(|| {
            let netlink = Netlink::open()?;
            for link in ["1", "2"] {
                netlink.add_veth(&format!("s{link}"), &format!("c{link}"), Some(&client))?;
            }
            addresses(&netlink, "s", "1")
        })??;
        client.run(|| addresses(&Netlink::open()?, "c", "2"))??;
        for netns in [&server, &client] {
            netns.run(|| Netlink::open()?.settle())??;
        }
        Ok(Hosts {
            server,
            client,
            folder: Folder::new(),
        })
    }

    pub(crate) fn config(&self, tun: &Tun, ports: RangeInclusive<u16>) -> AttachConfig {
        let state_dir = self.folder.0.clone();
        AttachConfig {
            state_dir,
            ..AttachConfig::new(tun.name(), [ports])
        }
    }

    /// A device with `ports` of the server; to be called within its namespace.
    pub(crate) fn attach(&self, ports: RangeInclusive<u16>) -> (Tun, Attach) {
        let tun = tun();
        let attach = Attach::install(self.config(&tun, ports)).unwrap();
        (tun, attach)
    }
}

/// A device in the current namespace.
pub(crate) fn tun() -> Tun {
    Tun::open(&TunConfig {
        name: "tun%d".into(),
        ..TunConfig::default()
    })
    .unwrap()
}

fn addresses(netlink: &Netlink, side: &str, last: &str) -> Result<()> {
    for link in ["1", "2"] {
        let name = format!("{side}{link}");
        netlink.add_address(&name, ip(&format!("10.{link}.0.{last}")), 24)?;
        netlink.add_address(&name, ip(&format!("fd0{link}::{last}")), 64)?;
        netlink.set_up(&name)?;
    }
    Ok(())
}

/// All that an attachment might change in the current namespace.
#[derive(PartialEq, Debug)]
pub(crate) struct Picture {
    rules: Vec<Rule>,
    routes: Vec<Route>,
    /// Kernel parameters alone compare where others use the namespace at the same time.
    pub(crate) sysctls: BTreeMap<PathBuf, String>,
}

pub(crate) fn picture() -> Picture {
    let netlink = Netlink::open().unwrap();
    let mut sysctls = BTreeMap::new();
    collect(Path::new("/proc/sys/net/ipv4"), &mut sysctls);
    collect(Path::new("/proc/sys/net/ipv6"), &mut sysctls);
    let mut routes = netlink.routes().unwrap();
    routes.sort();
    Picture {
        rules: netlink.rules().unwrap(),
        routes,
        sysctls,
    }
}

fn collect(folder: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if let Ok(value) = fs::read_to_string(&path) {
            into.insert(path, value);
        }
    }
}
