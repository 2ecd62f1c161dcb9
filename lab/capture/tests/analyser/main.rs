//! Connections that were made up, and captures of kernels: what is wrong is found, and nothing
//! else.

mod files;
mod talk;
mod wrong;

use anabranch_capture::Version;
use anabranch_capture::report::{End, Verdict};

use talk::*;

#[test]
fn a_clean_connection_is_told_as_it_was() {
    let mut packets = joined();
    packets.push(add_addr(DOWN));
    packets.push(packet(UP, ACK, 1, 1, &[30, 8, 0x31, 3, 10, 0, 9, 2], &[]));
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP_2, 1, 5, b", odd one"));
    packets.push(data_ack(DOWN, 1, 6, 14));
    packets.push(data(DOWN, 1, 0, b"hi"));
    packets.push(data_fin(UP, 6, 14));
    packets.push(data_ack(DOWN_2, 1, 10, 15));
    packets.push(packet(UP_2, ACK | FIN, 10, 1, &[], &[]));
    let report = report(&packets);
    assert!(!report.is_wrong(), "{report}");
    let [connection] = &report.connections[..] else {
        panic!("{report}");
    };
    assert_eq!(connection.version, Some(Version::V1));
    assert!(connection.checksums && connection.fallback.is_none());
    let (up, down) = (&connection.up, &connection.down);
    assert_eq!((up.bytes, up.missing, up.acknowledged), (14, 0, 14));
    assert_eq!((up.checksums_right, down.checksums_right), (3, 1));
    assert!(up.data_fin_acknowledged && !down.data_fin);
    let join = connection.subflows[1].join.as_ref().unwrap();
    assert_eq!(join.hmacs, [Verdict::Right; 2]);
    assert_eq!((join.ids, join.backup), ([Some(5), Some(6)], [false, true]));
    assert_eq!(connection.subflows[1].up.bytes, 9);
    let [address] = &connection.addresses[..] else {
        panic!("{report}");
    };
    assert_eq!((address.from, address.hmac), (End::Server, Verdict::Right));
    assert!(address.echoed && !address.removed);
}

#[test]
fn bytes_sent_again_are_counted_for_what_they_are() {
    let mut packets = joined();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP_2, 1, 0, b"hello"));
    let report = report(&packets);
    assert!(!report.is_wrong(), "{report}");
    let connection = &report.connections[0];
    assert_eq!((connection.up.bytes, connection.up.reinjected), (5, 5));
    let (first, second) = (connection.subflows[0].up, connection.subflows[1].up);
    assert_eq!((first.bytes, first.again, first.reinjected), (10, 5, 0));
    assert_eq!((second.bytes, second.again, second.reinjected), (5, 0, 5));
}

#[test]
fn a_packet_that_passes_two_interfaces_is_one() {
    let packets: Vec<Vec<u8>> = joined()
        .into_iter()
        .chain([data(UP, 1, 0, b"hi")])
        .collect();
    let mut analyser = anabranch_capture::Analyser::new();
    for (i, packet) in packets.iter().enumerate() {
        let time = std::time::Duration::from_millis(10 * i as u64);
        analyser.packet(time, packet);
        analyser.packet(time + std::time::Duration::from_micros(20), packet);
    }
    let report = analyser.report();
    assert_eq!(report.connections[0].subflows[0].up.bytes, 2, "{report}");
    assert_eq!(report.connections[0].subflows.len(), 2);
}

#[test]
fn fallbacks_have_their_reason() {
    let mut answered = opening();
    answered[1] = packet(DOWN, SYN | ACK, 0, 1, &[], &[]);
    let mut silent = opening();
    silent[2] = packet(UP, ACK, 1, 1, &[], &[]);
    silent.push(packet(UP, ACK, 1, 1, &[], b"plain"));
    let mut infinite = opening();
    infinite.push(data(UP, 1, 0, b"hello"));
    let mut option = vec![30, 18, 0x20, 0x0c];
    option.extend(dsn(End::Client, 5).to_be_bytes());
    option.extend([0, 0, 0, 6, 0, 0]);
    infinite.push(packet(UP, ACK, 6, 1, &option, b" world"));
    for (packets, reason, bytes) in [
        (answered, "the SYN+ACK has no MP_CAPABLE", 0),
        (silent, "neither the third ACK nor the first data", 0),
        (infinite, "the client sent an infinite mapping", 11),
    ] {
        let report = report(&packets);
        assert!(!report.is_wrong(), "{report}");
        let connection = &report.connections[0];
        let told = &connection.fallback.as_ref().expect("a reason").reason;
        assert!(told.starts_with(reason), "{told}");
        assert_eq!(connection.up.bytes, bytes);
    }
}

#[test]
fn plain_tcp_is_counted_and_nothing_else() {
    let packets = [
        packet(UP, SYN, 0, 0, &[], &[]),
        packet(DOWN, SYN | ACK, 0, 1, &[], &[]),
        packet(UP, ACK, 1, 1, &[], b"hello"),
    ];
    let report = report(&packets);
    assert_eq!((report.plain, report.connections.len()), (1, 0));
}

#[test]
fn json_has_what_the_text_has() {
    let mut packets = joined();
    packets.push(data(UP, 1, 0, b"hello"));
    let json = serde_json::to_value(report(&packets)).unwrap();
    let connection = &json["connections"][0];
    assert_eq!(connection["version"], "1");
    assert_eq!(connection["client"]["key"], "0x0102030405060708");
    assert_eq!(connection["subflows"][1]["join"]["hmacs"][0], "right");
    assert_eq!(connection["up"]["bytes"], 5);
}
