//! What the peer announces (RFC 8684 §3.4.1).

use super::{add_addrs, addr, announced, echo, peers};
use crate::script::{PEER_KEY, Script, flags};
use crate::world::{Side, World, server_addr};
use anabranch_mptcp::{Config, Event};
use anabranch_wire::mptcp::{AddAddr, Capable, MptcpOption};
use anabranch_wire::tcp::Flags;
use smallvec::smallvec;
use std::time::Duration;

#[test]
fn a_repeated_announcement_is_echoed_each_time_and_reported_once() {
    let mut s = Script::new();
    for _ in 0..3 {
        // More than two ACKs in a row that only signal do not leave at once.
        s.wait(Duration::from_secs(2));
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
fn a_flood_makes_no_more_events_than_addresses_are_kept() {
    let mut s = Script::new();
    for n in 0..2000u32 {
        let text = format!("10.{}.{}.1", n >> 8, n & 255);
        s.ack(0, vec![peers((n % 255) as u8 + 1, &text, None)]);
    }
    assert_eq!(announced(&s.events).len(), 32);
    // What was dropped was counted: over the limit, or with an ID that stands for another.
    let counters = s.conn.info().counters;
    assert_eq!(counters.add_addr_dropped, 2000 - 32);
    // Withdrawn IDs make room.
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![1, 2])]);
    s.ack(0, vec![peers(1, "192.0.2.1", None)]);
    assert_eq!(announced(&s.events).len(), 33);
}

/// The host must withdraw the ID first.
#[test]
fn an_id_announced_with_another_address_is_ignored() {
    let mut s = Script::new();
    s.ack(0, vec![peers(4, "192.0.2.7", None)]);
    s.out();
    s.ack(0, vec![peers(4, "192.0.2.8", None)]);
    assert_eq!(add_addrs(&s.out()), []);
    assert_eq!(s.conn.info().counters.add_addr_dropped, 1);
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![4])]);
    s.ack(0, vec![peers(4, "192.0.2.8", None)]);
    assert_eq!(add_addrs(&s.out()), [echo(&peers(4, "192.0.2.8", None))]);
    let both = [(4, addr("192.0.2.7"), None), (4, addr("192.0.2.8"), None)];
    assert_eq!(announced(&s.events), both);
}

#[test]
fn an_id_announced_with_another_port_is_one_more_way() {
    let mut s = Script::new();
    s.ack(0, vec![peers(4, "192.0.2.7", None)]);
    s.ack(0, vec![peers(4, "192.0.2.7", Some(8080))]);
    let ports: Vec<Option<u16>> = s.conn.remote_addrs().iter().map(|a| a.port).collect();
    assert_eq!(ports, [None, Some(8080)]);
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![4])]);
    assert_eq!(s.conn.remote_addrs(), []);
}

#[test]
fn id_0_is_the_address_of_the_initial_subflow() {
    let mut s = Script::new();
    let initial = s.conn.path(s.lines[0].id).expect("a path").remote.ip();
    let right = peers(0, &initial.to_string(), None);
    s.ack(0, vec![right.clone()]);
    assert_eq!(add_addrs(&s.out()), [echo(&right)]);
    s.ack(0, vec![peers(0, "192.0.2.8", None)]);
    assert_eq!(add_addrs(&s.out()), []);
    assert_eq!(announced(&s.events), [(0, initial, None)]);
}

#[test]
fn the_peers_initial_address_may_have_an_announced_id_too() {
    let mut s = Script::new();
    let initial = s.conn.path(s.lines[0].id).expect("a path").remote.ip();
    let again = peers(9, &initial.to_string(), Some(8443));
    s.ack(0, vec![again.clone()]);
    assert_eq!(add_addrs(&s.out()), [echo(&again)]);
    assert_eq!(announced(&s.events), [(9, initial, Some(8443))]);
}

/// Echoed, so that it is not repeated.
#[test]
fn an_address_that_cannot_be_the_peers_is_not_reported() {
    let mut s = Script::new();
    let ours = s.conn.path(s.lines[0].id).expect("a path").local.ip();
    let useless = [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
    ];
    let useless = useless
        .into_iter()
        .map(str::to_owned)
        .chain([ours.to_string()]);
    for (id, text) in (1..).zip(useless) {
        s.wait(Duration::from_secs(2));
        s.ack(0, vec![peers(id, &text, None)]);
        assert_eq!(add_addrs(&s.out()).len(), 1, "{text}");
    }
    assert_eq!(announced(&s.events), []);
    assert_eq!(s.conn.info().counters.add_addr_dropped, 8);
}

#[test]
fn an_announcement_is_echoed_on_the_subflow_it_came_on() {
    let mut s = Script::new();
    let second = s.join(1);
    s.ack(second, vec![peers(4, "192.0.2.7", None)]);
    let out = s.out();
    let echo = out
        .iter()
        .find(|o| !add_addrs(std::slice::from_ref(o)).is_empty());
    assert_eq!(echo.expect("an echo").subflow, s.lines[second].id);
}

#[test]
fn without_a_port_it_is_that_of_the_subflow_it_came_on() {
    let mut s = Script::new();
    let second = s.join(1);
    let port = s
        .conn
        .path(s.lines[second].id)
        .expect("a path")
        .remote
        .port();
    s.ack(second, vec![peers(4, "192.0.2.7", None)]);
    assert_eq!(announced(&s.events), [(4, addr("192.0.2.7"), Some(port))]);
    assert_eq!(
        add_addrs(&s.out())[0].port,
        None,
        "the echo repeats what came"
    );
}

#[test]
fn before_the_keys_are_known_nothing_is_announced() {
    let syn = Capable::Syn {
        version: 1,
        flags: flags(false),
        key: None,
    };
    let mut s = Script::syn(Config::default(), PEER_KEY, &syn);
    s.out();
    s.ack(0, vec![peers(4, "192.0.2.7", None)]);
    assert_eq!(
        (add_addrs(&s.out()), announced(&s.events)),
        (vec![], vec![])
    );
    assert_eq!(s.conn.info().counters.add_addr_dropped, 1);
}

#[test]
fn an_announcement_on_a_reset_is_ignored() {
    let mut s = Script::new();
    let second = s.join(1);
    s.put(
        second,
        0,
        Flags::RST,
        &[],
        vec![peers(4, "192.0.2.7", None)],
    );
    assert_eq!(
        (add_addrs(&s.out()), announced(&s.events)),
        (vec![], vec![])
    );
}

#[test]
fn an_announcement_on_a_syn_is_ignored() {
    let mut world = World::new(2);
    let (server, client) = (world.server.key, world.client.key);
    world.middlebox = Some(Box::new(move |_, w| {
        if w.has(Flags::SYN) && w.has(Flags::ACK) {
            let hmac = Some(anabranch_mptcp::keys::add_addr_hmac(
                server,
                client,
                4,
                server_addr(1),
                None,
            ));
            w.packet.mptcp.push(MptcpOption::AddAddr(AddAddr {
                address_id: 4,
                addr: server_addr(1),
                port: None,
                echo: false,
                hmac,
            }));
        }
        true
    }));
    world.connect();
    world.run_for(Duration::from_secs(1));
    assert_eq!(announced(&world.client.events), []);
    assert_eq!(world.client.info().counters.echo_out, 0);
    assert!(world.client.conn().is_multipath());
    let heard = |e: &Event| matches!(e, Event::Announced(_));
    assert!(!world.host(Side::Server).events.iter().any(heard));
}

#[test]
fn an_address_has_an_ack_to_itself_and_the_data_ack_follows() {
    let mut s = Script::new();
    let mapping = s.mapping(0, 0, 5);
    let dss = s.dss(0, Some(mapping));
    s.data(0, 0, b"bytes", vec![dss, peers(7, "10.9.0.1", None)]);
    let out = s.out();
    let [echo, ack] = &out[..] else {
        panic!("{out:?}");
    };
    assert!(matches!(&echo.mptcp[..], [MptcpOption::AddAddr(add)] if add.echo));
    assert!(matches!(&ack.mptcp[..], [MptcpOption::Dss(_)]));
    assert_eq!(s.data_acked(&out), Some(5));
}
