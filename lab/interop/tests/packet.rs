//! `anabranch serve --attach packet` and `xdp`: addresses of its own on interfaces that the host's kernel has
//! for itself too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT, Scene, Service, Transfer};
use anabranch_interop::socket::Protocol;
use anabranch_interop::topology::{Side, Topology};
use anabranch_kernel::route::Route;
use anabranch_kernel::{Netlink, ethtool};

const JOINED: &str = "MPTcpExtMPJoinSynAckRx";

/// The server's own address on a link, beside the kernel's, which ends in 2.
fn v4(link: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, link, 7).into()
}

fn v6(link: u16) -> IpAddr {
    Ipv6Addr::new(0xfd77, link, 0, 0, 0, 0, 0, 7).into()
}

fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

/// A server with both addresses on each link, and `further` arguments.
fn serve(topology: Topology, further: &[&str]) -> Scene {
    serve_by("packet", topology, further)
}

fn serve_by(mode: &str, topology: Topology, further: &[&str]) -> Scene {
    let mut arguments = vec!["--attach".to_owned(), mode.to_owned()];
    for link in 0..topology.links() {
        let interface = topology.interface(link);
        let (v4, v6) = (v4(link as u8), v6(link as u16));
        for address in [format!("{v4}/24"), format!("{v6}/64")] {
            arguments.push("--address".to_owned());
            arguments.push(format!("{address}%{interface}"));
        }
    }
    arguments.extend(further.iter().map(|&argument| argument.to_owned()));
    Scene::on(topology, Service::Anabranch(arguments)).unwrap()
}

fn transfer(scene: &Scene, to: IpAddr) -> Transfer {
    let transfer = scene
        .transfer(at(to), &Plan::new(7, 32 * MIB, 32 * MIB))
        .unwrap();
    transfer.assert_clean();
    transfer
}

#[test]
fn bytes_pass_both_ways_over_ipv4_and_ipv6() {
    if !require::lab() {
        return;
    }
    let scene = serve(Topology::new(1).unwrap(), &[]);
    for to in [v4(0), v6(0)] {
        let transfer = transfer(&scene, to);
        assert_eq!(transfer.counters.get("MPTcpExtMPCapableSYNACKRX"), 1);
    }
    for to in [v4(0), v6(0)] {
        let plan = Plan::new(8, 8 * MIB, 8 * MIB);
        let plain = scene.transfer_by(Protocol::Tcp, None, at(to), &plan);
        plain.unwrap().assert_clean();
    }
}

/// One device for each interface, and one connection over both.
#[test]
fn subflows_join_over_two_interfaces() {
    if !require::lab() {
        return;
    }
    for (to, other) in [(v4(0), v4(1)), (v6(0), v6(1))] {
        let topology = Topology::new(2).unwrap();
        let scene = serve(topology, &["--announce", &other.to_string()]);
        let transfer = transfer(&scene, to);
        assert_eq!(transfer.counters.get(JOINED), 1);
        let name = scene.topology.interface(1);
        let moved = scene
            .topology
            .client
            .run(|| anabranch_interop::counters::interface_bytes(&name).unwrap());
        assert!(moved.0 + moved.1 > MIB, "{name} carried {moved:?}");
    }
}

/// The client's kernel fills in checksums, as it has to on a wire: XDP does not see that the other
/// end of a veth pair left them to the device.
#[test]
fn subflows_join_by_xdp() {
    if !require::lab() {
        return;
    }
    let topology = Topology::new(2).unwrap();
    for name in ["link0", "link1"] {
        let off = || ethtool::set_offload(name, ethtool::Offload::Checksum, false);
        topology.client.run(off).unwrap();
    }
    let scene = serve_by("xdp", topology, &["--announce", &v4(1).to_string()]);
    let plan = Plan::new(7, 16 * MIB, 16 * MIB);
    let both = scene.transfer(at(v4(0)), &plan).unwrap();
    both.assert_clean();
    assert_eq!(both.counters.get(JOINED), 1);
    let plain = scene.transfer_by(Protocol::Tcp, None, at(v6(0)), &plan);
    plain.unwrap().assert_clean();
}

/// The client has an address that is not of the link: packets to it go to a router, which is the
/// client's host. The router is named, or the host has it as its own.
#[test]
fn clients_of_other_networks_are_reached_by_a_gateway() {
    if !require::lab() {
        return;
    }
    for named in [true, false] {
        let topology = Topology::new(1).unwrap();
        let gateways = [topology.v4(Side::Client, 0), topology.v6(Side::Client, 0)];
        let far: [IpAddr; 2] = ["10.99.0.1", "fd99::1"].map(|text| text.parse().unwrap());
        topology.client.run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_address("lo", far[0], 32).unwrap();
            netlink.add_address("lo", far[1], 128).unwrap();
            netlink.settle().unwrap();
        });
        let [gateway4, gateway6] = gateways.map(|gateway| gateway.to_string());
        let scene = if named {
            serve(topology, &["--gateway", &gateway4, "--gateway", &gateway6])
        } else {
            topology.server.run(|| {
                let netlink = Netlink::open().unwrap();
                for gateway in gateways {
                    netlink.add_route(&Route::default_through(gateway)).unwrap();
                }
            });
            serve(topology, &[])
        };
        for (from, to) in [(far[0], v4(0)), (far[1], v6(0))] {
            let plan = Plan::new(9, 4 * MIB, 4 * MIB);
            let transfer = scene.transfer_by(Protocol::Mptcp, Some(from), at(to), &plan);
            transfer.unwrap().assert_clean();
        }
    }
}

/// The interface goes down and comes up again: so does the connection.
#[test]
fn a_connection_outlasts_an_interface_that_was_down() {
    if !require::lab() {
        return;
    }
    let scene = serve(Topology::new(1).unwrap(), &[]);
    let plan = Plan::new(10, 64 * MIB, 64 * MIB);
    scene
        .transfer_while(at(v4(0)), &plan, || {
            scene.wait_for_bytes(0, 8 * MIB);
            scene.topology.set_link(Side::Server, 0, false).unwrap();
            thread::sleep(Duration::from_millis(300));
            scene.topology.set_link(Side::Server, 0, true).unwrap();
        })
        .unwrap();
    let log = scene.server.as_ref().unwrap().log();
    assert_eq!(log.matches("the interface is down").count(), 1, "{log}");
}

/// Smaller packets only, from one moment to the next, at both ends of the link.
#[test]
fn a_connection_follows_the_mtu_of_the_interface() {
    if !require::lab() {
        return;
    }
    let scene = serve(Topology::new(1).unwrap(), &[]);
    let plan = Plan::new(11, 64 * MIB, 64 * MIB);
    let set_mtu = |mtu| {
        for side in [Side::Server, Side::Client] {
            let host = scene.topology.host(side);
            host.run(|| Netlink::open().unwrap().set_mtu("link0", mtu).unwrap());
        }
    };
    scene
        .transfer_while(at(v4(0)), &plan, || {
            scene.wait_for_bytes(0, 8 * MIB);
            set_mtu(1300);
            scene.wait_for_bytes(0, 8 * MIB);
            set_mtu(1500);
        })
        .unwrap();
}

/// The same with the TUN device, which the host's kernel then sends smaller packets to.
#[test]
fn a_connection_follows_the_mtu_of_a_tun_device() {
    if !require::lab() {
        return;
    }
    let scene = Scene::on(Topology::new(1).unwrap(), Service::anabranch()).unwrap();
    let plan = Plan::new(13, 64 * MIB, 64 * MIB);
    let set_mtu = |mtu| {
        let set = || Netlink::open().unwrap().set_mtu("anabranch0", mtu).unwrap();
        scene.topology.server.run(set);
    };
    scene
        .transfer_while(scene.v4(0), &plan, || {
            for mtu in [1300, 1500] {
                scene.wait_for_bytes(0, 8 * MIB);
                set_mtu(mtu);
            }
        })
        .unwrap();
}

/// Offloads go and come back while bytes pass, by packet sockets and by a TUN device.
#[test]
fn a_connection_outlasts_changes_of_offloads() {
    if !require::lab() {
        return;
    }
    let offloads = [
        ethtool::Offload::Receive,
        ethtool::Offload::Tcp,
        ethtool::Offload::Generic,
    ];
    let tun = Scene::on(Topology::new(1).unwrap(), Service::anabranch()).unwrap();
    let packet = serve(Topology::new(1).unwrap(), &[]);
    for (scene, to, devices) in [
        (&tun, tun.v4(0), ["link0", "anabranch0"]),
        (&packet, at(v4(0)), ["link0", "link0"]),
    ] {
        let plan = Plan::new(12, 64 * MIB, 64 * MIB);
        let set = |on| {
            for device in devices {
                scene.topology.server.run(|| {
                    for offload in offloads {
                        ethtool::set_offload(device, offload, on).unwrap();
                    }
                });
            }
        };
        scene
            .transfer_while(to, &plan, || {
                for on in [false, true, false, true] {
                    scene.wait_for_bytes(0, 8 * MIB);
                    set(on);
                }
            })
            .unwrap();
    }
}

#[test]
fn the_server_ends_when_its_interface_is_gone() {
    if !require::lab() {
        return;
    }
    let mut scene = serve(Topology::new(1).unwrap(), &[]);
    let host = &scene.topology.server;
    host.run(|| Netlink::open().unwrap().delete_link("link0").unwrap());
    let server = scene.server.as_mut().unwrap();
    let status = server.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(1));
    let log = server.log();
    assert!(log.contains("the interface link0 is gone"), "{log}");
}

#[test]
fn what_is_wrong_with_addresses_is_said_in_one_line() {
    if !require::lab() {
        return;
    }
    let topology = Topology::new(1).unwrap();
    let cases = [
        (topology.v4(Side::Server, 0), "this host has it itself"),
        (topology.v4(Side::Client, 0), "another station"),
        (topology.v6(Side::Client, 0), "another station"),
    ];
    for (address, expected) in cases {
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        let arguments = [
            "--attach".to_owned(),
            "packet".to_owned(),
            "--address".to_owned(),
            format!("{address}/{prefix}%link0"),
        ];
        let to = SocketAddr::from(([127, 0, 0, 1], 9));
        let started =
            anabranch_interop::server::Anabranch::start(&topology.server, PORT, to, &arguments);
        let error = started.expect_err("it does not serve").to_string();
        assert!(error.contains(expected), "{error}");
    }
}
