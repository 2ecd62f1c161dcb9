//! `anabranch connect` towards Linux's own Multipath TCP, with what may be set there, and on paths
//! that alter or strip: bytes are equal, and the kernel's counters and our own agree.

use std::io::Read;
use std::net::SocketAddr;
use std::thread;

use anabranch_interop::connector::{Connector, Ended};
use anabranch_interop::counters::{CLEAN, Counters};
use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::{Fault, Strip};
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT, Scene, Service, alone};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::tool::{output, tool};
use anabranch_interop::topology::{Endpoint, Side};
use anabranch_kernel::sysctl;

/// Slow enough that both links carry data.
const RATE: u64 = 200_000_000;

/// Linux serves at the end of two links.
fn scene() -> Scene {
    let scene = Scene::new(2, Service::Kernel).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    scene
}

fn set(scene: &Scene, name: &str, value: &str) {
    let write = || sysctl::write(&format!("net/mptcp/{name}"), value);
    scene.topology.server.run(write).unwrap();
}

/// What the server's kernel counted.
fn served(scene: &Scene) -> Counters {
    scene.topology.server.run(Counters::read).unwrap()
}

/// Both directions at once, over every link of the client or the one it is told.
fn both_ways(scene: &Scene, arguments: &str, seed: u64) -> Ended {
    let plan = Plan::new(seed, 8 * MIB, 8 * MIB);
    scene
        .connect(scene.v4(0), &format!("{arguments} --json"), &plan)
        .unwrap()
}

fn summary(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(ended.summary()).unwrap_or_else(|e| panic!("{e}: {}", ended.log))
}

/// One of our counters.
fn ours(ended: &Ended, name: &str) -> u64 {
    summary(ended)["counters"][name].as_u64().unwrap_or(0)
}

/// What one side sent is what the other received.
fn assert_agree(kernel: &Counters, ended: &Ended, sent_by_kernel: &str, received_by_us: &str) {
    let (sent, received) = (kernel.get(sent_by_kernel), ours(ended, received_by_us));
    assert_eq!(sent, received, "{sent_by_kernel}: {}", ended.log);
}

#[test]
fn checksums_that_the_server_wants() {
    if !require::lab() {
        return;
    }
    for (value, agreed) in [("1", true), ("0", false)] {
        let scene = scene();
        set(&scene, "checksum_enabled", value);
        let ended = both_ways(&scene, "", 1);
        assert_eq!(summary(&ended)["checksum"], agreed, "{}", ended.log);
        assert_eq!(served(&scene).nonzero(CLEAN), []);
        assert_eq!(served(&scene).get("MPTcpExtMPJoinAckRx"), 1);
    }
}

/// Flag C: no join to the address of the connection, but to one that is announced.
#[test]
fn a_server_that_takes_no_joins_at_its_address() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    set(&scene, "allow_join_initial_addr_port", "0");
    let ended = both_ways(&scene, "", 2);
    assert_eq!(ours(&ended, "MPTcpExtMPJoinSynTx"), 0, "{}", ended.log);
    let second = scene.topology.v4(Side::Server, 1);
    scene.topology.announce_by_kernel(second).unwrap();
    let before = served(&scene);
    let ended = both_ways(&scene, "", 3);
    let kernel = served(&scene).since(&before);
    assert_eq!(kernel.nonzero(CLEAN), []);
    assert_eq!(kernel.get("MPTcpExtMPJoinAckRx"), 1, "{}", ended.log);
    let remotes = summary(&ended)["subflows"].to_string();
    assert!(remotes.contains(&second.to_string()), "{remotes}");
}

/// `ip mptcp endpoint add … signal`.
#[test]
fn addresses_that_the_server_announces() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    for addr in [
        scene.topology.v4(Side::Server, 1),
        scene.topology.v6(Side::Server, 1),
    ] {
        scene.topology.announce_by_kernel(addr).unwrap();
    }
    let ended = both_ways(&scene, "", 4);
    let kernel = served(&scene);
    assert_eq!(kernel.nonzero(CLEAN), []);
    assert_agree(&kernel, &ended, "MPTcpExtAddAddrTx", "MPTcpExtAddAddr");
    assert_agree(&kernel, &ended, "MPTcpExtEchoAdd", "MPTcpExtEchoAddTx");
    assert!(kernel.get("MPTcpExtEchoAdd") >= 2, "{}", ended.log);
    assert_agree(
        &kernel,
        &ended,
        "MPTcpExtMPJoinSynRx",
        "MPTcpExtMPJoinSynTx",
    );
}

/// `ip mptcp endpoint add … signal port …`: the kernel listens there for joins alone.
#[test]
fn an_address_that_is_announced_with_a_port() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    set(&scene, "allow_join_initial_addr_port", "0");
    let second = scene.topology.v4(Side::Server, 1);
    let endpoint = Endpoint::Port(9107);
    scene
        .topology
        .endpoint(Side::Server, second, endpoint)
        .unwrap();
    let ended = both_ways(&scene, "", 5);
    let kernel = served(&scene);
    assert_eq!(kernel.nonzero(CLEAN), []);
    assert_agree(&kernel, &ended, "MPTcpExtAddAddrTx", "MPTcpExtPortAdd");
    assert_eq!(kernel.get("MPTcpExtMPJoinPortAckRx"), 1, "{}", ended.log);
    let remotes = summary(&ended)["subflows"].to_string();
    assert!(remotes.contains(&format!("{second}:9107")), "{remotes}");
}

/// `ip mptcp limits set subflows …` of the server.
#[test]
fn joins_over_the_servers_limit() {
    if !require::lab() {
        return;
    }
    // Two seconds: every join is through by then, also one whose SYN had to be sent again.
    const SLOW: u64 = 16_000_000;
    let scene = Scene::new(4, Service::Kernel).unwrap();
    (0..4).for_each(|link| scene.topology.set_rate(link, SLOW).unwrap());
    for (seed, limit) in [(6, 0), (7, 1), (8, 3)] {
        scene.topology.set_limits(Side::Server, limit, 8).unwrap();
        let before = served(&scene);
        let bytes = u64::from(limit + 1) * 4 * MIB;
        let plan = Plan::new(seed, bytes, bytes);
        let ended = scene.connect(scene.v4(0), "--json", &plan).unwrap();
        let kernel = served(&scene).since(&before);
        let joined = kernel.get("MPTcpExtMPJoinAckRx");
        assert_eq!(joined, u64::from(limit), "{}", ended.log);
    }
}

/// `ip mptcp endpoint change … backup` in the middle: MP_PRIO.
#[test]
fn the_server_makes_a_subflow_a_backup() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = scene();
    let first = scene.topology.v4(Side::Server, 0);
    let add = format!("mptcp endpoint add {first} id 5 signal");
    scene.topology.server.run(|| tool("ip", &add)).unwrap();
    let plan = Plan::new(9, 24 * MIB, 24 * MIB);
    let client = &scene.topology.client;
    let connector = Connector::start(client, scene.v4(0), "--json", &plan).unwrap();
    scene.wait_for_bytes(1, 2 * MIB);
    let change = "mptcp endpoint change id 5 backup";
    scene.topology.server.run(|| tool("ip", change)).unwrap();
    let ended = scene.ended(connector, &plan).unwrap();
    let kernel = served(&scene);
    assert!(kernel.get("MPTcpExtMPPrioTx") > 0, "{}", ended.log);
    assert_agree(&kernel, &ended, "MPTcpExtMPPrioTx", "MPTcpExtMPPrioRx");
}

#[test]
fn multipath_is_switched_off_at_the_server_in_the_middle() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let plan = Plan::new(10, 16 * MIB, 16 * MIB);
    let client = &scene.topology.client;
    let connector = Connector::start(client, scene.v4(0), "--json", &plan).unwrap();
    scene.wait_for_bytes(0, MIB);
    set(&scene, "enabled", "0");
    scene.ended(connector, &plan).unwrap();
    assert_eq!(served(&scene).nonzero(CLEAN), []);
}

/// One packet of 50 of the second link is altered on its way, where checksums are in use.
fn altered(chain: &str, link: &str, arguments: &str) -> (Ended, Counters) {
    let scene = scene();
    let fault = Fault::alter(&scene.topology.server, chain, link).unwrap();
    let plan = Plan::new(11, 8 * MIB, 8 * MIB);
    let arguments = format!("{arguments} --checksum --json");
    let ended = scene.connect(scene.v4(0), &arguments, &plan).unwrap();
    assert!(fault.counted("altered").unwrap() > 0, "nothing was altered");
    (ended, served(&scene))
}

#[test]
fn what_we_send_is_altered_on_one_of_two_subflows() {
    if !require::lab() {
        return;
    }
    let (ended, kernel) = altered("in", "link1", "");
    assert!(kernel.get("MPTcpExtDataCsumErr") > 0, "{}", ended.log);
    assert_agree(&kernel, &ended, "MPTcpExtMPFailTx", "MPTcpExtMPFailRx");
}

#[test]
fn what_the_server_sends_is_altered_on_one_of_two_subflows() {
    if !require::lab() {
        return;
    }
    let (ended, kernel) = altered("out", "link1", "");
    assert!(kernel.get("MPTcpExtMPFailRx") > 0, "{}", ended.log);
    assert_agree(&kernel, &ended, "MPTcpExtMPFailRx", "MPTcpExtMPFailTx");
}

/// Which options vanish on the way, and what is said of it; a join is not tried.
fn stripped(strip: Strip, what: &str, joins: u64) {
    let scene = scene();
    let _fault = Fault::strip(&scene.topology.server, strip).unwrap();
    let ended = both_ways(&scene, "", 12);
    let summary = summary(&ended);
    assert_eq!(summary["protocol"], "tcp", "{}", ended.log);
    assert_eq!(ours(&ended, "MPTcpExtMPJoinSynTx"), joins, "{}", ended.log);
    assert_eq!(ours(&ended, "MPTcpExtMPJoinSynAckRx"), 0);
    let told = summary["fallback"].as_str().unwrap_or_default().to_owned();
    assert!(told.contains(what), "{told}");
}

#[test]
fn mp_capable_stripped_from_the_syn() {
    if require::lab() {
        stripped(Strip::Syn, "did not answer", 0);
    }
}

#[test]
fn mp_capable_stripped_from_the_syn_ack() {
    if require::lab() {
        stripped(Strip::SynAck, "did not answer", 0);
    }
}

/// The SYN of a join has left before anything shows that the keys did not arrive.
#[test]
fn everything_we_send_after_the_syn_loses_its_options() {
    if require::lab() {
        stripped(Strip::AfterSyn, "", 1);
    }
}

/// A service of the kernel that takes one connection and aborts it: MP_FASTCLOSE.
#[test]
fn the_server_closes_fast() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let to = SocketAddr::new(scene.topology.v4(Side::Server, 0), PORT + 1);
    let server = &scene.topology.server;
    let listener = server.run(|| socket::listen(Protocol::Mptcp, to)).unwrap();
    let plan = Plan::new(13, MIB, 0);
    let connector = Connector::start(&scene.topology.client, to, "--json", &plan).unwrap();
    let accepted = socket::accept_within(&listener, PATIENCE).unwrap();
    let (stream, _) = accepted.expect("the client comes");
    // Of what it sends most is not read.
    (&stream).read_exact(&mut [0; 1000]).unwrap();
    socket::close_resets(&stream).unwrap();
    drop(stream);
    let ended = connector.finish().unwrap();
    assert!(!ended.status.success(), "{}", ended.log);
    let kernel = served(&scene);
    assert!(kernel.get("MPTcpExtMPFastcloseTx") > 0, "{}", ended.log);
    assert!(ended.log.contains("reset"), "{}", ended.log);
}

/// Whoever reads our standard output goes away: the connection is aborted, and the server's kernel
/// believes the key.
#[test]
fn we_close_fast() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let plan = Plan::new(14, MIB, 4096 * MIB);
    let client = &scene.topology.client;
    let mut connector = Connector::start(client, scene.v4(0), "--json", &plan).unwrap();
    scene.wait_for_bytes(0, 4 * MIB);
    scene.wait_for_bytes(1, MIB);
    connector.stop_reading();
    let ended = connector.finish().unwrap();
    assert!(!ended.status.success(), "{}", ended.log);
    scene
        .backend
        .outcome(14, PATIENCE)
        .expect_err("the transfer was not complete");
    let kernel = served(&scene);
    assert!(
        kernel.get("MPTcpExtMPFastcloseRx") > 0,
        "{:?}\n{}",
        kernel.with_prefix("MPTcpExt"),
        ended.log
    );
    let open = || output("ss", "-HMan state established").unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while !scene.topology.server.run(open).is_empty() {
        assert!(
            std::time::Instant::now() < deadline,
            "it stays at the server"
        );
        thread::sleep(std::time::Duration::from_millis(20));
    }
}
