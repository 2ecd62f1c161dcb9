//! Links, addresses and routes between namespaces.

#[macro_use]
mod common {
    #[macro_use]
    mod root;
    pub(crate) use root::root;
}

use anabranch_kernel::ethtool::{self, Offload};
use anabranch_kernel::{Netlink, Netns, Result, Route, TokenBucket};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Two namespaces joined by a cable, `a0` with 10.9.0.1 and fd09::1, `b0` with .2 and ::2.
fn pair() -> Result<(Netns, Netns)> {
    let (a, b) = (Netns::new()?, Netns::new()?);
    a.run(|| {
        let netlink = Netlink::open()?;
        netlink.add_veth("a0", "b0", Some(&b))?;
        netlink.add_address("a0", ip("10.9.0.1"), 24)?;
        netlink.add_address("a0", ip("fd09::1"), 64)?;
        netlink.set_up("a0")
    })??;
    b.run(|| {
        let netlink = Netlink::open()?;
        netlink.add_address("b0", ip("10.9.0.2"), 24)?;
        netlink.add_address("b0", ip("fd09::2"), 64)?;
        netlink.set_up("b0")
    })??;
    Ok((a, b))
}

/// Moves `bytes` from `b` to an address of `a` over the kernel's TCP; tells how long it took.
fn transfer(a: &Netns, b: &Netns, to: &str, bytes: usize) -> Duration {
    let listener = a.run(|| TcpListener::bind((ip(to), 0)).unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = b.run(|| TcpStream::connect(address).unwrap()).unwrap();
            client.write_all(&vec![7; bytes]).unwrap();
        });
        let (mut server, _) = listener.accept().unwrap();
        let started = Instant::now();
        let mut received = Vec::new();
        server.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), bytes);
        started.elapsed()
    })
}

#[test]
fn a_veth_pair_carries_both_families_at_once() {
    require_root!();
    let (a, b) = pair().unwrap();
    transfer(&a, &b, "10.9.0.1", 1000);
    transfer(&a, &b, "fd09::1", 1000);
}

#[test]
fn links_and_addresses_are_told_as_they_were_set() {
    require_root!();
    let (a, b) = pair().unwrap();
    a.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.set_mtu("a0", 9000).unwrap();
        let link = netlink.link("a0").unwrap();
        assert_eq!(
            (link.mtu, link.up, link.running, link.loopback),
            (9000, true, true, false)
        );
        let mut addresses = netlink.addresses().unwrap();
        addresses.retain(|address| address.link == link.index && address.global);
        let told: Vec<_> = addresses
            .iter()
            .map(|known| (known.address, known.prefix))
            .collect();
        assert_eq!(told, [(ip("10.9.0.1"), 24), (ip("fd09::1"), 64)]);
        netlink.delete_address("a0", ip("10.9.0.1"), 24).unwrap();
        assert!(
            !netlink
                .addresses()
                .unwrap()
                .iter()
                .any(|it| it.address == ip("10.9.0.1"))
        );
        netlink.set_down("a0").unwrap();
        assert!(!netlink.link("a0").unwrap().up);
        netlink.delete_link("a0").unwrap();
        assert!(netlink.link("a0").is_err());
    })
    .unwrap();
    let gone = b
        .run(|| Netlink::open().unwrap().link("b0").unwrap_err())
        .unwrap();
    assert_eq!(gone.to_string(), "there is no interface named b0");
}

#[test]
fn a_link_moves_to_another_namespace() {
    require_root!();
    let (a, b) = pair().unwrap();
    let c = Netns::new().unwrap();
    b.run(|| Netlink::open().unwrap().move_link("b0", &c))
        .unwrap()
        .unwrap();
    c.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.add_address("b0", ip("10.9.0.3"), 24).unwrap();
        netlink.set_up("b0").unwrap();
    })
    .unwrap();
    transfer(&a, &c, "10.9.0.1", 1000);
}

#[test]
fn routes_are_listed_as_added_and_reach_through_a_gateway() {
    require_root!();
    let (a, b) = pair().unwrap();
    a.run(|| {
        Netlink::open()
            .unwrap()
            .add_address("lo", ip("10.77.0.1"), 32)
    })
    .unwrap()
    .unwrap();
    b.run(|| {
        let netlink = Netlink::open().unwrap();
        let mut added = [
            Route::default_through(ip("10.9.0.1")),
            Route {
                metric: 1024,
                ..Route::default_through(ip("fd09::1"))
            },
            Route {
                table: 4711,
                metric: 9,
                ..Route::default_through(ip("10.9.0.1"))
            },
        ];
        for route in &mut added {
            netlink.add_route(route).unwrap();
            route.link = Some(netlink.link("b0").unwrap().index);
        }
        let listed = netlink.routes().unwrap();
        for route in &added {
            assert!(listed.contains(route), "{route} among {listed:?}");
        }
        netlink.delete_route(&added[2]).unwrap();
        assert!(!netlink.routes().unwrap().contains(&added[2]));
    })
    .unwrap();
    transfer(&a, &b, "10.77.0.1", 1000);
}

#[test]
fn a_token_bucket_limits_the_rate_until_it_is_cleared() {
    require_root!();
    let (a, b) = pair().unwrap();
    let bucket = TokenBucket {
        rate: 20_000_000,
        burst: 70_000,
        limit: 500_000,
    };
    b.run(|| Netlink::open().unwrap().set_rate("b0", bucket))
        .unwrap()
        .unwrap();
    // 1 MB beyond the burst at 2.5 MB/s.
    let limited = transfer(&a, &b, "10.9.0.1", 1_070_000);
    assert!(limited > Duration::from_millis(300), "{limited:?}");
    assert!(limited < Duration::from_millis(1500), "{limited:?}");
    b.run(|| Netlink::open().unwrap().clear_rate("b0"))
        .unwrap()
        .unwrap();
    let free = transfer(&a, &b, "10.9.0.1", 1_070_000);
    assert!(free < limited / 2, "{free:?} after {limited:?}");
}

#[test]
fn offloads_of_a_link_are_told_as_set() {
    require_root!();
    let (a, _b) = pair().unwrap();
    a.run(|| {
        for offload in [Offload::Receive, Offload::Generic, Offload::Tcp] {
            for on in [false, true, false] {
                ethtool::set_offload("a0", offload, on).unwrap();
                assert_eq!(ethtool::offload("a0", offload).unwrap(), on, "{offload:?}");
            }
        }
        let error = ethtool::offload("none0", Offload::Tcp).unwrap_err();
        assert_eq!(error.to_string(), "there is no interface named none0");
    })
    .unwrap();
}

#[test]
fn the_least_mtu_of_the_uplinks_is_told() {
    require_root!();
    let (a, _b) = pair().unwrap();
    a.run(|| {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.uplink_mtu().unwrap(), Some(1500));
        netlink.add_veth("a1", "a2", None).unwrap();
        netlink.set_mtu("a1", 1400).unwrap();
        netlink.set_up("a1").unwrap();
        assert_eq!(
            netlink.uplink_mtu().unwrap(),
            Some(1500),
            "a1 leads nowhere yet"
        );
        netlink.add_address("a1", ip("10.8.0.1"), 24).unwrap();
        assert_eq!(netlink.uplink_mtu().unwrap(), Some(1400));
    })
    .unwrap();
    let alone = Netns::new().unwrap();
    assert_eq!(
        alone
            .run(|| Netlink::open().unwrap().uplink_mtu())
            .unwrap()
            .unwrap(),
        None
    );
}
