//! `anabranch serve --paths FILE`, and commands to it.

use std::net::SocketAddr;
use std::thread;

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PORT, Scene, Service};
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::mptcp::sockets;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{Folder, eventually};

const RATE: u64 = 30_000_000;

/// Whether the client, which is Linux, has a subflow to the server's second address.
fn joined(scene: &Scene) -> bool {
    let second = scene.topology.v4(Side::Server, 1);
    let all = scene.topology.client.run(|| sockets::subflows().unwrap());
    all.iter().any(|it| it.remote.ip() == second)
}

#[test]
fn what_is_announced_follows_file_and_commands_while_bytes_flow() {
    if !require::lab() {
        return;
    }
    let folder = Folder::new();
    let file = folder.write("paths.toml", "[policy]\nkind = \"server\"\n");
    let topology = Topology::new(2).unwrap();
    (0..2).for_each(|link| topology.set_rate(link, RATE).unwrap());
    let arguments = vec!["--paths".to_owned(), file];
    let scene = Scene::on(topology, Service::Anabranch(arguments)).unwrap();
    let server = scene.server.as_ref().unwrap();
    let to: SocketAddr = scene.v4(0);
    assert_eq!(to.port(), PORT);
    let plan = Plan::new(1, 48 * MIB, 48 * MIB);
    thread::scope(|scope| {
        let transfer = scope.spawn(|| scene.transfer(to, &plan).unwrap());
        eventually("the client joins what the file has announced", || {
            joined(&scene).then_some(())
        });
        folder.write("paths.toml", "[policy]\nkind = \"endpoints\"\n");
        kill(Pid::from_raw(server.pid().cast_signed()), Signal::SIGHUP).unwrap();
        eventually("it is withdrawn", || (!joined(&scene)).then_some(()));
        let second = scene.topology.v4(Side::Server, 1).to_string();
        let added = server
            .command(&["endpoint", "add", &second, "signal"])
            .unwrap();
        assert_eq!(added, format!("{second} id 1 signal\n"));
        eventually("the client joins again", || joined(&scene).then_some(()));
        server.command(&["endpoint", "delete", "id", "1"]).unwrap();
        eventually("it is withdrawn again", || (!joined(&scene)).then_some(()));
        let transfer = transfer.join().expect("the client does not panic");
        let counted = |name: &str| transfer.counters.get(name);
        assert!(counted("MPTcpExtAddAddr") >= 2 && counted("MPTcpExtRmAddr") >= 2);
    });
}
