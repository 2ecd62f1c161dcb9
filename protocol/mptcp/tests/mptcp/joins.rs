//! MP_JOIN (RFC 8684 §3.2), both roles.

use crate::script::{OUR_KEY, PEER_KEY, Script, flags};
use crate::world::{Side, Wire, World, client_path, pattern};
use anabranch_mptcp::keys::{JoinSecret, Version, derive};
use anabranch_mptcp::{Config, Event, GoneReason, SignalError, Start};
use anabranch_tcp::{Instant, State};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{Capable, Join, MptcpOption, ResetReason, TcpRst};
use anabranch_wire::tcp::Flags;
use std::time::Duration;

fn joins(world: &World) -> Vec<Join> {
    let options = world.log.iter().flat_map(|(_, w)| w.options().iter());
    let joins = options.filter_map(|o| match o {
        MptcpOption::Join(j) => Some(j.clone()),
        _ => None,
    });
    joins.collect()
}

#[test]
fn both_sides_prove_that_they_know_the_keys() {
    let world = World::joined(2);
    let joins = joins(&world);
    let [
        Join::Syn {
            token, nonce: a, ..
        },
        Join::SynAck { hmac, nonce: b, .. },
        Join::Ack { hmac: full },
    ] = joins[..]
    else {
        panic!("{joins:?}")
    };
    let (client, server) = (world.client.key, world.server.key);
    assert_eq!(token, derive(Version::V1, server).token);
    let secret = |from, to, x, y| JoinSecret {
        version: Version::V1,
        sender_key: from,
        receiver_key: to,
        sender_nonce: x,
        receiver_nonce: y,
    };
    assert_eq!(hmac, secret(server, client, b, a).truncated());
    assert_eq!(full, secret(client, server, a, b).full());
    let up = |e: &Event| matches!(e, Event::SubflowUp(_));
    assert!(world.client.events.iter().any(up) && world.server.events.iter().any(up));
}

/// When the SYN of a join whose first one is lost goes again, ms after that; round trips of the initial
/// subflow take `rtt`.
fn syn_goes_again_after(rtt: u32) -> u64 {
    let mut world = World::new(2);
    world.links[0].delay = Duration::from_millis(1) * rtt / 2;
    world.connect();
    world.run_for(Duration::from_millis(1) * (rtt + 100));
    world.links[1].up = false;
    world.join(1);
    world.run_for(Duration::from_millis(1500));
    let syn = |(at, w): &(Instant, Wire)| (w.link == 1 && w.has(Flags::SYN)).then_some(*at);
    let mut syns = world.log.iter().filter_map(syn);
    let (first, again) = (syns.next().unwrap(), syns.next().unwrap());
    again.since(first).as_millis() as u64
}

#[test]
fn the_syn_of_a_join_goes_again_sooner_where_other_ways_are_known_to_be_short() {
    assert_eq!(syn_goes_again_after(20), 300);
    assert_eq!(syn_goes_again_after(200), 600);
    assert_eq!(syn_goes_again_after(600), 1000);
}

#[test]
fn the_joiner_sends_no_data_and_repeats_its_third_ack_until_the_fourth_packet() {
    let mut world = World::connected(2);
    // The acceptor's answers on the new path are lost after its SYN+ACK.
    world.middlebox = Some(Box::new(|_, w| {
        !(w.from == Side::Server && w.link == 1 && !w.has(Flags::SYN))
    }));
    world.join(1);
    world.send(Side::Client, pattern(500_000, 1));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
    let third = joins(&world)
        .iter()
        .filter(|j| matches!(j, Join::Ack { .. }))
        .count();
    assert!(third >= 2, "{third} third ACKs");
    world.middlebox = None;
    world.run_for(Duration::from_secs(8));
    let up = |e: &&Event| matches!(e, Event::SubflowUp(_));
    assert_eq!(world.client.events.iter().filter(up).count(), 1);
    assert!(world.server.received == pattern(500_000, 1));
}

#[test]
fn a_lost_third_ack_of_a_join_is_repeated() {
    let mut world = World::connected(2);
    let mut lost = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        let third = w.link == 1 && w.from == Side::Client && !w.has(Flags::SYN);
        lost += u32::from(third);
        !(third && lost <= 2)
    }));
    world.join(1);
    world.run_for(Duration::from_secs(10));
    assert_eq!(
        world.server.info().subflows[1].tcp.state,
        State::Established
    );
    let up = |e: &Event| matches!(e, Event::SubflowUp(_));
    assert!(world.server.events.iter().any(up));
}

/// What becomes of a join whose third ACK has these options.
fn third_ack(f: impl Fn(&Script, u32) -> Vec<MptcpOption>) -> (Script, Option<TcpRst>) {
    let mut s = Script::new();
    let line = s.join_syn(1, 77).expect("a join");
    let our_nonce = match &s.out()[0].mptcp[..] {
        [MptcpOption::Join(Join::SynAck { nonce, .. })] => *nonce,
        other => panic!("{other:?}"),
    };
    let options = f(&s, our_nonce);
    s.ack(line, options);
    let out = s.out();
    let rst = out
        .iter()
        .filter(|o| o.emit.flags.has(Flags::RST))
        .find_map(|o| {
            o.mptcp.iter().find_map(|o| match o {
                MptcpOption::TcpRst(rst) => Some(*rst),
                _ => None,
            })
        });
    (s, rst)
}

#[test]
fn a_wrong_hmac_is_answered_with_a_reset() {
    let (s, rst) = third_ack(|s, ours| {
        let mut hmac = s.join_hmac(77, ours);
        hmac[19] ^= 1;
        vec![MptcpOption::Join(Join::Ack { hmac })]
    });
    assert_eq!(rst.map(|r| r.reason), Some(ResetReason::MptcpError));
    assert_eq!(s.conn.info().counters.join_hmac_failures, 1);
    assert_eq!(s.conn.info().subflows.len(), 1);
}

#[test]
fn an_hmac_of_other_nonces_is_answered_with_a_reset() {
    let (_, rst) = third_ack(|s, ours| {
        vec![MptcpOption::Join(Join::Ack {
            hmac: s.join_hmac(78, ours),
        })]
    });
    assert_eq!(rst.map(|r| r.reason), Some(ResetReason::MptcpError));
}

#[test]
fn a_third_ack_without_hmac_is_answered_with_a_reset() {
    let (s, rst) = third_ack(|_, _| vec![]);
    assert_eq!(rst.map(|r| r.reason), Some(ResetReason::MptcpError));
    let gone = |e: &Event| {
        matches!(
            e,
            Event::SubflowGone(_, GoneReason::Reset(ResetReason::MptcpError))
        )
    };
    assert!(s.events.iter().any(gone));
}

#[test]
fn the_right_hmac_is_answered_with_the_fourth_packet() {
    let (mut s, rst) = third_ack(|s, ours| {
        vec![MptcpOption::Join(Join::Ack {
            hmac: s.join_hmac(77, ours),
        })]
    });
    assert_eq!(rst, None);
    let hmac = s.join_hmac(77, 2);
    // Repeated because the fourth packet was lost: answered again.
    s.ack(1, vec![MptcpOption::Join(Join::Ack { hmac })]);
    assert_eq!(s.out().len(), 1);
}

#[test]
fn a_wrong_hmac_on_the_syn_ack_makes_the_joiner_reset() {
    let mut world = World::connected(2);
    world.middlebox = Some(Box::new(|_, w| {
        for o in &mut w.packet.mptcp {
            if let MptcpOption::Join(Join::SynAck { hmac, .. }) = o {
                *hmac ^= 1;
            }
        }
        true
    }));
    world.join(1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.client.info().subflows.len(), 1);
    assert_eq!(world.server.info().subflows.len(), 1);
    assert_eq!(world.client.info().counters.join_hmac_failures, 1);
}

#[test]
fn a_path_that_removes_mp_join_gives_no_subflow() {
    let mut world = World::connected(2);
    world.middlebox = Some(Box::new(|_, w| {
        if w.from == Side::Server {
            w.packet
                .mptcp
                .retain(|o| !matches!(o, MptcpOption::Join(_)));
        }
        true
    }));
    world.join(1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.client.info().subflows.len(), 1);
    let gone = |e: &Event| {
        matches!(
            e,
            Event::SubflowGone(_, GoneReason::Reset(ResetReason::Middlebox))
        )
    };
    assert!(
        world.client.events.iter().any(gone),
        "{:?}",
        world.client.events
    );
}

#[test]
fn joins_over_the_limit_are_refused_for_now() {
    let limited = Config {
        max_subflows: 2,
        ..Config::default()
    };
    let mut world = World::with(Config::default(), limited, 3);
    world.establish();
    world.join(1);
    world.run_for(Duration::from_millis(100));
    world.join(2);
    world.run_for(Duration::from_millis(100));
    let refusal = world.server.refusals[0];
    assert!(refusal.transient && refusal.reason == ResetReason::Prohibited);
    let told = |e: &Event| {
        matches!(
            e,
            Event::SubflowGone(
                _,
                GoneReason::PeerReset(TcpRst {
                    reason: ResetReason::Prohibited,
                    transient: true,
                    ..
                })
            )
        )
    };
    assert!(
        world.client.events.iter().any(told),
        "{:?}",
        world.client.events
    );
    assert_eq!(world.client.info().subflows.len(), 2);
}

#[test]
fn our_own_limit_holds_for_joins_we_make() {
    let limited = Config {
        max_subflows: 1,
        ..Config::default()
    };
    let mut world = World::with(limited, Config::default(), 2);
    world.establish();
    let start = Start {
        iss: Seq(5),
        ts_offset: 0,
        mss: 1460,
        known_mss: None,
    };
    let path = client_path(1, 6001);
    let joined = world.with_conn(Side::Client, |c, now| {
        c.join_active(now, path, 0, start, 7, false)
    });
    assert_eq!(joined, Err(SignalError::Limit));
}

#[test]
fn joins_before_the_keys_are_known_are_refused() {
    let capable = Capable::Syn {
        version: 1,
        flags: flags(false),
        key: None,
    };
    let mut s = Script::syn(Config::default(), PEER_KEY, &capable);
    s.out();
    let refusal = s.join_syn(1, 3).expect_err("refused");
    assert_eq!(refusal.reason, ResetReason::MptcpError);
    let _ = OUR_KEY;
}

#[test]
fn address_ids_are_kept() {
    let mut world = World::connected(3);
    world.with_conn(Side::Server, |c, now| {
        c.announce(now, 7, crate::world::server_addr(2), None)
            .expect("announced");
    });
    world.run_for(Duration::from_millis(50));
    world.join(1);
    world.join(2);
    world.run_for(Duration::from_millis(100));
    let client = world.client.info().subflows;
    let server = world.server.info().subflows;
    assert_eq!((client[0].local_id, client[0].remote_id), (0, 0));
    for i in 0..3 {
        assert_eq!(client[i].local_id, server[i].remote_id);
        assert_eq!(client[i].remote_id, server[i].local_id);
    }
    assert_eq!(server[2].local_id, 7);
    assert_ne!(client[1].local_id, client[2].local_id);
}

#[test]
fn a_join_that_nobody_answers_gives_up() {
    let mut world = World::connected(2);
    world.links[1].up = false;
    world.join(1);
    world.run_for(Duration::from_secs(200));
    assert_eq!(world.client.info().subflows.len(), 1);
    let gone = |e: &Event| {
        matches!(
            e,
            Event::SubflowGone(_, GoneReason::Tcp(anabranch_tcp::Close::TimedOut))
        )
    };
    assert!(
        world.client.events.iter().any(gone),
        "{:?}",
        world.client.events
    );
}

#[test]
fn flag_c_is_meant() {
    let config = Config {
        deny_join: true,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    // Link 0 leads to the address and port of the initial subflow.
    let refusal = s.join_syn(0, 3).expect_err("refused");
    assert!(!refusal.transient && refusal.reason == ResetReason::Prohibited);
    s.join(1);
}
