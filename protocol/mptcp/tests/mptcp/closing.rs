//! The ends: DATA_FIN in every order, half-close, MP_FASTCLOSE, MP_TCPRST, nobody left.

use crate::script::{OUR_KEY, PEER_KEY, Script};
use crate::world::{Side, World, pattern};
use anabranch_mptcp::{CloseReason, Config, Event, GoneReason};
use anabranch_tcp::{Close, State};
use anabranch_wire::mptcp::{Dss, DssMapping, MptcpOption, ResetReason, TcpRst};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// The peer's DATA_FIN at a position, alone.
fn data_fin(s: &Script, position: u64, acked: u64) -> MptcpOption {
    let mapping = DssMapping {
        ssn: 0,
        ..s.mapping(position, 0, 1)
    };
    let MptcpOption::Dss(dss) = s.dss(acked, Some(mapping)) else {
        unreachable!()
    };
    MptcpOption::Dss(Dss {
        data_fin: true,
        ..dss
    })
}

/// The DATA_FIN we send, as DSN and length.
fn our_fin(out: &[anabranch_mptcp::Outgoing]) -> Option<DssMapping> {
    out.iter().flat_map(|o| &o.mptcp).find_map(|o| match o {
        MptcpOption::Dss(dss) if dss.data_fin => dss.mapping,
        _ => None,
    })
}

fn fins(world: &World) -> usize {
    world.count(|w| w.has(Flags::FIN))
}

#[test]
fn subflow_fins_come_after_both_data_fins_were_acknowledged() {
    let mut world = World::joined(2);
    world.send_all(Side::Client, Bytes::from_static(b"question"));
    world.run_for(Duration::from_secs(1));
    assert!(world.server.conn().at_end());
    assert_eq!(world.client.info().state, State::FinWait2);
    assert_eq!(world.server.info().state, State::CloseWait);
    assert_eq!(fins(&world), 0);
    world.send_all(Side::Server, Bytes::from_static(b"answer"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
    assert_eq!(world.server.conn().closed(), Some(CloseReason::Finished));
    assert_eq!(world.client.received, b"answer");
    assert!(fins(&world) >= 4);
    assert_eq!(world.count(|w| w.has(Flags::RST)), 0);
    world.run_for(Duration::from_secs(130));
    assert!(world.client.conn().is_finished() && world.server.conn().is_finished());
}

#[test]
fn an_attempt_that_is_given_up_ends_at_once_and_without_a_word() {
    let mut world = World::new(1);
    world.connect();
    let now = world.now;
    world.client.connection.as_mut().unwrap().close(now);
    world.settle();
    assert!(world.client.conn().is_finished());
    assert_eq!(world.count(|w| w.has(Flags::RST)), 0);
}

#[test]
fn data_flows_for_long_after_a_half_close_each_way() {
    for side in [Side::Client, Side::Server] {
        let mut world = World::joined(2);
        world.send_all(side, Bytes::from_static(b"that is all"));
        world.run_for(Duration::from_secs(1));
        let rest = pattern(3 << 20, 4);
        world.send_all(side.other(), rest.clone());
        world.run_for(Duration::from_secs(30));
        assert!(world.host(side).received == rest);
        assert_eq!(
            world.host(side).conn().closed(),
            Some(CloseReason::Finished)
        );
    }
}

#[test]
fn both_close_at_once() {
    let mut world = World::joined(2);
    world.with_conn(Side::Client, |c, now| c.shutdown(now));
    world.with_conn(Side::Server, |c, now| c.shutdown(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
    assert_eq!(world.server.conn().closed(), Some(CloseReason::Finished));
}

#[test]
fn a_data_fin_with_data_and_one_alone_take_one_number() {
    let mut s = Script::new();
    s.conn.send(Bytes::from_static(b"bye"));
    s.conn.shutdown(s.now);
    let with_data = our_fin(&s.out()).expect("DATA_FIN");
    assert_eq!(with_data.len, 4);
    assert_eq!(with_data.dsn.expand(0), Script::our_dsn(0));
    // Not acknowledged at data level: again, alone.
    let ack = s.dss(3, None);
    s.ack(0, vec![ack]);
    let alone = our_fin(&s.wait(Duration::from_secs(1))).expect("DATA_FIN");
    assert_eq!((alone.len, alone.ssn), (1, 0));
    assert_eq!(alone.dsn.expand(0), Script::our_dsn(3));
    let ack = s.dss(4, None);
    s.ack(0, vec![ack]);
    assert_eq!(s.conn.state(), State::FinWait2);
    assert!(our_fin(&s.wait(Duration::from_secs(10))).is_none());
}

#[test]
fn a_lost_data_fin_is_sent_again_on_another_subflow() {
    let mut world = World::joined(2);
    world.links[0].up = false;
    world.links[1].up = false;
    world.with_conn(Side::Client, |c, now| c.shutdown(now));
    world.run_for(Duration::from_millis(100));
    world.links[1].up = true;
    world.run_for(Duration::from_secs(10));
    assert!(world.server.conn().at_end(), "{}", world.describe());
    assert_eq!(world.client.info().state, State::FinWait2);
}

#[test]
fn a_data_fin_before_the_data_it_follows() {
    let mut s = Script::new();
    let fin = data_fin(&s, 5, 0);
    s.ack_at(0, 0, vec![fin]);
    assert!(!s.conn.at_end());
    s.mapped(0, 0, 0, b"12345");
    assert_eq!(s.read(), b"12345");
    assert!(s.conn.at_end());
    let out = s.out();
    assert_eq!(s.data_acked(&out), Some(6));
    assert!(s.events.iter().any(|e| matches!(e, Event::PeerFin)));
}

#[test]
fn a_repeated_data_fin_is_acknowledged_again_at_once() {
    let mut s = Script::new();
    for _ in 0..3 {
        let fin = data_fin(&s, 0, 0);
        s.ack(0, vec![fin]);
        let out = s.out();
        assert_eq!(s.data_acked(&out), Some(1));
    }
}

#[test]
fn data_beyond_a_data_fin_and_another_data_fin_are_ignored() {
    let mut s = Script::new();
    let fin = data_fin(&s, 4, 0);
    s.ack(0, vec![fin]);
    s.mapped(0, 0, 0, b"fourMORE");
    assert_eq!(s.read(), b"four");
    let other = data_fin(&s, 9, 0);
    s.ack_at(0, 8, vec![other]);
    assert_eq!(s.conn.info().counters.bad_options, 1);
    assert!(s.conn.at_end());
}

#[test]
fn a_subflow_fin_without_data_fin_ends_that_subflow_only() {
    let mut s = Script::new();
    let second = s.join(1);
    let ack = s.dss(0, None);
    s.put(0, 0, Flags::FIN, &[], vec![ack]);
    let out = s.out();
    assert!(
        out.iter().any(|o| o.emit.flags.has(Flags::FIN)),
        "ours follows"
    );
    assert!(!s.conn.at_end() && s.conn.closed().is_none());
    s.conn.send(Bytes::from_static(b"goes on"));
    let out = s.out();
    let data = out.iter().find(|o| !o.payload.is_empty()).expect("data");
    assert_eq!(data.subflow, s.lines[second].id);
}

#[test]
fn what_a_closed_subflow_did_not_deliver_goes_elsewhere() {
    let mut world = World::joined(2);
    world.links[0].delay = Duration::from_millis(1);
    world.run_for(Duration::from_secs(1));
    let data = pattern(200_000, 8);
    // Everything on its way on the first link is lost, and the subflow reset.
    world.links[0].up = false;
    world.send(Side::Client, data.clone());
    let first = world.client.info().subflows[0].id;
    let reason = ResetReason::UnacceptablePerformance;
    world
        .with_conn(Side::Client, |c, now| c.reset_subflow(now, first, reason))
        .expect("reset");
    world.run_for(Duration::from_secs(10));
    assert!(world.server.received == data, "{}", world.describe());
    assert!(world.client.info().counters.reinjections > 0);
}

#[test]
fn mp_tcprst_tells_why() {
    let mut world = World::joined(2);
    let second = world.client.info().subflows[1].id;
    let reason = ResetReason::LackOfResources;
    world
        .with_conn(Side::Client, |c, now| c.reset_subflow(now, second, reason))
        .expect("reset");
    world.run_for(Duration::from_millis(100));
    let told = TcpRst {
        transient: false,
        reserved: 0,
        reason,
    };
    let gone =
        |e: &Event| matches!(e, Event::SubflowGone(_, GoneReason::PeerReset(r)) if *r == told);
    assert!(
        world.server.events.iter().any(gone),
        "{:?}",
        world.server.events
    );
    assert_eq!(world.server.conn().closed(), None);
}

#[test]
fn abort_fast_closes_every_subflow() {
    let mut world = World::joined(3);
    world.with_conn(Side::Client, |c, now| c.abort(now));
    let server_key = world.server.key;
    let fast = |w: &crate::world::Wire| {
        w.has(Flags::RST) && w.options().contains(&MptcpOption::FastClose(server_key))
    };
    assert_eq!(world.count(fast), 3);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.client.conn().closed(), Some(CloseReason::Aborted));
    assert_eq!(world.server.conn().closed(), Some(CloseReason::FastClose));
    assert!(world.client.conn().is_finished() && world.server.conn().is_finished());
}

#[test]
fn one_fastclose_of_several_is_enough() {
    let mut world = World::joined(3);
    world.middlebox = Some(Box::new(|_, w| w.link == 2));
    world.with_conn(Side::Server, |c, now| c.abort(now));
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.client.conn().closed(), Some(CloseReason::FastClose));
}

#[test]
fn fastclose_on_an_ack_is_answered_with_resets() {
    let mut s = Script::new();
    s.join(1);
    let ack = s.dss(0, None);
    s.ack(0, vec![ack, MptcpOption::FastClose(OUR_KEY)]);
    let out = s.out();
    let resets = out.iter().filter(|o| o.emit.flags.has(Flags::RST));
    let resets: Vec<_> = resets.map(|o| (o.subflow.0, &o.mptcp[..])).collect();
    // The peer has forgotten the connection: no key has to prove anything any more.
    let why = MptcpOption::TcpRst(TcpRst {
        transient: false,
        reserved: 0,
        reason: ResetReason::Unspecified,
    });
    assert_eq!(resets, [(0, &[why.clone()][..]), (1, &[why][..])]);
    assert_eq!(s.conn.closed(), Some(CloseReason::FastClose));
    assert!(s.conn.is_finished());
}

#[test]
fn fastclose_with_a_wrong_key_is_not_believed() {
    let mut s = Script::new();
    s.join(1);
    s.ack(0, vec![MptcpOption::FastClose(OUR_KEY ^ 4)]);
    assert_eq!(s.conn.closed(), None);
    // On a RST it is a reset of that subflow.
    s.put(
        0,
        0,
        Flags::RST,
        &[],
        vec![MptcpOption::FastClose(OUR_KEY ^ 4)],
    );
    s.out();
    assert_eq!(s.conn.closed(), None);
    assert_eq!(s.conn.info().subflows.len(), 1);
}

#[test]
fn a_reset_of_the_last_subflow_is_waited_out() {
    let mut world = World::connected(2);
    let data = pattern(100_000, 5);
    world.send_all(Side::Server, data.slice(..1000));
    world.run_for(Duration::from_millis(5));
    let first = world.client.info().subflows[0].id;
    let reason = ResetReason::Unspecified;
    world
        .with_conn(Side::Client, |c, now| c.reset_subflow(now, first, reason))
        .expect("reset");
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.server.conn().closed(), None);
    assert_eq!(world.server.info().subflows.len(), 0);
    // Break before make: a join revives it.
    world.join(1);
    world.run_for(Duration::from_secs(5));
    assert!(
        world.client.received == data[..1000],
        "{}",
        world.describe()
    );
    assert!(world.client.conn().at_end());
}

#[test]
fn nobody_comes() {
    let config = Config {
        no_subflow_wait: Duration::from_secs(7),
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.put(0, 0, Flags::RST, &[], vec![]);
    s.wait(Duration::from_millis(6900));
    assert_eq!(s.conn.closed(), None);
    s.wait(Duration::from_millis(200));
    assert_eq!(s.conn.closed(), Some(CloseReason::NoSubflow));
    assert!(s.conn.is_finished());
    let gone = |e: &Event| matches!(e, Event::SubflowGone(_, GoneReason::Tcp(Close::Reset)));
    assert!(s.events.iter().any(gone));
}

#[test]
fn closing_with_unread_bytes_is_an_abort() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"unread");
    s.conn.close(s.now);
    let out = s.out();
    let fast = |o: &anabranch_mptcp::Outgoing| o.mptcp.contains(&MptcpOption::FastClose(PEER_KEY));
    assert!(out.iter().any(fast), "{out:?}");
    assert_eq!(s.conn.closed(), Some(CloseReason::Aborted));
}

#[test]
fn a_connection_let_go_ends_in_time_if_the_peer_does_not_finish() {
    let mut s = Script::new();
    s.conn.send(Bytes::from_static(b"last words"));
    s.conn.close(s.now);
    s.wait(Duration::from_secs(1));
    let ack = s.dss(11, None);
    s.ack(0, vec![ack]);
    s.wait(Duration::from_secs(59));
    assert_eq!(s.conn.closed(), None);
    s.wait(Duration::from_secs(2));
    assert_eq!(s.conn.closed(), Some(CloseReason::CloseTimeout));
}

#[test]
fn after_data_fin_the_peer_may_close_its_half_of_subflows_and_still_take_data() {
    let mut s = Script::new();
    let fin = data_fin(&s, 0, 0);
    s.ack(0, vec![fin]);
    s.out();
    let ack = s.dss(0, None);
    s.put(0, 0, Flags::FIN, &[], vec![ack]);
    s.out();
    s.conn.send(Bytes::from_static(b"still here"));
    let out = s.out();
    assert!(out.iter().any(|o| !o.payload.is_empty()), "{out:?}");
    assert_eq!(s.conn.closed(), None);
}

#[test]
fn a_data_fin_alone_leaves_on_every_subflow() {
    let mut s = Script::new();
    s.join(1);
    s.conn.shutdown(s.now);
    let out = s.out();
    let on: Vec<u32> = out
        .iter()
        .filter(|o| our_fin(std::slice::from_ref(o)).is_some())
        .map(|o| o.subflow.0)
        .collect();
    assert_eq!(on, [0, 1]);
}
