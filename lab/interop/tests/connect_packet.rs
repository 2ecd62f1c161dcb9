//! `anabranch connect --attach packet`: from addresses of its own on interfaces of the host.

use std::net::{IpAddr, SocketAddr};

use anabranch_interop::connector::Connector;
use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service, alone};
use anabranch_interop::snapshot::Snapshot;
use anabranch_interop::tool::output;
use anabranch_interop::topology::Side;
use anabranch_kernel::Netlink;
use serde_json::Value;

/// An address of its own on each link. The server has the address that is connected to on the
/// first one; on the second it is the gateway.
const BOTH: &str = "--attach packet --address 10.77.0.7/24%link0 --address 10.77.1.7/24%link1 \
                    --gateway 10.77.1.2";

fn summary(log: &str) -> Value {
    let line = log.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}:\n{log}"))
}

/// The local addresses of the subflows in a summary, and the bytes that each has received.
fn subflows(summary: &Value) -> Vec<(String, u64)> {
    let subflows = summary["subflows"].as_array().unwrap().iter();
    let each = subflows.map(|it| {
        let local = it["local"].as_str().unwrap().to_owned();
        (local, it["bytes_received"].as_u64().unwrap())
    });
    each.collect()
}

/// The client's host.
fn snapshot(scene: &Scene) -> Snapshot {
    scene.topology.client.run(Snapshot::take).unwrap()
}

/// Of a link. Neither carries all the bytes before the other has had its share.
const RATE: u64 = 200_000_000;

/// Bytes by both links to a `service`, with the host as it was before, also meanwhile.
fn two_links(service: Service, further: &str) {
    let scene = Scene::new(2, service).unwrap();
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let before = snapshot(&scene);
    let plan = Plan::new(1, 8 * MIB, 8 * MIB);
    let arguments = format!("{BOTH} {further} --json");
    let connector = Connector::start(&scene.topology.client, scene.v4(0), &arguments, &plan);
    let connector = connector.unwrap();
    scene.wait_for_bytes(0, MIB);
    let links = scene.topology.client.run(|| output("ip", "-o link"));
    assert!(!links.unwrap().contains("anabranch"), "no TUN device");
    let ended = scene.ended(connector, &plan).unwrap();
    assert_eq!(snapshot(&scene).changes_since(&before), [""; 0]);
    let summary = summary(&ended.log);
    assert_eq!(summary["protocol"], "mptcp", "{}", ended.log);
    let subflows = subflows(&summary);
    for own in ["10.77.0.7:", "10.77.1.7:"] {
        let mut of_it = subflows.iter().filter(|(local, _)| local.starts_with(own));
        assert!(of_it.any(|(_, bytes)| *bytes > 0), "{own}: {}", ended.log);
    }
}

#[test]
fn two_links_to_linux() {
    if require::lab() {
        two_links(Service::Kernel, "");
    }
}

#[test]
fn two_links_to_anabranch_without_sleep() {
    if require::lab() {
        let polling = ["--busy-poll".to_owned(), "50".to_owned()].to_vec();
        two_links(Service::Anabranch(polling), "--busy-poll 50");
    }
}

/// With a hardware address of its own, and over IPv6.
#[test]
fn another_hardware_address_and_ipv6() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::Kernel).unwrap();
    let plan = Plan::new(2, 2 * MIB, 2 * MIB);
    for (to, own) in [(scene.v4(0), "10.77.0.7/24"), (scene.v6(0), "fd77::7/64")] {
        let arguments =
            format!("--attach packet --address {own}%link0 --mac 02:00:5e:00:00:07 --json");
        let ended = scene.connect(to, &arguments, &plan).unwrap();
        assert_eq!(subflows(&summary(&ended.log)).len(), 1, "{}", ended.log);
        let known = scene.topology.server.run(|| output("ip", "neigh")).unwrap();
        assert!(known.contains("02:00:5e:00:00:07"), "{known}");
    }
}

/// The first link's interface is deleted, and with it the other end: the connection, to an address
/// that is on neither, goes on over the second.
#[test]
fn an_interface_disappears() {
    if !require::lab() {
        return;
    }
    let _alone = alone();
    let scene = Scene::new(2, Service::Kernel).unwrap();
    let address: IpAddr = "10.99.0.1".parse().unwrap();
    scene.topology.server.run(|| {
        let netlink = Netlink::open().unwrap();
        netlink.add_address("lo", address, 32).unwrap();
    });
    (0..2).for_each(|link| scene.topology.set_rate(link, RATE).unwrap());
    let plan = Plan::new(3, 16 * MIB, 16 * MIB);
    let arguments = format!("{BOTH} --gateway 10.77.0.2 --json");
    let client = &scene.topology.client;
    let to = SocketAddr::new(address, scene.v4(0).port());
    let connector = Connector::start(client, to, &arguments, &plan).unwrap();
    scene.wait_for_bytes(1, 4 * MIB);
    client.run(|| Netlink::open().unwrap().delete_link("link0").unwrap());
    let ended = scene.ended(connector, &plan).unwrap();
    let line = "does not work any more: the interface link0 is gone";
    assert_eq!(ended.log.matches(line).count(), 1, "{}", ended.log);
}

/// The only one is deleted, or the TUN device of a connection without such addresses: the end, in
/// one line.
#[test]
fn the_only_device_disappears() {
    if !require::lab() {
        return;
    }
    let packet = "--attach packet --address 10.77.0.7/24%link0";
    for (arguments, device, line) in [
        (packet, "link0", "the interface link0 is gone"),
        ("", "anabranch0", "the TUN device anabranch0 is gone"),
    ] {
        let scene = Scene::new(1, Service::Kernel).unwrap();
        scene.topology.set_rate(0, 50_000_000).unwrap();
        let before = snapshot(&scene);
        let plan = Plan::new(4, 64 * MIB, 64 * MIB);
        let client = &scene.topology.client;
        let connector = Connector::start(client, scene.v4(0), arguments, &plan).unwrap();
        scene.wait_for_bytes(0, MIB);
        client.run(|| Netlink::open().unwrap().delete_link(device).unwrap());
        let ended = connector.finish().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert_eq!(ended.log.matches(line).count(), 1, "{}", ended.log);
        if device != "link0" {
            assert_eq!(snapshot(&scene).changes_since(&before), [""; 0]);
        }
    }
}

#[test]
fn what_does_not_go_together_is_said_in_one_line() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::Kernel).unwrap();
    let host = scene.topology.v4(Side::Client, 0);
    let other = scene.topology.v4(Side::Server, 0);
    for (arguments, expected) in [
        ("--address 10.77.0.7/24%link0".to_owned(), "needs --attach"),
        ("--mac 02:00:00:00:00:07".to_owned(), "needs --attach"),
        ("--attach packet".to_owned(), "needs an --address"),
        (
            format!("--attach packet --address {host}/24%link0"),
            "this host has it itself",
        ),
        (
            format!("--attach packet --address {other}/24%link0"),
            "another station",
        ),
        (
            format!("--attach packet --address 10.77.0.7/24%link0 --backup {host}"),
            "no --address says so",
        ),
        (
            "--attach packet --address 10.66.0.7/24%link0".to_owned(),
            "no address of this host has a route",
        ),
    ] {
        let client = &scene.topology.client;
        let connector = Connector::start(client, scene.v4(0), &arguments, &Plan::new(5, 1, 1));
        let ended = connector.unwrap().finish().unwrap();
        assert!(!ended.status.success(), "{arguments}");
        let said = ended.log.matches(expected).count();
        assert_eq!(said, 1, "{arguments}: {}", ended.log);
    }
}
