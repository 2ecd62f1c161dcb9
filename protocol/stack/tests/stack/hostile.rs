//! Whatever arrives: no panic, bounded memory.

use crate::pair::*;
use anabranch_stack::{Config, FlowId, Limits, ListenConfig, ListenerId};
use anabranch_wire::checksum;
use anabranch_wire::frame::Frame;
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Duration;

const MEMORY: usize = 1 << 20;

#[derive(Clone, Debug)]
enum Step {
    /// Bytes from nowhere.
    Noise(Vec<u8>),
    /// A packet that was sent before, to either side, some bytes changed.
    Mutant {
        side: bool,
        back: usize,
        changes: Vec<(usize, u8)>,
        gso_size: u16,
    },
    /// The application does something.
    Send(usize),
    Read,
    Pass(u32),
    Close(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let changes = prop::collection::vec((0..100usize, any::<u8>()), 0..4);
    let mutant = (
        any::<bool>(),
        0..40usize,
        changes,
        prop_oneof![Just(0u16), any::<u16>()],
    );
    prop_oneof![
        1 => noise.prop_map(Step::Noise),
        8 => mutant.prop_map(|(side, back, changes, gso_size)| {
            Step::Mutant { side, back, changes, gso_size }
        }),
        2 => (0..50_000usize).prop_map(Step::Send),
        1 => Just(Step::Read),
        2 => (0..3_000_000_000u32).prop_map(Step::Pass),
        1 => (0..4usize).prop_map(Step::Close),
    ]
}

/// Two hosts with connections of both kinds, ready to be attacked.
fn scene() -> (Pair, ListenerId, [(FlowId, FlowId); 3]) {
    let limits = Limits {
        memory: MEMORY,
        flows: 50,
        time_wait: 20,
        ..Limits::default()
    };
    let config = Config {
        limits,
        icmp_echo: true,
        gso_max: 65_000,
        ..Config::default()
    };
    let mut pair = Pair::new(config.clone(), config);
    let listener = pair
        .b
        .listen(ListenConfig {
            backlog: 16,
            ..ListenConfig::port(PORT)
        })
        .unwrap();
    let ends = [
        ("10.0.0.1:0", "10.0.0.2:80", false),
        ("10.0.0.1:0", "10.0.0.2:80", true),
        ("[fd00::1]:0", "[fd00::2]:80", true),
    ];
    let flows =
        ends.map(|(local, remote, mptcp)| pair.connect(listener, addr(local), addr(remote), mptcp));
    let (now, joining) = (pair.now, flows[1].0);
    pair.a
        .join(now, joining, addr("10.0.1.1:0"), addr("10.0.1.2:80"), false)
        .expect("a join");
    pair.run(Duration::from_millis(100));
    (pair, listener, flows)
}

fn mutate(packet: &Bytes, changes: &[(usize, u8)]) -> Bytes {
    let mut bytes = packet.to_vec();
    for (at, value) in changes {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    if bytes[0] >> 4 == 4 && bytes.len() >= 20 {
        bytes[10..12].fill(0);
        let check = !checksum::sum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
    }
    bytes.into()
}

/// `PROPTEST_CASES` or few enough for every day.
fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default().cases
    } else {
        200
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn nothing_breaks_a_stack(steps in prop::collection::vec(step(), 1..60)) {
        let (mut pair, listener, flows) = scene();
        let end = pair.now + Duration::from_secs(600);
        for step in steps {
            let now = pair.now;
            match step {
                Step::Noise(bytes) => pair.inject(B, bytes.into()),
                Step::Mutant { side, back, changes, gso_size } => {
                    let Some(at) = pair.log.len().checked_sub(1 + back) else { continue };
                    let data = mutate(&pair.log[at].1, &changes);
                    let frame = Frame { data, checksum_ok: true, gso_size };
                    pair.host(if side { A } else { B }).receive(now, frame);
                    pair.settle();
                }
                Step::Send(len) => for (client, server) in &flows {
                    let _ = pair.a.send(now, *client, pattern(len));
                    let _ = pair.b.send(now, *server, pattern(len));
                },
                Step::Read => for (client, server) in &flows {
                    read(&mut pair, (A, *client), &mut Vec::new());
                    read(&mut pair, (B, *server), &mut Vec::new());
                    while pair.b.accept(listener).is_some() {}
                },
                Step::Pass(nanos) => pair.run(Duration::from_nanos(nanos.into())),
                Step::Close(which) => if let Some((client, server)) = flows.get(which) {
                    pair.a.release(now, *client);
                    pair.b.shutdown(now, *server);
                },
            }
            prop_assert!(pair.now < end);
            for host in [&pair.a, &pair.b] {
                prop_assert!(host.memory() <= MEMORY + MEMORY / 4);
                prop_assert!(host.connections().count() <= 50);
                prop_assert!(host.time_waits() <= 20);
            }
        }
    }
}
