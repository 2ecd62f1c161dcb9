//! The hosts and the relay.

use anabranch_drivers::Tun;
use anabranch_drivers::tun::{Offload, TunConfig};
use anabranch_interop::host::Host;
use anabranch_kernel::route::Route;
use anabranch_kernel::{Netlink, sched, sysctl};
use anabranch_sim::relay::{Lateness, Relay};
use anabranch_sim::{LinkConfig, LinkStats};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// The device of the path on either host.
const DEVICE: &str = "path";
const SENDER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);

/// A sending host, a receiving host, and a relay between their TUN devices, which take no offload:
/// what it carries are packets of up to 1500 bytes. Dropping it removes everything, and so does
/// the end of the process, however it ends.
pub(crate) struct Path {
    pub(crate) sender: Host,
    pub(crate) receiver: Host,
    stop: Arc<AtomicBool>,
    relay: Option<JoinHandle<io::Result<Relay>>>,
}

/// What the relay saw.
pub(crate) struct Seen {
    pub(crate) there: LinkStats,
    pub(crate) lateness: Lateness,
}

impl Path {
    /// A path as `there` says towards the receiver and `back` from it. `seed` decides what is lost
    /// and reordered, by the number of the packet alone.
    pub(crate) fn new(
        (there, back): (LinkConfig, LinkConfig),
        seed: u64,
        capture: Option<&PathBuf>,
    ) -> io::Result<Path> {
        let (sender, receiver) = (Host::new()?, Host::new()?);
        let near = device(&sender, DEVICE, SENDER, Offload::None)?;
        let far = device(&receiver, DEVICE, RECEIVER, Offload::None)?;
        sender
            .run(|| {
                sysctl::write("net/ipv4/ip_forward", "1")?;
                // Each run is a first one: nothing is remembered of what was measured before.
                sysctl::write("net/ipv4/tcp_no_metrics_save", "1")?;
                // Until the socket says otherwise: one that does not pace, for a controller that
                // was set first leaves its pacing on.
                sysctl::write("net/ipv4/tcp_congestion_control", "reno")
            })
            .map_err(io::Error::other)?;
        receiver
            .run(|| {
                let netlink = Netlink::open()?;
                netlink.add_route(&Route {
                    link: Some(netlink.link(DEVICE)?.index),
                    ..Route::to(Ipv4Addr::new(10, 79, 0, 0).into(), 16)
                })
            })
            .map_err(io::Error::other)?;
        let mut relay = Relay::new(near.into(), far.into(), (there, back), seed)?;
        if let Some(file) = capture {
            relay.capture(file)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let relay = thread::spawn(move || {
            // Without the right to it, the relay is less exact; it tells how exact it was.
            let _ = sched::come_first();
            relay.run(&flag).map(|()| relay)
        });
        Ok(Path {
            sender,
            receiver,
            stop,
            relay: Some(relay),
        })
    }

    /// A TUN device on the sending host for a stack of ours, and the address the stack has.
    pub(crate) fn attach(&self, number: u8) -> io::Result<(Tun, IpAddr)> {
        let near = Ipv4Addr::new(10, 79, 1 + number, 1);
        let name = format!("stack{number}");
        let tun = device(&self.sender, &name, near, Offload::Segmentation)?;
        Ok((tun, Ipv4Addr::new(10, 79, 1 + number, 2).into()))
    }

    /// The receiver's address.
    pub(crate) fn to(&self) -> IpAddr {
        RECEIVER.into()
    }

    /// Ends the relay.
    pub(crate) fn close(mut self) -> io::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let relay = self.relay.take().expect("the relay runs until here");
        let relay = relay.join().expect("the relay does not panic")?;
        match relay.refused() {
            0 => Ok(Seen {
                there: relay.stats()[0],
                lateness: relay.lateness().clone(),
            }),
            n => Err(io::Error::other(format!("devices refused {n} packets"))),
        }
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A TUN device in `host` with an address of its own there.
fn device(host: &Host, name: &str, address: Ipv4Addr, offload: Offload) -> io::Result<Tun> {
    host.run(|| {
        let tun = Tun::open(&TunConfig {
            name: name.into(),
            offload,
            ..TunConfig::default()
        })?;
        let netlink = Netlink::open().map_err(io::Error::other)?;
        netlink
            .add_address(name, address.into(), 24)
            .map_err(io::Error::other)?;
        Ok(tun)
    })
}
