//! Clients that end without a word: the service behind learns it, nothing stays, others go on.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, Scene};
use anabranch_interop::socket::{self, Protocol};
use anabranch_kernel::sysctl;

/// The server has forgotten every connection.
fn assert_nothing_left(scene: &Scene) {
    // Linux's own server has no such list.
    let Some(server) = &scene.server else { return };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = server.connections().unwrap();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still there: {left}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_killed_client() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    // What Linux still keeps of a connection whose process is gone, it resets after this time.
    scene
        .topology
        .client
        .run(|| sysctl::write("net/mptcp/close_timeout", "1"))
        .unwrap();
    let endless = (1u64 << 40).to_string();
    let to = scene.v4(0).to_string();
    let mut client = scene.topology.client.run(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
        command
            .args([&to, "1", &endless, &endless])
            .spawn()
            .unwrap()
    });
    scene.wait_for_bytes(1, 16 * MIB);
    client.kill().unwrap();
    client.wait().unwrap();
    scene
        .backend
        .outcome(1, PATIENCE)
        .expect_err("the transfer was not complete");
    scene
        .transfer(scene.v4(0), &Plan::new(2, MIB, MIB))
        .unwrap()
        .assert_clean();
    assert_nothing_left(&scene);
}

#[test]
fn a_client_that_closes_with_data_unread() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    for (seed, protocol) in [(1, Protocol::Tcp), (2, Protocol::Mptcp)] {
        let to = scene.v4(0);
        scene.topology.client.run(|| {
            use std::io::{Read, Write};
            let mut stream = socket::connect(protocol, None, to, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
                .write_all(&Plan::new(seed, MIB, 64 * MIB).encode())
                .unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            socket::close_resets(&stream).unwrap();
        });
        scene
            .backend
            .outcome(seed, PATIENCE)
            .expect_err("the transfer was not complete");
    }
    scene
        .transfer(scene.v4(0), &Plan::new(3, MIB, MIB))
        .unwrap()
        .assert_clean();
    assert_nothing_left(&scene);
}
