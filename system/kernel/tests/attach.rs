//! Ports of the host's own addresses, taken for a device and given back.

#[macro_use]
mod common {
    #[macro_use]
    mod root;
    pub(crate) use root::root;
    #[path = "../../../drivers/tests/common/endpoint.rs"]
    pub(crate) mod endpoint;
    pub(crate) mod host;
    #[path = "../../../drivers/tests/common/poll.rs"]
    pub(crate) mod poll;
}

use anabranch_drivers::{Driver, Tun};
use anabranch_kernel::rule::Action;
use anabranch_kernel::{Attach, Error, Monitor, Netlink, Netns, Route, route, sysctl};
use common::endpoint::Endpoint;
use common::host::{Hosts, ip, picture, tun};
use common::poll::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A client's connection from `from` (where given), through a dumb endpoint behind `tun`: data
/// both ways.
fn served(client: &Netns, tun: &mut Tun, to: (&str, u16)) {
    let address = SocketAddr::from((ip(to.0), to.1));
    let upload: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    std::thread::scope(|scope| {
        let (expected, sent) = (upload.clone(), upload.clone());
        scope.spawn(move || {
            let exchange = || {
                let mut client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.set_write_timeout(Some(PATIENCE)).unwrap();
                client.write_all(&sent).unwrap();
                let mut back = vec![0; 200_000];
                client.read_exact(&mut back).unwrap();
                assert!(back == sent[..200_000]);
            };
            client.run(exchange).unwrap();
        });
        let mut endpoint = Endpoint::accept(tun, to.1);
        assert_eq!(endpoint.local, address, "the host's own address");
        assert!(endpoint.receive(upload.len()) == expected);
        endpoint.send(&expected[..200_000]);
    });
}

/// A connection between the kernels of two namespaces.
fn kernels_talk(server: &Netns, client: &Netns, to: (&str, u16)) {
    let address = SocketAddr::from((ip(to.0), to.1));
    let listener = server.run(|| TcpListener::bind(address).unwrap()).unwrap();
    let mut stream = client.run(|| TcpStream::connect(address).unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    let mut back = [0; 4];
    accepted.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

fn unreachable(client: &Netns, to: (&str, u16)) -> bool {
    let address = SocketAddr::from((ip(to.0), to.1));
    let patience = Duration::from_millis(300);
    client
        .run(|| TcpStream::connect_timeout(&address, patience).is_err())
        .unwrap()
}

#[test]
fn a_client_of_either_family_and_uplink_reaches_the_device() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let (mut tun, _attach) = hosts.attach(8000..=8001);
            for to in ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"] {
                served(&hosts.client, &mut tun, (to, 8000));
                served(&hosts.client, &mut tun, (to, 8001));
            }
            assert_eq!(tun.counters().rx_errors, 0);
        })
        .unwrap();
}

#[test]
fn everything_else_stays_with_the_kernel() {
    require_root!();
    let hosts = Hosts::new();
    let (server, client) = (&hosts.server, &hosts.client);
    server
        .run(|| {
            let (tun, _attach) = hosts.attach(8000..=8000);
            for (ours, theirs) in [("10.1.0.1", "10.1.0.2"), ("fd02::1", "fd02::2")] {
                // Another port of the same address; the same port of loopback, and elsewhere.
                kernels_talk(server, client, (ours, 8002));
                kernels_talk(client, server, (theirs, 8000));
            }
            kernels_talk(server, server, ("127.0.0.1", 8000));
            kernels_talk(server, server, ("::1", 8000));
            let syns = tun.counters().rx_packets;
            assert_eq!(syns, 0, "nothing was asked of the device");
        })
        .unwrap();
}

#[test]
fn programs_of_the_host_itself_reach_the_device_too() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let (mut tun, _attach) = hosts.attach(8000..=8000);
            served(&hosts.server, &mut tun, ("10.2.0.1", 8000));
            served(&hosts.server, &mut tun, ("fd01::1", 8000));
        })
        .unwrap();
}

#[test]
fn dropping_it_leaves_no_trace() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            sysctl::write("net/ipv4/ip_local_reserved_ports", "70,9000-9005").unwrap();
            let before = picture();
            let (tun, attach) = hosts.attach(8000..=8001);
            let reserved = sysctl::read("net/ipv4/ip_local_reserved_ports").unwrap();
            assert_eq!(reserved, "70,8000-8001,9000-9005");
            drop(tun);
            attach.remove().unwrap();
            assert_eq!(picture(), before);
        })
        .unwrap();
    kernels_talk(&hosts.server, &hosts.client, ("10.1.0.1", 8000));
    kernels_talk(&hosts.server, &hosts.client, ("fd01::1", 8000));
    let left = std::fs::read_dir(&hosts.folder.0).unwrap().count();
    assert_eq!(left, 0, "files of state");
}

#[test]
fn it_may_be_dropped_from_another_namespace() {
    require_root!();
    let hosts = Hosts::new();
    let before = hosts.server.run(picture).unwrap();
    let here = picture().sysctls;
    let (tun, attach) = hosts.server.run(|| hosts.attach(8000..=8000)).unwrap();
    drop(tun);
    drop(attach);
    assert_eq!(hosts.server.run(picture).unwrap(), before);
    assert_eq!(picture().sysctls, here);
}

#[test]
fn two_hold_different_ports_and_the_last_puts_things_back() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let before = picture();
            let (tun_a, a) = hosts.attach(8000..=8000);
            let (mut tun_b, b) = hosts.attach(8100..=8100);
            drop(tun_a);
            drop(a);
            served(&hosts.client, &mut tun_b, ("10.1.0.1", 8100));
            served(&hosts.client, &mut tun_b, ("fd02::1", 8100));
            kernels_talk(&hosts.server, &hosts.client, ("10.1.0.1", 8000));
            let (mut tun_c, c) = hosts.attach(8000..=8000);
            served(&hosts.client, &mut tun_c, ("10.2.0.1", 8000));
            drop((tun_b, tun_c));
            drop(b);
            drop(c);
            assert_eq!(picture(), before);
        })
        .unwrap();
}

#[test]
fn a_device_that_another_has_seen_before_it_held_ports_is_no_uplink() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let before = picture();
            let (tun_a, mut a) = hosts.attach(8000..=8000);
            let mut tun_b = tun();
            a.refresh().unwrap();
            let b = Attach::install(hosts.config(&tun_b, 8100..=8100)).unwrap();
            a.refresh().unwrap();
            served(&hosts.client, &mut tun_b, ("10.1.0.1", 8100));
            served(&hosts.client, &mut tun_b, ("fd02::1", 8100));
            drop((tun_a, tun_b));
            drop((a, b));
            assert_eq!(picture(), before);
        })
        .unwrap();
}

#[test]
fn a_port_has_one_holder() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let (_tun, _attach) = hosts.attach(8000..=8010);
            let held = picture();
            let other = tun();
            let error = Attach::install(hosts.config(&other, 8005..=8005))
                .err()
                .unwrap();
            assert!(matches!(error, Error::Taken { .. }));
            let me = std::process::id();
            let expected = format!("TCP port 8005 is taken already by process {me} (device tun0)");
            assert_eq!(error.to_string(), expected);
            drop(other);
            assert_eq!(picture(), held);
        })
        .unwrap();
}

#[test]
fn addresses_that_come_and_go_are_followed() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let (mut tun, mut attach) = hosts.attach(8000..=8000);
            let monitor = Monitor::open().unwrap();
            assert!(!monitor.drain().unwrap());
            let netlink = Netlink::open().unwrap();
            netlink.add_address("s1", ip("10.1.0.77"), 32).unwrap();
            netlink.delete_address("s2", ip("10.2.0.1"), 24).unwrap();
            assert!(monitor.drain().unwrap());
            attach.refresh().unwrap();
            let addresses = attach.addresses().unwrap();
            assert!(addresses.contains(&ip("10.1.0.77")) && !addresses.contains(&ip("10.2.0.1")));
            served(&hosts.client, &mut tun, ("10.1.0.77", 8000));
            monitor.drain().unwrap();
            attach.refresh().unwrap();
            assert!(
                !monitor.drain().unwrap(),
                "what is right already is not touched"
            );
        })
        .unwrap();
}

#[test]
fn only_the_addresses_named_are_taken() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let mut tun = tun();
            let mut config = hosts.config(&tun, 8000..=8000);
            config.addresses = vec![ip("10.2.0.1"), ip("fd02::1")];
            let attach = Attach::install(config).unwrap();
            assert_eq!(attach.addresses().unwrap(), [ip("10.2.0.1"), ip("fd02::1")]);
            served(&hosts.client, &mut tun, ("10.2.0.1", 8000));
            kernels_talk(&hosts.server, &hosts.client, ("10.1.0.1", 8000));
            kernels_talk(&hosts.server, &hosts.client, ("fd01::1", 8000));
        })
        .unwrap();
}

#[test]
fn a_host_that_did_not_forward_does_not_begin_to() {
    require_root!();
    let hosts = Hosts::new();
    let beyond = behind_the_server(&hosts);
    hosts
        .server
        .run(|| {
            let (mut tun, _attach) = hosts.attach(8000..=8000);
            served(&hosts.client, &mut tun, ("10.1.0.1", 8000));
            let listen = || ["10.9.0.2:8002", "[fd09::2]:8002"].map(TcpListener::bind);
            let _listeners = beyond.run(listen).unwrap();
            assert!(unreachable(&hosts.client, ("10.9.0.2", 8002)));
            assert!(unreachable(&hosts.client, ("fd09::2", 8002)));
        })
        .unwrap();
}

#[test]
fn a_host_that_forwarded_goes_on_even_for_the_same_port() {
    require_root!();
    let hosts = Hosts::new();
    let beyond = behind_the_server(&hosts);
    hosts
        .server
        .run(|| {
            sysctl::write("net/ipv4/ip_forward", "1").unwrap();
            sysctl::write("net/ipv6/conf/all/forwarding", "1").unwrap();
            let before = picture();
            let (mut tun, attach) = hosts.attach(8000..=8000);
            kernels_talk(&beyond, &hosts.client, ("10.9.0.2", 8000));
            kernels_talk(&beyond, &hosts.client, ("fd09::2", 8000));
            served(&hosts.client, &mut tun, ("10.1.0.1", 8000));
            served(&hosts.client, &mut tun, ("fd01::1", 8000));
            drop((tun, attach));
            assert_eq!(picture(), before);
        })
        .unwrap();
}

/// A third host, 10.9.0.2 and fd09::2, to which the client's way leads through the server.
fn behind_the_server(hosts: &Hosts) -> Netns {
    let beyond = Netns::new().unwrap();
    hosts
        .server
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_veth("s9", "b9", Some(&beyond)).unwrap();
            netlink.add_address("s9", ip("10.9.0.1"), 24).unwrap();
            netlink.add_address("s9", ip("fd09::1"), 64).unwrap();
            netlink.set_up("s9").unwrap();
        })
        .unwrap();
    beyond
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_address("b9", ip("10.9.0.2"), 24).unwrap();
            netlink.add_address("b9", ip("fd09::2"), 64).unwrap();
            netlink.set_up("b9").unwrap();
            netlink
                .add_route(&Route::default_through(ip("10.9.0.1")))
                .unwrap();
            netlink
                .add_route(&Route::default_through(ip("fd09::1")))
                .unwrap();
        })
        .unwrap();
    hosts
        .client
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink
                .add_route(&Route::default_through(ip("10.1.0.1")))
                .unwrap();
            netlink
                .add_route(&Route::default_through(ip("fd01::1")))
                .unwrap();
        })
        .unwrap();
    beyond
}

#[test]
fn strict_reverse_path_filters_let_it_pass() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            for name in ["all", "default", "s1", "s2"] {
                sysctl::write(&format!("net/ipv4/conf/{name}/rp_filter"), "1").unwrap();
            }
            let (mut tun, _attach) = hosts.attach(8000..=8000);
            served(&hosts.client, &mut tun, ("10.1.0.1", 8000));
            served(&hosts.client, &mut tun, ("10.2.0.1", 8000));
            served(&hosts.server, &mut tun, ("10.2.0.1", 8000));
        })
        .unwrap();
}

#[test]
fn answers_leave_by_the_uplink_that_has_their_address() {
    require_root!();
    let hosts = Hosts::new();
    // The client is 10.50.0.1, reached by either uplink; what comes by the wrong one it drops.
    hosts
        .client
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink.add_address("lo", ip("10.50.0.1"), 32).unwrap();
            sysctl::write("net/ipv4/conf/c1/rp_filter", "1").unwrap();
            let to_second = Route {
                source: Some(ip("10.50.0.1")),
                ..Route::to(ip("10.2.0.1"), 32)
            };
            let link = Some(netlink.link("c2").unwrap().index);
            netlink.add_route(&Route { link, ..to_second }).unwrap();
        })
        .unwrap();
    hosts
        .server
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink
                .add_route(&Route::default_through(ip("10.1.0.2")))
                .unwrap();
            let second = Route {
                metric: 100,
                ..Route::default_through(ip("10.2.0.2"))
            };
            netlink.add_route(&second).unwrap();
            let before = picture();
            let (mut tun, attach) = hosts.attach(8000..=8000);
            served(&hosts.client, &mut tun, ("10.2.0.1", 8000));
            drop(attach);
            let mut config = hosts.config(&tun, 8000..=8000);
            config.source_routing = false;
            let attach = Attach::install(config).unwrap();
            let wrong_way = std::thread::scope(|scope| {
                let client = scope.spawn(|| unreachable(&hosts.client, ("10.2.0.1", 8000)));
                answer_one_syn(&mut tun);
                client.join().unwrap()
            });
            assert!(
                wrong_way,
                "without source routing the answer leaves by the first default"
            );
            drop((tun, attach));
            assert_eq!(picture(), before);
        })
        .unwrap();
}

#[test]
fn two_may_take_ports_for_one_device() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let netlink = Netlink::open().unwrap();
            netlink
                .add_route(&Route::default_through(ip("10.1.0.2")))
                .unwrap();
            let second = Route {
                metric: 100,
                ..Route::default_through(ip("10.2.0.2"))
            };
            netlink.add_route(&second).unwrap();
            let before = picture();
            let (mut tun, first) = hosts.attach(8000..=8000);
            let other = Attach::install(hosts.config(&tun, 8100..=8100)).unwrap();
            drop(first);
            let specific = Action::LookupSpecific(route::MAIN);
            let rules = netlink.rules().unwrap();
            assert_eq!(
                rules.iter().filter(|rule| rule.action == specific).count(),
                1
            );
            served(&hosts.client, &mut tun, ("10.2.0.1", 8100));
            kernels_talk(&hosts.server, &hosts.client, ("10.1.0.1", 8000));
            drop((tun, other));
            assert_eq!(picture(), before);
        })
        .unwrap();
}

/// Answers a SYN whose answer nobody may get.
fn answer_one_syn(tun: &mut Tun) {
    use anabranch_wire::packet::{Build, Packet};
    use anabranch_wire::tcp::{Flags, Options, SynOptions};
    let mut syn = None;
    common::endpoint::receive_where(tun, |frame| {
        syn = Packet::from_frame(frame)
            .ok()
            .filter(|packet| packet.flags == Flags::SYN);
        syn.is_some()
    });
    let syn = syn.unwrap();
    let build = Build {
        src: syn.dst,
        dst: syn.src,
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: anabranch_wire::Seq(1),
        ack: anabranch_wire::Seq(syn.seq.0.wrapping_add(1)),
        flags: Flags::SYN.with(Flags::ACK),
        window: 1000,
        urgent: 0,
        options: &Options::Syn(SynOptions::default()),
        mptcp: &[],
    };
    tun.send(&build.transmit([].into_iter().collect(), 0).unwrap())
        .unwrap();
}

#[test]
fn a_failed_installation_changes_nothing() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let tun = tun();
            let before = picture();
            let mut config = hosts.config(&tun, 8000..=8000);
            config.tun = "missing0".into();
            let error = Attach::install(config).err().unwrap();
            assert_eq!(error.to_string(), "there is no interface named missing0");
            let mut config = hosts.config(&tun, 8000..=8000);
            config.ports.push(7999..=8000);
            let error = Attach::install(config).err().unwrap();
            assert_eq!(error.to_string(), "port 8000 is named twice");
            assert_eq!(picture(), before);
        })
        .unwrap();
}

#[test]
fn without_the_capability_one_line_says_what_to_do() {
    require_root!();
    let hosts = Hosts::new();
    let error = hosts
        .server
        .run(|| {
            let tun = tun();
            // SAFETY: the bare system call takes three integers and concerns this thread alone,
            // which ends with the closure.
            let done = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
            assert_eq!(done, 0);
            Attach::install(hosts.config(&tun, 8000..=8000))
                .err()
                .unwrap()
        })
        .unwrap();
    assert_eq!(
        error.to_string(),
        "cannot take ports of this host: it needs CAP_NET_ADMIN; run as root, or once \
         `setcap cap_net_admin+ep` on the program"
    );
}

#[test]
fn the_main_table_is_never_without_the_local_one() {
    require_root!();
    let hosts = Hosts::new();
    hosts
        .server
        .run(|| {
            let local = |preference| {
                let rules = Netlink::open().unwrap().rules().unwrap();
                let lookup = Action::Lookup(route::LOCAL);
                let found = rules.iter().filter(|rule| rule.action == lookup);
                found.filter(|rule| rule.preference == preference).count()
            };
            assert_eq!((local(0), local(100)), (2, 0));
            let (_tun, attach) = hosts.attach(8000..=8000);
            assert_eq!((local(0), local(100)), (0, 2));
            drop(attach);
            assert_eq!((local(0), local(100)), (2, 0));
        })
        .unwrap();
}
