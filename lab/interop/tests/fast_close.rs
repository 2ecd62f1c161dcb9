//! MP_FASTCLOSE between Linux's clients and `anabranch serve`, both ways.

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::counters::Counters;
use anabranch_interop::eventually::eventually;
use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, Scene};
use anabranch_interop::socket::{self, Protocol};

/// Waits until one of our counters has reached `least`.
fn wait_for(scene: &Scene, name: &str, least: u64) -> u64 {
    let server = scene.server.as_ref().expect("not the kernel");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let counted = server.counter(name).unwrap();
        if counted >= least {
            return counted;
        }
        assert!(Instant::now() < deadline, "{name} is {counted}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What the client's kernel has counted, once it has counted one of `name`. It does that by the way:
/// a close waits for whoever started a process meanwhile and has the socket until that runs.
fn kernel_counted(scene: &Scene, name: &str) -> Counters {
    eventually(name, || {
        let counters = scene.topology.client.run(Counters::read).unwrap();
        (counters.get(name) > 0).then_some(counters)
    })
}

/// Nothing is left of the connections at the server.
fn assert_forgotten(scene: &Scene) {
    let server = scene.server.as_ref().expect("not the kernel");
    let deadline = Instant::now() + PATIENCE;
    while !server.connections().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "still there");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_client_closes_fast() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    if scene.server.is_none() {
        return;
    }
    let to = scene.v4(0);
    scene.topology.client.run(|| {
        let mut stream = socket::connect(Protocol::Mptcp, None, to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let plan = Plan::new(1, MIB, 64 * MIB);
        stream.write_all(&plan.encode()).unwrap();
        stream.read_exact(&mut vec![0; MIB as usize]).unwrap();
        // Linux closes fast only where bytes wait unread; without any it sends a DATA_FIN.
        assert!(stream.peek(&mut [0]).unwrap() > 0);
        socket::close_resets(&stream).unwrap();
    });
    let sent = kernel_counted(&scene, "MPTcpExtMPFastcloseTx").get("MPTcpExtMPFastcloseTx");
    // One is enough: those on further subflows find nobody.
    let received = wait_for(&scene, "MPTcpExtMPFastcloseRx", 1);
    assert!(received <= sent, "{received} of {sent}");
    scene
        .backend
        .outcome(1, PATIENCE)
        .expect_err("the transfer was not complete");
    assert_forgotten(&scene);
}

/// The service behind breaks off: so does the server, and the client's kernel believes the key.
#[test]
fn the_server_closes_fast() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    if scene.server.is_none() {
        return;
    }
    let to = scene.v4(0);
    let error = scene.topology.client.run(|| {
        let mut stream = socket::connect(Protocol::Mptcp, None, to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A reset that is the first segment it gets Linux takes for one of plain TCP: there is a
        // DATA_ACK first, after which it joins.
        stream.write_all(&[0]).unwrap();
        kernel_counted(&scene, "MPTcpExtMPJoinSynAckRx");
        // What is no plan: the backend closes with the rest unread, which is a reset.
        stream.write_all(&[0; 1000]).unwrap();
        stream.read(&mut [0; 10]).map_err(|e| e.kind())
    });
    assert_eq!(error, Err(ErrorKind::ConnectionReset));
    let received = kernel_counted(&scene, "MPTcpExtMPFastcloseRx").get("MPTcpExtMPFastcloseRx");
    let sent = wait_for(&scene, "MPTcpExtMPFastcloseTx", 1);
    assert!(received <= sent, "{received} of {sent}");
    assert_forgotten(&scene);
}
