//! More packets than the interface's queue takes.

mod common {
    pub(crate) mod endpoint;
    pub(crate) mod hosts;
    pub(crate) mod poll;
    pub(crate) mod segment;
}

use anabranch_drivers::{Driver, Packet};
use anabranch_kernel::{Netlink, TokenBucket};
use anabranch_wire::Seq;
use anabranch_wire::frame::Transmit;
use bytes::Bytes;
use common::hosts::{Hosts, config, exchange};
use common::segment::segment;
use std::collections::VecDeque;

fn large() -> Transmit {
    segment("10.66.0.2", "10.66.0.1", Seq(1), Bytes::from(vec![7; 1400]))
}

/// They are lost as in a router's queue, each counted; those that there is room for pass.
#[test]
fn packets_that_a_queue_drops_are_counted_and_the_others_pass() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = hosts.ours(|| Packet::open(&config()).unwrap());
    exchange(&hosts, &mut packet, "10.66.0.2");
    let slow = TokenBucket {
        rate: 8_000_000,
        burst: 100_000,
        limit: 200_000,
    };
    hosts.ours(|| Netlink::open().unwrap().set_rate("eth", slow).unwrap());
    let before = packet.counters();
    let mut batch: VecDeque<Transmit> = (0..1000).map(|_| large()).collect();
    packet.send_all(&mut batch).unwrap();
    assert!(batch.is_empty());
    let now = packet.counters();
    let sent = now.tx_packets - before.tx_packets;
    let lost = now.tx_errors - before.tx_errors;
    assert_eq!(sent + lost, 1000);
    assert!(sent > 100 && lost > 100, "{sent} sent, {lost} lost");
    hosts.ours(|| Netlink::open().unwrap().clear_rate("eth").unwrap());
    packet.send(&large()).unwrap();
    let after = packet.counters();
    assert_eq!(after.tx_packets, now.tx_packets + 1);
    assert_eq!(after.tx_errors, now.tx_errors);
}
