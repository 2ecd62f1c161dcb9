//! Messages that the kernel should not give.

use super::*;
use anabranch_kernel::{Netlink, Netns};
use bytes::Bytes;

/// Own addresses on one end of a veth pair; `None`, with the reason printed, where there can be no
/// namespace. Under `CI=true` there must.
fn packet() -> Option<Packet> {
    let netns = match Netns::new() {
        Ok(netns) => netns,
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            eprintln!("skipped: {error}");
            return None;
        }
    };
    let open = || {
        let netlink = Netlink::open().unwrap();
        netlink.add_veth("eth", "other", None).unwrap();
        netlink.set_up("eth").unwrap();
        let mut config = PacketConfig::new("eth", ["10.66.0.2/24".parse().unwrap()]);
        config.probe = Duration::ZERO;
        Packet::open(&config).unwrap()
    };
    Some(netns.run(open).unwrap())
}

/// A frame with a TCP packet of IPv4, behind a virtio-net header.
fn message(header: [u8; vnet::LEN]) -> Vec<u8> {
    let mut frame = header.to_vec();
    frame.extend([2; 12]);
    frame.extend([0x08, 0x00]);
    let mut packet = [0; 60];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 60]);
    packet[9] = 6;
    frame.extend(packet);
    frame
}

fn whole(data: Vec<u8>) -> Received {
    Received {
        data: Bytes::from(data),
        cut: false,
    }
}

#[test]
fn malformed_messages_are_counted_and_dropped() {
    let Some(mut packet) = packet() else { return };
    let at = ETHER_LEN as u8;
    let bad = [
        // Segmentation of UDP, which was not asked for.
        message([0, 3, 0, 0, 100, 0, 0, 0, 0, 0]),
        // A super-frame without a size, and one of IPv6 that is IPv4.
        message([1, 1, 0, 0, 0, 0, at + 20, 0, 16, 0]),
        message([1, 4, 0, 0, 100, 0, at + 20, 0, 16, 0]),
        // A checksum beyond the packet, within Ethernet's header, and elsewhere than TCP has it.
        message([1, 0, 0, 0, 0, 0, 0xff, 0xff, 16, 0]),
        message([1, 0, 0, 0, 0, 0, 3, 0, 16, 0]),
        message([1, 0, 0, 0, 0, 0, at + 22, 0, 16, 0]),
        // Nothing behind the headers, half of them, and nothing at all.
        vec![0; PREFIX],
        vec![0; vnet::LEN / 2],
        Vec::new(),
    ];
    let count = bad.len() as u64;
    for data in bad {
        assert_eq!(packet.read(whole(data)), None);
    }
    assert_eq!(packet.counters().rx_errors, count);
    let good = message([1, 0, 0, 0, 0, 0, at + 20, 0, 16, 0]);
    let frame = packet.read(whole(good)).expect("a frame");
    assert!(frame.checksum_ok);
    assert_eq!(packet.counters().rx_errors, count);
}

/// The rest of it did not fit the buffer.
#[test]
fn a_message_that_was_cut_is_counted_and_dropped() {
    let Some(mut packet) = packet() else { return };
    let cut = Received {
        data: Bytes::from(message([0; vnet::LEN])),
        cut: true,
    };
    assert_eq!(packet.read(cut), None);
    assert_eq!(packet.counters().rx_errors, 1);
}
