//! Each connection by itself.

use anabranch_interop::require;
use anabranch_interop::server::Anabranch;
use anabranch_interop::topology::Side;
use anabranch_kernel::mptcp::sockets;
use anabranch_kernel::sysctl;

use crate::world::{Folder, MANAGER, PATIENCE, World, eventually};

#[test]
fn connections_get_their_subflows_and_get_them_back() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let mut pm = world.manage(&[]);
    let connection = world.connect();
    let both = [world.v4(0), world.v4(1)];
    world.await_subflows("a second subflow", &both);
    world.topology.set_link(Side::Client, 1, false).unwrap();
    world.await_subflows("the subflow ends", &both[..1]);
    connection.carry();
    world.topology.set_link(Side::Client, 1, true).unwrap();
    world.await_subflows("the subflow again", &both);
    connection.carry();
    // The first one may go as well.
    world.topology.set_link(Side::Client, 0, false).unwrap();
    world.await_subflows("only the second", &both[1..]);
    connection.carry();
    pm.terminate().unwrap();
    assert!(pm.wait(PATIENCE).unwrap().success());
    let after = world.on_client(|| sysctl::read(MANAGER).unwrap());
    assert_eq!(after, "kernel");
    assert!(
        std::fs::read_dir(world.folder.path())
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn one_killed_is_followed_by_another_that_knows_what_there_is() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let mut pm = world.manage(&[]);
    let connection = world.connect();
    let both = [world.v4(0), world.v4(1)];
    world.await_subflows("a second subflow", &both);
    pm.kill().unwrap();
    world.topology.set_link(Side::Client, 1, false).unwrap();
    // Nobody manages: the subflow stays as it is, or dies by itself.
    connection.carry();
    let mut next = world.manage(&[]);
    world.await_subflows("the dead subflow ends", &both[..1]);
    world.topology.set_link(Side::Client, 1, true).unwrap();
    world.await_subflows("the subflow again", &both);
    next.terminate().unwrap();
    assert!(next.wait(PATIENCE).unwrap().success());
    let after = world.on_client(|| sysctl::read(MANAGER).unwrap());
    assert_eq!(after, "kernel", "as before the first one");
}

#[test]
fn a_server_announces_its_addresses() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let folder = Folder::new();
    let server = &world.topology.server;
    let _server = Anabranch::manage(server, folder.path(), &["--policy", "server"]).unwrap();
    let _client = world.manage(&[]);
    let _connection = world.connect();
    let second = world.topology.v4(Side::Server, 1);
    eventually("a subflow to the announced address", || {
        let subflows = world.on_client(|| sockets::subflows().unwrap());
        subflows
            .iter()
            .any(|it| it.remote.ip() == second)
            .then_some(())
    });
}

#[test]
fn standing_by_is_a_backup_until_the_first_path_is_gone() {
    if !require::lab() {
        return;
    }
    let world = World::new(2);
    let _pm = world.manage(&["--policy", "handover"]);
    let connection = world.connect();
    let backup = |link: usize| {
        let subflows = world.on_client(|| sockets::subflows().unwrap());
        let it = subflows.iter().find(|it| it.local.ip() == world.v4(link))?;
        Some(it.backup)
    };
    eventually("a backup", || (backup(1) == Some(true)).then_some(()));
    assert_eq!(backup(0), Some(false));
    world.topology.set_link(Side::Client, 0, false).unwrap();
    eventually("the backup's turn", || {
        (backup(1) == Some(false)).then_some(())
    });
    connection.carry();
}
