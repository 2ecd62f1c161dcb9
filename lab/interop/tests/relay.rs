//! Two namespaces, and a simulated link in real time between their TUN devices: the kernel's own
//! TCP sees the delay and the rate of the link.

use anabranch_drivers::Tun;
use anabranch_drivers::tun::{Offload, TunConfig};
use anabranch_interop::require;
use anabranch_kernel::{Netlink, Netns};
use anabranch_sim::LinkConfig;
use anabranch_sim::relay::Relay;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn addr(host: u8) -> IpAddr {
    Ipv4Addr::new(10, 88, 0, host).into()
}

/// A namespace with a TUN device that has `address`.
fn host(address: IpAddr) -> (Netns, OwnedFd) {
    let netns = Netns::new().unwrap();
    let config = TunConfig {
        name: "link0".into(),
        txqueuelen: 4096,
        offload: Offload::None,
        ..TunConfig::default()
    };
    let tun = netns
        .run(|| {
            let tun = Tun::open(&config).unwrap();
            let netlink = Netlink::open().unwrap();
            netlink.add_address("link0", address, 24).unwrap();
            tun
        })
        .unwrap();
    (netns, tun.into())
}

/// Sends `len` bytes over a link between two kernels; time for one byte there and back, and for
/// the bytes.
fn transfer(link: LinkConfig, len: usize) -> (Duration, Duration) {
    let (client, a) = host(addr(1));
    let (server, b) = host(addr(2));
    let mut relay = Relay::new(a, b, (link.clone(), link), 1).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| relay.run(&stop));
        let listener = server
            .run(|| TcpListener::bind((addr(2), 80)))
            .unwrap()
            .unwrap();
        let sink = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = vec![0; len];
            stream.read_exact(&mut bytes[..1]).unwrap();
            stream.write_all(&[7]).unwrap();
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&[8]).unwrap();
            bytes
        });
        let mut stream = client
            .run(|| TcpStream::connect((addr(2), 80)))
            .unwrap()
            .unwrap();
        let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut answer = [0];
        let start = Instant::now();
        stream.write_all(&[1]).unwrap();
        stream.read_exact(&mut answer).unwrap();
        let (echo, start) = (start.elapsed(), Instant::now());
        stream.write_all(&bytes).unwrap();
        stream.read_exact(&mut answer).unwrap();
        let bulk = start.elapsed();
        assert_eq!(sink.join().unwrap(), bytes);
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap().unwrap();
        (echo, bulk)
    })
}

#[test]
fn kernels_see_the_delay_of_the_link() {
    if !require::lab() {
        return;
    }
    let (echo, _) = transfer(LinkConfig::new(1000, 25), 1);
    // Not less than the link's, and no more than a busy machine may add.
    assert!(echo >= Duration::from_millis(50), "{echo:?}");
    assert!(echo < Duration::from_millis(150), "{echo:?}");
}

#[test]
fn kernels_see_the_rate_of_the_link() {
    if !require::lab() {
        return;
    }
    // 2 MB at 20 Mbit/s: 0.8 s, and what headers and slow start take.
    let (_, bulk) = transfer(LinkConfig::new(20, 5), 2_000_000);
    assert!(bulk >= Duration::from_millis(800), "{bulk:?}");
    assert!(bulk < Duration::from_millis(2500), "{bulk:?}");
}
