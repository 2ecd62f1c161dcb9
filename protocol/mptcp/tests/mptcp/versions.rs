//! Versions 0 (RFC 6824) and 1 (RFC 8684): which is chosen, and what version 0 does otherwise.

use crate::script::{OUR_KEY, PEER_KEY, Script, flags};
use crate::world::{Side, World, client_path, pattern, server_addr};
use anabranch_mptcp::keys::{JoinSecret, derive};
use anabranch_mptcp::{Config, Event, FallbackReason, RemoteAddr, SubflowId, Version, Versions};
use anabranch_wire::mptcp::{AddAddr, Capable, CapableFlags, Join, MptcpOption, Prio};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

const ONLY_0: Versions = Versions::only(Version::V0);
const ONLY_1: Versions = Versions::only(Version::V1);
const ALL: Versions = Versions::ALL;

fn speaking(versions: Versions) -> Config {
    Config {
        versions,
        ..Config::default()
    }
}

fn between(client: Versions, server: Versions, links: usize) -> World {
    World::with(speaking(client), speaking(server), links)
}

/// Both ends speak version 0.
fn version_0(links: usize) -> World {
    let mut world = between(ONLY_0, ONLY_0, links);
    world.establish();
    world
}

/// The acceptor and a scripted peer, established in version 0.
fn script_0() -> Script {
    Script::speaking(Version::V0, Config::default(), PEER_KEY)
}

fn capables(world: &World) -> Vec<Capable> {
    let all = world.log.iter().flat_map(|(_, w)| w.options());
    let capables = all.filter_map(|o| match o {
        MptcpOption::Capable(c) => Some(c.clone()),
        _ => None,
    });
    capables.collect()
}

fn joins(world: &World) -> Vec<Join> {
    let all = world.log.iter().flat_map(|(_, w)| w.options());
    let joins = all.filter_map(|o| match o {
        MptcpOption::Join(j) => Some(j.clone()),
        _ => None,
    });
    joins.collect()
}

/// Bytes both ways, and an orderly end.
fn exchange(world: &mut World) {
    let (up, down) = (pattern(70_000, 1), pattern(90_000, 2));
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    world.run_for(Duration::from_secs(8));
    assert!(world.server.received == up, "{}", world.describe());
    assert!(world.client.received == down, "{}", world.describe());
    for side in [Side::Client, Side::Server] {
        assert!(world.host(side).conn().at_end());
    }
}

#[test]
fn both_speak_the_highest_version_that_both_know_or_plain_tcp() {
    let agreed = |version| (Some(version), None);
    let plain = |reason| (None, Some(reason));
    for (client, server, expected) in [
        (ONLY_0, ONLY_0, agreed(0)),
        (ONLY_0, ALL, agreed(0)),
        (ONLY_1, ALL, agreed(1)),
        (ONLY_1, ONLY_1, agreed(1)),
        (ALL, ALL, agreed(1)),
        (ALL, ONLY_1, agreed(1)),
        // The server answers with its own version, which the client did not offer.
        (ALL, ONLY_0, plain(FallbackReason::OlderVersion)),
        (ONLY_1, ONLY_0, plain(FallbackReason::OlderVersion)),
        // The server knows nothing as old as that.
        (ONLY_0, ONLY_1, plain(FallbackReason::SynAck)),
    ] {
        let mut world = between(client, server, 1);
        world.establish();
        let seen = |info: &anabranch_mptcp::Info| {
            let multipath = info.remote_token.is_some() && info.fallback.is_none();
            (multipath.then_some(info.version), info.fallback)
        };
        exchange(&mut world);
        assert_eq!(
            seen(&world.client.info()),
            expected,
            "{client:?} {server:?}"
        );
        assert_eq!(
            seen(&world.server.info()).0,
            expected.0,
            "{client:?} {server:?}"
        );
    }
}

#[test]
fn in_version_0_each_segment_of_the_handshake_has_its_senders_key() {
    let world = version_0(1);
    let (client, server) = (world.client.key, world.server.key);
    let (version, flags) = (0, flags(false));
    let syn = Capable::Syn {
        version,
        flags,
        key: Some(client),
    };
    let syn_ack = Capable::SynAck {
        version,
        flags,
        key: server,
    };
    let ack = Capable::Ack {
        version,
        flags,
        sender_key: client,
        receiver_key: server,
        data: None,
    };
    assert_eq!(capables(&world), [syn, syn_ack, ack]);
    let info = world.client.info();
    assert_eq!(info.version, 0);
    assert_eq!(info.local_token, derive(Version::V0, client).token);
    assert_eq!(info.remote_token, Some(derive(Version::V0, server).token));
}

#[test]
fn the_third_ack_of_version_0_has_the_keys_though_data_waits() {
    let mut world = between(ONLY_0, ONLY_0, 1);
    world.connect();
    world.send_all(Side::Client, pattern(5000, 1));
    world.run_for(Duration::from_millis(100));
    let ours = |w: &&crate::world::Wire| w.from == Side::Client;
    let sent: Vec<_> = world.log.iter().map(|(_, w)| w).filter(ours).collect();
    assert!(sent[1].payload.is_empty(), "{}", world.describe());
    let keys = |o: &MptcpOption| matches!(o, MptcpOption::Capable(Capable::Ack { .. }));
    assert!(sent[1].options().iter().any(keys), "{}", world.describe());
    assert!(world.server.received == pattern(5000, 1));
}

#[test]
fn the_first_data_of_version_0_has_a_mapping_of_its_own() {
    let mut world = version_0(1);
    world.send(Side::Client, pattern(5000, 1));
    world.run_for(Duration::from_millis(100));
    assert!(world.server.received == pattern(5000, 1));
    assert_eq!(capables(&world).len(), 3);
    let first = derive(Version::V0, world.client.key).idsn.wrapping_add(1);
    let mappings: Vec<u64> = world
        .log
        .iter()
        .filter(|(_, w)| !w.payload.is_empty())
        .map(|(_, w)| {
            w.dss()
                .and_then(|d| d.mapping)
                .expect("a mapping")
                .dsn
                .expand(first)
        })
        .collect();
    assert_eq!(mappings[0], first);
}

/// Loses the client's segments without payload for a while.
fn losing_third_acks(world: &mut World, how_many: usize) {
    let mut lost = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        let third = w.from == Side::Client && w.payload.is_empty() && !w.has(Flags::SYN);
        lost += usize::from(third);
        !third || lost > how_many
    }));
}

#[test]
fn a_lost_third_ack_of_version_0_is_made_up_for_by_the_first_dss() {
    let mut world = between(ONLY_0, ONLY_0, 1);
    losing_third_acks(&mut world, 1);
    world.connect();
    world.run_for(Duration::from_millis(50));
    assert!(!world.server.conn().is_multipath());
    world.send(Side::Client, Bytes::from_static(b"first"));
    world.run_for(Duration::from_millis(50));
    assert!(world.server.conn().is_multipath());
    assert_eq!(world.server.received, b"first");
    exchange_after(&mut world);
}

#[test]
fn a_lost_third_ack_of_version_0_is_repeated_when_the_syn_ack_is() {
    let mut world = between(ONLY_0, ONLY_0, 1);
    losing_third_acks(&mut world, 1);
    world.connect();
    world.run_for(Duration::from_secs(3));
    assert!(world.server.conn().is_multipath());
    world.send(Side::Server, Bytes::from_static(b"server speaks first"));
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.client.received, b"server speaks first");
}

/// More bytes, after some.
fn exchange_after(world: &mut World) {
    let before = world.server.received.len();
    let data = pattern(30_000, 7);
    world.send(Side::Client, data.clone());
    world.run_for(Duration::from_secs(2));
    assert!(world.server.received[before..] == data[..]);
    assert_eq!(world.client.conn().fallback(), None);
    assert_eq!(world.server.conn().fallback(), None);
}

#[test]
fn without_third_ack_and_dss_version_0_becomes_plain_tcp() {
    let offer = Script::offer(Version::V0, false, PEER_KEY);
    let mut s = Script::syn(Config::default(), PEER_KEY, &offer);
    s.out();
    s.ack(0, vec![]);
    assert!(!s.conn.is_multipath());
    s.data(0, 0, b"plain", vec![]);
    assert_eq!(s.read(), b"plain");
    assert_eq!(s.conn.fallback(), Some(FallbackReason::ThirdAck));
}

#[test]
fn a_third_ack_of_version_0_with_other_keys_is_as_good_as_none() {
    for (sender_key, receiver_key) in [(PEER_KEY ^ 1, OUR_KEY), (PEER_KEY, OUR_KEY ^ 1)] {
        let offer = Script::offer(Version::V0, false, PEER_KEY);
        let mut s = Script::syn(Config::default(), PEER_KEY, &offer);
        s.out();
        let wrong = MptcpOption::Capable(Capable::Ack {
            version: 0,
            flags: flags(false),
            sender_key,
            receiver_key,
            data: None,
        });
        s.ack(0, vec![wrong]);
        assert!(!s.conn.is_multipath());
        assert_eq!(s.conn.counters().bad_options, 1);
    }
}

#[test]
fn a_dss_that_never_saw_our_syn_ack_proves_nothing() {
    let offer = Script::offer(Version::V0, false, PEER_KEY);
    let mut s = Script::syn(Config::default(), PEER_KEY, &offer);
    s.out();
    s.lines[0].ack = s.lines[0].our_iss + 77;
    let dss = s.dss(0, None);
    s.ack(0, vec![dss]);
    assert!(!s.conn.is_multipath());
}

#[test]
fn a_peer_without_keys_that_sends_nothing_but_its_end_is_heard() {
    for version in [Version::V0, Version::V1] {
        let offer = Script::offer(version, false, PEER_KEY);
        let mut s = Script::syn(Config::default(), PEER_KEY, &offer);
        s.out();
        s.ack(0, vec![]);
        s.put(0, 0, Flags::FIN, &[], vec![]);
        assert!(s.conn.at_end());
        assert_eq!(s.conn.fallback(), Some(FallbackReason::ThirdAck));
    }
}

#[test]
fn the_end_alone_is_told_to_a_peer_without_keys() {
    for version in [Version::V0, Version::V1] {
        let offer = Script::offer(version, false, PEER_KEY);
        let mut s = Script::syn(Config::default(), PEER_KEY, &offer);
        s.out();
        s.ack(0, vec![]);
        s.conn.shutdown(s.now);
        let out = s.out();
        assert!(out.iter().any(|o| o.emit.flags.has(Flags::FIN)), "{out:?}");
        assert_eq!(s.conn.fallback(), Some(FallbackReason::ThirdAck));
    }
}

/// What answers a SYN with this MP_CAPABLE.
fn answered(versions: Versions, capable: &Capable) -> Vec<MptcpOption> {
    let mut s = Script::syn(speaking(versions), PEER_KEY, capable);
    s.out()[0].mptcp.to_vec()
}

#[test]
fn each_offer_is_answered_with_the_highest_version_not_above_it() {
    let answer = |version| {
        vec![MptcpOption::Capable(Capable::SynAck {
            version,
            flags: flags(false),
            key: OUR_KEY,
        })]
    };
    for version in 0..16 {
        let keyless = version != 0;
        let forms = [Some(PEER_KEY), None];
        for key in forms.into_iter().filter(|k| k.is_some() || keyless) {
            let offer = Capable::Syn {
                version,
                flags: flags(false),
                key,
            };
            let best = version.min(1);
            assert_eq!(answered(ALL, &offer), answer(best), "{offer:?}");
            assert_eq!(answered(ONLY_0, &offer), answer(0), "{offer:?}");
            let v1 = if version == 0 { vec![] } else { answer(1) };
            assert_eq!(answered(ONLY_1, &offer), v1, "{offer:?}");
        }
    }
}

#[test]
fn flags_of_version_0_that_cannot_be_followed_are_not_answered() {
    let base = flags(false);
    let offer = |flags| Capable::Syn {
        version: 0,
        flags,
        key: Some(PEER_KEY),
    };
    let extensibility = CapableFlags {
        extensibility: true,
        ..base
    };
    let hashless = CapableFlags {
        hmac: false,
        reserved: 0x02,
        ..base
    };
    for flags in [extensibility, hashless] {
        assert_eq!(answered(ALL, &offer(flags)), [], "{flags:?}");
    }
    // Further algorithms may be proposed: ours is chosen. In version 0 C is one of their bits.
    let more = CapableFlags {
        deny_join: true,
        reserved: 0x1e,
        ..base
    };
    let chosen = MptcpOption::Capable(Capable::SynAck {
        version: 0,
        flags: base,
        key: OUR_KEY,
    });
    assert_eq!(answered(ALL, &offer(more)), [chosen]);
}

/// What becomes of a client whose SYN+ACK has this MP_CAPABLE instead of the server's.
fn offered(client: Versions, change: fn(&mut Capable)) -> Option<FallbackReason> {
    let mut world = between(client, ALL, 1);
    world.middlebox = Some(Box::new(move |_, w| {
        let syn_ack = w.has(Flags::SYN) && w.from == Side::Server;
        for option in w.packet.mptcp.iter_mut().filter(|_| syn_ack) {
            if let MptcpOption::Capable(capable) = option {
                change(capable);
            }
        }
        true
    }));
    world.establish();
    world.send(Side::Client, Bytes::from_static(b"bytes"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.server.received, b"bytes");
    world.client.conn().fallback()
}

#[test]
fn a_syn_ack_is_followed_only_in_the_version_offered_and_with_our_algorithm() {
    fn set(capable: &mut Capable, number: u8, change: impl FnOnce(&mut CapableFlags)) {
        if let Capable::SynAck { version, flags, .. } = capable {
            *version = number;
            change(flags);
        }
    }
    let older = Some(FallbackReason::OlderVersion);
    let unusable = Some(FallbackReason::SynAck);
    assert_eq!(offered(ALL, |c| set(c, 1, |_| {})), None);
    assert_eq!(offered(ALL, |c| set(c, 0, |_| {})), older);
    assert_eq!(offered(ALL, |c| set(c, 2, |_| {})), unusable);
    assert_eq!(offered(ALL, |c| set(c, 15, |_| {})), unusable);
    assert_eq!(offered(ONLY_0, |c| set(c, 0, |_| {})), None);
    assert_eq!(offered(ONLY_0, |c| set(c, 1, |_| {})), unusable);
    for client in [ONLY_0, ONLY_1] {
        let number = client.offer().number();
        let changes: [fn(&mut Capable); 3] = match number {
            0 => [
                |c| set(c, 0, |f| f.extensibility = true),
                |c| set(c, 0, |f| f.hmac = false),
                |c| set(c, 0, |f| f.deny_join = true),
            ],
            _ => [
                |c| set(c, 1, |f| f.extensibility = true),
                |c| set(c, 1, |f| f.hmac = false),
                |c| set(c, 1, |f| f.reserved = 0x02),
            ],
        };
        for change in changes {
            assert_eq!(offered(client, change), unusable);
        }
    }
}

#[test]
fn version_0_cannot_refuse_joins_to_an_address() {
    let deny = Config {
        versions: ONLY_0,
        deny_join: true,
        ..Config::default()
    };
    let mut world = World::with(deny.clone(), deny, 2);
    world.establish();
    assert!(capables(&world).iter().all(|c| !c.flags().deny_join));
    // The same address and port of the server, from another address.
    world.join(1);
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.server.info().subflows.len(), 2);
}

#[test]
fn a_join_of_version_0_proves_itself_with_sha_1() {
    let mut world = version_0(2);
    world.join_all();
    let (client, server) = (world.client.key, world.server.key);
    let joins = joins(&world);
    let [
        Join::Syn {
            token, nonce: a, ..
        },
        Join::SynAck { hmac, nonce: b, .. },
        Join::Ack { hmac: full },
        ..,
    ] = joins[..]
    else {
        panic!("{joins:?}")
    };
    assert_eq!(token, derive(Version::V0, server).token);
    let secret = |sender_key, receiver_key, sender_nonce, receiver_nonce| JoinSecret {
        version: Version::V0,
        sender_key,
        receiver_key,
        sender_nonce,
        receiver_nonce,
    };
    assert_eq!(hmac, secret(server, client, b, a).truncated());
    assert_eq!(full, secret(client, server, a, b).full());
    exchange(&mut world);
    let info = world.client.info();
    assert!(
        info.subflows.iter().all(|s| s.tcp.stats.bytes_acked > 0),
        "{info:?}"
    );
}

#[test]
fn checksums_of_version_0_are_used_if_either_side_asks() {
    let ask = |checksum| Config {
        checksum,
        ..speaking(ONLY_0)
    };
    for (client, server) in [(true, false), (false, true), (true, true), (false, false)] {
        let mut world = World::with(ask(client), ask(server), 2);
        world.establish();
        world.join_all();
        let used = client || server;
        assert_eq!(
            (world.client.info().checksum, world.server.info().checksum),
            (used, used)
        );
        exchange(&mut world);
        let odd = world.count(|w| {
            let mapping = w.dss().and_then(|d| d.mapping);
            mapping.is_some_and(|m| m.checksum.is_some() != used)
        });
        assert_eq!(odd, 0);
        assert_eq!(world.server.info().counters.checksum_failures, 0);
    }
}

#[test]
fn payload_altered_under_a_checksum_of_version_0_goes_to_infinite_mapping_by_mp_fail() {
    let ask = Config {
        checksum: true,
        ..speaking(ONLY_0)
    };
    let mut world = World::with(ask.clone(), ask, 1);
    world.establish();
    let mut seen = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        seen += usize::from(w.from == Side::Client && !w.payload.is_empty());
        if seen == 5 && w.from == Side::Client && !w.payload.is_empty() {
            let mut payload = w.payload.to_vec();
            payload[0] ^= 1;
            w.payload = payload.into();
        }
        true
    }));
    let data = pattern(100_000, 3);
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_secs(10));
    // What was altered under the checksum stays so, on the only path there is (RFC 6824 §3.6).
    assert_eq!(world.server.received.len(), data.len());
    let (client, server) = (world.client.info(), world.server.info());
    assert_eq!(server.counters.checksum_failures, 1);
    assert!(server.counters.fail_out >= 1 && client.counters.fail_in >= 1);
    assert!(client.counters.infinite_out >= 1);
    assert_eq!(client.fallback, Some(FallbackReason::Peer));
}

/// ADD_ADDR without flags and HMAC.
fn announced_0(id: u8, link: usize, port: Option<u16>) -> AddAddr {
    AddAddr {
        address_id: id,
        addr: server_addr(link),
        port,
        echo: false,
        hmac: None,
    }
}

#[test]
fn an_address_of_version_0_is_announced_without_proof_and_not_echoed() {
    let mut world = version_0(1);
    let new = server_addr(1);
    world
        .with_conn(Side::Server, |c, now| c.announce(now, 3, new, Some(8080)))
        .expect("announced");
    world.run_for(Duration::from_secs(60));
    let announced = RemoteAddr {
        id: 3,
        addr: new,
        port: Some(8080),
    };
    let heard = |e: &Event| matches!(e, Event::Announced(a) if *a == announced);
    assert_eq!(world.client.events.iter().filter(|e| heard(e)).count(), 1);
    let adds: Vec<AddAddr> = world
        .log
        .iter()
        .flat_map(|(_, w)| w.options())
        .filter_map(|o| match o {
            MptcpOption::AddAddr(add) => Some(add.clone()),
            _ => None,
        })
        .collect();
    let expected = announced_0(3, 1, Some(8080));
    assert!(
        !adds.is_empty() && adds.iter().all(|a| *a == expected),
        "{adds:?}"
    );
}

#[test]
fn an_address_of_version_0_is_no_proof_of_the_keys() {
    let mut s = script_0();
    s.ack(0, vec![MptcpOption::AddAddr(announced_0(3, 1, None))]);
    assert_eq!(s.conn.remote_addrs().len(), 1);
    // The path may still turn out to be one that takes options away: bytes come without mapping.
    s.data(0, 0, b"plain", vec![]);
    assert_eq!(s.read(), b"plain");
    assert_eq!(s.conn.fallback(), Some(FallbackReason::NoMapping));
}

#[test]
fn an_announcement_in_the_form_of_the_other_version_is_dropped() {
    let mut s = script_0();
    let with_hmac = AddAddr {
        hmac: Some(0),
        ..announced_0(3, 1, None)
    };
    let echo = AddAddr {
        echo: true,
        ..announced_0(3, 1, None)
    };
    s.ack(0, vec![MptcpOption::AddAddr(with_hmac)]);
    s.ack(0, vec![MptcpOption::AddAddr(echo)]);
    assert!(s.conn.remote_addrs().is_empty());
    let counters = s.conn.counters();
    assert_eq!((counters.add_addr_dropped, counters.bad_options), (1, 1));
    let mut s = Script::new();
    s.ack(0, vec![MptcpOption::AddAddr(announced_0(3, 1, None))]);
    assert!(s.conn.remote_addrs().is_empty());
    assert_eq!(s.conn.counters().add_addr_dropped, 1);
}

#[test]
fn a_priority_of_version_0_may_name_the_address_it_means() {
    let mut s = script_0();
    let (one, two) = (s.join(1), s.join(2));
    let backup =
        |s: &Script| -> Vec<bool> { s.conn.info().subflows.iter().map(|i| i.backup).collect() };
    let prio = |backup, address_id| MptcpOption::Prio(Prio { backup, address_id });
    // Sent on the initial subflow, it means that of the peer's address 2.
    s.ack(0, vec![prio(true, Some(2))]);
    assert_eq!(backup(&s), [false, false, true]);
    s.ack(one, vec![prio(true, None)]);
    assert_eq!(backup(&s), [false, true, true]);
    s.ack(two, vec![prio(false, Some(1))]);
    assert_eq!(backup(&s), [false, false, true]);
    s.ack(0, vec![prio(true, Some(99))]);
    assert_eq!(backup(&s), [false, false, true]);
    assert!(
        s.events
            .iter()
            .any(|e| matches!(e, Event::PeerBackup(SubflowId(2), true)))
    );
}

#[test]
fn in_version_1_a_priority_that_names_an_address_is_no_option() {
    let mut s = Script::new();
    s.join(1);
    s.ack(
        0,
        vec![MptcpOption::Prio(Prio {
            backup: true,
            address_id: Some(1),
        })],
    );
    assert!(s.conn.info().subflows.iter().all(|i| !i.backup));
    assert_eq!(s.conn.counters().bad_options, 1);
}

#[test]
fn resets_of_version_0_give_no_reason() {
    let mut s = script_0();
    let line = s.join_syn(1, 9).expect("a join");
    s.out();
    s.ack(line, vec![MptcpOption::Join(Join::Ack { hmac: [0; 20] })]);
    let out = s.out();
    let resets: Vec<_> = out
        .iter()
        .filter(|o| o.emit.flags.has(Flags::RST))
        .collect();
    assert!(
        resets.len() == 1 && resets[0].mptcp.is_empty(),
        "{resets:?}"
    );
    assert_eq!(s.conn.counters().join_hmac_failures, 1);
}

#[test]
fn a_refused_join_of_version_0_is_reset_without_a_reason() {
    let few = Config {
        max_subflows: 1,
        ..speaking(ONLY_0)
    };
    let mut world = World::with(speaking(ONLY_0), few, 2);
    world.establish();
    world.join(1);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.server.refusals.len(), 1);
    let reset = |w: &crate::world::Wire| w.has(Flags::RST);
    assert_eq!(world.count(reset), 1);
    assert_eq!(world.count(|w| reset(w) && !w.options().is_empty()), 0);
    assert_eq!(world.client.info().subflows.len(), 1);
}

#[test]
fn fast_close_of_version_0_carries_the_receivers_key() {
    let mut world = version_0(2);
    world.join_all();
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_secs(1));
    let closed = |e: &Event| matches!(e, Event::Closed(anabranch_mptcp::CloseReason::FastClose));
    assert!(
        world.server.events.iter().any(closed),
        "{:?}",
        world.server.events
    );
    let (client, server) = (world.client.key, world.server.key);
    let mut seen = 0;
    for (_, wire) in &world.log {
        let receiver = if wire.from == Side::Client {
            server
        } else {
            client
        };
        for option in wire.options() {
            if let MptcpOption::FastClose(key) = option {
                assert_eq!(*key, receiver);
                seen += 1;
            }
        }
    }
    assert!(seen > 0);
}

#[test]
fn an_address_of_version_0_that_goes_takes_its_subflows_along() {
    let mut world = version_0(2);
    world.join_all();
    let id = world.client.info().subflows[1].local_id;
    world
        .with_conn(Side::Client, |c, now| c.withdraw(now, &[id]))
        .expect("withdrawn");
    world.run_for(Duration::from_secs(70));
    assert_eq!(world.server.info().subflows.len(), 1);
    exchange(&mut world);
    assert_eq!(
        world.client.conn().path(SubflowId(0)),
        Some(client_path(0, 5000))
    );
}

#[test]
fn a_lossy_transfer_over_two_links_in_version_0() {
    let mut world = between(ONLY_0, ALL, 2);
    for link in &mut world.links {
        link.loss = 0.02;
        link.jitter = Duration::from_millis(4);
    }
    world.connect();
    world.run_until(Duration::from_secs(20), |w| {
        w.server
            .connection
            .as_ref()
            .is_some_and(|c| c.is_multipath())
    });
    world.join(1);
    let (up, down) = (pattern(400_000, 1), pattern(300_000, 2));
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    world.run_for(Duration::from_secs(60));
    assert!(world.server.received == up && world.client.received == down);
}

#[test]
fn the_third_ack_of_version_0_acknowledges_too_and_that_of_version_1_does_not() {
    for (versions, with_dss) in [(ONLY_0, true), (ONLY_1, false)] {
        let mut world = between(versions, versions, 1);
        world.establish();
        let third = world.log.iter().find_map(|(_, w)| {
            let keys = |o: &MptcpOption| matches!(o, MptcpOption::Capable(Capable::Ack { .. }));
            w.options().iter().any(keys).then(|| w.options().to_vec())
        });
        let third = third.expect("a third ACK");
        let dss = |o: &MptcpOption| matches!(o, MptcpOption::Dss(d) if d.mapping.is_none());
        assert_eq!(third.iter().any(dss), with_dss, "{third:?}");
    }
}
