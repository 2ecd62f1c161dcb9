//! Clients that end without a word: the service behind learns it, nothing stays, others go on.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, Scene};
use anabranch_interop::socket::{self, Protocol};

/// No transfer of so many bytes ends within a test.
const ENDLESS: u64 = 1 << 40;

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

/// Starts a client, and kills it when its first link has moved some MiB.
fn kill_in_the_middle(scene: &Scene, seed: u64, up: u64, down: u64, pause: u64) {
    let numbers = [seed, up, down, pause].map(|n| n.to_string());
    let to = scene.v4(0).to_string();
    let mut client = scene.topology.client.run(|| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
        command.arg(&to).args(&numbers).spawn().unwrap()
    });
    scene.wait_for_bytes(0, 4 * MIB);
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn a_killed_client_that_had_data_to_read() {
    if !require::lab() {
        return;
    }
    // Linux aborts such a connection (MP_FASTCLOSE).
    let scene = Scene::joined(2).unwrap();
    kill_in_the_middle(&scene, 1, ENDLESS, ENDLESS, 60);
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
fn a_killed_client_that_had_data_to_send() {
    if !require::lab() {
        return;
    }
    // Linux closes such a connection behind the data that were written.
    let scene = Scene::joined(2).unwrap();
    kill_in_the_middle(&scene, 1, ENDLESS, 0, 0);
    let backend = scene.backend.outcome(1, PATIENCE).unwrap();
    let bytes = backend.received.digest.bytes;
    assert!((MIB..ENDLESS).contains(&bytes), "{bytes} bytes");
    assert_eq!(backend.received.first_wrong, None);
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
