//! Subflows that stand by are asked for a sign of life.

use std::net::SocketAddr;

use anabranch_interop::counters::Counters;
use anabranch_interop::fault::Fault;
use anabranch_interop::require;
use anabranch_kernel::mptcp::sockets;

use crate::world::{World, eventually};

const PLAN: &str = "[policy]\nkind = \"handover\"\n\
    [policy.health]\ninterval = \"200ms\"\ntimeout = \"300ms\"\ntries = 2\n";

/// The subflow over the second link.
fn standing_by(world: &World) -> Option<SocketAddr> {
    let all = world.on_client(|| sockets::subflows().unwrap());
    let mut here = all.iter().filter(|it| it.local.ip() == world.v4(1));
    here.find(|it| it.backup).map(|it| it.local)
}

#[test]
fn standing_by_is_checked_given_up_and_had_again() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let plan = world.plan("paths.toml", PLAN);
    let _pm = world.manage(&["--config", &plan]);
    let connection = world.connect();
    let first = eventually("one stands by", || standing_by(&world));
    // Asked several times, it answers, and stays the same.
    let joins = || {
        world
            .topology
            .server
            .run(Counters::read)
            .unwrap()
            .get("MPTcpExtMPJoinAckRx")
    };
    eventually("it was asked", || (joins() > 4).then_some(()));
    let subflows = world.on_client(|| sockets::subflows().unwrap());
    assert!(subflows.iter().any(|it| it.local == first), "{subflows:?}");
    let hole = Fault::blackhole(&world.topology.client, "link1").unwrap();
    eventually("it is given up", || {
        let all = world.on_client(|| sockets::subflows().unwrap());
        (!all.iter().any(|it| it.local == first)).then_some(())
    });
    connection.carry();
    drop(hole);
    let next = eventually("another stands by", || standing_by(&world));
    assert_ne!(next, first);
    connection.carry();
}
