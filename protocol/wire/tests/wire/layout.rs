//! Options byte for byte in the order and padding of Linux.

use crate::support::{ack, hex};
use anabranch_wire::mptcp::*;
use anabranch_wire::tcp::*;
use anabranch_wire::{Build, BuildError, Seq};
use smallvec::smallvec;

fn written(flags: Flags, options: &Options, mptcp: &[MptcpOption]) -> Vec<u8> {
    Build {
        flags,
        mptcp,
        ..ack(options)
    }
    .emit(0)
    .unwrap()
    .bytes[40..]
        .to_vec()
}

const FLAGS: CapableFlags = CapableFlags {
    checksum: false,
    extensibility: false,
    deny_join: false,
    hmac: true,
    reserved: 0,
};
const TS: Option<Timestamps> = Some(Timestamps {
    val: 0x01020304,
    ecr: 0x05060708,
});

fn syn(timestamps: Option<Timestamps>) -> Options {
    Options::Syn(SynOptions {
        mss: Some(1460),
        window_scale: Some(8),
        sack_permitted: true,
        timestamps,
        fast_open: None,
    })
}

fn segment(timestamps: Option<Timestamps>, sack: SackBlocks) -> Options {
    Options::Segment(SegmentOptions {
        timestamps,
        sack,
        acc_ecn: None,
    })
}

#[test]
fn a_syn_with_timestamps() {
    let capable = MptcpOption::Capable(Capable::Syn {
        version: 1,
        flags: FLAGS,
        key: None,
    });
    let expected = "020405b4 0402 080a 01020304 05060708 01 030308 1e04 01 01";
    assert_eq!(written(Flags::SYN, &syn(TS), &[capable]), hex(expected));
}

#[test]
fn a_syn_without_timestamps() {
    let join = Join::Syn {
        backup: true,
        address_id: 3,
        token: 0xaabbccdd,
        nonce: 0x11223344,
    };
    let expected = "020405b4 0101 0402 01 030308 1e0c 11 03 aabbccdd 11223344";
    assert_eq!(
        written(Flags::SYN, &syn(None), &[MptcpOption::Join(join)]),
        hex(expected)
    );
}

#[test]
fn a_syn_ack_of_version_0() {
    let key = 0x1122334455667788;
    let capable = MptcpOption::Capable(Capable::SynAck {
        version: 0,
        flags: FLAGS,
        key,
    });
    let expected = "020405b4 0402 080a 01020304 05060708 01 030308 1e0c 00 01 11223344 55667788";
    let flags = Flags::SYN.with(Flags::ACK);
    assert_eq!(written(flags, &syn(TS), &[capable]), hex(expected));
}

#[test]
fn a_fast_open_cookie_stands_before_mptcp() {
    let options = Options::Syn(SynOptions {
        mss: Some(1460),
        fast_open: Some(FastOpen {
            cookie: smallvec![1, 2, 3, 4],
            experimental: false,
        }),
        ..SynOptions::default()
    });
    let capable = MptcpOption::Capable(Capable::Syn {
        version: 1,
        flags: FLAGS,
        key: None,
    });
    let expected = "020405b4 2206 01020304 0101 1e04 01 01";
    assert_eq!(written(Flags::SYN, &options, &[capable]), hex(expected));
}

#[test]
fn data_with_timestamps_and_dss() {
    let dss = MptcpOption::Dss(Dss {
        data_ack: Some(Dsn::Short(0x0a0b0c0d)),
        mapping: Some(DssMapping {
            dsn: Dsn::Long(0x1122334455667788),
            ssn: 1,
            len: 100,
            checksum: None,
        }),
        data_fin: false,
    });
    let expected =
        "0101 080a 01020304 05060708 1e16 20 0d 0a0b0c0d 11223344 55667788 00000001 0064 0101";
    assert_eq!(
        written(Flags::ACK, &segment(TS, smallvec![]), &[dss]),
        hex(expected)
    );
}

#[test]
fn a_checksum_takes_the_place_of_the_padding() {
    let dss = MptcpOption::Dss(Dss {
        data_ack: None,
        mapping: Some(DssMapping {
            dsn: Dsn::Short(7),
            ssn: 1,
            len: 1,
            checksum: Some(0xbeef),
        }),
        data_fin: true,
    });
    let expected = "1e10 20 14 00000007 00000001 0001 beef";
    assert_eq!(
        written(Flags::ACK, &segment(None, smallvec![]), &[dss]),
        hex(expected)
    );
}

#[test]
fn sack_stands_between_timestamps_and_dss() {
    let sack = smallvec![(Seq(0x10), Seq(0x20))];
    let dss = MptcpOption::Dss(Dss {
        data_ack: Some(Dsn::Long(5)),
        ..Dss::default()
    });
    let expected =
        "0101 080a 01020304 05060708 0101 050a 00000010 00000020 1e0c 20 03 00000000 00000005";
    assert_eq!(
        written(Flags::ACK, &segment(TS, sack), &[dss]),
        hex(expected)
    );
}

#[test]
fn each_mptcp_option_is_padded_on_its_own() {
    let options = [
        MptcpOption::Prio(Prio {
            backup: true,
            address_id: None,
        }),
        MptcpOption::RemoveAddr(smallvec![4, 5]),
        MptcpOption::TcpRst(TcpRst {
            transient: true,
            reserved: 0,
            reason: ResetReason::Prohibited,
        }),
        MptcpOption::Fail(9),
        MptcpOption::FastClose(0xabcd),
    ];
    let expected = "1e03 51 01 1e05 40 04 05 010101 1e04 81 03 \
                    1e0c 60 00 00000000 00000009 1e0c 70 00 00000000 0000abcd";
    assert_eq!(
        written(Flags::ACK, &segment(None, smallvec![]), &options),
        hex(expected)
    );
}

#[test]
fn addresses_of_both_versions() {
    let plain = AddAddr {
        address_id: 2,
        addr: "10.0.0.1".parse().unwrap(),
        port: None,
        echo: false,
        hmac: None,
    };
    let cases = [
        (plain.clone(), "1e08 34 02 0a000001"),
        (
            AddAddr {
                port: Some(80),
                ..plain.clone()
            },
            "1e0a 34 02 0a000001 0050 0101",
        ),
        (
            AddAddr {
                echo: true,
                ..plain.clone()
            },
            "1e08 31 02 0a000001",
        ),
        (
            AddAddr {
                hmac: Some(0x99),
                ..plain.clone()
            },
            "1e10 30 02 0a000001 00000000 00000099",
        ),
        (
            AddAddr {
                addr: "2001:db8::1".parse().unwrap(),
                ..plain
            },
            "1e14 36 02 20010db8 00000000 00000000 00000001",
        ),
    ];
    for (add, expected) in cases {
        let options = [MptcpOption::AddAddr(add)];
        assert_eq!(
            written(Flags::ACK, &segment(None, smallvec![]), &options),
            hex(expected)
        );
    }
}

#[test]
fn forty_bytes_fit_and_no_more() {
    let mapping = DssMapping {
        dsn: Dsn::Long(1),
        ssn: 1,
        len: 1,
        checksum: Some(0),
    };
    let dss = Dss {
        data_ack: Some(Dsn::Long(1)),
        mapping: Some(mapping),
        data_fin: false,
    };
    let dss = MptcpOption::Dss(dss);
    let options = segment(TS, smallvec![]);
    let full = [dss.clone()];
    assert_eq!(options.padded_len() + padded_len(&full), 40);
    assert_eq!(written(Flags::ACK, &options, &full).len(), 40);

    let over = [
        dss,
        MptcpOption::Prio(Prio {
            backup: false,
            address_id: None,
        }),
    ];
    let error = Build {
        mptcp: &over,
        ..ack(&options)
    }
    .emit(0)
    .unwrap_err();
    assert_eq!(error, BuildError::OptionSpace);
}

#[test]
fn what_no_peer_would_read_is_not_written() {
    let plain = Options::empty(Class::Segment);
    let wide = Options::Syn(SynOptions {
        window_scale: Some(15),
        ..SynOptions::default()
    });
    let key_of_v1 = Capable::Syn {
        version: 1,
        flags: FLAGS,
        key: Some(1),
    };
    let none = Options::empty(Class::Syn);
    let cases: [(Flags, &Options, Vec<MptcpOption>); 6] = [
        (Flags::SYN, &plain, vec![]),
        (Flags::ACK, &none, vec![]),
        (Flags::SYN, &wide, vec![]),
        (Flags::SYN, &none, vec![MptcpOption::Capable(key_of_v1)]),
        (
            Flags::SYN,
            &none,
            vec![MptcpOption::Join(Join::Ack { hmac: [0; 20] })],
        ),
        (
            Flags::ACK,
            &plain,
            vec![MptcpOption::RemoveAddr(smallvec![])],
        ),
    ];
    for (flags, options, mptcp) in cases {
        let error = Build {
            flags,
            mptcp: &mptcp,
            ..ack(options)
        }
        .emit(0)
        .unwrap_err();
        assert_eq!(error, BuildError::OptionClass, "{options:?} {mptcp:?}");
    }
}

#[test]
fn the_experimental_fast_open_option_has_its_number_in_front() {
    let options = Options::Syn(SynOptions {
        fast_open: Some(FastOpen {
            cookie: smallvec![1, 2, 3, 4],
            experimental: true,
        }),
        ..SynOptions::default()
    });
    assert_eq!(
        written(Flags::SYN, &options, &[]),
        hex("fe08 f989 01020304")
    );
}

#[test]
fn accurate_ecn_comes_last_with_the_fields_there_are() {
    let options = |option| {
        Options::Segment(SegmentOptions {
            acc_ecn: Some(option),
            ..SegmentOptions::default()
        })
    };
    let two = AccEcn {
        e0b: Some(1001),
        ceb: Some(7),
        ..AccEcn::default()
    };
    let written = |option| written(Flags::ACK, &options(option), &[]);
    assert_eq!(written(two), hex("ac08 0003e9 000007"));
    let three = AccEcn {
        e1b: Some(1),
        e1b_first: true,
        ..two
    };
    assert_eq!(written(three), hex("ae0b 000001 000007 0003e9 01"));
}
