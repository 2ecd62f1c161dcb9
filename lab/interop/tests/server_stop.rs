//! The server stops, gracefully and not; the host is left as it was.

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, Scene, Service, alone};
use anabranch_interop::snapshot::Snapshot;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Endpoint, Side, Topology};
use anabranch_kernel::Netlink;

/// Two hosts, the state of the server's before the service starts, and the service.
fn scene() -> (Snapshot, Scene) {
    let topology = Topology::new(2).unwrap();
    topology
        .add_endpoint(topology.v4(Side::Client, 1), Endpoint::Subflow)
        .unwrap();
    // So that a client whose server vanished does not wait a minute for a new join.
    topology
        .client
        .run(|| anabranch_kernel::sysctl::write("net/mptcp/close_timeout", "1"))
        .unwrap();
    (0..2).for_each(|link| topology.set_rate(link, 200_000_000).unwrap());
    let before = topology.server.run(Snapshot::take).unwrap();
    (before, Scene::on(topology, Service::anabranch()).unwrap())
}

fn assert_host_as_before(scene: &Scene, before: &Snapshot) {
    let now = scene.topology.server.run(Snapshot::take).unwrap();
    let changes = now.changes_since(before);
    assert!(
        changes.is_empty(),
        "the host is not as before:\n{}",
        changes.join("\n")
    );
}

#[test]
fn sigterm_lets_open_connections_finish_and_refuses_new_ones() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let (before, mut scene) = scene();
    let plan = Plan::new(1, 64 * MIB, 64 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        scene.wait_for_bytes(1, 8 * MIB);
        scene.server.as_ref().unwrap().terminate().unwrap();
        let deadline = Instant::now() + Duration::from_secs(3);
        for protocol in [Protocol::Tcp, Protocol::Mptcp] {
            let to = scene.v4(0);
            let connect = || socket::connect(protocol, None, to, PATIENCE);
            while scene
                .topology
                .client
                .run(connect)
                .map_err(|e| e.kind())
                .map(drop)
                != Err(ErrorKind::ConnectionRefused)
            {
                assert!(
                    Instant::now() < deadline,
                    "new connections are still accepted"
                );
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    transfer.unwrap().assert_clean();
    let status = scene.server.as_mut().unwrap().wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    assert_host_as_before(&scene, &before);
}

#[test]
fn sigterm_without_connections_ends_at_once() {
    if !require::lab() {
        return;
    }
    let (before, mut scene) = scene();
    scene
        .transfer(scene.v4(0), &Plan::new(2, MIB, MIB))
        .unwrap();
    let asked = Instant::now();
    let server = scene.server.as_mut().unwrap();
    server.terminate().unwrap();
    let status = server.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}");
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "it took {:?}",
        asked.elapsed()
    );
    assert_host_as_before(&scene, &before);
}

#[test]
fn after_sigkill_clients_are_reset_and_the_next_start_serves_and_cleans_up() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let (before, mut scene) = scene();
    thread::scope(|scope| {
        let plan = Plan::new(3, 1 << 40, 1 << 40);
        let (topology, to) = (&scene.topology, scene.v4(0));
        let client = scope.spawn(move || {
            topology.client.run(|| {
                let stream = socket::connect(Protocol::Mptcp, None, to, PATIENCE)?;
                anabranch_interop::exchange::client(&stream, &plan, PATIENCE)
            })
        });
        scene.wait_for_bytes(1, 8 * MIB);
        scene.server.as_mut().unwrap().kill().unwrap();
        let killed = Instant::now();
        client.join().unwrap().expect_err("the transfer has no end");
        // A close timeout of a second, and a retransmission or two that are answered by resets.
        assert!(
            killed.elapsed() < Duration::from_secs(10),
            "{:?}",
            killed.elapsed()
        );
    });
    let server = scene.server.as_mut().unwrap();
    server.start_again(&scene.topology.server).unwrap();
    let transfer = scene
        .transfer(scene.v4(0), &Plan::new(4, 8 * MIB, 8 * MIB))
        .unwrap();
    transfer.assert_clean();
    let server = scene.server.as_mut().unwrap();
    server.terminate().unwrap();
    assert!(server.wait(PATIENCE).unwrap().success());
    assert_host_as_before(&scene, &before);
}

#[test]
fn two_servers_of_one_port_do_not_fight() {
    if !require::lab() {
        return;
    }
    let (_, scene) = scene();
    let to = scene.backend.addr();
    let port = anabranch_interop::scene::PORT;
    let arguments = ["--tun".to_owned(), "second0".to_owned()];
    let second = anabranch_interop::server::Anabranch::start(
        &scene.topology.server,
        port,
        std::net::SocketAddr::from(([127, 0, 0, 1], to.port())),
        &arguments,
    );
    let refused = second.expect_err("the port is taken").to_string();
    assert!(
        refused.contains(&port.to_string()),
        "it does not name the port: {refused}"
    );
    scene
        .transfer(scene.v4(0), &Plan::new(5, MIB, MIB))
        .unwrap()
        .assert_clean();
}

/// Nothing passes: only the device itself can say it.
#[test]
fn an_idle_server_ends_when_its_device_is_deleted() {
    if !require::lab() {
        return;
    }
    for threads in ["1", "2"] {
        let topology = Topology::new(1).unwrap();
        let before = topology.server.run(Snapshot::take).unwrap();
        let arguments = ["--threads", threads].map(str::to_owned).to_vec();
        let mut scene = Scene::on(topology, Service::Anabranch(arguments)).unwrap();
        let host = &scene.topology.server;
        host.run(|| Netlink::open().unwrap().delete_link("anabranch0").unwrap());
        let server = scene.server.as_mut().unwrap();
        let status = server.wait(PATIENCE).unwrap();
        let log = server.log();
        assert_eq!(status.code(), Some(1), "{log}");
        let line = "the TUN device anabranch0 is gone";
        assert_eq!(log.matches(line).count(), 1, "{log}");
        assert_host_as_before(&scene, &before);
    }
}
