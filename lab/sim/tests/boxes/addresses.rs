//! Addresses, ports, sequence numbers, timestamps.

use crate::{packet, pass, segment, syn, v4};
use anabranch_sim::middlebox::{Nat, Readdress, Renumber, Restamp};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{AddAddr, MptcpOption};
use anabranch_wire::tcp::{Flags, Options};
use std::net::Ipv4Addr;

#[test]
fn nat_translates_there_and_back() {
    for (inside, outside, peer) in [
        ("10.0.0.1:4660", "192.0.2.7:4656", "10.0.0.2:443"),
        ("[fd00::1]:4660", "[2001:db8::7]:4656", "[fd00::2]:443"),
    ] {
        let ip = |end: &str| end.parse::<std::net::SocketAddr>().unwrap().ip();
        let nat = Nat {
            inside: ip(inside),
            outside: ip(outside),
            flip: 4,
        };
        let out = pass(nat, &packet(inside, peer, b"x")).remove(0);
        assert_eq!(
            (out.src.to_string(), out.dst.to_string()),
            (outside.into(), peer.into())
        );
        let back = pass(nat, &packet(peer, outside, b"x")).remove(0);
        assert_eq!(
            (back.src.to_string(), back.dst.to_string()),
            (peer.into(), inside.into())
        );
    }
}

#[test]
fn renumbering_moves_seq_in_one_direction_and_ack_and_sack_in_the_other() {
    let renumber = Renumber::new(0xffff_ff00);
    let there = pass(renumber, &v4()).remove(0);
    assert_eq!((there.seq, there.ack), (Seq(1000 - 256), Seq(50)));
    let back = pass(renumber.counterpart(), &v4()).remove(0);
    assert_eq!((back.seq, back.ack), (Seq(1000), Seq(50 + 256)));
    let Options::Segment(options) = back.options else {
        panic!("no SYN");
    };
    assert_eq!(
        options.sack[..],
        [(Seq(356), Seq(456)), (Seq(556), Seq(656))]
    );
}

#[test]
fn timestamps_move_in_one_direction_and_their_echoes_in_the_other() {
    let stamps = |box_: Restamp| match pass(box_, &segment(1, Flags::ACK, 1, b""))
        .remove(0)
        .options
    {
        Options::Segment(options) => options.timestamps.map(|t| (t.val, t.ecr)),
        Options::Syn(_) => None,
    };
    let there = Restamp::new(7);
    assert_eq!(stamps(there), Some((17, 20)));
    assert_eq!(stamps(there.counterpart()), Some((10, 13)));
    // Nothing is echoed on a SYN.
    let Options::Syn(options) = pass(there.counterpart(), &syn(None)).remove(0).options else {
        panic!("a SYN");
    };
    assert_eq!(options.timestamps.map(|t| t.ecr), Some(0));
}

#[test]
fn an_announced_address_becomes_another() {
    let add = |addr: Ipv4Addr| {
        MptcpOption::AddAddr(AddAddr {
            address_id: 3,
            addr: addr.into(),
            port: Some(443),
            echo: false,
            hmac: Some(77),
        })
    };
    let (inside, outside) = (Ipv4Addr::new(10, 9, 8, 7), Ipv4Addr::new(192, 0, 2, 1));
    let options = Options::Segment(Default::default());
    let mptcp = [add(inside)];
    let packet = crate::wire(crate::build(&options, &mptcp), b"");
    let passed = pass(Readdress(outside), &packet).remove(0);
    assert_eq!(passed.mptcp[..], [add(outside)]);
}
