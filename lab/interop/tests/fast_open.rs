//! Fast Open (RFC 7413) between this engine and Linux's TCP: what the client sends first goes with
//! its SYN from the second connection on.

use anabranch_interop::counters::Counters;
use anabranch_interop::exchange::{self, Plan};
use anabranch_interop::require;
use anabranch_interop::scene::{PATIENCE, Scene, Service};
use anabranch_interop::socket::{self, Protocol};
use anabranch_kernel::sysctl;
use std::io::Read;
use std::net::{Shutdown, SocketAddr};

/// Clients of the kernel may, and do nothing without a cookie.
const CLIENT: &str = "1";

fn scene() -> Scene {
    let arguments = ["--fast-open", "16"].map(str::to_owned).to_vec();
    let scene = Scene::new(1, Service::Anabranch(arguments)).unwrap();
    scene
        .topology
        .client
        .run(|| sysctl::write("net/ipv4/tcp_fastopen", CLIENT))
        .unwrap();
    scene
}

/// A connection of the kernel whose plan may go with the SYN; what its kernel
/// counted.
fn transfer(scene: &Scene, to: SocketAddr, plan: &Plan) -> Counters {
    transfer_by(Protocol::Tcp, scene, to, plan)
}

fn transfer_by(protocol: Protocol, scene: &Scene, to: SocketAddr, plan: &Plan) -> Counters {
    let (client, counters) = scene.topology.client.run(|| {
        let before = Counters::read().unwrap();
        let stream = socket::connect_with(protocol, to, &plan.encode(), PATIENCE).unwrap();
        let client = exchange::client_behind_plan(&stream, plan, PATIENCE).unwrap();
        (client, Counters::read().unwrap().since(&before))
    });
    let served = scene.backend.outcome(plan.seed, PATIENCE).unwrap();
    assert_eq!(client.received.digest, served.sent.digest, "down, {to}");
    assert_eq!(served.received.digest, client.sent.digest, "up, {to}");
    counters
}

/// Names without their common beginning.
fn counted<'a>(counters: &'a Counters, scene: &Scene) -> (Vec<(&'a str, u64)>, [u64; 4]) {
    let server = scene.server.as_ref().unwrap();
    let ours = ["CookieReqd", "Passive", "PassiveFail", "ListenOverflow"]
        .map(|name| server.counter(&format!("TcpExtTCPFastOpen{name}")).unwrap());
    (counters.with_prefix("TcpExtTCPFastOpen"), ours)
}

#[test]
fn the_kernel_gets_a_cookie_and_sends_with_the_syn_from_then_on() {
    if !require::lab() {
        return;
    }
    for family in [Scene::v4, Scene::v6] {
        let scene = scene();
        let to = family(&scene, 0);
        let first = transfer(&scene, to, &Plan::new(1, 100_000, 100_000));
        assert_eq!(counted(&first, &scene), (vec![], [1, 0, 0, 0]), "{to}");
        let second = transfer(&scene, to, &Plan::new(2, 100_000, 100_000));
        let active = vec![("TcpExtTCPFastOpenActive", 1)];
        assert_eq!(counted(&second, &scene), (active, [1, 1, 0, 0]), "{to}");
    }
}

/// A whole request that fits a SYN, and the end of the stream at once behind
/// it.
#[test]
fn a_request_and_its_end() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let to = scene.v4(0);
    for (seed, taken) in [(1, 0), (2, 1), (3, 2)] {
        let plan = Plan::new(seed, 1000, 5000);
        let mut request = plan.encode().to_vec();
        request.resize(request.len() + 1000, 0);
        plan.up_pattern()
            .fill(0, &mut request[exchange::PLAN_LEN..]);
        let answer = scene.topology.client.run(|| {
            let mut stream = socket::connect_with(Protocol::Tcp, to, &request, PATIENCE).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            answer
        });
        assert_eq!(plan.down_pattern().first_difference(0, &answer), None);
        assert_eq!(answer.len(), 5000);
        let served = scene.backend.outcome(seed, PATIENCE).unwrap();
        assert_eq!(
            served.received.digest.sha256,
            plan.up_pattern().sha256(1000)
        );
        let server = scene.server.as_ref().unwrap();
        let passive = server.counter("TcpExtTCPFastOpenPassive").unwrap();
        assert_eq!(passive, taken, "connection {seed}");
    }
}

/// A server that was started again does not know the cookie of the one before: it gives a new one
/// and takes the request after the handshake.
#[test]
fn a_cookie_that_is_no_longer_good() {
    if !require::lab() {
        return;
    }
    let mut scene = scene();
    let to = scene.v4(0);
    transfer(&scene, to, &Plan::new(1, 1000, 1000));
    let server = scene.server.as_mut().unwrap();
    server.terminate().unwrap();
    server.wait(PATIENCE).unwrap();
    server.start_again(&scene.topology.server).unwrap();
    let refused = transfer(&scene, to, &Plan::new(2, 100_000, 1000));
    let fail = vec![("TcpExtTCPFastOpenActiveFail", 1)];
    assert_eq!(counted(&refused, &scene), (fail, [0, 0, 1, 0]));
    let again = transfer(&scene, to, &Plan::new(3, 100_000, 1000));
    let active = vec![("TcpExtTCPFastOpenActive", 1)];
    assert_eq!(counted(&again, &scene), (active, [0, 1, 1, 0]));
}

/// Of Multipath TCP: the payload of the SYN comes before the data sequence (RFC 8684 §B), and both
/// sides agree on where that begins.
#[test]
fn the_kernel_sends_with_the_syn_over_multipath_tcp() {
    if !require::lab() {
        return;
    }
    let scene = scene();
    let to = scene.v4(0);
    for (seed, taken) in [(1, 0), (2, 1)] {
        let plan = Plan::new(seed, 100_000, 100_000);
        let counters = transfer_by(Protocol::Mptcp, &scene, to, &plan);
        assert_eq!(counters.with_prefix("MPTcpExtMPCapableFallback"), []);
        assert_eq!(counters.get("MPTcpExtDSSCorruptionFallback"), 0);
        let server = scene.server.as_ref().unwrap();
        let passive = server.counter("TcpExtTCPFastOpenPassive").unwrap();
        assert_eq!(passive, taken, "connection {seed}");
    }
}
