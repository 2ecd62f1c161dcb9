//! The service behind is down: clients are reset, the log says so, the server goes on.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use anabranch_interop::backend::Backend;
use anabranch_interop::exchange::Plan;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, PATIENCE, PORT, Scene};
use anabranch_interop::server::Anabranch;
use anabranch_interop::socket::{self, Protocol};
use anabranch_interop::topology::{Side, Topology};

#[test]
fn clients_are_reset_until_the_service_is_back() {
    if !require::lab() {
        return;
    }
    let topology = Topology::new(1).unwrap();
    let behind = SocketAddr::from(([127, 0, 0, 1], 9100));
    let server = Anabranch::start(&topology.server, PORT, behind, &[]).unwrap();
    for protocol in [Protocol::Tcp, Protocol::Mptcp] {
        let to = SocketAddr::new(topology.v4(Side::Server, 0), PORT);
        let ended = topology.client.run(|| {
            let mut stream = socket::connect(protocol, None, to, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read(&mut [0; 1])
        });
        let kind = ended.map_err(|e| e.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{protocol:?}");
    }
    assert!(
        server.log().contains("127.0.0.1:9100"),
        "no word of it in:\n{}",
        server.log()
    );
    let backend = topology
        .server
        .run(|| Backend::start(Protocol::Tcp, behind, PATIENCE))
        .unwrap();
    let scene = Scene {
        topology,
        backend,
        server: Some(server),
    };
    scene
        .transfer(scene.v4(0), &Plan::new(1, MIB, MIB))
        .unwrap()
        .assert_clean();
}
