//! Addresses and priorities: what they have in common.

mod announce;
mod ids;
mod learn;
mod priority;
mod withdraw;

use crate::script::{OUR_KEY, PEER_KEY, Script};
use crate::world::{Side, World, pattern, server_addr};
use anabranch_mptcp::keys::add_addr_hmac;
use anabranch_mptcp::{Event, Outgoing};
use anabranch_wire::mptcp::{AddAddr, Dsn, Dss, MptcpOption};
use std::net::IpAddr;
use std::time::Duration;

fn add_addrs(out: &[Outgoing]) -> Vec<AddAddr> {
    let options = out.iter().flat_map(|o| &o.mptcp);
    let adds = options.filter_map(|o| match o {
        MptcpOption::AddAddr(add) => Some(add.clone()),
        _ => None,
    });
    adds.collect()
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The peer's announcement, with the right HMAC.
fn peers(id: u8, text: &str, port: Option<u16>) -> MptcpOption {
    let hmac = Some(add_addr_hmac(PEER_KEY, OUR_KEY, id, addr(text), port));
    MptcpOption::AddAddr(AddAddr {
        address_id: id,
        addr: addr(text),
        port,
        echo: false,
        hmac,
    })
}

/// The echo of an announcement.
fn echo(option: &MptcpOption) -> AddAddr {
    let MptcpOption::AddAddr(add) = option else {
        panic!("{option:?}")
    };
    AddAddr {
        echo: true,
        hmac: None,
        ..add.clone()
    }
}

/// The events reported of announcements.
fn announced(events: &[Event]) -> Vec<(u8, IpAddr, Option<u16>)> {
    let found = events.iter().filter_map(|e| match e {
        Event::Announced(a) => Some((a.id, a.addr, a.port)),
        _ => None,
    });
    found.collect()
}

#[test]
fn acks_that_only_signal_do_not_look_like_loss() {
    let mut s = Script::new();
    s.conn.send(pattern(10_000, 1));
    s.out();
    for id in 1..10 {
        s.ack_behind(0, vec![peers(id, &format!("192.0.2.{id}"), None)]);
    }
    for position in 0..5 {
        let data_ack = Some(Dsn::Long(Script::our_dsn(position * 1000)));
        let dss = Dss {
            data_ack,
            mapping: None,
            data_fin: false,
        };
        s.ack_behind(0, vec![MptcpOption::Dss(dss)]);
    }
    s.out();
    assert_eq!(s.conn.info().subflows[0].tcp.stats.retransmits, 0);
}

/// The peer announces many at once while it has data under way: three ACKs in a row that only echo
/// would look like loss to a middlebox (RFC 8684 §3).
#[test]
fn not_more_than_two_acks_in_a_row_only_signal() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"before");
    s.wait(Duration::from_secs(1));
    for id in 1..=8 {
        s.ack_at(0, 6, vec![peers(id, &format!("192.0.2.{id}"), None)]);
    }
    assert_eq!(add_addrs(&s.out()).len(), 2);
    // After an ACK that acknowledges more two may follow.
    s.mapped(0, 6, 6, b"behind");
    assert_eq!(add_addrs(&s.out()).len(), 2);
    // What would have told of loss is over after a retransmission timeout.
    assert_eq!(add_addrs(&s.wait(Duration::from_millis(50))).len(), 0);
    assert_eq!(add_addrs(&s.wait(Duration::from_secs(5))).len(), 4);
}

/// Everything that can be signalled at once, on two subflows.
#[test]
fn whatever_is_to_be_said_no_subflow_says_three_things_in_a_row() {
    let mut world = World::joined(2);
    world.log.clear();
    let second = world.server.info().subflows[1].id;
    let first = world.server.info().subflows[0].id;
    world.with_conn(Side::Server, |c, now| {
        for id in 10..16 {
            c.announce(now, id, server_addr(id.into()), None)
                .expect("announced");
        }
        c.set_backup(now, first, true).expect("set");
        c.set_backup(now, second, true).expect("set");
        c.withdraw(now, &[33]).expect("withdrawn");
    });
    world.run_for(Duration::from_secs(20));
    let announced = |e: &&Event| matches!(e, Event::Announced(_));
    assert_eq!(world.client.events.iter().filter(announced).count(), 6);
    for (side, link) in [Side::Client, Side::Server]
        .into_iter()
        .flat_map(|s| [(s, 0), (s, 1)])
    {
        let (mut row, mut last) = (0, world.now);
        for (at, wire) in world
            .log
            .iter()
            .filter(|(_, w)| (w.from, w.link) == (side, link))
        {
            let signals = |o: &MptcpOption| {
                matches!(
                    o,
                    MptcpOption::AddAddr(_) | MptcpOption::RemoveAddr(_) | MptcpOption::Prio(_)
                )
            };
            if !wire.options().iter().any(signals) {
                continue;
            }
            let pause = at.0.saturating_sub(last.0) >= 200_000_000;
            row = if pause { 1 } else { row + 1 };
            last = *at;
            assert!(row <= 2, "{side:?} on {link}");
        }
    }
}

#[test]
fn signals_leave_at_once_in_the_middle_of_a_transfer_one_way() {
    let mut world = World::joined(2);
    world
        .links
        .iter_mut()
        .for_each(|l| l.rate = Some(2_000_000));
    world.send(Side::Server, pattern(6 << 20, 1));
    world.run_for(Duration::from_millis(700));
    let second = world.server.info().subflows[1].id;
    world.with_conn(Side::Server, |c, now| {
        c.announce(now, 3, server_addr(3), None).expect("announced");
        c.set_backup(now, second, true).expect("set");
    });
    world.run_for(Duration::from_millis(200));
    assert!(
        world
            .client
            .events
            .iter()
            .any(|e| matches!(e, Event::Announced(_)))
    );
    assert!(
        world
            .client
            .events
            .iter()
            .any(|e| matches!(e, Event::PeerBackup(_, true)))
    );
    assert!(
        world
            .server
            .events
            .iter()
            .any(|e| matches!(e, Event::Echoed(3)))
    );
    assert!(world.client.received.len() < 6 << 20);
}
