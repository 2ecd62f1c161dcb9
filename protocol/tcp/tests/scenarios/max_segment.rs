//! The segment size that the application asks for.

use crate::harness::script::{Script, plain};
use anabranch_tcp::SocketOption::{MaxSegment, SynRetries, WindowClamp};
use anabranch_tcp::{Config, OutOfRange};
use anabranch_wire::tcp::Options;

#[test]
fn before_the_handshake_it_is_announced_and_kept() {
    let mut config = plain();
    assert_eq!(config.set(&MaxSegment(600)), Ok(()));
    let mut t = Script::connecting(&config);
    let Options::Syn(syn) = &t.last.as_ref().expect("a SYN").options else {
        panic!("options of a SYN");
    };
    assert_eq!(syn.mss, Some(600));
    t.inject("S. 0:0 ack 1 mss 1000");
    t.sent();
    t.write(1000);
    assert_eq!(t.sent(), [". 1:601 ack 1", "P. 601:1001 ack 1"]);
}

#[test]
fn later_it_bounds_what_we_send() {
    let mut t = Script::open(&plain());
    t.set(MaxSegment(500));
    t.write(1000);
    assert_eq!(t.sent(), [". 1:501 ack 1", "P. 501:1001 ack 1"]);
    t.set(MaxSegment(900));
    t.inject(". 1:1 ack 1001");
    t.write(600);
    assert_eq!(t.sent().len(), 2, "never more than the path took");
}

#[test]
fn values_out_of_range_are_refused_and_change_nothing() {
    let mut config = Config::default();
    for option in [
        MaxSegment(87),
        MaxSegment(32_768),
        SynRetries(128),
        WindowClamp(Some(0)),
    ] {
        assert_eq!(config.set(&option), Err(OutOfRange), "{option:?}");
    }
    assert_eq!(config.mss, Config::default().mss);
}

#[test]
fn a_window_clamp_bounds_what_is_advertised_without_taking_anything_back() {
    let mut t = Script::open(&plain());
    t.inject("P. 1:101 ack 1");
    assert_eq!(t.window(), 59_900);
    t.set(WindowClamp(Some(4000)));
    t.inject("P. 101:1101 ack 1");
    assert_eq!(t.window(), 58_900, "the edge stands");
    t.read(2000);
    for i in 0..56 {
        let at = 1101 + 1000 * i;
        t.inject(&format!("P. {at}:{} ack 1", at + 1000));
        t.read(1000);
    }
    assert_eq!(t.window(), 4000);
}
