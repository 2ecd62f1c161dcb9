//! Arbitrary packets and options: everything that can be written, in every width.

use anabranch_wire::mptcp::*;
use anabranch_wire::tcp::*;
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

fn flags(class: Class) -> BoxedStrategy<Flags> {
    let syn_ack = Flags::SYN.with(Flags::ACK);
    (0u16..0x200)
        .prop_map(move |bits| match class {
            Class::Syn => Flags(bits).without(syn_ack).with(Flags::SYN),
            Class::SynAck => Flags(bits).with(syn_ack),
            Class::Segment => Flags(bits).without(Flags::SYN),
        })
        .boxed()
}

pub(crate) fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Syn), Just(Class::SynAck), Just(Class::Segment)]
}

fn timestamps() -> impl Strategy<Value = Timestamps> {
    any::<(u32, u32)>().prop_map(|(val, ecr)| Timestamps { val, ecr })
}

fn cookie() -> impl Strategy<Value = FastOpen> {
    let cookie = prop_oneof![Just(0usize), (2usize..=8).prop_map(|half| 2 * half)]
        .prop_flat_map(|len| vec(any::<u8>(), len))
        .prop_map(SmallVec::from_vec);
    (cookie, any::<bool>()).prop_map(|(cookie, experimental)| FastOpen {
        cookie,
        experimental,
    })
}

fn syn_options() -> impl Strategy<Value = Options> {
    let parts = (
        option::of(1u16..),
        option::of(0u8..=14),
        any::<bool>(),
        option::of(timestamps()),
        option::of(cookie()),
    );
    parts.prop_map(
        |(mss, window_scale, sack_permitted, timestamps, fast_open)| {
            Options::Syn(SynOptions {
                mss,
                window_scale,
                sack_permitted,
                timestamps,
                fast_open,
            })
        },
    )
}

fn segment_options() -> impl Strategy<Value = Options> {
    let block = any::<(u32, u32)>().prop_map(|(left, right)| (Seq(left), Seq(right)));
    let parts = (
        option::of(timestamps()),
        vec(block, 0..=4),
        option::of(acc_ecn()),
    );
    parts.prop_map(|(timestamps, mut sack, acc_ecn)| {
        // Either takes 12 bytes of 40, SACK 4 and 8 for each block.
        let others = usize::from(timestamps.is_some()) + usize::from(acc_ecn.is_some());
        sack.truncate([4, 3, 1][others]);
        Options::Segment(SegmentOptions {
            timestamps,
            sack: sack.into(),
            acc_ecn,
        })
    })
}

fn acc_ecn() -> impl Strategy<Value = AccEcn> {
    (vec(0u32..1 << 24, 0..=3), any::<bool>()).prop_map(|(fields, e1b_first)| {
        let mut fields = fields.into_iter();
        let (first, ceb, last) = (fields.next(), fields.next(), fields.next());
        let (e0b, e1b) = if e1b_first {
            (last, first)
        } else {
            (first, last)
        };
        AccEcn {
            e0b,
            ceb,
            e1b,
            e1b_first,
        }
    })
}

/// TCP's own options of a segment of this class.
pub(crate) fn options(class: Class) -> BoxedStrategy<Options> {
    match class {
        Class::Syn | Class::SynAck => syn_options().boxed(),
        Class::Segment => segment_options().boxed(),
    }
}

fn capable_flags() -> impl Strategy<Value = CapableFlags> {
    any::<(bool, bool, bool, bool, u8)>().prop_map(|(a, b, c, h, reserved)| CapableFlags {
        checksum: a,
        extensibility: b,
        deny_join: c,
        hmac: h,
        reserved: reserved & 0x1e,
    })
}

fn capable(class: Class) -> BoxedStrategy<Capable> {
    let data = option::of((any::<u16>(), option::of(any::<u16>())))
        .prop_map(|data| data.map(|(len, checksum)| CapableData { len, checksum }));
    (
        0u8..16,
        capable_flags(),
        any::<[u64; 2]>(),
        data,
        any::<bool>(),
    )
        .prop_map(
            move |(version, flags, [key, other], data, with_key)| match class {
                Class::Syn => {
                    let with_key = version == 0 || (version > 1 && with_key);
                    Capable::Syn {
                        version,
                        flags,
                        key: with_key.then_some(key),
                    }
                }
                Class::SynAck => Capable::SynAck {
                    version,
                    flags,
                    key,
                },
                Class::Segment => {
                    let data = data.filter(|_| version != 0);
                    Capable::Ack {
                        version,
                        flags,
                        sender_key: key,
                        receiver_key: other,
                        data,
                    }
                }
            },
        )
        .boxed()
}

fn join(class: Class) -> BoxedStrategy<Join> {
    match class {
        Class::Syn => any::<(bool, u8, u32, u32)>()
            .prop_map(|(backup, address_id, token, nonce)| Join::Syn {
                backup,
                address_id,
                token,
                nonce,
            })
            .boxed(),
        Class::SynAck => any::<(bool, u8, u64, u32)>()
            .prop_map(|(backup, address_id, hmac, nonce)| Join::SynAck {
                backup,
                address_id,
                hmac,
                nonce,
            })
            .boxed(),
        Class::Segment => any::<[u8; 20]>()
            .prop_map(|hmac| Join::Ack { hmac })
            .boxed(),
    }
}

fn dsn() -> impl Strategy<Value = Dsn> {
    any::<(u64, bool)>().prop_map(|(n, long)| Dsn::new(n, long))
}

fn dss() -> impl Strategy<Value = Dss> {
    let mapping = (dsn(), any::<u32>(), any::<u16>(), option::of(any::<u16>())).prop_map(
        |(dsn, ssn, len, checksum)| DssMapping {
            dsn,
            ssn,
            len,
            checksum,
        },
    );
    (option::of(dsn()), option::of(mapping), any::<bool>()).prop_map(
        |(data_ack, mapping, data_fin)| Dss {
            data_ack,
            mapping,
            data_fin,
        },
    )
}

fn add_addr() -> impl Strategy<Value = AddAddr> {
    (
        any::<u8>(),
        any::<IpAddr>(),
        option::of(any::<u16>()),
        any::<bool>(),
        option::of(any::<u64>()),
    )
        .prop_map(|(address_id, addr, port, echo, hmac)| AddAddr {
            address_id,
            addr,
            port,
            echo,
            hmac: hmac.filter(|_| !echo),
        })
}

/// One MPTCP option that fits a segment of this class.
pub(crate) fn mptcp(class: Class) -> BoxedStrategy<MptcpOption> {
    let prio = any::<(bool, Option<u8>)>()
        .prop_map(|(backup, address_id)| MptcpOption::Prio(Prio { backup, address_id }));
    let rst = (any::<bool>(), 0u8..8, any::<u8>()).prop_map(|(transient, reserved, code)| {
        let reason = ResetReason::from_code(code);
        MptcpOption::TcpRst(TcpRst {
            transient,
            reserved,
            reason,
        })
    });
    prop_oneof![
        3 => capable(class).prop_map(MptcpOption::Capable),
        2 => join(class).prop_map(MptcpOption::Join),
        4 => dss().prop_map(MptcpOption::Dss),
        2 => add_addr().prop_map(MptcpOption::AddAddr),
        1 => vec(any::<u8>(), 1..=37).prop_map(|ids| MptcpOption::RemoveAddr(ids.into())),
        1 => prio,
        1 => any::<u64>().prop_map(MptcpOption::Fail),
        1 => any::<u64>().prop_map(MptcpOption::FastClose),
        1 => rst,
    ]
    .boxed()
}

fn endpoints() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    (
        any::<bool>(),
        any::<([u8; 16], [u8; 16])>(),
        any::<(u16, u16)>(),
    )
        .prop_map(|(is_v4, (a, b), (from, to))| {
            let address = |octets: [u8; 16]| match is_v4 {
                true => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
                false => IpAddr::from(octets),
            };
            (
                SocketAddr::new(address(a), from),
                SocketAddr::new(address(b), to),
            )
        })
}

/// Options of one segment that fit beside each other.
fn fitting(class: Class) -> impl Strategy<Value = (Options, MptcpOptions)> {
    (options(class), vec(mptcp(class), 0..=4)).prop_map(|(options, mut mptcp)| {
        while options.padded_len() + padded_len(&mptcp) > MAX_OPTIONS {
            mptcp.pop();
        }
        (options, mptcp.into())
    })
}

/// A packet as a receiver would see it (where its payload stands is not meant), with its payload.
pub(crate) fn packet(max_payload: usize) -> impl Strategy<Value = (Packet, Vec<u8>)> {
    let headers = class().prop_flat_map(|class| (flags(class), fitting(class)));
    let numbers = any::<(u8, u8, u32, u32, u16, u16)>();
    (
        headers,
        endpoints(),
        numbers,
        vec(any::<u8>(), 0..=max_payload),
    )
        .prop_map(
            |((flags, (options, mptcp)), (src, dst), numbers, payload)| {
                let (ttl, traffic_class, seq, ack, window, urgent) = numbers;
                let packet = Packet {
                    src,
                    dst,
                    ttl,
                    traffic_class,
                    seq: Seq(seq),
                    ack: Seq(ack),
                    flags,
                    window,
                    urgent,
                    options,
                    mptcp,
                    bad_options: 0,
                    payload: 0..payload.len(),
                };
                (packet, payload)
            },
        )
}

/// Bytes cut into pieces as a send queue might hold them, empty ones too.
pub(crate) fn pieces(bytes: Vec<u8>) -> impl Strategy<Value = SmallVec<[Bytes; 4]>> {
    vec(0..=bytes.len(), 0..6).prop_map(move |mut cuts| {
        let all = Bytes::from(bytes.clone());
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        cuts.windows(2)
            .map(|cut| all.slice(cut[0]..cut[1]))
            .collect()
    })
}
