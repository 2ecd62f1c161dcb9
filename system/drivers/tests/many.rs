//! Several devices as one.

mod common {
    pub(crate) mod poll;
}

use anabranch_drivers::{Driver, Many, Pipe, pipe, pipe::PipeConfig};
use anabranch_wire::frame::Transmit;
use common::poll::{readable, wait};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const CAPACITY: usize = 8;

fn addr(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// Devices with the addresses 10.0.0.1 and so on, and their other ends.
fn devices(count: u8) -> (Many, Vec<Pipe>) {
    let config = PipeConfig {
        capacity: CAPACITY,
        ..PipeConfig::default()
    };
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for n in 1..=count {
        let (a, b) = pipe(config).unwrap();
        here.push((vec![addr(n)], Box::new(a) as Box<dyn Driver>));
        there.push(b);
    }
    (Many::new(here).unwrap(), there)
}

/// A packet from 10.0.0.`from` that ends in `mark`.
fn packet(from: u8, mark: u8) -> Transmit {
    let mut header = [0x45; 20];
    header[12..].copy_from_slice(&[10, 0, 0, from, 10, 0, 1, 1]);
    Transmit {
        header: header.as_slice().into(),
        ip_len: 20,
        payload: [bytes::Bytes::from(vec![mark])].into_iter().collect(),
        gso_size: 0,
        needs_checksum: false,
    }
}

fn marks(driver: &mut impl Driver) -> Vec<u8> {
    let mut frames = Vec::new();
    while driver.receive(&mut frames, 3).is_ok() {}
    frames
        .iter()
        .map(|frame| *frame.data.last().unwrap())
        .collect()
}

#[test]
fn packets_leave_by_the_device_of_their_source() {
    let (mut many, mut there) = devices(3);
    let mut batch: VecDeque<Transmit> = (0..12).map(|n| packet(1 + n % 3, n)).collect();
    many.send_all(&mut batch).unwrap();
    assert!(batch.is_empty());
    assert_eq!(marks(&mut there[0]), [0, 3, 6, 9]);
    assert_eq!(marks(&mut there[1]), [1, 4, 7, 10]);
    assert_eq!(marks(&mut there[2]), [2, 5, 8, 11]);
    many.send(&packet(9, 0)).unwrap();
    let counters = many.counters();
    assert_eq!((counters.tx_packets, counters.tx_errors), (12, 1));
}

#[test]
fn frames_come_from_every_device_and_none_waits_for_ever() {
    let (mut many, mut there) = devices(3);
    assert_eq!(
        many.receive(&mut Vec::new(), 8).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert!(!readable(&many, Duration::ZERO));
    for round in 0..100 {
        for (n, device) in there.iter_mut().enumerate() {
            device.send(&packet(1, n as u8)).unwrap();
        }
        wait(&many);
        let mut seen = marks(&mut many);
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2], "round {round}");
        // It may be woken once more for nothing, and then sleeps.
        assert!(marks(&mut many).is_empty());
        assert!(!readable(&many, Duration::ZERO));
    }
}

#[test]
fn a_device_that_is_full_does_not_hold_up_the_others() {
    let (mut many, mut there) = devices(2);
    for n in 0..100 {
        many.send(&packet(1, n)).unwrap();
        many.send(&packet(2, n)).unwrap();
        assert_eq!(marks(&mut there[1]), [n]);
    }
    // The first has its packets in order, as fast as it takes them.
    let mut seen = marks(&mut there[0]);
    while seen.len() < 100 {
        wait(&many);
        assert!(many.receive(&mut Vec::new(), 8).is_err());
        seen.extend(marks(&mut there[0]));
    }
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    assert_eq!(many.counters().tx_errors, 0);
}

#[test]
fn what_is_kept_for_a_device_that_is_stuck_is_bounded() {
    let (mut many, _there) = devices(2);
    let sent = 1000;
    let mut batch: VecDeque<Transmit> = (0..sent).map(|_| packet(1, 0)).collect();
    many.send_all(&mut batch).unwrap();
    assert!(batch.is_empty());
    let lost = many.counters().tx_errors;
    assert!((600..sent).contains(&lost), "{lost} of {sent} lost");
}

#[test]
fn the_others_go_on_without_a_device_that_is_gone() {
    let (mut many, mut there) = devices(2);
    drop(there.remove(0));
    wait(&many);
    assert_eq!(
        many.receive(&mut Vec::new(), 8).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    many.send(&packet(1, 1)).unwrap();
    many.send(&packet(2, 2)).unwrap();
    assert_eq!(marks(&mut there[0]), [2]);
    drop(there);
    wait(&many);
    assert_eq!(
        many.receive(&mut Vec::new(), 8).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}
