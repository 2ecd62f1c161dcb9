//! By the kernel's own endpoints.

use std::net::IpAddr;

use anabranch_interop::require;
use anabranch_interop::tool::tool;
use anabranch_interop::topology::Side;
use anabranch_kernel::mptcp::{Endpoint, Flags, Limits, PathManager};

use crate::world::{PATIENCE, World, eventually};

#[test]
fn the_kernels_own_endpoints_follow_addresses() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let (own, others) = (world.v4(1), world.v4(0));
    let before = world.on_client(|| {
        let manager = PathManager::open().unwrap();
        // Somebody else's, as NetworkManager makes them.
        let theirs = Endpoint::new(others, Flags::SUBFLOW | Flags::BACKUP);
        manager.add(&theirs).unwrap();
        manager.limits().unwrap()
    });
    let mut pm = world.manage(&["--mode", "kernel", "--policy", "one-each"]);
    let of = |address: IpAddr| {
        let endpoints = world.endpoints();
        endpoints.into_iter().find(|it| it.address == address)
    };
    assert_eq!(of(own).unwrap().flags, Flags::SUBFLOW);
    assert_eq!(of(others).unwrap().flags, Flags::SUBFLOW | Flags::BACKUP);
    assert!(pm.log().contains("left as it is"), "{}", pm.log());
    let limits = world.on_client(|| PathManager::open().unwrap().limits().unwrap());
    let all = Limits {
        subflows: 7,
        add_addr_accepted: 8,
    };
    assert_eq!(limits, all);
    let connection = world.connect();
    let both = [world.v4(0), world.v4(1)];
    world.await_subflows("a second subflow", &both);
    world.topology.set_link(Side::Client, 1, false).unwrap();
    eventually("no endpoint", || of(own).is_none().then_some(()));
    world.await_subflows("no subflow", &both[..1]);
    world.topology.set_link(Side::Client, 1, true).unwrap();
    world.await_subflows("the subflow again", &both);
    connection.carry();
    pm.terminate().unwrap();
    assert!(pm.wait(PATIENCE).unwrap().success());
    let left: Vec<IpAddr> = world.endpoints().iter().map(|it| it.address).collect();
    assert_eq!(left, [others], "what was ours is removed, and nothing else");
    let after = world.on_client(|| PathManager::open().unwrap().limits().unwrap());
    assert_eq!(after, before);
}

/// A connection from both addresses has its subflows again after some `trouble`, and carries bytes;
/// what was said meanwhile.
fn kept_through(trouble: impl FnOnce(&World, &[IpAddr; 2])) -> String {
    let world = World::new(2);
    let mut pm = world.manage(&["--mode", "kernel", "--policy", "one-each"]);
    let connection = world.connect();
    let both = [world.v4(0), world.v4(1)];
    world.await_subflows("a second subflow", &both);
    trouble(&world, &both);
    world.await_subflows("both again", &both);
    connection.carry();
    world.await_subflows("and they stay", &both);
    pm.terminate().unwrap();
    assert!(pm.wait(PATIENCE).unwrap().success());
    assert_eq!(world.endpoints(), []);
    pm.log()
}

/// The peer closes a subflow that has just joined, as one does that hears late of the address having
/// gone: the kernel would never open another.
#[test]
fn a_subflow_that_the_peer_closes_as_soon_as_it_has_joined_is_opened_again() {
    if !require::lab() {
        return;
    }
    let log = kept_through(|world, both| {
        let close = format!("-K dst {}", world.v4(1));
        world.topology.server.run(|| tool("ss", &close)).unwrap();
        world.await_subflows("no second subflow", &both[..1]);
    });
    assert!(log.contains("have lost their subflow"), "{log}");
}

/// It goes and comes faster than a REMOVE_ADDR may travel: the endpoint stays away a moment.
#[test]
fn an_address_that_comes_and_goes_has_its_subflow_again() {
    if !require::lab() {
        return;
    }
    kept_through(|world, _| {
        for _ in 0..5 {
            world.topology.set_link(Side::Client, 1, false).unwrap();
            world.topology.set_link(Side::Client, 1, true).unwrap();
        }
    });
}

#[test]
fn endpoints_left_by_a_crash_are_removed_by_the_next() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let mut pm = world.manage(&["--mode", "kernel", "--policy", "one-each"]);
    assert!(!world.endpoints().is_empty());
    pm.kill().unwrap();
    assert!(!world.endpoints().is_empty());
    let mut next = world.manage(&["--mode", "userspace"]);
    assert_eq!(world.endpoints(), []);
    assert!(
        next.log().contains("without putting back"),
        "{}",
        next.log()
    );
    next.terminate().unwrap();
    assert!(next.wait(PATIENCE).unwrap().success());
}
