//! Connections opened by this engine, through a TUN device, to Linux's TCP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anabranch_drivers::Tun;
use anabranch_drivers::tun::TunConfig;
use anabranch_interop::backend::Backend;
use anabranch_interop::counters::Counters;
use anabranch_interop::exchange::Plan;
use anabranch_interop::host::Host as Namespace;
use anabranch_interop::require;
use anabranch_interop::scene::PATIENCE;
use anabranch_interop::socket::Protocol;
use anabranch_kernel::{Netlink, sysctl};
use anabranch_sockets::{ConnectConfig, Counter, Host, StackConfig};
use anabranch_tcp::Ecn;
use bytes::Bytes;

const LISTENER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 66, 0, 1), 9100);
const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 66, 0, 2), 0);

/// A service of the kernel, and the device behind which this engine is.
struct Scene {
    kernel: Namespace,
    backend: Backend,
}

impl Scene {
    fn new(name: &str, value: &str) -> (Scene, Tun) {
        let kernel = Namespace::new().unwrap();
        let (backend, device) = kernel.run(|| {
            sysctl::write(&format!("net/ipv4/{name}"), value).unwrap();
            let device = Tun::open(&TunConfig::default()).unwrap();
            let netlink = Netlink::open().unwrap();
            netlink
                .add_address(device.name(), LISTENER.0.into(), 24)
                .unwrap();
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, LISTENER.1));
            (
                Backend::start(Protocol::Tcp, any, PATIENCE).unwrap(),
                device,
            )
        });
        (Scene { kernel, backend }, device)
    }

    /// A connection of `host` whose first bytes may go with the SYN, to the end of both
    /// directions; whether its packets may be marked.
    async fn exchange(&self, host: &Host, seed: u64, fast_open: bool) -> bool {
        let plan = Plan::new(seed, 1000, 500_000);
        let mut request = plan.encode().to_vec();
        let head = request.len();
        request.resize(head + 1000, 0);
        plan.up_pattern().fill(0, &mut request[head..]);
        let config = ConnectConfig {
            mptcp: false,
            fast_open,
        };
        let connect =
            host.connect_with(CLIENT.into(), LISTENER.into(), config, Bytes::from(request));
        let mut stream = connect.await.unwrap();
        let ecn = stream.info().unwrap().subflows[0].tcp.agreed.ecn;
        stream.finish().unwrap();
        let mut answer = Vec::new();
        while let Some(chunk) = stream.read_chunk().await.unwrap() {
            answer.extend_from_slice(&chunk);
        }
        assert_eq!(plan.down_pattern().first_difference(0, &answer), None);
        let served = self.backend.outcome(seed, PATIENCE).unwrap();
        assert_eq!(served.sent.digest.bytes, answer.len() as u64);
        let up = served.received;
        assert_eq!((up.first_wrong, up.digest.bytes), (None, 1000));
        ecn
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.unwrap() });
}

#[test]
fn the_second_request_goes_with_the_syn() {
    if !require::lab() {
        return;
    }
    // Both roles, and every listener without asking.
    let (scene, device) = Scene::new("tcp_fastopen", "1027");
    run(async {
        let host = Host::start(device, StackConfig::default()).unwrap();
        for (seed, with_syn) in [(1, 0), (2, 1), (3, 2)] {
            scene.exchange(&host, seed, true).await;
            let counters = scene.kernel.run(Counters::read).unwrap();
            let taken = counters.get("TcpExtTCPFastOpenPassive");
            let sent = host.counters().get(Counter::TcpExtTCPFastOpenActive);
            assert_eq!((taken, sent), (with_syn, with_syn), "connection {seed}");
        }
    });
}

/// A listener of Linux agrees to RFC 3168 when asked (`net.ipv4.tcp_ecn` 2), or to nothing (0).
#[test]
fn what_is_asked_for_is_agreed_to_as_far_as_linux_does() {
    if !require::lab() {
        return;
    }
    for (asked, kernel, expected) in [
        (Ecn::Off, "2", false),
        (Ecn::Passive, "2", false),
        (Ecn::Classic, "2", true),
        (Ecn::Classic, "0", false),
        (Ecn::Accurate, "1", true),
        (Ecn::Accurate, "2", true),
        (Ecn::Accurate, "0", false),
    ] {
        let (scene, device) = Scene::new("tcp_ecn", kernel);
        run(async {
            let mut config = StackConfig::default();
            config.tcp.ecn = asked;
            let host = Host::start(device, config).unwrap();
            let agreed = scene.exchange(&host, 1, false).await;
            assert_eq!(agreed, expected, "{asked:?}, {kernel}");
        });
    }
}
