//! One thing is wrong in each capture.

use anabranch_capture::report::{End, Kind};

use crate::talk::*;

/// The option begins after 20 bytes of IP and 20 of TCP.
const OPTION: usize = 40;

#[track_caller]
fn only(packets: &[Vec<u8>], kind: Kind, from: End, packet: u64) {
    let report = report(packets);
    assert_eq!(errors(&report), [(kind, from, packet)], "{report}");
}

#[test]
fn the_hmac_of_a_join() {
    for (spoilt, from) in [(4, End::Server), (5, End::Client)] {
        let mut packets = joined();
        packets[spoilt][OPTION + 4 + 7] ^= 1;
        only(&packets, Kind::WrongJoinHmac, from, spoilt as u64 + 1);
    }
}

#[test]
fn the_hmac_of_an_address() {
    let mut packets = opening();
    let mut forged = add_addr(DOWN);
    forged[OPTION + 15] ^= 0x80;
    packets.push(forged);
    only(&packets, Kind::WrongAddAddrHmac, End::Server, 4);
}

#[test]
fn an_echoed_key() {
    let mut packets = opening();
    packets[2] = packet(UP, ACK, 1, 1, &capable_ack([KEYS[0], KEYS[1] ^ 1]), &[]);
    only(&packets, Kind::WrongKey, End::Client, 3);
}

#[test]
fn a_key_that_changes() {
    let mut packets = opening();
    packets.push(packet(
        UP,
        ACK,
        1,
        1,
        &capable_ack([KEYS[0] ^ 1, KEYS[1]]),
        &[],
    ));
    only(&packets, Kind::WrongKey, End::Client, 4);
}

#[test]
fn the_key_of_a_fastclose() {
    for (key, wrong) in [(KEYS[0], false), (KEYS[1], true)] {
        let mut packets = opening();
        let mut option = vec![30, 12, 0x70, 0];
        option.extend(key.to_be_bytes());
        packets.push(packet(DOWN, RST | ACK, 1, 1, &option, &[]));
        let expected = (Kind::WrongFastcloseKey, End::Server, 4);
        let found = errors(&report(&packets));
        assert_eq!(found, if wrong { vec![expected] } else { vec![] });
    }
}

#[test]
fn altered_payload_under_a_checksum() {
    let mut packets = opening();
    packets.push(data(UP, 1, 0, b"hello"));
    *packets[3].last_mut().unwrap() ^= 0x20;
    only(&packets, Kind::WrongChecksum, End::Client, 4);
}

#[test]
fn a_wrong_checksum_of_a_data_fin() {
    let mut packets = opening();
    packets.push(data_fin(UP, 1, 0));
    packets[3][OPTION + 19] ^= 1;
    only(&packets, Kind::WrongChecksum, End::Client, 4);
}

#[test]
fn other_bytes_under_the_same_number_on_another_subflow() {
    let mut packets = joined();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP_2, 1, 2, b"LLo you"));
    only(&packets, Kind::UnequalBytes, End::Client, 8);
    let report = report(&packets);
    let text = &report.connections[0].findings[0].text;
    assert!(text.contains("byte 2 of the stream"), "{text}");
    assert!(text.contains("packet 7 on subflow 1"), "{text}");
}

#[test]
fn other_bytes_when_sent_again_on_the_same_subflow() {
    let mut packets = opening();
    let option = mapping(End::Server, 1, 0, b"hello");
    packets.push(packet(DOWN, ACK, 1, 1, &option, b"hello"));
    packets.push(packet(DOWN, ACK, 1, 1, &option, b"hellO"));
    only(&packets, Kind::UnequalBytes, End::Server, 5);
}

#[test]
fn a_window_probe_with_another_byte_is_only_strange() {
    let mut packets = joined();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data_ack(DOWN, 1, 6, 5));
    packets.push(data(UP_2, 1, 4, b"x"));
    let report = report(&packets);
    assert_eq!(errors(&report), []);
    assert_eq!(report.connections[0].findings[0].kind, Kind::WindowProbe);
}

#[test]
fn a_mapping_that_changes() {
    let mut packets = opening();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP, 3, 5, b"hello"));
    only(&packets, Kind::ChangedMapping, End::Client, 5);
}

#[test]
fn a_first_byte_elsewhere() {
    let mut packets = opening();
    packets.push(data(UP, 1, 1, b"hello"));
    only(&packets, Kind::WrongIdsn, End::Client, 4);
}

#[test]
fn a_number_far_outside() {
    let mut packets = opening();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data(UP, 6, 1 << 60, b"hello"));
    only(&packets, Kind::DsnOutside, End::Client, 5);
}

#[test]
fn data_beyond_the_data_fin() {
    let mut packets = opening();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data_fin(UP, 6, 5));
    packets.push(data(UP, 6, 5, b"!"));
    only(&packets, Kind::BeyondDataFin, End::Client, 6);
}

#[test]
fn an_acknowledgement_of_what_was_never_sent() {
    let mut packets = opening();
    packets.push(data(UP, 1, 0, b"hello"));
    packets.push(data_ack(DOWN, 1, 6, 6));
    only(&packets, Kind::DataAckBeyond, End::Server, 5);
}

#[test]
fn a_mapping_without_the_agreed_checksum() {
    let mut packets = opening();
    let mut option = mapping(End::Client, 1, 0, b"hello");
    option.truncate(18);
    option[1] = 18;
    packets.push(packet(UP, ACK, 1, 1, &option, b"hello"));
    only(&packets, Kind::ChecksumPresence, End::Client, 4);
}

#[test]
fn an_option_that_nobody_can_read() {
    let mut packets = opening();
    packets.push(packet(DOWN, ACK, 1, 1, &[30, 5, 0x20, 0x01, 9], &[]));
    only(&packets, Kind::MalformedOption, End::Server, 4);
}

#[test]
fn a_join_of_nothing_in_the_capture_is_only_strange() {
    let report = report(&joining());
    assert_eq!(report.findings[0].kind, Kind::UnknownToken);
    assert!(!report.is_wrong());
}

#[test]
fn packets_cut_anywhere_do_no_harm() {
    let mut packets = joined();
    packets.push(data(UP, 1, 0, b"hello"));
    for i in 0..packets.len() {
        for cut in 0..packets[i].len() {
            packets.push(packets[i][..cut].to_vec());
        }
    }
    let report = report(&packets);
    assert_eq!(report.connections[0].up.bytes, 5, "{report}");
}

#[test]
fn the_same_octet_changed_at_every_place_does_no_harm() {
    let mut clean = joined();
    clean.push(data(UP, 1, 0, b"hello"));
    clean.push(add_addr(DOWN));
    for i in 0..clean.len() {
        for at in 0..clean[i].len() {
            for value in [0, 0x1e, 0xff] {
                let mut packets = clean.clone();
                packets[i][at] = value;
                assert_eq!(report(&packets).packets, packets.len() as u64);
            }
        }
    }
}
