//! Addresses and priorities: ADD_ADDR with echo, REMOVE_ADDR, MP_PRIO and backup.

use crate::script::{OUR_KEY, PEER_KEY, Script};
use crate::world::{Side, World, pattern, server_addr};
use anabranch_mptcp::keys::add_addr_hmac;
use anabranch_mptcp::{Config, Event, RemoteAddr, SignalError, SubflowId};
use anabranch_wire::mptcp::{AddAddr, Dsn, Dss, MptcpOption, Prio};
use anabranch_wire::tcp::Options;
use smallvec::smallvec;
use std::net::IpAddr;
use std::time::Duration;

fn add_addrs(out: &[anabranch_mptcp::Outgoing]) -> Vec<AddAddr> {
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

#[test]
fn an_announced_address_is_echoed_and_reported() {
    let mut world = World::connected(1);
    let new = server_addr(1);
    world
        .with_conn(Side::Server, |c, now| c.announce(now, 3, new, None))
        .expect("announced");
    world.run_for(Duration::from_secs(10));
    let announced = RemoteAddr {
        id: 3,
        addr: new,
        port: None,
    };
    let heard = |e: &Event| matches!(e, Event::Announced(a) if *a == announced);
    assert!(
        world.client.events.iter().any(heard),
        "{:?}",
        world.client.events
    );
    assert_eq!(world.client.conn().remote_addrs(), [announced]);
    assert!(
        world
            .server
            .events
            .iter()
            .any(|e| matches!(e, Event::Echoed(3)))
    );
    // Once each: it was echoed.
    let counters = (world.server.info().counters, world.client.info().counters);
    assert_eq!((counters.0.add_addr_out, counters.1.echo_out), (1, 1));
    assert_eq!(world.count(|w| !w.payload.is_empty()), 0, "on pure ACKs");
}

#[test]
fn an_announcement_is_repeated_with_growing_intervals_until_its_echo() {
    let mut s = Script::new();
    s.conn
        .announce(s.now, 1, addr("10.9.9.9"), Some(8080))
        .expect("announced");
    let first = add_addrs(&s.out());
    let hmac = add_addr_hmac(OUR_KEY, PEER_KEY, 1, addr("10.9.9.9"), Some(8080));
    let expected = AddAddr {
        address_id: 1,
        addr: addr("10.9.9.9"),
        port: Some(8080),
        echo: false,
        hmac: Some(hmac),
    };
    assert_eq!(first, std::slice::from_ref(&expected));
    assert_eq!(add_addrs(&s.wait(Duration::from_millis(1990))).len(), 0);
    assert_eq!(add_addrs(&s.wait(Duration::from_millis(20))).len(), 1);
    assert_eq!(add_addrs(&s.wait(Duration::from_millis(3900))).len(), 0);
    assert_eq!(add_addrs(&s.wait(Duration::from_millis(200))).len(), 1);
    let echo = AddAddr {
        echo: true,
        hmac: None,
        ..expected
    };
    s.ack(0, vec![MptcpOption::AddAddr(echo)]);
    assert_eq!(add_addrs(&s.wait(Duration::from_secs(600))).len(), 0);
}

#[test]
fn an_announcement_without_echo_is_given_up() {
    let config = Config {
        add_addr_tries: 4,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.conn
        .announce(s.now, 1, addr("10.9.9.9"), None)
        .expect("announced");
    assert_eq!(add_addrs(&s.wait(Duration::from_secs(3600))).len(), 4);
}

/// Linux drops an announcement that comes while it works on the one before.
#[test]
fn several_at_once_leave_one_after_the_echo_of_the_other() {
    let mut s = Script::new();
    for id in 1..=3 {
        s.conn
            .announce(s.now, id, addr(&format!("10.9.9.{id}")), None)
            .expect("announced");
    }
    for id in 1..=3 {
        let announced = add_addrs(&s.out());
        let [one] = &announced[..] else {
            panic!("one at a time, not {announced:?}")
        };
        assert_eq!(one.address_id, id);
        let echo = AddAddr {
            echo: true,
            hmac: None,
            ..one.clone()
        };
        s.ack(0, vec![MptcpOption::AddAddr(echo)]);
    }
    assert_eq!(add_addrs(&s.wait(Duration::from_secs(600))).len(), 0);
}

/// The first is repeated after two seconds; the others need not wait for its echo any longer.
#[test]
fn an_announcement_without_echo_does_not_hold_up_the_next() {
    let mut s = Script::new();
    for id in 1..=2 {
        s.conn
            .announce(s.now, id, addr(&format!("10.9.9.{id}")), None)
            .expect("announced");
    }
    assert_eq!(add_addrs(&s.out()).len(), 1);
    let later = add_addrs(&s.wait(Duration::from_millis(2010)));
    let ids: Vec<u8> = later.iter().map(|a| a.address_id).collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn an_announcement_with_ipv6_and_port_displaces_timestamps_and_dss() {
    let mut world = World::connected(1);
    let v6 = addr("2001:db8::1");
    world
        .with_conn(Side::Server, |c, now| c.announce(now, 3, v6, Some(8443)))
        .expect("announced");
    world.run_for(Duration::from_millis(100));
    let alone = world.log.iter().map(|(_, w)| w).find(|w| {
        matches!(
            w.options()[..],
            [MptcpOption::AddAddr(AddAddr { echo: false, .. })]
        )
    });
    let Options::Segment(options) = &alone.expect("ADD_ADDR alone").packet.options else {
        panic!("{alone:?}")
    };
    assert_eq!(options.timestamps, None);

    assert!(
        world
            .server
            .events
            .iter()
            .any(|e| matches!(e, Event::Echoed(3)))
    );
}

#[test]
fn every_received_announcement_is_echoed_but_reported_once() {
    let mut s = Script::new();
    for _ in 0..3 {
        s.ack(0, vec![peers(4, "192.0.2.7", None)]);
        let echo = AddAddr {
            address_id: 4,
            addr: addr("192.0.2.7"),
            port: None,
            echo: true,
            hmac: None,
        };
        assert_eq!(add_addrs(&s.out()), [echo]);
    }
    let reported = s
        .events
        .iter()
        .filter(|e| matches!(e, Event::Announced(_)))
        .count();
    assert_eq!(reported, 1);
}

#[test]
fn a_forged_announcement_is_ignored() {
    let mut s = Script::new();
    let MptcpOption::AddAddr(mut forged) = peers(4, "192.0.2.7", None) else {
        unreachable!()
    };
    forged.addr = addr("192.0.2.8");
    s.ack(0, vec![MptcpOption::AddAddr(forged.clone())]);
    forged.hmac = None;
    s.ack(0, vec![MptcpOption::AddAddr(forged)]);
    assert_eq!(add_addrs(&s.out()), []);
    assert_eq!(s.conn.info().counters.add_addr_dropped, 2);
    assert!(!s.events.iter().any(|e| matches!(e, Event::Announced(_))));
}

#[test]
fn a_flood_of_announcements_is_bounded() {
    let mut s = Script::new();
    for n in 0..2000u32 {
        let text = format!("10.{}.{}.1", n >> 8, n & 255);
        s.ack(0, vec![peers((n % 255) as u8 + 1, &text, None)]);
    }
    assert!(s.conn.remote_addrs().len() <= 32);
    assert!(add_addrs(&s.out()).len() <= 8);
}

#[test]
fn withdrawing_an_address_ends_the_subflows_that_use_it() {
    let mut world = World::joined(3);
    let second = world.server.info().subflows[1].clone();
    let id = second.local_id;
    world
        .with_conn(Side::Server, |c, now| c.withdraw(now, &[id]))
        .expect("withdrawn");
    world.run_for(Duration::from_millis(200));
    let withdrawn = |e: &Event| matches!(e, Event::Withdrawn(i) if *i == id);
    assert!(
        world.client.events.iter().any(withdrawn),
        "{:?}",
        world.client.events
    );
    world.send_all(Side::Client, pattern(100_000, 2));
    world.send_all(Side::Server, pattern(100_000, 3));
    world.run_for(Duration::from_secs(5));
    assert!(world.server.received == pattern(100_000, 2));
    assert!(world.client.received == pattern(100_000, 3));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
}

#[test]
fn the_address_of_the_initial_subflow_can_be_withdrawn() {
    let mut s = Script::new();
    let second = s.join(1);
    s.ack(second, vec![MptcpOption::RemoveAddr(smallvec![0])]);
    let out = s.out();
    let fin = out
        .iter()
        .find(|o| o.emit.flags.has(anabranch_wire::tcp::Flags::FIN));
    assert_eq!(fin.expect("FIN").subflow, SubflowId(0));
    s.conn.send(pattern(100, 1));
    let out = s.out();
    assert_eq!(
        out.iter()
            .find(|o| !o.payload.is_empty())
            .expect("data")
            .subflow,
        SubflowId(1)
    );
}

#[test]
fn several_ids_in_one_withdrawal() {
    let mut s = Script::new();
    for id in [3, 4, 5] {
        s.ack(0, vec![peers(id, &format!("192.0.2.{id}"), None)]);
        s.out();
    }
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![3, 5, 77])]);
    let left: Vec<u8> = s.conn.remote_addrs().iter().map(|a| a.id).collect();
    assert_eq!(left, [4]);
}

#[test]
fn mp_prio_makes_a_subflow_a_backup_on_both_sides() {
    let mut world = World::joined(2);
    let second = world.client.info().subflows[1].id;
    world
        .with_conn(Side::Client, |c, now| c.set_backup(now, second, true))
        .expect("set");
    world.run_for(Duration::from_millis(100));
    let told = |e: &Event| matches!(e, Event::PeerBackup(_, true));
    assert!(world.server.events.iter().any(told));
    world.send(Side::Client, pattern(500_000, 1));
    world.send(Side::Server, pattern(500_000, 2));
    world.run_for(Duration::from_secs(10));
    assert!(world.server.received == pattern(500_000, 1));
    assert!(world.client.received == pattern(500_000, 2));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
    // And back.
    world
        .with_conn(Side::Client, |c, now| c.set_backup(now, second, false))
        .expect("set");
    world.run_for(Duration::from_millis(100));
    world.send(Side::Client, pattern(2_000_000, 1));
    world.run_for(Duration::from_secs(10));
    assert!(world.count(|w| w.link == 1 && !w.payload.is_empty()) > 0);
}

#[test]
fn a_backup_is_used_when_nothing_else_delivers() {
    let mut world = World::connected(2);
    world.join_from(1, 6001, true);
    world.run_for(Duration::from_millis(200));
    assert!(world.server.info().subflows[1].backup);
    let data = pattern(1_000_000, 1);
    world.send(Side::Server, data.clone());
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
    world.links[0].up = false;
    world.run_for(Duration::from_secs(10));
    assert!(world.client.received == data, "{}", world.describe());
}

#[test]
fn prio_received_on_one_subflow_concerns_that_one() {
    let mut s = Script::new();
    let second = s.join(1);
    s.ack(
        second,
        vec![MptcpOption::Prio(Prio {
            backup: true,
            address_id: None,
        })],
    );
    let backups: Vec<bool> = s.conn.info().subflows.iter().map(|i| i.backup).collect();
    assert_eq!(backups, [false, true]);
}

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
