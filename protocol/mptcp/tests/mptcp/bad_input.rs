//! What no honest peer sends: counted or answered, never a panic, never memory without bound.

use crate::script::{OUR_KEY, PEER_KEY, Script, flags};
use crate::world::{Rng, Side, World, pattern};
use anabranch_mptcp::{Config, SubflowId};
use anabranch_wire::mptcp::{
    AddAddr, Capable, CapableData, Dsn, Dss, DssMapping, Join, MptcpOption, Prio, ResetReason,
    TcpRst,
};
use anabranch_wire::tcp::Flags;
use proptest::prelude::*;
use smallvec::smallvec;
use std::net::IpAddr;
use std::time::Duration;

/// A number near one that matters, or any.
fn near(rng: &mut Rng, n: u64) -> u64 {
    match rng.below(5) {
        0 => n,
        1 => n.wrapping_add(rng.below(3000)).wrapping_sub(1500),
        2 => n.wrapping_add(1 << rng.below(64)),
        3 => rng.next(),
        _ => n.wrapping_add(rng.below(1 << 20)),
    }
}

fn dsn(rng: &mut Rng, n: u64) -> Dsn {
    Dsn::new(near(rng, n), rng.chance(0.5))
}

fn option(rng: &mut Rng, s: &Script) -> MptcpOption {
    let received = s.conn.info().counters.bytes_in;
    let key = |rng: &mut Rng, right: u64| if rng.chance(0.7) { right } else { rng.next() };
    match rng.below(12) {
        0..5 => {
            let mapping = rng.chance(0.8).then(|| DssMapping {
                dsn: dsn(rng, s.dsn(received)),
                ssn: near(rng, received + 1) as u32,
                len: rng.next() as u16 >> rng.below(16),
                checksum: rng.chance(0.2).then(|| rng.next() as u16),
            });
            let data_ack = rng.chance(0.8).then(|| dsn(rng, Script::our_dsn(0)));
            MptcpOption::Dss(Dss {
                data_ack,
                mapping,
                data_fin: rng.chance(0.1),
            })
        }
        5 => MptcpOption::Capable(Capable::Ack {
            version: 1,
            flags: flags(rng.chance(0.1)),
            sender_key: key(rng, PEER_KEY),
            receiver_key: key(rng, OUR_KEY),
            data: rng.chance(0.5).then(|| CapableData {
                len: rng.next() as u16,
                checksum: None,
            }),
        }),
        6 => MptcpOption::Join(Join::Ack {
            hmac: [rng.next() as u8; 20],
        }),
        7 => {
            let addr: IpAddr = [10, 0, rng.next() as u8, 1].into();
            let echo = rng.chance(0.3);
            let hmac = (!echo).then(|| rng.next());
            let address_id = rng.next() as u8;
            MptcpOption::AddAddr(AddAddr {
                address_id,
                addr,
                port: None,
                echo,
                hmac,
            })
        }
        8 => MptcpOption::RemoveAddr(smallvec![rng.next() as u8, rng.next() as u8]),
        9 => MptcpOption::Prio(Prio {
            backup: rng.chance(0.5),
            address_id: None,
        }),
        10 => MptcpOption::Fail(near(rng, s.dsn(received))),
        _ if rng.chance(0.1) => MptcpOption::FastClose(key(rng, OUR_KEY)),
        _ => MptcpOption::TcpRst(TcpRst {
            transient: false,
            reserved: 0,
            reason: ResetReason::Unspecified,
        }),
    }
}

/// Segments within and around the window, with options that may say anything.
fn nonsense(seed: u64) {
    let mut rng = Rng(seed);
    let config = Config {
        initial_window: 60_000,
        checksum: rng.chance(0.3),
        gso_max: 60_000,
        ..Config::default()
    };
    let mut s = if rng.chance(0.8) {
        Script::with(config, PEER_KEY)
    } else {
        let syn = Capable::Syn {
            version: 1,
            flags: flags(false),
            key: None,
        };
        Script::syn(config, PEER_KEY, &syn)
    };
    if rng.chance(0.5) && s.conn.is_multipath() {
        s.join(1);
    }
    for _ in 0..120 {
        let line = rng.below(s.lines.len() as u64) as usize;
        let id = s.lines[line].id;
        let nxt = s.conn.tcb(id).map_or(0, |t| t.rcv_nxt());
        let rel = nxt + [0, 0, 0, rng.below(4000)][rng.below(4) as usize];
        let payload = vec![rng.next() as u8; (rng.next() as usize & 0xffff) >> rng.below(17)];
        let mut extra = Flags(0);
        if rng.chance(0.01) {
            extra = [Flags::FIN, Flags::RST, Flags::SYN][rng.below(3) as usize];
        }
        let options = (0..rng.below(3)).map(|_| option(&mut rng, &s)).collect();
        s.put(line, rel, extra, &payload, options);
        match rng.below(8) {
            0 => drop(s.conn.send(pattern(rng.below(5000) as usize, seed))),
            1 => drop(s.read()),
            2 => drop(s.wait(Duration::from_millis(rng.below(3000)))),
            3 if rng.chance(0.02) => s.conn.shutdown(s.now),
            4 if rng.chance(0.02) => s.conn.abort(s.now),
            5 => drop(s.conn.set_backup(s.now, id, true)),
            _ => drop(s.out()),
        }
        let info = s.conn.info();
        assert!(
            info.unread + info.out_of_order <= 4 << 20,
            "seed {seed}: {info:?}"
        );
    }
    s.wait(Duration::from_secs(2000));
    s.conn.abort(s.now);
    s.wait(Duration::from_secs(200));
    assert!(s.conn.is_finished(), "seed {seed}: {:?}", s.conn.info());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn no_segment_breaks_a_connection(seed: u64) {
        nonsense(seed);
    }
}

/// A middlebox that changes options at random: the ends may give up, but neither breaks.
fn meddling(seed: u64) {
    let mut world = World::new(2);
    world.keep_log = false;
    let mut rng = Rng(seed);
    let mut own = Rng(rng.next());
    world.middlebox = Some(Box::new(move |_, w| {
        if own.chance(0.9) || w.packet.mptcp.is_empty() {
            return true;
        }
        let at = own.below(w.packet.mptcp.len() as u64) as usize;
        match &mut w.packet.mptcp[at] {
            _ if own.chance(0.3) => drop(w.packet.mptcp.remove(at)),
            MptcpOption::Dss(dss) => {
                if let Some(m) = &mut dss.mapping {
                    m.ssn = m.ssn.wrapping_add(own.below(3) as u32 * 700);
                    m.len = m.len.wrapping_sub(own.below(100) as u16);
                }
                if let Some(ack) = &mut dss.data_ack {
                    *ack = Dsn::Long(ack.expand(0).wrapping_add(own.below(5000)));
                }
                dss.data_fin ^= own.chance(0.05);
            }
            MptcpOption::Capable(Capable::Ack { sender_key, .. }) => *sender_key ^= 1,
            MptcpOption::Join(Join::Ack { hmac }) => hmac[0] ^= 1,
            _ => {}
        }
        true
    }));
    world.connect();
    world.run_for(Duration::from_millis(300));
    if world.client.conn().is_multipath() {
        world.join(1);
    }
    world.send_all(Side::Client, pattern(60_000, seed));
    world.run_for(Duration::from_secs(3));
    if world.server.connection.is_some() {
        world.send_all(Side::Server, pattern(60_000, seed));
    }
    world.run_for(Duration::from_secs(60));
    world.with_conn(Side::Client, |c, now| c.abort(now));
    // TIME-WAIT is sat out.
    world.run_for(Duration::from_secs(61));
    let finished = world.client.conn().is_finished();
    assert!(finished, "seed {seed}: {}", world.describe());
}

#[test]
fn no_meddling_breaks_a_connection() {
    (0..400).for_each(meddling);
}

#[test]
fn a_data_ack_beyond_what_was_sent_is_counted_and_ignored() {
    let mut s = Script::new();
    s.conn.send(pattern(1000, 1));
    s.out();
    let dss = s.dss(5000, None);
    s.ack(0, vec![dss]);
    let info = s.conn.info();
    assert_eq!((info.counters.bad_options, info.unacked), (1, 1000));
}

#[test]
fn a_segment_of_no_subflow_is_ignored() {
    let mut s = Script::new();
    s.lines[0].id = SubflowId(99);
    s.mapped(0, 0, 0, b"whose?");
    assert_eq!(s.read(), b"");
}

#[test]
fn mappings_without_their_bytes_are_bounded() {
    let mut s = Script::new();
    for i in 0..60_000u64 {
        let dss = s.dss(0, Some(s.mapping(i, i + 5, 1)));
        s.ack(0, vec![dss]);
    }
    s.out();
    // Those that were kept still serve; the first bytes come with theirs.
    s.mapped(0, 0, 70_000, b"fifth");
    assert_eq!(s.conn.info().subflows.len(), 1);
}

#[test]
fn many_tiny_pieces_out_of_order_are_bounded() {
    let config = Config {
        initial_window: 60_000,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    for i in 0..25_000u64 {
        // In order on the subflow, with gaps at data level.
        s.mapped(0, i, 1 + 2 * i, b"x");
        if i % 100 == 0 {
            s.out();
        }
    }
    let info = s.conn.info();
    assert!(info.out_of_order < 3000, "{}", info.out_of_order);
    assert!(info.counters.dropped_bytes > 20_000);
}
