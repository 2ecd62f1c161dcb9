//! Explicit congestion notification (RFC 3168, RFC 9768) between this engine and Linux's TCP.

use anabranch_interop::exchange::Plan;
use anabranch_interop::fault::Fault;
use anabranch_interop::require;
use anabranch_interop::scene::{MIB, Scene, Service};
use anabranch_interop::socket::Protocol;
use anabranch_kernel::sysctl;
use std::net::SocketAddr;

/// A server of one kind, and clients that ask for RFC 3168 (`net.ipv4.tcp_ecn` 1) or do not (0, 2).
/// Linux 6.18 can count as RFC 9768 wants it, but has no setting yet by which it would ask.
fn scene(server: &str, client: &str) -> Scene {
    let arguments = ["--ecn", server].map(str::to_owned).to_vec();
    let scene = Scene::new(1, Service::Anabranch(arguments)).unwrap();
    scene
        .topology
        .client
        .run(|| sysctl::write("net/ipv4/tcp_ecn", client))
        .unwrap();
    scene
}

/// Whether plain TCP with the server at `to` may be marked.
fn agreed(scene: &Scene, to: SocketAddr) -> bool {
    let agreed = scene.agreed(Protocol::Tcp, to).unwrap();
    agreed.iter().any(|option| option == "ecn")
}

#[test]
fn whatever_the_two_ends_want_they_connect() {
    if !require::lab() {
        return;
    }
    for (server, client, expected) in [
        ("off", "0", false),
        ("off", "1", false),
        ("off", "2", false),
        ("passive", "0", false),
        ("passive", "1", true),
        ("passive", "2", false),
        ("classic", "0", false),
        ("classic", "1", true),
        ("accurate", "0", false),
        ("accurate", "1", true),
        ("accurate", "2", false),
    ] {
        let scene = scene(server, client);
        let to = scene.v4(0);
        assert_eq!(agreed(&scene, to), expected, "{server}, {client}");
        let plan = Plan::new(1, 300_000, 300_000);
        scene.transfer_by(Protocol::Tcp, None, to, &plan).unwrap();
    }
}

/// Every tenth packet (or super-frame) either way is marked: both ends hear of it and send
/// less, and nobody takes anything for lost.
fn marks(kind: &str, protocol: Protocol, family: fn(&Scene, usize) -> SocketAddr) {
    let scene = scene(kind, "1");
    let to = family(&scene, 0);
    let congestion = Fault::congestion(&scene.topology.server, 10).unwrap();
    let plan = Plan::new(2, 4 * MIB, 4 * MIB);
    let transfer = scene.transfer_by(protocol, None, to, &plan).unwrap();
    let counted = |name| transfer.counters.get(name);
    assert!(
        counted("IpExtInCEPkts") + counted("Ip6InCEPkts") > 0,
        "marks came to the client"
    );
    assert!(
        counted("TcpExtTCPDeliveredCE") > 0,
        "the server reported marks"
    );
    for who in ["client", "server"] {
        let reductions = congestion.counted(who).unwrap();
        assert!(reductions > 0, "the {who} sent less");
    }
    // Nothing was lost. A client kept waiting by a busy machine probes the tail, and the queues of two
    // processors may change places with packets: the server has those twice and says so.
    let needless = counted("TcpExtTCPLossProbes") + counted("TcpExtTCPDSACKRecvSegs");
    assert!(
        counted("TcpRetransSegs") <= needless,
        "{:?}",
        transfer.counters
    );
    assert_eq!(counted("TcpExtTCPTimeouts"), 0);
}

#[test]
fn marks_on_tcp_over_ipv4() {
    if require::lab() {
        marks("passive", Protocol::Tcp, Scene::v4);
    }
}

#[test]
fn marks_on_tcp_over_ipv6() {
    if require::lab() {
        marks("classic", Protocol::Tcp, Scene::v6);
    }
}

#[test]
fn marks_on_tcp_of_a_server_that_knows_more() {
    if require::lab() {
        marks("accurate", Protocol::Tcp, Scene::v4);
    }
}

#[test]
fn marks_on_multipath_tcp() {
    if require::lab() {
        marks("passive", Protocol::Mptcp, Scene::v4);
    }
}
