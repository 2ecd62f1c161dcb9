//! The kernel's own path manager.

#[macro_use]
mod common {
    #[macro_use]
    mod root;
    pub(crate) use root::root;
}

use anabranch_kernel::mptcp::{self, Endpoint, Flags, Limits, PathManager};
use anabranch_kernel::{Netlink, Netns, sysctl};
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether the kernel has Multipath TCP; under `CI=true` it must.
fn kernel_mptcp() -> bool {
    let Err(error) = mptcp::available() else {
        return true;
    };
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
    eprintln!("skipped: {error}");
    false
}

#[test]
fn endpoints_are_listed_as_added_and_removed_by_number() {
    require_root!();
    if !kernel_mptcp() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_veth("m0", "m1", None).unwrap();
            // An endpoint with a port listens on it, so the address must be there.
            netlink.add_address("m0", ip("fd01::3"), 64).unwrap();
            netlink.set_up("m0").unwrap();
            let manager = PathManager::open().unwrap();
            assert_eq!(manager.endpoints().unwrap(), []);
            let v4 = Endpoint {
                id: 5,
                link: netlink.link("m0").unwrap().index,
                ..Endpoint::new(ip("10.1.2.3"), Flags::SUBFLOW | Flags::BACKUP)
            };
            let v6 = Endpoint {
                id: 6,
                port: 4433,
                ..Endpoint::new(ip("fd01::3"), Flags::SIGNAL)
            };
            manager.add(&v4).unwrap();
            manager.add(&v6).unwrap();
            let twice = manager.add(&v4).unwrap_err();
            assert!(twice.to_string().contains("10.1.2.3"), "{twice}");
            let mut listed = manager.endpoints().unwrap();
            listed.sort_by_key(|endpoint| endpoint.id);
            assert_eq!(listed, [v4, v6.clone()]);
            manager.remove(5).unwrap();
            assert_eq!(manager.endpoints().unwrap(), [v6]);
            manager.flush().unwrap();
            assert_eq!(manager.endpoints().unwrap(), []);
        })
        .unwrap();
}

#[test]
fn limits_are_read_as_set() {
    require_root!();
    if !kernel_mptcp() {
        return;
    }
    let netns = Netns::new().unwrap();
    netns
        .run(|| {
            let manager = PathManager::open().unwrap();
            let limits = Limits {
                subflows: 7,
                add_addr_accepted: 3,
            };
            manager.set_limits(limits).unwrap();
            assert_eq!(manager.limits().unwrap(), limits);
            manager
                .set_limits(Limits {
                    subflows: 99,
                    add_addr_accepted: 0,
                })
                .unwrap_err();
            assert_eq!(manager.limits().unwrap(), limits);
        })
        .unwrap();
}

#[test]
fn turned_off_it_says_how_to_turn_it_on() {
    require_root!();
    if !kernel_mptcp() {
        return;
    }
    let netns = Netns::new().unwrap();
    let error = netns
        .run(|| {
            sysctl::write("net/mptcp/enabled", "0").unwrap();
            mptcp::available().unwrap_err()
        })
        .unwrap();
    assert!(
        error.to_string().contains("sysctl net.mptcp.enabled=1"),
        "{error}"
    );
}
