//! Taking some TCP ports of the host's own addresses for a TUN device, without translation.
//!
//! The kernel looks for its own addresses first, by the rule `0: from all lookup local`. That rule
//! moves behind a rule of ours:
//!
//! ```text
//! 10:    ipproto tcp dport PORTS lookup TABLE
//! 100:   from all lookup local
//! 101:   iif UPLINK blackhole            only where forwarding was off before
//! 32766: from all lookup main
//! ```
//!
//! TABLE has one route for each of the host's addresses, to the TUN device, and nothing else:
//! connections of the host's own programs to such a port elsewhere find no route there and go on
//! as ever. A packet to a port of ours is forwarded from the interface it came by to the device,
//! and our answer from the device to where the other tables say, which takes forwarding on those
//! interfaces alone; what other hosts might now want forwarded, the blackhole takes.
//!
//! What leaves from an address that is bound to an interface ([`Bound`]) goes that way or not at all,
//! and from an address of the interface, if this one is none of its own:
//!
//! ```text
//! 102:   from ADDRESS iif TUN lookup TABLE+63       the routes through that interface
//! 103:   from ADDRESS iif TUN blackhole
//! table inet anabranch-0: ip saddr ADDRESS oifname UPLINK masquerade
//! ```
//!
//! Several processes may hold different ports at once. What they share is put back by the last.
//! After a crash the device is gone and its routes with it, so that the kernel serves every address
//! itself again; what is left of the rules is removed at the next start.

mod client;
mod desired;
mod forwarding;
mod nat;
mod ports;
mod shared;
mod state;

use crate::capability::require_net_admin;
use crate::route::Protocol;
use crate::{Error, Netlink, Netns, Result, sysctl};
use desired::{Instance, Snapshot};
use state::{Directory, Lock};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// Where processes of one host keep their accounts with each other.
pub const STATE_DIR: &str = "/run/anabranch";

/// What to take.
#[derive(Clone, Debug)]
pub struct AttachConfig {
    /// Name of the TUN device, which exists and is up.
    pub tun: String,
    /// TCP ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Of IPv4 addresses.
    pub ipv4: bool,
    /// Of IPv6 addresses.
    pub ipv6: bool,
    /// Of these addresses of the host only; of all but loopback and link-local ones if empty.
    pub addresses: Vec<IpAddr>,
    /// Answers leave by the interface that has their source address, where several have a default
    /// route in the main table. The host's own rules go before.
    pub source_routing: bool,
    /// Addresses that leave by one interface only.
    pub bound: Vec<Bound>,
    /// Where to keep account, [`STATE_DIR`] unless in a test.
    pub state_dir: PathBuf,
}

/// What is sent from an address leaves by one interface, or not at all.
///
/// The address may be none of the host's: it then leads to the device. Where it is not the
/// interface's, packets leave with an address of the interface (source translation by nftables).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bound {
    /// The address.
    pub address: IpAddr,
    /// The interface's name; it may come later.
    pub link: String,
}

impl AttachConfig {
    /// All of the host's addresses, both families.
    pub fn new(tun: &str, ports: impl IntoIterator<Item = RangeInclusive<u16>>) -> AttachConfig {
        AttachConfig {
            tun: tun.into(),
            ports: ports.into_iter().collect(),
            ipv4: true,
            ipv6: true,
            addresses: Vec::new(),
            source_routing: true,
            bound: Vec::new(),
            state_dir: STATE_DIR.into(),
        }
    }
}

/// Ports taken; dropping it gives them back and undoes every change.
pub struct Attach {
    config: AttachConfig,
    netlink: Netlink,
    /// Where the ports were taken; kernel parameters are those of the thread that asks.
    netns: Netns,
    directory: Directory,
    instance: Option<state::Held>,
    /// What is translated now.
    translated: Vec<Bound>,
}

impl Attach {
    /// Takes the ports in the network namespace of the current thread, after putting right what
    /// processes that crashed have left behind.
    ///
    /// # Errors
    /// [`Error::Permission`] without `CAP_NET_ADMIN`, [`Error::Taken`] if another process holds one
    /// of the ports, [`Error::Missing`] without the device. Nothing is left changed then.
    pub fn install(config: AttachConfig) -> Result<Attach> {
        require_net_admin("take ports of this host")?;
        ports::check(&config.ports)?;
        let netlink = Netlink::open()?;
        netlink.link(&config.tun)?;
        let directory = Directory::of_this_namespace(&config.state_dir)?;
        let netns = Netns::current()?;
        let mut attach = Attach {
            config,
            netlink,
            netns,
            directory,
            instance: None,
            translated: Vec::new(),
        };
        let lock = attach.directory.lock()?;
        recover_locked(&attach.netlink, &lock)?;
        let held = lock.register(&attach.config.tun, &attach.config.ports)?;
        attach.instance = Some(held);
        drop(lock);
        let applied = attach.apply();
        // If it failed, dropping `attach` undoes whatever has been done.
        applied.map(|()| attach)
    }

    /// Follows a change of the host's addresses, interfaces or default routes; see
    /// [`Monitor`](crate::Monitor).
    ///
    /// # Errors
    /// Any of the kernel's; what is in force stays.
    pub fn refresh(&mut self) -> Result<()> {
        self.at_home(Attach::apply)
    }

    /// Binds these addresses to their interfaces, and no others any more.
    ///
    /// # Errors
    /// Any of the kernel's, or nftables is not there and is needed; what was in force stays.
    pub fn bind(&mut self, bound: Vec<Bound>) -> Result<()> {
        let before = std::mem::replace(&mut self.config.bound, bound);
        if self.config.bound == before {
            return Ok(());
        }
        let bound = self.refresh();
        if bound.is_err() {
            self.config.bound = before;
            // What fails now was in force before, or is put right by the next change.
            let _ = self.refresh();
        }
        bound
    }

    /// The host's addresses whose ports are taken.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let snapshot = Snapshot::take(&self.netlink)?;
        Ok(self
            .instance()
            .map(|instance| instance.addresses(&snapshot))
            .unwrap_or_default())
    }

    /// Gives the ports back, as dropping does, and tells what could not be undone.
    ///
    /// # Errors
    /// The first of the kernel's refusals; everything else has been undone nevertheless.
    pub fn remove(mut self) -> Result<()> {
        self.at_home(Attach::undo)
    }

    /// Removes what crashed processes have left in the current namespace; [`Attach::install`] does
    /// it too. Tells how many they were.
    ///
    /// # Errors
    /// Any of the kernel's.
    pub fn recover(state_dir: &std::path::Path) -> Result<usize> {
        require_net_admin("remove what a crash has left")?;
        let netlink = Netlink::open()?;
        let directory = Directory::of_this_namespace(state_dir)?;
        let lock = directory.lock()?;
        recover_locked(&netlink, &lock)
    }

    /// The ports taken.
    pub fn ports(&self) -> &[RangeInclusive<u16>] {
        &self.config.ports
    }

    fn instance(&self) -> Option<Instance<'_>> {
        let slot = self.instance.as_ref()?.slot;
        Some(Instance {
            slot,
            config: &self.config,
        })
    }

    /// Makes the kernel's tables what they should be now.
    fn apply(&mut self) -> Result<()> {
        let lock = self.directory.lock()?;
        let (Some(instance), Some(held)) = (self.instance(), &self.instance) else {
            return Ok(());
        };
        let snapshot = Snapshot::take(&self.netlink)?;
        prepare_device(&self.config)?;
        held.reserve_ports(&self.config.ports)?;
        // Translated before the first packet goes that way: the kernel decides once for each flow.
        let foreign = instance.foreign(&snapshot);
        if foreign != self.translated {
            held.translates()?;
            nat::set(held.slot, &foreign)?;
        }
        instance.reconcile(&self.netlink, &snapshot)?;
        shared::enter(&self.netlink, &lock, &snapshot, &self.config)?;
        drop(lock);
        self.translated = foreign;
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        let lock = self.directory.lock()?;
        let Some(held) = self.instance.take() else {
            return Ok(());
        };
        // The local table comes first again before anything else goes, so that there is no moment
        // at which the kernel does not know its own addresses.
        let mut outcome = Ok(());
        if !lock.others_alive(Some(held.slot)) {
            outcome = shared::leave(&self.netlink, &lock);
        }
        let (slot, tun) = (held.slot, &self.config.tun);
        let shared = lock.others_use(tun, slot);
        outcome = outcome.and(desired::clear(&self.netlink, slot, tun, shared));
        outcome.and(held.release())
    }

    /// Does `work` in the namespace the ports were taken in, whatever thread asks.
    fn at_home<T: Send>(
        &mut self,
        work: impl FnOnce(&mut Attach) -> Result<T> + Send,
    ) -> Result<T> {
        if Netns::current()?.inode()? == self.netns.inode()? {
            return work(self);
        }
        let home = self.netns.try_clone()?;
        home.run(|| work(self))?
    }
}

impl Drop for Attach {
    fn drop(&mut self) {
        // Nobody to tell; what stays is found by the next start.
        let _ = self.at_home(Attach::undo);
    }
}

/// Undoes what processes no longer alive have left; tells how many they were.
fn recover_locked(netlink: &Netlink, lock: &Lock<'_>) -> Result<usize> {
    let alone = !lock.others_alive(None);
    let dead = lock.dead();
    if alone {
        shared::leave(netlink, lock)?;
        // Whatever bears our mark is nobody's now.
        for rule in netlink
            .rules()?
            .iter()
            .filter(|it| it.protocol == Protocol::ANABRANCH)
        {
            netlink.delete_rule(rule)?;
        }
        for route in netlink
            .routes()?
            .iter()
            .filter(|it| it.protocol == Protocol::ANABRANCH)
        {
            netlink.delete_route(route)?;
        }
    }
    let count = dead.len();
    for held in dead {
        let shared = lock.others_use(&held.tun, held.slot);
        desired::clear(netlink, held.slot, &held.tun, shared)?;
        held.release()?;
    }
    Ok(count)
}

/// Lets packets pass between the device and the others. These settings go with the device.
fn prepare_device(config: &AttachConfig) -> Result<()> {
    let tun = &config.tun;
    if config.ipv4 {
        // What we send has an address of this host as its source.
        sysctl::replace(&format!("net/ipv4/conf/{tun}/accept_local"), "1")?;
        sysctl::replace(&format!("net/ipv4/conf/{tun}/rp_filter"), "0")?;
        sysctl::replace(&format!("net/ipv4/conf/{tun}/forwarding"), "1")?;
    }
    if config.ipv6 {
        match sysctl::replace(&format!("net/ipv6/conf/{tun}/force_forwarding"), "1") {
            Err(Error::Missing { .. }) | Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
