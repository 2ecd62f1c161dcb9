//! Schedulers, congestion control and steering of a server that runs: by rule, and changed while
//! bytes flow to a client of Linux's.

use std::time::{Duration, Instant};
use std::{io, thread};

use anabranch_interop::eventually::Folder;
use anabranch_interop::exchange::{self, Plan};
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, Scene, Service, alone};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Endpoint, Side, Topology};
use anabranch_interop::watcher::Watcher;

/// Two links of 200 Mbit/s, both of which the client uses.
fn scene(arguments: &[&str]) -> Scene {
    let topology = Topology::new(2).unwrap();
    let second = topology.v4(Side::Client, 1);
    topology.add_endpoint(second, Endpoint::Subflow).unwrap();
    (0..2).for_each(|link| topology.set_rate(link, 200_000_000).unwrap());
    let arguments = arguments.iter().map(|&it| it.to_owned()).collect();
    Scene::on(topology, Service::Anabranch(arguments)).unwrap()
}

/// What `anabranch ss --json` says of the connection under way.
fn shown(server: &Anabranch) -> serde_json::Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = server.connections().unwrap();
        let mut lines = all
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if let Some(found) = lines.find(|it| it["protocol"] == "mptcp") {
            return found;
        }
        assert!(Instant::now() < deadline, "no connection:\n{all}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whatever_is_set_while_bytes_flow_they_are_the_same() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = scene(&[]);
    let server = scene.server.as_ref().unwrap();
    let plan = Plan::new(70, 64 * MIB, 256 * MIB);
    let transfer = scene.transfer_while(scene.v4(0), &plan, || {
        let id = shown(server)["id"].as_str().unwrap().to_owned();
        // Decisions are kept from the first question on.
        server.command(&["why", &id]).unwrap();
        let set = |words: &[&str]| -> io::Result<String> {
            server.command(&[&["set", &id], words].concat())
        };
        let kinds = [
            "minrtt",
            "roundrobin",
            "redundant",
            "blest",
            "ecf",
            "weighted:* weight=2",
            "backup:back=50ms",
            "adaptive:budget=10%",
        ];
        let congestion = ["reno", "bbr", "lia", "olia", "balia", "wvegas", "cubic"];
        for (n, kind) in kinds.iter().enumerate() {
            set(&["--scheduler", kind]).unwrap();
            set(&["--congestion", congestion[n % congestion.len()]]).unwrap();
            set(&["--steer", ["off", "on", "slower=1.5"][n % 3]]).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
        let now = shown(server);
        assert_eq!(
            (&now["scheduler"], &now["congestion"]),
            (&"adaptive".into(), &"reno".into())
        );
        let wrong = set(&["--scheduler", "fastest"]).unwrap_err().to_string();
        assert!(wrong.contains("no scheduler named"), "{wrong}");
        let words = server.command(&["why", &id, "-n", "3"]).unwrap();
        assert!(words.contains("adaptive: "), "{words}");
        let json = server.command(&["why", &id, "--json", "-n", "5"]).unwrap();
        let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["scheduler"], "adaptive");
        assert!(
            first["paths"]
                .as_array()
                .is_some_and(|paths| !paths.is_empty())
        );
        server.command(&["why", &id, "--stop"]).unwrap();
        let gone = server
            .command(&["set", "77.7", "--steer", "off"])
            .unwrap_err();
        assert!(
            gone.to_string().contains("no connection has the id"),
            "{gone}"
        );
    });
    transfer.unwrap().assert_clean();
}

#[test]
fn rules_choose_by_peer_and_port() {
    if !require::lab() {
        return;
    }
    let peer = Topology::new(1).unwrap().v4(Side::Client, 0);
    let rules = [
        format!("peer={peer} port=1 scheduler=redundant"),
        format!("peer={peer}/24 scheduler=blest congestion=lia"),
        "scheduler=ecf congestion=olia".to_owned(),
    ];
    let arguments: Vec<&str> = rules.iter().flat_map(|rule| ["--rule", rule]).collect();
    let scene = scene(&arguments);
    let server = scene.server.as_ref().unwrap();
    let transfer = scene.transfer_while(scene.v4(0), &Plan::new(71, 8 * MIB, 16 * MIB), || {
        let shown = shown(server);
        assert_eq!(shown["scheduler"], "blest");
        assert_eq!(shown["congestion"], "lia");
    });
    transfer.unwrap().assert_clean();
}

#[test]
fn rules_of_a_file_hold_for_who_comes_after_it_was_read_again() {
    if !require::lab() {
        return;
    }
    let file = std::env::temp_dir().join(format!("rules-{}.toml", std::process::id()));
    let rule =
        |name: &str| format!("policy.kind = \"server\"\n[[scheduling]]\nscheduler = \"{name}\"\n");
    std::fs::write(&file, rule("ecf")).unwrap();
    let scene = scene(&["--paths", file.to_str().unwrap()]);
    let server = scene.server.as_ref().unwrap();
    for name in ["ecf", "blest"] {
        std::fs::write(&file, rule(name)).unwrap();
        server.command(&["reload"]).unwrap();
        let plan = Plan::new(72, 4 * MIB, 16 * MIB);
        let transfer = scene.transfer_while(scene.v4(0), &plan, || {
            assert_eq!(shown(server)["scheduler"], name);
        });
        transfer.unwrap().assert_clean();
        // The connection is over before the next is looked for.
        let deadline = Instant::now() + PATIENCE;
        while server.connections().unwrap().contains("\"mptcp\"") && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
    std::fs::write(&file, "[[scheduling]]\nscheduler = \"fastest\"\n").unwrap();
    let refused = server.command(&["reload"]).unwrap_err().to_string();
    assert!(refused.contains("no scheduler named"), "{refused}");
    std::fs::remove_file(&file).unwrap();
}

/// Paths that may carry a megabyte each are used up by a longer answer: whoever waits for it is told, and
/// `anabranch monitor` says why.
#[test]
fn what_no_path_may_carry_breaks_off_and_is_told() {
    if !require::lab() {
        return;
    }
    let scene = scene(&["--scheduler", "weighted:* quota=1M"]);
    let server = scene.server.as_ref().unwrap();
    let plan = Plan::new(73, 0, 16 * MIB);
    let folder = Folder::new();
    let printed = folder.path().join("events");
    let watcher = Watcher::start(server.control(), printed, &["--json"]).unwrap();
    let ask_for_too_much = || {
        let client = &scene.topology.client;
        let stream = client.run(|| socket::connect(Protocol::Mptcp, None, scene.v4(0), PATIENCE));
        let outcome = exchange::client(&stream.unwrap(), &plan, PATIENCE);
        let received = outcome.map_or(0, |it| it.received.digest.bytes);
        assert!(received < plan.down, "{received} bytes");
    };
    let told = |line: &str| line.contains("\"stuck\"") && line.contains("quota");
    watcher.watch(ask_for_too_much, |printed| printed.lines().any(told));
}
