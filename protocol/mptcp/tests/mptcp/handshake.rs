//! MP_CAPABLE (RFC 8684 §3.1): what leaves, and what is understood.

use crate::script::{OUR_KEY, PEER_KEY, Script, flags};
use crate::world::{Side, World, pattern};
use anabranch_mptcp::keys::{Version, derive};
use anabranch_mptcp::{Config, Event, FallbackReason};
use anabranch_wire::mptcp::{Capable, CapableData, CapableFlags, MptcpOption};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// MP_CAPABLE of each packet logged that has one.
fn capables(world: &World) -> Vec<(Side, Flags, usize, Capable)> {
    let all = world.log.iter().flat_map(|(_, w)| {
        w.options().iter().filter_map(move |o| match o {
            MptcpOption::Capable(c) => Some((w.from, w.packet.flags, w.payload.len(), c.clone())),
            _ => None,
        })
    });
    all.collect()
}

#[test]
fn keys_are_exchanged_without_being_on_the_syn() {
    let world = World::connected(1);
    let (client, server) = (world.client.key, world.server.key);
    let capables: Vec<Capable> = capables(&world).into_iter().map(|c| c.3).collect();
    assert_eq!(
        capables,
        [
            Capable::Syn {
                version: 1,
                flags: flags(false),
                key: None
            },
            Capable::SynAck {
                version: 1,
                flags: flags(false),
                key: server
            },
            Capable::Ack {
                version: 1,
                flags: flags(false),
                sender_key: client,
                receiver_key: server,
                data: None
            },
        ]
    );
    let info = world.client.info();
    assert_eq!(info.local_token, derive(Version::V1, client).token);
    assert_eq!(info.remote_token, Some(derive(Version::V1, server).token));
}

#[test]
fn first_data_carries_both_keys_and_its_length_until_a_data_ack_came() {
    let mut world = World::connected(1);
    world.send(Side::Client, pattern(5000, 1));
    world.run_for(Duration::from_millis(100));
    let with_data: Vec<(usize, Option<CapableData>)> = capables(&world)
        .into_iter()
        .filter(|(_, _, len, _)| *len > 0)
        .map(|(_, _, len, c)| match c {
            Capable::Ack { data, .. } => (len, data),
            other => panic!("{other:?}"),
        })
        .collect();
    let data = Some(CapableData {
        len: 1424,
        checksum: None,
    });
    assert_eq!(with_data, [(1424, data)]);
    assert!(world.server.received == pattern(5000, 1));
    // The rest of the first flight has ordinary mappings.
    let mapped = world.count(|w| w.dss().is_some_and(|d| d.mapping.is_some()));
    assert_eq!(mapped, 3);
}

#[test]
fn a_lost_third_ack_is_made_up_for_by_the_first_data() {
    let mut world = World::new(1);
    world.middlebox = Some(Box::new(|_, w| {
        let third = w.from == Side::Client && w.payload.is_empty() && !w.has(Flags::SYN);
        !third
    }));
    world.connect();
    world.run_for(Duration::from_millis(50));
    assert!(!world.server.conn().is_multipath());
    world.send(Side::Client, Bytes::from_static(b"first"));
    world.run_for(Duration::from_millis(50));
    assert!(world.server.conn().is_multipath());
    assert_eq!(world.server.received, b"first");
}

#[test]
fn a_lost_third_ack_is_repeated_when_the_syn_ack_is() {
    let mut world = World::new(1);
    let mut lost = false;
    world.middlebox = Some(Box::new(move |_, w| {
        let third = w.from == Side::Client && !w.has(Flags::SYN);
        let pass = !third || lost;
        lost |= third;
        pass
    }));
    world.connect();
    world.run_for(Duration::from_secs(3));
    assert!(world.server.conn().is_multipath());
    world.send(Side::Server, Bytes::from_static(b"server speaks first"));
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.client.received, b"server speaks first");
    assert_eq!(world.client.conn().fallback(), None);
}

#[test]
fn data_that_overtakes_the_keys_counts_as_lost() {
    let mut world = World::new(1);
    let mut seen = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        // The third ACK and the first data are lost; the second data arrives.
        let from_client = w.from == Side::Client && !w.has(Flags::SYN);
        seen += usize::from(from_client);
        !(from_client && seen <= 2)
    }));
    world.connect();
    world.client.config = world.client.config.clone();
    world.run_for(Duration::from_millis(30));
    let data = pattern(20_000, 2);
    world.send(Side::Client, data.clone());
    world.run_for(Duration::from_secs(5));
    assert!(world.server.received == data);
    assert!(world.server.conn().is_multipath());
}

#[test]
fn the_server_may_speak_first() {
    let mut world = World::connected(1);
    let data = pattern(100_000, 3);
    world.send(Side::Server, data.clone());
    world.run_for(Duration::from_secs(2));
    assert!(world.client.received == data);
    assert_eq!(world.server.conn().fallback(), None);
    assert_eq!(world.client.conn().fallback(), None);
}

#[test]
fn checksums_are_used_if_either_side_asks() {
    let ask = |yes| Config {
        checksum: yes,
        ..Config::default()
    };
    for (client, server) in [(true, false), (false, true), (true, true)] {
        let mut world = World::with(ask(client), ask(server), 1);
        world.establish();
        assert!(world.client.info().checksum && world.server.info().checksum);
        let (up, down) = (pattern(50_000, 4), pattern(50_001, 5));
        world.send_all(Side::Client, up.clone());
        world.send_all(Side::Server, down.clone());
        world.run_for(Duration::from_secs(5));
        assert!(world.server.received == up && world.client.received == down);
        assert_eq!(world.server.info().counters.checksum_failures, 0);
        let unchecked = world.count(|w| {
            let mapping = w.dss().and_then(|d| d.mapping);
            mapping.is_some_and(|m| m.checksum.is_none())
        });
        assert_eq!(unchecked, 0);
    }
}

#[test]
fn flag_c_reaches_the_peer() {
    let mut world = World::with(
        Config::default(),
        Config {
            deny_join: true,
            ..Config::default()
        },
        2,
    );
    world.establish();
    let start = anabranch_mptcp::Start {
        iss: anabranch_wire::Seq(1),
        ts_offset: 0,
        mss: 1460,
        known_mss: None,
    };
    let same_remote = anabranch_mptcp::Path {
        local: crate::world::client_path(1, 6001).local,
        remote: crate::world::client_path(0, 5000).remote,
    };
    let refused = world.with_conn(Side::Client, |c, now| {
        c.join_active(now, same_remote, 0, start, 1, false)
    });
    assert_eq!(refused, Err(anabranch_mptcp::SignalError::Denied));
    // Another address of the server may be joined.
    world.join(1);
}

/// SYN+ACK that answers a SYN with this MP_CAPABLE.
fn answer(capable: &Capable) -> (Script, Vec<MptcpOption>) {
    let mut s = Script::syn(Config::default(), PEER_KEY, capable);
    let options = s.out()[0].mptcp.to_vec();
    (s, options)
}

#[test]
fn what_cannot_be_followed_is_plain_tcp() {
    let syn = |version, flags| Capable::Syn {
        version,
        flags,
        key: None,
    };
    let extended = CapableFlags {
        extensibility: true,
        ..flags(false)
    };
    let hashless = CapableFlags {
        hmac: false,
        ..flags(false)
    };
    for capable in [syn(1, extended), syn(1, hashless), syn(0, flags(false))] {
        let (mut s, options) = answer(&capable);
        assert_eq!(options, []);
        s.data(0, 0, b"plain", vec![]);
        assert_eq!(s.read(), b"plain");
        assert_eq!(s.conn.fallback(), Some(FallbackReason::ThirdAck));
    }
}

#[test]
fn a_higher_version_is_answered_with_ours() {
    let (_, options) = answer(&Capable::Syn {
        version: 2,
        flags: flags(false),
        key: None,
    });
    let ours = Capable::SynAck {
        version: 1,
        flags: flags(false),
        key: OUR_KEY,
    };
    assert_eq!(options, [MptcpOption::Capable(ours)]);
}

#[test]
fn a_third_ack_with_a_wrong_key_is_as_good_as_none() {
    let (mut s, _) = answer(&Capable::Syn {
        version: 1,
        flags: flags(false),
        key: None,
    });
    let wrong = MptcpOption::Capable(Capable::Ack {
        version: 1,
        flags: flags(false),
        sender_key: PEER_KEY,
        receiver_key: OUR_KEY ^ 1,
        data: None,
    });
    s.ack(0, vec![wrong]);
    assert!(!s.conn.is_multipath());
    s.data(0, 0, b"plain", vec![]);
    assert_eq!(s.read(), b"plain");
    let fallback = |e: &Event| matches!(e, Event::Fallback(FallbackReason::ThirdAck));
    assert!(s.events.iter().any(fallback), "{:?}", s.events);
}

#[test]
fn a_syn_without_answer_loses_the_option_in_the_end() {
    let mut world = World::new(1);
    world.middlebox = Some(Box::new(|_, w| {
        let capable = w
            .options()
            .iter()
            .any(|o| matches!(o, MptcpOption::Capable(_)));
        !(w.has(Flags::SYN) && capable)
    }));
    world.connect();
    world.run_for(Duration::from_secs(20));
    world.send_all(Side::Client, Bytes::from_static(b"through"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.server.received, b"through");
    let why = world.client.conn().fallback();
    assert_eq!(why, Some(FallbackReason::Unanswered));
}

/// A server may answer what came with the SYN before it has our key: its data has no DATA_ACK then
/// (RFC 8684 §B.3). It is no sign of a fallback.
#[test]
fn first_data_of_the_server_without_data_ack_is_multipath_all_the_same() {
    let mut world = World::new(1);
    world.middlebox = Some(Box::new(|_, wire| {
        for option in &mut wire.packet.mptcp {
            if let (Side::Server, MptcpOption::Dss(dss)) = (wire.from, option) {
                dss.data_ack = dss.data_ack.filter(|_| dss.mapping.is_none());
            }
        }
        true
    }));
    world.establish();
    world.send_all(Side::Server, Bytes::from_static(b"early"));
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.client.received, b"early");
    assert!(world.client.conn().is_multipath() && world.server.conn().is_multipath());
    // It proved nothing: our first data still brings the keys.
    world.send_all(Side::Client, Bytes::from_static(b"late"));
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.server.received, b"late");
}

#[test]
fn without_the_keys_nothing_speaks_of_data() {
    // The first half of the third ACK's data, and MP_CAPABLE with it, is late.
    let capable = Capable::Syn {
        version: 1,
        flags: flags(false),
        key: None,
    };
    let mut s = Script::syn(Config::default(), PEER_KEY, &capable);
    s.out();
    s.data(0, 3, b"def", vec![]);
    s.conn.shutdown(s.now);
    assert_eq!(s.conn.fallback(), None);
    let acks = s.out();
    assert!(
        !acks.is_empty() && acks.iter().all(|o| o.mptcp.is_empty()),
        "{acks:?}"
    );
}

#[test]
fn a_third_ack_that_asks_for_what_was_not_agreed_makes_it_plain_tcp() {
    let strange = [
        (
            1,
            CapableFlags {
                extensibility: true,
                ..flags(false)
            },
        ),
        (
            1,
            CapableFlags {
                hmac: false,
                ..flags(false)
            },
        ),
        (0, flags(false)),
    ];
    for (version, flags_of_ack) in strange {
        let (mut s, _) = answer(&Capable::Syn {
            version: 1,
            flags: flags(false),
            key: None,
        });
        let ack = MptcpOption::Capable(Capable::Ack {
            version,
            flags: flags_of_ack,
            sender_key: PEER_KEY,
            receiver_key: OUR_KEY,
            data: None,
        });
        s.ack(0, vec![ack]);
        let fallback = |e: &Event| matches!(e, Event::Fallback(FallbackReason::ThirdAck));
        assert!(s.events.iter().any(fallback), "{:?}", s.events);
        s.data(0, 0, b"plain", vec![]);
        assert_eq!(s.read(), b"plain");
        assert!(s.out().iter().all(|o| o.mptcp.is_empty()));
    }
}
