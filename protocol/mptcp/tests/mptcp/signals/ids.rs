//! An address has one ID until it is withdrawn (RFC 8684 §3.2, §3.4.1).

use super::addr;
use crate::script::Script;
use crate::world::{Side, World, client_addr};
use anabranch_mptcp::SignalError;
use anabranch_wire::mptcp::MptcpOption;
use smallvec::smallvec;
use std::time::Duration;

#[test]
fn ids_must_be_fresh() {
    let mut s = Script::new();
    assert_eq!(
        s.conn.announce(s.now, 0, addr("10.9.9.9"), None),
        Err(SignalError::AddressId)
    );
    s.conn
        .announce(s.now, 1, addr("10.9.9.9"), None)
        .expect("announced");
    assert_eq!(
        s.conn.announce(s.now, 1, addr("10.9.9.8"), None),
        Err(SignalError::AddressId)
    );
}

#[test]
fn an_address_has_one_id() {
    let mut s = Script::new();
    let second = s.join(1);
    let initial = s.conn.path(s.lines[0].id).expect("a path").local;
    let joined = s.conn.path(s.lines[second].id).expect("a path").local;
    let implicit = s.conn.info().subflows[1].local_id;
    let mut announce = |id, addr, port| s.conn.announce(s.now, id, addr, port);
    // The initial one has 0; on another port it is another.
    assert_eq!(announce(1, initial.ip(), None), Err(SignalError::AddressId));
    assert_eq!(
        announce(1, initial.ip(), Some(initial.port())),
        Err(SignalError::AddressId)
    );
    assert_eq!(announce(1, initial.ip(), Some(8443)), Ok(()));
    // One that a subflow uses has that ID, and the ID no other.
    assert_eq!(announce(2, joined.ip(), None), Err(SignalError::AddressId));
    assert_eq!(
        announce(implicit, addr("10.9.9.9"), None),
        Err(SignalError::AddressId)
    );
    assert_eq!(announce(implicit, joined.ip(), None), Ok(()));
    // One announced keeps its ID, also when it is announced again.
    assert_eq!(announce(3, addr("10.9.9.9"), None), Ok(()));
    assert_eq!(
        announce(4, addr("10.9.9.9"), None),
        Err(SignalError::AddressId)
    );
    assert_eq!(announce(3, addr("10.9.9.9"), None), Ok(()));
}

#[test]
fn subflows_of_an_address_have_its_id() {
    let mut world = World::connected(3);
    world
        .with_conn(Side::Client, |c, now| {
            c.announce(now, 9, client_addr(1), None)
        })
        .expect("announced");
    world.join_from(1, 6001, false);
    world.join_from(1, 6002, false);
    world.join_from(2, 6003, false);
    world.join_from(2, 6004, false);
    world.join_from(0, 6005, false);
    world.run_for(Duration::from_millis(200));
    let ids = |w: &mut World, side: Side| {
        let info = w.host(side).info();
        info.subflows
            .iter()
            .map(|s| (s.local_id, s.remote_id))
            .collect::<Vec<_>>()
    };
    let ours: Vec<u8> = ids(&mut world, Side::Client)
        .iter()
        .map(|(l, _)| *l)
        .collect();
    assert_eq!(ours, [0, 9, 9, 255, 255, 0]);
    let theirs: Vec<u8> = ids(&mut world, Side::Server)
        .iter()
        .map(|(_, r)| *r)
        .collect();
    assert_eq!(theirs, ours);
}

#[test]
fn an_id_is_free_again_after_its_withdrawal() {
    let mut s = Script::new();
    s.conn
        .announce(s.now, 1, addr("10.9.9.9"), None)
        .expect("announced");
    s.conn.withdraw(s.now, &[1]).expect("withdrawn");
    assert_eq!(s.conn.announce(s.now, 1, addr("10.9.9.8"), None), Ok(()));
}

/// While it is being withdrawn it is not given to another address: the peer could forget that one.
#[test]
fn an_id_being_withdrawn_is_not_given_out() {
    let mut world = World::connected(3);
    world.join_from(1, 6001, false);
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.client.info().subflows[1].local_id, 255);
    world
        .with_conn(Side::Client, |c, now| c.withdraw(now, &[255]))
        .expect("withdrawn");
    let id = world.join_from(2, 6002, false);
    world.run_for(Duration::from_secs(5));
    let info = world.client.info();
    let new = info
        .subflows
        .iter()
        .find(|s| s.id == id)
        .expect("a subflow");
    assert_eq!(new.local_id, 254);
    assert_eq!(
        world
            .server
            .info()
            .subflows
            .iter()
            .filter(|s| s.remote_id == 254)
            .count(),
        1
    );
}

/// Behind a translator the source differs from what was announced: the ID counts.
#[test]
fn a_join_from_elsewhere_with_an_announced_id_belongs_to_it() {
    let mut s = Script::new();
    s.ack(0, vec![super::peers(1, "192.0.2.7", None)]);
    let second = s.join(1);
    assert_eq!(s.conn.info().subflows[1].remote_id, 1);
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![1])]);
    let out = s.out();
    let id = s.lines[second].id;
    assert!(
        out.iter()
            .any(|o| o.subflow == id && o.emit.kind == anabranch_tcp::Kind::Probe)
    );
    assert_eq!(s.conn.remote_addrs(), []);
}

/// The withdrawal may be under way on a slower path than the join, and would end the new subflow.
#[test]
fn the_initial_address_comes_back_with_another_id_while_its_withdrawal_may_be_heard() {
    for (away, id) in [(Duration::ZERO, 254), (Duration::from_secs(60), 0)] {
        let mut world = World::connected(2);
        world.join_from(1, 6001, false);
        world.run_for(Duration::from_millis(200));
        world
            .with_conn(Side::Client, |c, now| c.withdraw(now, &[0]))
            .expect("withdrawn");
        world.run_for(away);
        world.join_from(0, 6002, false);
        world.run_for(Duration::from_secs(5));
        let subflows = world.client.info().subflows;
        let joined = subflows.last().map(|s| s.local_id);
        assert_eq!(joined, Some(id), "{away:?}");
    }
}
