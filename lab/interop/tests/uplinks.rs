//! Endpoints that name an interface: subflows of our own stack leave by that one or not at all, with an
//! address that it has.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anabranch_interop::connector::Connector;
use anabranch_interop::counters::interface_bytes;
use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT, Scene, Service};
use anabranch_interop::server::{Anabranch, program};
use anabranch_interop::snapshot::Snapshot;
use anabranch_interop::tool::output;
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::Netlink;
use anabranch_kernel::mptcp::sockets;

/// An address that no host has.
const FOREIGN: &str = "10.98.0.1";

/// Slow enough that something can happen meanwhile.
const RATE: u64 = 50_000_000;

/// A file of what is wanted, gone with the test.
struct Paths(PathBuf);

impl Paths {
    fn new(text: &str) -> Paths {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("anabranch-uplinks-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Paths(path)
    }

    /// The first link as it is, the second from `address` only.
    fn bound(address: &str) -> Paths {
        let rule = match address {
            FOREIGN => {
                "[[interface]]\nname = \"link1\"\nnetwork = \"10.77.0.0/16\"\nallow = false\n"
            }
            _ => "",
        };
        Paths::new(&format!(
            "[[endpoint]]\naddress = \"{address}\"\ndev = \"link1\"\nflags = [\"subflow\"]\n{rule}"
        ))
    }

    fn arguments(&self) -> String {
        format!("--paths {}", self.0.display())
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn scene() -> Scene {
    let scene = Scene::new(2, Service::Kernel).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    scene
}

fn settings(scene: &Scene) -> Snapshot {
    scene.topology.client.run(|| Snapshot::take().unwrap())
}

fn translations(scene: &Scene) -> String {
    let list = || output("nft", "list ruleset").unwrap();
    scene.topology.client.run(list)
}

/// Where subflows come from, as the server sees it.
fn origins(topology: &Topology) -> Vec<IpAddr> {
    let all = topology.server.run(|| sockets::subflows().unwrap());
    let mut origins: Vec<IpAddr> = all.iter().map(|it| it.remote.ip()).collect();
    origins.sort();
    origins
}

/// Waits until subflows come from these addresses, and perhaps from one that is gone: the server may
/// not know that yet.
fn come_from(topology: &Topology, wanted: &[IpAddr]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = origins(topology);
        if wanted.iter().all(|it| found.contains(it)) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{found:?} rather than {wanted:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_address_of_nobody_is_translated_to_the_uplinks() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let before = settings(&scene);
    let paths = Paths::bound(FOREIGN);
    let plan = Plan::new(1, 16 * MIB, 16 * MIB);
    let (client, to) = (&scene.topology.client, scene.v4(0));
    let connector = Connector::start(client, to, &paths.arguments(), &plan).unwrap();
    let [first, second] = [0, 1].map(|link| scene.topology.v4(Side::Client, link));
    come_from(&scene.topology, &[first, second]);
    let table = translations(&scene);
    assert!(table.contains("masquerade"), "{table}");
    scene.wait_for_bytes(1, 4 * MIB);
    scene.ended(connector, &plan).unwrap();
    assert_eq!(
        settings(&scene).changes_since(&before),
        Vec::<String>::new()
    );
}

#[test]
fn what_a_crash_leaves_of_it_is_removed_at_the_next_start() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let before = settings(&scene);
    let paths = Paths::bound(FOREIGN);
    // Both ways: Linux finishes no join once its own side has ended.
    let endless = Plan::new(2, 4096 * MIB, 4096 * MIB);
    let (client, to) = (&scene.topology.client, scene.v4(0));
    let mut crashed = Connector::start(client, to, &paths.arguments(), &endless).unwrap();
    scene.wait_for_bytes(1, MIB);
    crashed.kill().unwrap();
    assert!(translations(&scene).contains("masquerade"));
    scene.connect(to, "", &Plan::new(3, MIB, MIB)).unwrap();
    assert_eq!(
        settings(&scene).changes_since(&before),
        Vec::<String>::new()
    );
}

#[test]
fn the_uplink_gets_another_address_and_the_subflow_follows() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let paths = Paths::bound(FOREIGN);
    let plan = Plan::new(4, 96 * MIB, 96 * MIB);
    let (client, to) = (&scene.topology.client, scene.v4(0));
    let connector = Connector::start(client, to, &paths.arguments(), &plan).unwrap();
    let [first, second] = [0, 1].map(|link| scene.topology.v4(Side::Client, link));
    come_from(&scene.topology, &[first, second]);
    let other: IpAddr = "10.77.1.9".parse().unwrap();
    client.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.delete_address("link1", second, 24).unwrap();
        netlink.add_address("link1", other, 24).unwrap();
        output("ip", "route replace default via 10.77.1.2 table 101").unwrap();
    });
    come_from(&scene.topology, &[first, other]);
    scene.ended(connector, &plan).unwrap();
}

#[test]
fn an_address_of_the_interface_leaves_by_it_whatever_the_routes_say() {
    if !require::lab() {
        return;
    }
    for (bound, leaves) in [(false, "link0"), (true, "link1")] {
        let scene = scene();
        let second = scene.topology.v4(Side::Client, 1).to_string();
        // Now everything to the server's first address goes by the first link.
        let forget = || output("ip", "rule del pref 1001").unwrap();
        scene.topology.client.run(forget);
        let paths = match bound {
            true => Paths::bound(&second),
            false => Paths::new("[policy]\nkind = \"one-each\"\n"),
        };
        let plan = Plan::new(5, 16 * MIB, 16 * MIB);
        scene
            .connect(scene.v4(0), &paths.arguments(), &plan)
            .unwrap();
        let sent = |link: &str| {
            let bytes = || interface_bytes(link).unwrap();
            scene.topology.client.run(bytes).1
        };
        let most = if sent("link0") > 16 * MIB {
            "link0"
        } else {
            "link1"
        };
        assert_eq!(most, leaves, "{} {}", sent("link0"), sent("link1"));
        assert_eq!(sent("link1") > MIB, bound, "{}", sent("link1"));
    }
}

#[test]
fn an_interface_that_cannot_be_bound_to_is_refused_in_one_line() {
    if !require::lab() {
        return;
    }
    let topology = Topology::new(1).unwrap();
    let paths = Paths::bound(FOREIGN);
    let arguments = [
        "--attach",
        "packet",
        "--address",
        "10.77.0.7/24%link0",
        "--paths",
        paths.0.to_str().unwrap(),
    ];
    let arguments = arguments.map(str::to_owned);
    let to = "127.0.0.1:9".parse().unwrap();
    let started = Anabranch::start(&topology.server, PORT, to, &arguments);
    let error = started.map(drop).unwrap_err().to_string();
    let lines: Vec<&str> = error
        .lines()
        .filter(|it| it.starts_with("error: "))
        .collect();
    assert_eq!(lines.len(), 1, "{error}");
    assert!(lines[0].contains("dev link1: an address of"), "{error}");
}

#[test]
fn without_nftables_one_line_says_so_and_nothing_is_left() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let before = settings(&scene);
    let paths = Paths::bound(FOREIGN);
    let mut command = Command::new(program().unwrap());
    command
        .args(["connect", &scene.v4(0).to_string(), "--paths"])
        .arg(&paths.0)
        .env("PATH", "/nonexistent")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = scene.topology.client.run(|| command.spawn().unwrap());
    // It may have ended before it reads.
    let _ = child.stdin.take().unwrap().write_all(b"x");
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("nftables"), "{said}");
    assert_eq!(
        settings(&scene).changes_since(&before),
        Vec::<String>::new()
    );
}
