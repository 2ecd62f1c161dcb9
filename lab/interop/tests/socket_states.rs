//! `ss -M`: what Linux knows of a connection is what `anabranch ss` and a capture know of it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use anabranch_capture::Judge;
use anabranch_capture::record::Capture;
use anabranch_interop::counters::Counters;
use anabranch_interop::eventually::eventually;
use anabranch_interop::exchange::{Order, PLAN_LEN, Plan};
use anabranch_interop::require;
use anabranch_interop::scene::{PATIENCE, Scene};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::tool::output;

const UP: u64 = 300_000;
const DOWN: u64 = 700_000;

/// The words of `ss -M` that have a value, of the only connection.
fn kernel_knows(scene: &Scene) -> BTreeMap<String, u64> {
    let show = || output("ss", "-HMni").unwrap();
    let text = scene.topology.client.run(show);
    let words = text
        .split_whitespace()
        .filter_map(|word| word.split_once(':'));
    let radix = |name: &str| if name.starts_with("subflows") { 10 } else { 16 };
    let number = |(name, value): (&str, &str)| {
        let value = u64::from_str_radix(value, radix(name)).ok()?;
        Some((name.to_owned(), value))
    };
    words.filter_map(number).collect()
}

/// A connection that stands still after bytes went both ways, and the server's end.
#[test]
fn both_ends_and_a_capture_agree() {
    if !require::lab() {
        return;
    }
    let scene = Scene::joined(2).unwrap();
    let Some(server) = &scene.server else { return };
    let plan = Plan {
        order: Order::BackendFirst,
        ..Plan::new(1, UP, DOWN)
    };
    let to = scene.v4(0);
    let (stream, capture) = scene.topology.client.run(|| {
        let patterns = vec![plan.up_pattern(), plan.down_pattern()];
        let capture = Capture::start(Judge::new(patterns, PLAN_LEN as u64)).unwrap();
        let mut stream = socket::connect(Protocol::Mptcp, None, to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Linux joins after a DATA_ACK, and finishes no join after our DATA_FIN.
        let order = plan.encode();
        stream.write_all(&order[..1]).unwrap();
        eventually("a second subflow", || {
            (kernel_knows(&scene).get("subflows") == Some(&1)).then_some(())
        });
        stream.write_all(&order[1..]).unwrap();
        let mut up = vec![0; UP as usize];
        plan.up_pattern().fill(0, &mut up);
        stream.write_all(&up).unwrap();
        stream.read_exact(&mut vec![0; DOWN as usize]).unwrap();
        (stream, capture)
    });
    let up = UP + PLAN_LEN as u64;
    let deadline = Instant::now() + PATIENCE;
    let ours = loop {
        let json = server.connections().unwrap();
        let ours: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
        let still = ours["bytes_received"] == up && ours["bytes_acked"] == DOWN;
        let kernel = kernel_knows(&scene);
        let acknowledged = kernel.get("snd_una") == kernel.get("write_seq");
        if still && acknowledged && kernel.get("subflows") == Some(&1) {
            break ours;
        }
        let counted = || scene.topology.client.run(Counters::read).unwrap();
        assert!(
            Instant::now() < deadline,
            "{:?}\n{kernel:?}\n{json}",
            counted().with_prefix("MPTcpExt")
        );
        thread::sleep(Duration::from_millis(20));
    };
    let kernel = kernel_knows(&scene);
    let recording = scene.topology.client.run(|| capture.stop()).unwrap();
    let report = recording.judge.analysis();
    let [connection] = &report.connections[..] else {
        panic!("{report}")
    };
    let (client, server) = (&connection.client, &connection.server);
    // The client's own token, by which the server would join.
    assert_eq!(kernel["token"], u64::from(client.token.unwrap()));
    let behind = |name: &str, idsn: Option<u64>| kernel[name].wrapping_sub(idsn.unwrap() + 1);
    assert_eq!(behind("write_seq", client.idsn), up);
    assert_eq!(behind("snd_una", client.idsn), up);
    // The DATA_FIN takes one number.
    assert_eq!(behind("rcv_nxt", server.idsn), DOWN + 1);
    let subflows = ours["subflows"].as_array().unwrap();
    assert_eq!(subflows.len() as u64, kernel["subflows"] + 1);
    assert_eq!(subflows.len(), connection.subflows.len());
    stream.shutdown(Shutdown::Both).unwrap();
    scene.backend.outcome(1, PATIENCE).unwrap();
}
