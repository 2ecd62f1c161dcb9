//! The relay in real time, between datagram sockets.

use anabranch_sim::relay::Relay;
use anabranch_sim::{Link, LinkConfig, LinkStats, Loss, Packet};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SEED: u64 = 1;

/// Lets `test` talk over a relay from one socket to another.
fn relayed(config: LinkConfig, test: impl FnOnce(&UnixDatagram, &UnixDatagram)) -> [LinkStats; 2] {
    let (a, near_a) = UnixDatagram::pair().unwrap();
    let (b, near_b) = UnixDatagram::pair().unwrap();
    for socket in [&a, &b] {
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
    }
    let both = (config.clone(), config);
    let mut relay = Relay::new(near_a.into(), near_b.into(), both, SEED).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| relay.run(&stop));
        test(&a, &b);
        stop.store(true, Ordering::Relaxed);
        running.join().unwrap().unwrap();
    });
    relay.stats()
}

#[test]
fn packets_take_the_delay_both_ways() {
    relayed(LinkConfig::new(1000, 30), |a, b| {
        let mut buffer = [0; 2000];
        for n in 0..5u8 {
            let start = Instant::now();
            a.send(&[n; 1000]).unwrap();
            assert_eq!(b.recv(&mut buffer).unwrap(), 1000);
            assert!(start.elapsed() >= Duration::from_millis(30));
            b.send(&buffer[..500]).unwrap();
            assert_eq!(a.recv(&mut buffer).unwrap(), 500);
            assert!(start.elapsed() >= Duration::from_millis(60));
            assert_eq!(buffer[..500], [n; 500]);
        }
    });
}

/// Sends `n` packets of 1,250 bytes, numbered, from a thread of its own.
fn sending<T>(socket: &UnixDatagram, n: u8, receive: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..n {
                socket.send(&[n; 1250]).unwrap();
            }
        });
        receive()
    })
}

#[test]
fn the_rate_is_kept() {
    // 40 packets of 1,250 bytes at 10 Mbit/s take 40 ms.
    let stats = relayed(LinkConfig::new(10, 1), |a, b| {
        let start = Instant::now();
        sending(a, 40, || {
            let mut buffer = [0; 2000];
            for n in 0..40 {
                assert_eq!(b.recv(&mut buffer).unwrap(), 1250);
                assert_eq!(buffer[0], n);
            }
        });
        assert!(start.elapsed() >= Duration::from_millis(40));
    });
    assert_eq!(stats[0].delivered, 40);
}

#[test]
fn what_is_lost_is_what_the_link_loses_in_virtual_time() {
    let config = LinkConfig::new(100, 1).loss(Loss::Random(0.5));
    let mut link = Link::new(config.clone(), SEED);
    for n in 0..100 {
        let data = vec![n; 1250].into();
        link.push(anabranch_tcp::Instant(0), Packet { data, tag: 0 });
    }
    let mut expected = Vec::new();
    while let Some(now) = link.deadline() {
        expected.extend(std::iter::from_fn(|| link.pop(now)).map(|p| p.data[0]));
    }
    assert!((30..70).contains(&expected.len()));
    relayed(config, |a, b| {
        let mut buffer = [0; 2000];
        let got: Vec<_> = sending(a, 100, || {
            let next = |_| {
                b.recv(&mut buffer).unwrap();
                buffer[0]
            };
            (0..expected.len()).map(next).collect()
        });
        assert_eq!(got, expected);
    });
}
