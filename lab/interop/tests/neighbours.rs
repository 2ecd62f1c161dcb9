//! The host's own TCP goes on as if nothing served beside it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};

use anabranch_interop::backend::Backend;
use anabranch_interop::exchange::{self, Plan};
use anabranch_interop::host::Host;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT, Scene, Service};
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::Side;

const OTHER_PORT: u16 = 9001;

fn transfer(from: &Host, to: SocketAddr, backend: &Backend, protocol: Protocol, seed: u64) {
    let plan = Plan::new(seed, MIB, MIB);
    let client = from.run(|| {
        let stream = socket::connect(protocol, None, to, PATIENCE).unwrap();
        exchange::client(&stream, &plan, PATIENCE).unwrap()
    });
    let behind = backend.outcome(seed, PATIENCE).unwrap();
    assert_eq!(client.sent.digest, behind.received.digest);
    assert_eq!(client.received.digest, behind.sent.digest);
}

fn listen(host: &Host, protocol: Protocol, port: u16) -> Backend {
    let any = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
    host.run(|| Backend::start(protocol, any, PATIENCE))
        .unwrap()
}

#[test]
fn other_ports_stay_with_the_kernel() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(2, Service::anabranch()).unwrap();
    let topology = &scene.topology;
    let backend = listen(&topology.server, Protocol::Mptcp, OTHER_PORT);
    let clients = [Protocol::Tcp, Protocol::Mptcp];
    let addresses = [topology.v4(Side::Server, 0), topology.v6(Side::Server, 1)];
    let cases = clients.iter().flat_map(|c| addresses.map(|a| (*c, a)));
    for (seed, (protocol, addr)) in (1..).zip(cases) {
        let to = SocketAddr::new(addr, OTHER_PORT);
        transfer(&topology.client, to, &backend, protocol, seed);
    }
}

#[test]
fn connections_that_the_host_opens_itself_work_to_the_same_port_elsewhere() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::anabranch()).unwrap();
    let topology = &scene.topology;
    for (seed, addr) in [
        (1, topology.v4(Side::Client, 0)),
        (2, topology.v6(Side::Client, 0)),
    ] {
        let backend = listen(&topology.client, Protocol::Tcp, PORT);
        let to = SocketAddr::new(addr, PORT);
        transfer(&topology.server, to, &backend, Protocol::Tcp, seed);
    }
}

#[test]
fn the_same_port_of_udp_stays_with_the_kernel() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::anabranch()).unwrap();
    let to = SocketAddr::new(scene.topology.v4(Side::Server, 0), PORT);
    let server = scene.topology.server.run(|| UdpSocket::bind(to)).unwrap();
    let from = SocketAddr::new(scene.topology.v4(Side::Client, 0), 0);
    let client = scene.topology.client.run(|| UdpSocket::bind(from)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"still here?", to).unwrap();
    let mut buffer = [0; 32];
    let (n, peer) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..n], peer),
        (&b"still here?"[..], client.local_addr().unwrap())
    );
}

#[test]
fn closed_ports_refuse_as_before() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::anabranch()).unwrap();
    for addr in [
        scene.topology.v4(Side::Server, 0),
        scene.topology.v6(Side::Server, 0),
    ] {
        let to = SocketAddr::new(addr, OTHER_PORT);
        let refused = scene.topology.client.run(|| {
            socket::connect(Protocol::Tcp, None, to, PATIENCE)
                .map(drop)
                .map_err(|e| e.kind())
        });
        assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
    }
}

#[test]
fn loopback_stays_with_the_kernel() {
    if !require::lab() {
        return;
    }
    let scene = Scene::new(1, Service::anabranch()).unwrap();
    scene.topology.server.run(|| {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let listener = std::net::TcpListener::bind(addr).unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"over loopback").unwrap();
            let mut buffer = [0; 13];
            server.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"over loopback");
        }
    });
}
