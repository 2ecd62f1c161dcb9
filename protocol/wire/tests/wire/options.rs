//! Options as peers and middleboxes send them: reordered, repeated, unpadded, malformed.

use crate::support::hex;
use anabranch_wire::mptcp::*;
use anabranch_wire::tcp::*;
use anabranch_wire::{Packet, Seq};

/// A packet with these bits and this options area.
fn read(flags: Flags, options: &str) -> Packet {
    let mut options = hex(options);
    options.resize(options.len().next_multiple_of(4), 0);
    let mut bytes = hex("6000 0000 0000 06 40");
    bytes.extend(hex(
        "20010db8 00000000 00000000 00000001 20010db8 00000000 00000000 00000002",
    ));
    bytes.extend(hex("0001 0002 00000003 00000004 5000 0005 0000 0000"));
    bytes[5] = 20 + options.len() as u8;
    bytes[52] = (5 + options.len() as u8 / 4) << 4;
    bytes[53] = flags.0 as u8;
    bytes.extend(options);
    Packet::parse(&bytes).unwrap()
}

fn syn_ack() -> Flags {
    Flags::SYN.with(Flags::ACK)
}

#[test]
fn order_and_padding_do_not_matter() {
    let expected = SynOptions {
        mss: Some(1400),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 1, ecr: 2 }),
        fast_open: None,
    };
    for area in [
        "0204 0578 0402 080a 00000001 00000002 01 030307",
        "030307 080a 00000001 00000002 0402 0204 0578",
        "010101 030307 01 080a 00000001 00000002 0402 01 0204 0578 00 ff ff",
    ] {
        let packet = read(Flags::SYN, area);
        assert_eq!(
            (packet.options, packet.bad_options),
            (Options::Syn(expected.clone()), 0),
            "{area}"
        );
    }
}

#[test]
fn options_of_another_class_are_skipped() {
    // MSS, window scale and "SACK permitted" on data; SACK blocks on a SYN.
    let packet = read(Flags::ACK, "0204 0578 030307 0402");
    assert_eq!(
        (packet.options, packet.bad_options),
        (Options::empty(Class::Segment), 0)
    );
    let packet = read(Flags::SYN, "050a 00000001 00000002");
    assert_eq!(
        (packet.options, packet.bad_options),
        (Options::empty(Class::Syn), 0)
    );
}

#[test]
fn unknown_kinds_and_subtypes_are_skipped() {
    let packet = read(Flags::ACK, "fd04 1234 1304 5678 1e04 9000 1e03 51");
    assert_eq!(
        packet.mptcp[..],
        [MptcpOption::Prio(Prio {
            backup: true,
            address_id: None
        })]
    );
    assert_eq!(packet.bad_options, 0);
}

#[test]
fn a_window_scale_beyond_14_is_14_and_no_mss_is_zero() {
    let Options::Syn(syn) = read(Flags::SYN, "0204 0000 0303 ff").options else {
        panic!("a SYN")
    };
    assert_eq!((syn.mss, syn.window_scale), (None, Some(14)));
}

#[test]
fn an_impossible_length_ends_the_list_and_keeps_what_came_before() {
    for broken in ["0200", "0201", "0228", "1e01", "1e00 3000", "fd ff"] {
        let packet = read(Flags::SYN, &format!("0204 0578 {broken} 0402 0402"));
        let expected = SynOptions {
            mss: Some(1400),
            ..SynOptions::default()
        };
        assert_eq!(
            (packet.options, packet.bad_options),
            (Options::Syn(expected), 1),
            "{broken}"
        );
    }
    let packet = read(Flags::SYN, "0204 0578 010101 02");
    assert_eq!(packet.bad_options, 1, "a kind without a length");
}

#[test]
fn malformed_options_are_counted_and_the_others_stand() {
    for bad in [
        "0203 05",
        "0302",
        "0403 00",
        "080904 00000001 0000",
        "2203 00",
        "2204 0000",
        "2205 000000",
    ] {
        let packet = read(Flags::SYN, &format!("{bad} 0204 0578"));
        let expected = SynOptions {
            mss: Some(1400),
            ..SynOptions::default()
        };
        assert_eq!(
            (packet.options, packet.bad_options),
            (Options::Syn(expected), 1),
            "{bad}"
        );
    }
    for bad in [
        "0502",
        "0503 00",
        "0509 00000000 000000",
        "050b 00000001 00000002 00",
    ] {
        let packet = read(Flags::ACK, &format!("{bad} 080a 00000001 00000002"));
        let timestamps = Some(Timestamps { val: 1, ecr: 2 });
        let expected = SegmentOptions {
            timestamps,
            ..SegmentOptions::default()
        };
        assert_eq!(
            (packet.options, packet.bad_options),
            (Options::Segment(expected), 1),
            "{bad}"
        );
    }
}

#[test]
fn malformed_mptcp_options_are_counted_and_the_others_stand() {
    let on_ack = [
        "1e02",                                              // no subtype
        "1e03 00",                                           // MP_CAPABLE without flags
        "1e04 01 01",                                        // MP_CAPABLE of a SYN on an ACK
        "1e16 00 01 0000000000000001 0000000000000002 0000", // data with version 0
        "1e0c 10 00 00000001 00000002",                      // MP_JOIN of a SYN on an ACK
        "1e03 20",                                           // DSS without flags
        "1e04 20 01",                                        // DSS without the DATA_ACK it promises
        "1e0a 20 01 00000001 0000",                          // DSS longer than it promises
        "1e0c 20 04 0000000000000001",                       // DSS shorter than its mapping
        "1e08 30 01 0a000001",                               // ADD_ADDR v1 without HMAC
        "1e08 36 01 0a000001",                               // ADD_ADDR v0, IPv6 of four bytes
        "1e10 31 01 0a000001 0000000000000001",              // an echo with HMAC
        "1e09 30 01 0a000001 00",                            // ADD_ADDR of no known length
        "1e03 40",                                           // REMOVE_ADDR of nothing
        "1e05 50 01 02",                                     // MP_PRIO
        "1e04 60 00",                                        // MP_FAIL
        "1e08 70 00 00000001",                               // MP_FASTCLOSE
        "1e03 80",                                           // MP_TCPRST
    ];
    for bad in on_ack {
        let packet = read(Flags::ACK, &format!("{bad} 1e0c 60 00 00000000 00000007"));
        assert_eq!(
            (&packet.mptcp[..], packet.bad_options),
            (&[MptcpOption::Fail(7)][..], 1),
            "{bad}"
        );
    }
    let on_syn = [
        "1e04 00 01",                  // version 0 without a key
        "1e0c 01 01 0000000000000001", // version 1 with one
        "1e14 01 01 0000000000000001 0000000000000002",
    ];
    for bad in on_syn {
        let packet = read(Flags::SYN, bad);
        assert_eq!((packet.mptcp.len(), packet.bad_options), (0, 1), "{bad}");
    }
    for bad in ["1e04 01 01", "1e0c 10 00 00000001 00000002"] {
        let packet = read(syn_ack(), bad);
        assert_eq!((packet.mptcp.len(), packet.bad_options), (0, 1), "{bad}");
    }
}

#[test]
fn repeated_options_come_in_wire_order() {
    let packet = read(Flags::ACK, "1e08 20 01 00000001 01 1e08 20 01 00000002");
    let ack = |n| {
        MptcpOption::Dss(Dss {
            data_ack: Some(Dsn::Short(n)),
            ..Dss::default()
        })
    };
    assert_eq!(packet.mptcp[..], [ack(1), ack(2)]);
}

#[test]
fn thirteen_of_the_shortest_options_fit() {
    let packet = read(Flags::ACK, &"1e03 50".repeat(13));
    assert_eq!((packet.mptcp.len(), packet.bad_options), (13, 0));
}

#[test]
fn a_later_version_may_take_either_form_on_a_syn() {
    for (area, expected) in [
        ("1e04 02 00", None),
        ("1e0c 02 00 0000000000000009", Some(9)),
    ] {
        let [
            MptcpOption::Capable(Capable::Syn {
                version: 2, key, ..
            }),
        ] = read(Flags::SYN, area).mptcp[..]
        else {
            panic!("{area}")
        };
        assert_eq!(key, expected);
    }
}

#[test]
fn a_short_number_expands_to_the_nearest() {
    let cases = [
        (0x0000_0001_0000_0005, 0x0000_0010, 0x0000_0001_0000_0010),
        (0x0000_0001_ffff_fff0, 0x0000_0005, 0x0000_0002_0000_0005),
        (0x0000_0002_0000_0005, 0xffff_fff0, 0x0000_0001_ffff_fff0),
        (0xffff_ffff_ffff_fff0, 0x0000_0005, 0x0000_0000_0000_0005),
        (0x0000_0000_0000_0005, 0xffff_fff0, 0xffff_ffff_ffff_fff0),
    ];
    for (near, short, expected) in cases {
        assert_eq!(Dsn::Short(short).expand(near), expected, "{near:x}");
        assert_eq!(Dsn::Long(expected).expand(near), expected);
    }
}

#[test]
fn sequence_numbers_compare_across_wrap_around() {
    let (before, after) = (Seq(u32::MAX - 1), Seq(3));
    assert!(before.lt(after) && before.le(after) && !after.le(before));
    assert_eq!((after.since(before), before.since(after)), (5, -5));
    assert_eq!((before + 5, after - 5), (after, before));
}
