//! `anabranch connect` towards Linux's own Multipath TCP, plain TCP and `anabranch serve`.

use std::net::SocketAddr;

use anabranch_interop::connector::{Connector, Ended};
use anabranch_interop::counters::{CLEAN, Counters};
use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::Fault;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service, alone};
use anabranch_interop::tool::output;
use anabranch_interop::topology::Side;
use anabranch_kernel::sysctl;

/// Slow enough that a fault in the middle is one.
const RATE: u64 = 200_000_000;

/// Does `plan` by `anabranch connect`, and compares the bytes of both directions.
fn exchange(scene: &Scene, to: SocketAddr, arguments: &str, plan: &Plan) -> Ended {
    scene.connect(to, arguments, plan).unwrap()
}

/// The JSON at the end of its log.
fn summary(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(ended.summary()).expect("JSON")
}

/// What a client adds to the host: rules of its ports, and ports reserved.
fn left_behind(scene: &Scene) -> (usize, String) {
    let reserved = || sysctl::read("net/ipv4/ip_local_reserved_ports").unwrap();
    let ours = |rules: String| rules.lines().filter(|rule| rule.contains("dport")).count();
    scene.topology.client.run(|| {
        let rules = ours(output("ip", "rule").unwrap()) + ours(output("ip", "-6 rule").unwrap());
        (rules, reserved().trim().to_owned())
    })
}

/// Before any client.
fn before() -> (usize, String) {
    (0, String::new())
}

/// What the server's kernel counted.
fn served(scene: &Scene) -> Counters {
    scene.topology.server.run(Counters::read).unwrap()
}

/// A connection of both links, up and down at once.
fn two_links(service: Service, to: impl Fn(&Scene) -> SocketAddr, arguments: &str) {
    let scene = Scene::new(2, service).unwrap();
    let plan = Plan::new(1, 8 * MIB, 8 * MIB);
    let ended = exchange(&scene, to(&scene), &format!("{arguments} --json"), &plan);
    let summary = summary(&ended);
    assert_eq!(summary["protocol"], "mptcp", "{}", ended.log);
    assert_eq!(
        summary["counters"]["MPTcpExtMPJoinSynAckRx"], 1,
        "{}",
        ended.log
    );
    for subflow in summary["subflows"].as_array().unwrap() {
        assert!(
            subflow["bytes_received"].as_u64() > Some(0),
            "{}",
            ended.log
        );
    }
    if scene.server.is_none() {
        let counters = served(&scene);
        assert_eq!(counters.get("MPTcpExtMPCapableACKRX"), 1);
        assert_eq!(counters.get("MPTcpExtMPJoinAckRx"), 1);
        assert_eq!(counters.nonzero(CLEAN), []);
    }
    assert_eq!(left_behind(&scene), before());
}

#[test]
fn two_links_to_linux() {
    if require::lab() {
        two_links(Service::Kernel, |scene| scene.v4(0), "");
    }
}

#[test]
fn two_links_to_linux_over_ipv6_with_checksums() {
    if require::lab() {
        two_links(Service::Kernel, |scene| scene.v6(0), "--checksum");
    }
}

#[test]
fn two_links_to_anabranch() {
    if require::lab() {
        two_links(Service::anabranch(), |scene| scene.v4(0), "");
    }
}

#[test]
fn two_links_to_anabranch_in_version_0() {
    if require::lab() {
        let scene_of = |scene: &Scene| scene.v4(0);
        two_links(Service::anabranch(), scene_of, "--mptcp-version 0");
    }
}

#[test]
fn a_link_is_cut_and_comes_back() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::new(2, Service::Kernel).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let plan = Plan::new(2, 48 * MIB, 48 * MIB);
    let client = &scene.topology.client;
    let connector = Connector::start(client, scene.v4(0), "--verbose --json", &plan).unwrap();
    scene.wait_for_bytes(0, 4 * MIB);
    scene.topology.set_link(Side::Client, 0, false).unwrap();
    scene.wait_for_bytes(1, 8 * MIB);
    scene.topology.set_link(Side::Client, 0, true).unwrap();
    scene.wait_for_bytes(0, 4 * MIB);
    let ended = scene.ended(connector, &plan).unwrap();
    let summary = summary(&ended);
    // Sent again, since nothing answers it.
    let withdrawn = summary["counters"]["MPTcpExtRmAddrTx"].as_u64();
    assert!(
        withdrawn.is_some_and(|n| (1..=3).contains(&n)),
        "{}",
        ended.log
    );
    let subflows = summary["subflows"].as_array().unwrap();
    assert_eq!(subflows.len(), 3, "{}", ended.log);
}

#[test]
fn a_server_of_plain_tcp() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::anabranch()).unwrap();
    // The backend itself is one.
    let to = SocketAddr::new(scene.v4(0).ip(), scene.backend.addr().port());
    let ended = exchange(&scene, to, "--json", &Plan::new(3, 4 * MIB, 4 * MIB));
    let summary = summary(&ended);
    assert_eq!(summary["protocol"], "tcp");
    assert_eq!(
        summary["fallback"],
        "the server did not answer Multipath TCP"
    );
    let ended = exchange(&scene, to, "--plain --json", &Plan::new(4, MIB, MIB));
    let counters = self::summary(&ended)["counters"].to_string();
    assert!(!counters.contains("Mptcp"), "{counters}");
}

#[test]
fn a_network_that_drops_syns_with_the_option() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::new(2, Service::Kernel).unwrap();
    let _fault = Fault::drop_capable_syns(&scene.topology.server).unwrap();
    let ended = exchange(&scene, scene.v4(0), "--json", &Plan::new(5, MIB, MIB));
    let summary = summary(&ended);
    assert_eq!(summary["protocol"], "tcp");
    for counter in ["MPTcpExtMPCapableSYNTXDrop", "MPTcpExtBlackhole"] {
        assert_eq!(summary["counters"][counter], 1, "{}", ended.log);
    }
}

#[test]
fn a_network_that_resets_syns_with_the_option() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::Kernel).unwrap();
    let _fault = Fault::reset_capable_syns(&scene.topology.server).unwrap();
    let ended = exchange(&scene, scene.v4(0), "--json", &Plan::new(9, MIB, MIB));
    assert_eq!(summary(&ended)["protocol"], "tcp");
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::Kernel).unwrap();
    let plan = Plan::new(6, 0, 0);
    let fails = |to: SocketAddr, arguments: &str| {
        let client = &scene.topology.client;
        let connector = Connector::start(client, to, arguments, &plan).unwrap();
        let ended = connector.finish().unwrap();
        assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);
        (ended.status.code().unwrap(), ended.log)
    };
    let nobody = SocketAddr::new(scene.v4(0).ip(), 1);
    assert_eq!(fails(nobody, "").0, 3);
    let (code, log) = fails(scene.v4(0), "--from 192.0.2.77");
    assert_eq!(code, 2);
    assert!(log.contains("--from 192.0.2.77"), "{log}");
    let _fault = Fault::blackhole(&scene.topology.server, "link0").unwrap();
    assert_eq!(fails(scene.v4(0), "--timeout 1").0, 4);
    assert_eq!(left_behind(&scene), before());
}

#[test]
fn what_a_crash_leaves_is_removed_at_the_next_start() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::Kernel).unwrap();
    let client = &scene.topology.client;
    let plan = Plan::new(7, 4096 * MIB, 0);
    let mut crashed = Connector::start(client, scene.v4(0), "", &plan).unwrap();
    scene.wait_for_bytes(0, MIB);
    crashed.kill().unwrap();
    assert_ne!(left_behind(&scene), before());
    exchange(&scene, scene.v4(0), "", &Plan::new(8, MIB, MIB));
    assert_eq!(left_behind(&scene), before());
}
