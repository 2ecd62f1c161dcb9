//! Keys are kept no longer than they are needed, and not printed (RFC 8684 §5).

use crate::script::{OUR_KEY, PEER_KEY, Script};
use anabranch_mptcp::keys::{JoinSecret, Version};
use anabranch_wire::mptcp::MptcpOption;
use std::fmt::Debug;

fn assert_secret(what: &impl Debug, keys: &str) {
    let text = format!("{what:?} {what:#?}");
    for key in [OUR_KEY, PEER_KEY] {
        for form in [format!("{key}"), format!("{key:x}"), format!("{key:X}")] {
            assert!(!text.contains(&form), "{form} in {text}");
        }
    }
    assert!(text.contains(keys), "{keys} in {text}");
}

#[test]
fn a_connection_is_printed_without_its_keys() {
    let mut s = Script::new();
    assert_secret(&s.conn, "Keys(both)");
    // Nor while MP_FASTCLOSE waits to leave; with it the keys go.
    s.conn.abort(s.now);
    assert_secret(&s.conn, "Keys(both)");
    let told = |o: &MptcpOption| *o == MptcpOption::FastClose(PEER_KEY);
    assert!(s.out()[0].mptcp.iter().any(told));
    assert_secret(&s.conn, "Keys(wiped)");
}

#[test]
fn the_keys_of_a_join_are_not_printed() {
    let secret = JoinSecret {
        version: Version::V1,
        sender_key: OUR_KEY,
        receiver_key: PEER_KEY,
        sender_nonce: 1,
        receiver_nonce: 2,
    };
    assert_secret(&secret, "JoinSecret");
}

#[test]
fn after_the_end_there_are_no_keys() {
    let mut s = Script::new();
    s.conn.shutdown(s.now);
    s.out();
    let dsn = s.mapping(0, 0, 1);
    let fin = MptcpOption::Dss(anabranch_wire::mptcp::Dss {
        data_ack: Some(anabranch_wire::mptcp::Dsn::Long(Script::our_dsn(1))),
        mapping: Some(anabranch_wire::mptcp::DssMapping { ssn: 0, ..dsn }),
        data_fin: true,
    });
    assert_secret(&s.conn, "Keys(both)");
    s.ack(0, vec![fin]);
    assert!(s.conn.closed().is_some());
    assert_secret(&s.conn, "Keys(wiped)");
}

#[test]
fn after_a_fallback_nobody_closes_by_key() {
    let mut s = Script::new();
    s.data(0, 0, b"plain", vec![]);
    assert!(s.conn.fallback().is_some());
    assert_secret(&s.conn, "Keys(wiped)");
    for key in [OUR_KEY, 0] {
        s.ack_at(0, 5, vec![MptcpOption::FastClose(key)]);
        assert_eq!(s.conn.closed(), None);
    }
}
