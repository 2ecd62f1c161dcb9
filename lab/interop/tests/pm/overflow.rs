//! More events than are read in time.

use std::net::SocketAddr;

use anabranch_interop::require;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::Side;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{PATIENCE, PORT, World, eventually};

/// Connections whose events are more than any receive buffer is given (`net.core.rmem_max` is about
/// 300 of them by default).
const BURST: usize = 1500;

#[test]
fn lost_events_are_made_up_for_by_asking_what_there_is() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let plan = world.plan("paths.toml", "[policy]\nkind = \"one-each\"\n");
    let pm = world.manage(&["--config", &plan]);
    let both = [world.v4(0), world.v4(1)];
    let ended = world.connect();
    world.await_subflows("a second subflow", &both);
    let process = Pid::from_raw(pm.pid().cast_signed());
    kill(process, Signal::SIGSTOP).unwrap();
    let to = SocketAddr::new(world.topology.v4(Side::Server, 0), PORT);
    world.on_client(|| {
        for _ in 0..BURST {
            drop(socket::connect(Protocol::Mptcp, None, to, PATIENCE).unwrap());
            drop(socket::accept_within(&world.listener, PATIENCE).unwrap());
        }
    });
    drop(ended);
    let begun = world.connect();
    kill(process, Signal::SIGCONT).unwrap();
    eventually("it says so", || {
        let log = pm.log();
        log.contains("more than could be read").then_some(())
    });
    world.await_subflows("what nobody told of has its subflow", &both);
    // Of those that came and went, nothing is remembered.
    eventually("one connection is known", || {
        let known = pm.command(&["reload", "--dry-run", &plan]).unwrap();
        (known.lines().count() == 1).then_some(())
    });
    begun.carry();
}
