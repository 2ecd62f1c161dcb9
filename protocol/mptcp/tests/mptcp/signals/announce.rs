//! Announcing our addresses (RFC 8684 §3.4.1).

use super::{add_addrs, addr};
use crate::script::{OUR_KEY, PEER_KEY, Script};
use crate::world::{Side, World, server_addr};
use anabranch_mptcp::keys::add_addr_hmac;
use anabranch_mptcp::{Config, Event, RemoteAddr};
use anabranch_wire::mptcp::{AddAddr, Capable, MptcpOption};
use anabranch_wire::tcp::Options;
use std::time::Duration;

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
        let announced = add_addrs(&s.wait(Duration::from_millis(1500)));
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
fn several_together_share_an_ack_as_they_fit() {
    let config = Config {
        add_addr_together: true,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    for id in 1..=4 {
        s.conn
            .announce(s.now, id, addr(&format!("10.9.9.{id}")), None)
            .expect("announced");
    }
    let out = s.out();
    let ids = |o: &anabranch_mptcp::Outgoing| {
        let adds = add_addrs(std::slice::from_ref(o));
        adds.iter().map(|a| a.address_id).collect::<Vec<u8>>()
    };
    let acks: Vec<Vec<u8>> = out.iter().map(ids).collect();
    assert_eq!(acks, [[1, 2], [3, 4]]);
}

#[test]
fn a_lost_echo_is_asked_for_again() {
    let mut world = World::connected(1);
    let mut lost = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        let echo = |o: &MptcpOption| matches!(o, MptcpOption::AddAddr(a) if a.echo);
        lost += usize::from(w.options().iter().any(echo));
        !w.options().iter().any(echo) || lost > 2
    }));
    world
        .with_conn(Side::Server, |c, now| {
            c.announce(now, 3, server_addr(1), None)
        })
        .expect("announced");
    world.run_for(Duration::from_secs(20));
    let echoed = |e: &&Event| matches!(e, Event::Echoed(3));
    assert_eq!(world.server.events.iter().filter(echoed).count(), 1);
    assert_eq!(super::announced(&world.client.events).len(), 1);
    let counters = world.server.info().counters;
    assert_eq!((counters.add_addr_out, counters.echo_in), (3, 1));
}

#[test]
fn an_echo_of_what_was_never_announced_means_nothing() {
    let mut s = Script::new();
    s.conn
        .announce(s.now, 1, addr("10.9.9.9"), None)
        .expect("announced");
    let [sent] = &add_addrs(&s.out())[..] else {
        panic!("one announcement")
    };
    let echo = AddAddr {
        echo: true,
        hmac: None,
        ..sent.clone()
    };
    let others = [
        AddAddr {
            address_id: 2,
            ..echo.clone()
        },
        AddAddr {
            addr: addr("10.9.9.8"),
            ..echo.clone()
        },
        AddAddr {
            port: Some(1),
            ..echo.clone()
        },
    ];
    s.ack(0, others.into_iter().map(MptcpOption::AddAddr).collect());
    assert!(!s.events.iter().any(|e| matches!(e, Event::Echoed(_))));
    assert_eq!(
        add_addrs(&s.wait(Duration::from_millis(2010))).len(),
        1,
        "again"
    );
    for _ in 0..3 {
        s.ack(0, vec![MptcpOption::AddAddr(echo.clone())]);
    }
    let echoed = |e: &&Event| matches!(e, Event::Echoed(1));
    assert_eq!(s.events.iter().filter(echoed).count(), 1);
}

/// With IPv6 and a port it fills an ACK of its own: what else has to be said is not lost.
#[test]
fn a_long_announcement_displaces_neither_data_fin_nor_priority() {
    let mut s = Script::new();
    let id = s.lines[0].id;
    s.conn
        .announce(s.now, 3, addr("2001:db8::1"), Some(8443))
        .expect("announced");
    s.conn.set_backup(s.now, id, true).expect("set");
    s.conn.shutdown(s.now);
    let options: Vec<MptcpOption> = s.out().into_iter().flat_map(|o| o.mptcp).collect();
    let has = |f: fn(&MptcpOption) -> bool| options.iter().filter(|o| f(o)).count();
    assert_eq!(has(|o| matches!(o, MptcpOption::AddAddr(_))), 1);
    assert_eq!(has(|o| matches!(o, MptcpOption::Prio(_))), 1);
    assert!(has(|o| matches!(o, MptcpOption::Dss(d) if d.data_fin)) >= 1);
}

/// The peer cannot know our HMAC before it has our key.
#[test]
fn a_client_announces_once_the_server_has_its_key() {
    let mut world = World::new(2);
    world.middlebox = Some(Box::new(|_, w| {
        let keys = |o: &MptcpOption| matches!(o, MptcpOption::Capable(Capable::Ack { data, .. }) if data.is_none());
        !w.options().iter().any(keys)
    }));
    world.connect();
    world.run_until(Duration::from_secs(1), |w| w.client.conn().is_multipath());
    let ours = crate::world::client_addr(1);
    world
        .with_conn(Side::Client, |c, now| c.announce(now, 7, ours, None))
        .expect("announced");
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.client.info().counters.add_addr_out, 0);
    world.send(Side::Client, bytes::Bytes::from_static(b"hello"));
    world.run_for(Duration::from_millis(500));
    assert_eq!(super::announced(&world.server.events), [(7, ours, None)]);
}

#[test]
fn an_announcement_goes_where_the_path_works() {
    let mut world = World::joined(2);
    world.links[0].up = false;
    world.send(Side::Server, crate::world::pattern(200_000, 1));
    world.run_for(Duration::from_secs(3));
    world
        .with_conn(Side::Server, |c, now| {
            c.announce(now, 3, server_addr(3), None)
        })
        .expect("announced");
    world.run_for(Duration::from_millis(200));
    assert_eq!(
        super::announced(&world.client.events),
        [(3, server_addr(3), None)]
    );
}

#[test]
fn an_address_without_echo_comes_again_no_later_than_is_set() {
    let second = Duration::from_secs(1);
    let config = Config {
        add_addr_retry: second,
        add_addr_retry_max: second,
        add_addr_tries: 4,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.conn
        .announce(s.now, 3, addr("10.9.0.1"), None)
        .expect("announced");
    assert_eq!(add_addrs(&s.out()).len(), 1);
    for _ in 0..3 {
        assert_eq!(add_addrs(&s.wait(second)).len(), 1);
    }
    assert_eq!(add_addrs(&s.wait(10 * second)).len(), 0);
}
