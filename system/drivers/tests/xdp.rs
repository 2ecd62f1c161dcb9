//! Addresses of our own by AF_XDP, on one end of a veth pair.

mod common {
    pub(crate) mod endpoint;
    pub(crate) mod hosts;
    pub(crate) mod poll;
}

use anabranch_drivers::{Driver, Xdp};
use anabranch_kernel::ethtool::{self, Offload};
use common::hosts::{Hosts, config, exchange, ip};
use common::poll::{PATIENCE, readable};
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

/// The other end of a veth pair leaves checksums to the device, and XDP does not see that they are
/// not there yet: on a real wire they are.
fn hosts() -> Option<Hosts> {
    let hosts = Hosts::new()?;
    hosts.theirs(|| ethtool::set_offload("eth", Offload::Checksum, false).unwrap());
    Some(hosts)
}

fn open(hosts: &Hosts) -> Xdp {
    let mut queues = hosts.ours(|| Xdp::open(&config()).unwrap());
    assert_eq!(queues.len(), 1);
    queues.remove(0)
}

#[test]
fn bytes_pass_both_ways_over_ipv4_and_ipv6() {
    let Some(hosts) = hosts() else { return };
    let mut xdp = open(&hosts);
    for to in ["10.66.0.2", "fd66::2"] {
        let largest = exchange(&hosts, &mut xdp, to);
        assert_eq!(largest, 0, "nothing is merged");
    }
}

/// What is not for us goes on to the kernel, which has an address of its own there.
#[test]
fn the_kernel_keeps_its_own_packets() {
    let Some(hosts) = hosts() else { return };
    let mut xdp = open(&hosts);
    hosts.ours(|| {
        let netlink = anabranch_kernel::Netlink::open().unwrap();
        netlink.add_address("eth", ip("10.66.0.3"), 24).unwrap();
        netlink.settle().unwrap();
    });
    let at = "10.66.0.3:7000";
    let kernel = hosts.ours(|| UdpSocket::bind(at).unwrap());
    kernel.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = hosts.theirs(|| UdpSocket::bind("10.66.0.1:0").unwrap());
    client.send_to(b"hello", at).unwrap();
    assert_eq!(kernel.recv(&mut [0; 16]).unwrap(), 5);
    assert!(!readable(&xdp, Duration::ZERO));
    exchange(&hosts, &mut xdp, "10.66.0.2");
}

#[test]
fn the_program_goes_with_the_device() {
    let Some(hosts) = hosts() else { return };
    let first = open(&hosts);
    let error = hosts.ours(|| Xdp::open(&config()).err().unwrap());
    assert_eq!(error.kind(), ErrorKind::ResourceBusy, "{error}");
    drop(first);
    let mut again = open(&hosts);
    exchange(&hosts, &mut again, "10.66.0.2");
    assert_eq!(again.counters().rx_dropped, 0);
}
