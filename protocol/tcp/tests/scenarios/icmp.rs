//! ICMP errors: RFC 5927, RFC 1191, RFC 5461.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::icmp::IcmpKind;
use anabranch_tcp::{Close, Config, Event, IcmpError, State};

fn icmp(t: &mut Script, position: u32, kind: IcmpKind) {
    let seq = t.stream.tcb().iss() + position;
    t.stream.on_icmp(t.now, IcmpError { seq, kind });
    t.drain();
}

#[test]
fn too_big_sends_again_in_smaller_segments_without_blaming_congestion() {
    let mut t = Script::open(&plain());
    t.write(3000);
    let cwnd = t.stream.tcb().cwnd();
    t.sent();
    icmp(&mut t, 1, IcmpKind::TooBig { mss: 600 });
    let sizes = ["1:601", "601:1201", "1201:1801", "1801:2401", "2401:3001"];
    let sent = t.sent();
    assert_eq!(sent.len(), 5);
    assert!(
        sent.iter()
            .zip(sizes)
            .all(|(line, size)| line.contains(size)),
        "{sent:?}"
    );
    t.wait(ms(100));
    t.inject(". 1:1 ack 3001");
    assert!(t.stream.tcb().cwnd() >= cwnd);
    t.write(1000);
    assert_eq!(t.sent(), [". 3001:3601 ack 1", "P. 3601:4001 ack 1"]);
}

#[test]
fn one_that_quotes_nothing_in_flight_is_not_believed() {
    let mut t = Script::open(&plain());
    t.write(3000);
    t.sent();
    icmp(&mut t, 3001, IcmpKind::TooBig { mss: 600 });
    icmp(&mut t, 0, IcmpKind::TooBig { mss: 600 });
    assert_eq!((t.sent().len(), t.stream.tcb().mss()), (0, 1000));
}

#[test]
fn a_ridiculous_size_is_bounded_and_a_larger_one_ignored() {
    let mut t = Script::open(&plain());
    t.write(3000);
    icmp(&mut t, 1, IcmpKind::TooBig { mss: 1200 });
    assert_eq!(t.stream.tcb().mss(), 1000);
    icmp(&mut t, 1, IcmpKind::TooBig { mss: 20 });
    assert_eq!(t.stream.tcb().mss(), 512);
}

#[test]
fn unreachable_ends_a_handshake_but_not_a_connection() {
    let mut t = Script::connecting(&plain());
    icmp(&mut t, 0, IcmpKind::Unreachable { hard: false });
    assert_eq!(t.state(), State::SynSent);
    icmp(&mut t, 0, IcmpKind::Unreachable { hard: true });
    assert_eq!(
        t.events(),
        [Event::Readable, Event::Aborted(Close::Unreachable)]
    );
    let mut t = Script::open(&plain());
    t.write(100);
    icmp(&mut t, 1, IcmpKind::Unreachable { hard: true });
    assert_eq!(t.state(), State::Established);
}

#[test]
fn what_may_pass_ends_a_handshake_where_that_is_wanted() {
    let config = Config {
        soft_errors_abort: true,
        ..plain()
    };
    let soft = IcmpKind::Unreachable { hard: false };
    for mut t in [
        Script::connecting(&config),
        Script::accepting(&config, "S 0:0 mss 1000"),
    ] {
        icmp(&mut t, 1, soft);
        assert_ne!(t.state(), State::Closed, "nothing there is in flight");
        icmp(&mut t, 0, soft);
        assert_eq!(t.state(), State::Closed);
    }
    let mut t = Script::open(&config);
    t.write(100);
    icmp(&mut t, 1, soft);
    assert_eq!(t.state(), State::Established);
}
