//! Data sequence numbers and DATA_ACKs of 32 and 64 bits, in every mix and across the wrap-around
//! of 32 bits (RFC 8684 §3.3.1). That of 64 bits is `space.rs`'s own test: no key is known whose
//! hash lies there.

use crate::script::Script;
use crate::world::{Side, Wire, World, pattern};
use anabranch_mptcp::keys::{Version, derive};
use anabranch_mptcp::{CloseReason, Config};
use anabranch_wire::mptcp::{Dsn, Dss, MptcpOption};
use anabranch_wire::tcp::Flags;
use std::sync::OnceLock;
use std::time::Duration;

/// Keys whose IDSN is so near a multiple of 2³² that a stream crosses it. Many are tried: the
/// tests are for the arithmetic, not for the hash.
pub(crate) fn keys_near_wrap() -> [u64; 2] {
    static KEYS: OnceLock<[u64; 2]> = OnceLock::new();
    *KEYS.get_or_init(|| {
        let near = |k: &u64| derive(Version::V1, *k).idsn as u32 > u32::MAX - 9_000;
        let mut keys = (1..).filter(near);
        [(); 2].map(|()| keys.next().expect("a key"))
    })
}

fn config(short: bool, checksum: bool) -> Config {
    Config {
        short_dsn: short,
        checksum,
        ..Config::default()
    }
}

/// Width of the mapping on a packet.
fn long_dsn(w: &Wire) -> Option<bool> {
    let mapping = w.dss().and_then(|dss| dss.mapping);
    mapping.map(|m| m.dsn.is_long())
}

fn long_ack(w: &Wire) -> Option<bool> {
    let ack = w.dss().and_then(|dss| dss.data_ack);
    ack.map(Dsn::is_long)
}

#[test]
fn both_ends_in_every_mix_across_the_wrap_around() {
    for mix in 0..8 {
        let short = [mix & 1 != 0, mix & 2 != 0];
        let checksum = mix & 4 != 0;
        let [a, b] = short.map(|short| config(short, checksum));
        let mut world = World::with(a, b, 2);
        [world.client.key, world.server.key] = keys_near_wrap();
        world.links.iter_mut().for_each(|l| l.loss = 0.01);
        world.establish();
        world.join(1);
        let (up, down) = (pattern(60_000, 1), pattern(40_000, 2));
        world.send_all(Side::Client, up.clone());
        world.send_all(Side::Server, down.clone());
        world.run_until(Duration::from_secs(60), |w| {
            w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
        });
        assert!(world.server.received == up && world.client.received == down);
        assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
        for (side, short) in [(Side::Client, short[0]), (Side::Server, short[1])] {
            let spoken = |long| world.count(|w| w.from == side && long_dsn(w) == Some(long));
            assert!(spoken(!short) > 5, "{side:?} {mix}");
            assert_eq!(spoken(short), 0, "{side:?} {mix}");
            // The other end's numbers decide about our acknowledgements.
            let acks = |long| world.count(|w| w.from == side.other() && long_ack(w) == Some(long));
            assert!(acks(!short) > 5);
            // MP_CAPABLE with the client's first data counts as a long one.
            let never_long = short && side == Side::Server;
            assert!(!never_long || acks(true) == 0, "{mix}");
        }
    }
}

#[test]
fn the_first_data_with_mp_capable_leaves_room_for_it_beside_short_numbers() {
    let mut world = World::with(config(true, true), config(true, true), 1);
    world.connect();
    world.send_all(Side::Client, pattern(10_000, 1));
    world.run_for(Duration::from_secs(2));
    assert!(world.server.received == pattern(10_000, 1));
}

/// A DATA_ACK of ours, in any width.
fn data_ack(position: u64, long: bool) -> MptcpOption {
    MptcpOption::Dss(Dss {
        data_ack: Some(Dsn::new(Script::our_dsn(position), long)),
        mapping: None,
        data_fin: false,
    })
}

#[test]
fn a_data_ack_that_goes_back_changes_nothing() {
    for long in [false, true] {
        let mut s = Script::new();
        s.lines[0].window = 2_000;
        s.conn.send(pattern(1_000, 1));
        s.out();
        s.ack(0, vec![data_ack(600, long)]);
        let before = s.conn.info();
        assert_eq!(before.unacked, 400);
        for old in [300, 0, 599, 600] {
            s.ack(0, vec![data_ack(old, long)]);
        }
        let after = s.conn.info();
        assert_eq!(after.unacked, 400);
        assert_eq!(after.peer_window, before.peer_window);
        assert_eq!(after.counters.bad_options, 0);
    }
}

#[test]
fn a_data_ack_beyond_what_was_sent_is_ignored_in_either_width() {
    for long in [false, true] {
        let mut s = Script::new();
        s.conn.send(pattern(1_000, 1));
        s.out();
        for beyond in [1_001, 1_002, 1 << 30] {
            s.ack(0, vec![data_ack(beyond, long)]);
        }
        let info = s.conn.info();
        assert_eq!((info.unacked, info.counters.bad_options), (1_000, 3));
        s.ack(0, vec![data_ack(1_000, long)]);
        assert_eq!(s.conn.info().unacked, 0);
    }
}

#[test]
fn the_data_ack_of_the_stream_may_be_one_more_only_after_data_fin() {
    let mut s = Script::new();
    s.conn.send(pattern(1_000, 1));
    s.out();
    s.ack(0, vec![data_ack(1_001, true)]);
    assert_eq!(s.conn.info().unacked, 1_000);
    s.conn.shutdown(s.now);
    s.out();
    s.ack(0, vec![data_ack(1_001, true)]);
    assert_eq!(s.conn.info().unacked, 0);
    assert_eq!(s.conn.info().state, anabranch_tcp::State::FinWait2);
    assert!(!s.out().iter().any(|o| o.emit.flags.has(Flags::FIN)));
}
