//! Two hosts with a link between: on ours, addresses that its kernel does not have.

use super::endpoint::Endpoint;
use super::poll::PATIENCE;
use anabranch_drivers::{Driver, PacketConfig};
use anabranch_kernel::{Netlink, Netns, sysctl};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Two hosts with a link between, `eth` at both: ours, which has no address, and the kernel's,
/// which has 10.66.0.1/24 and fd66::1/64.
pub(crate) struct Hosts {
    ours: Netns,
    theirs: Netns,
}

impl Hosts {
    /// `None`, with the reason printed, where there can be none. Under `CI=true` there must.
    pub(crate) fn new() -> Option<Hosts> {
        let hosts = Netns::new().and_then(|ours| {
            let theirs = Netns::new()?;
            Ok(Hosts { ours, theirs })
        });
        let hosts = match hosts {
            Ok(hosts) => hosts,
            Err(error) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
                eprintln!("skipped: {error}");
                return None;
            }
        };
        hosts.ours(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_veth("eth", "eth", Some(&hosts.theirs)).unwrap();
            netlink.set_up("eth").unwrap();
        });
        hosts.theirs(|| {
            let netlink = Netlink::open().unwrap();
            sysctl::write("net/ipv6/conf/eth/dad_transmits", "0").unwrap();
            netlink.set_up("lo").unwrap();
            netlink.set_up("eth").unwrap();
            netlink.add_address("eth", ip("10.66.0.1"), 24).unwrap();
            netlink.add_address("eth", ip("fd66::1"), 64).unwrap();
        });
        hosts.theirs(await_link_local);
        hosts.theirs(|| Netlink::open().unwrap().settle().unwrap());
        Some(hosts)
    }

    pub(crate) fn ours<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ours.run(work).unwrap()
    }

    pub(crate) fn theirs<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.theirs.run(work).unwrap()
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> TcpStream {
        let client = self.theirs(|| TcpStream::connect_timeout(&to, PATIENCE).unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client
    }
}

/// Without that address the kernel asks for no neighbours over IPv6, and it comes with the carrier.
fn await_link_local() {
    let netlink = Netlink::open().unwrap();
    let eth = netlink.link("eth").unwrap().index;
    let deadline = Instant::now() + PATIENCE;
    let is_there = || {
        let addresses = netlink.addresses().unwrap();
        let mut here = addresses
            .iter()
            .filter(|it| it.link == eth && it.address.is_ipv6());
        here.any(|it| !it.global)
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "no link-local address");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// 10.66.0.2 and fd66::2.
pub(crate) fn config() -> PacketConfig {
    let own = ["10.66.0.2/24", "fd66::2/64"].map(|text| text.parse().unwrap());
    let mut config = PacketConfig::new("eth", own);
    config.probe = Duration::ZERO;
    config
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// Both directions between the kernel's TCP and a dumb endpoint; returns the largest segment size
/// of the super-frames that came.
pub(crate) fn exchange(hosts: &Hosts, packet: &mut impl Driver, to: &str) -> u16 {
    let to = SocketAddr::new(ip(to), 7000);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut client = hosts.connect(to);
            client.write_all(&pattern(1_000_000)).unwrap();
            let mut answer = vec![0; 700_001];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, pattern(700_001));
        });
        let mut endpoint = Endpoint::accept(packet, 7000);
        assert!(endpoint.receive(1_000_000) == pattern(1_000_000));
        endpoint.send(&pattern(700_001));
        let largest = endpoint.largest_gso;
        let counters = packet.counters();
        assert_eq!(
            (counters.rx_errors, counters.tx_errors, counters.rx_dropped),
            (0, 0, 0)
        );
        assert!(counters.rx_bytes > 1_000_000 && counters.tx_bytes > 700_001);
        largest
    })
}
