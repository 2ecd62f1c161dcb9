//! What can be seen of a connection.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::budget::Budget;
use anabranch_tcp::info::{Flight, Limit, Recovery};
use anabranch_tcp::{Config, Info, State, StreamConfig};

#[test]
fn a_connection_that_carried_data_both_ways_tells_what_it_did() {
    let mut t = Script::open(&plain());
    t.write(5000);
    t.inject("P. 1:101 ack 2001");
    let info = t.stream.info();
    assert_eq!(
        (info.state, info.recovery),
        (State::Established, Recovery::Open)
    );
    assert_eq!(info.algorithm, "cubic");
    assert_eq!(info.timing.srtt, Some(ms(100) * 7 / 8));
    assert_eq!((info.sizes.snd_mss, info.sizes.advmss), (1000, 1000));
    assert_eq!((info.flight.in_flight, info.flight.unacked), (3000, 3000));
    assert_eq!((t.stream.unacked(), t.stream.readable()), (3000, 100));
    let stats = info.stats;
    assert_eq!(
        (stats.bytes_out, stats.bytes_acked, stats.bytes_in),
        (5000, 2000, 100)
    );
    // SYN, third ACK and payload in; SYN+ACK, five segments and an ACK out.
    assert_eq!((stats.segments_in, stats.data_segments_in), (3, 1));
    assert_eq!((stats.segments_out, stats.data_segments_out), (7, 5));
}

#[test]
fn merged_segments_count_as_what_they_were_on_the_wire() {
    let mut t = Script::open(&plain());
    t.inject(". 1:4501 ack 1 gso 1000");
    let info = t.stream.info();
    assert_eq!(info.stats.data_segments_in, 5);
    assert_eq!(info.sizes.rcv_mss, 1000);
}

#[test]
fn what_is_outstanding_is_told_apart() {
    let mut t = Script::open(&plain());
    t.write(8000);
    let info = |t: &Script| t.stream.info();
    t.wait(ms(50));
    t.inject(". 1:1 ack 1 sack 1001:2001");
    assert_eq!(info(&t).recovery, Recovery::Disorder);
    t.inject(". 1:1 ack 1 sack 1001:4001");
    t.wait(ms(60));
    let Info {
        recovery, flight, ..
    } = info(&t);
    assert_eq!(recovery, Recovery::Recovery);
    let expected = Flight {
        unacked: 8000,
        sacked: 3000,
        lost: 0,
        retrans: 1000,
        in_flight: 5000,
        notsent: 0,
        reordering: 0,
        reorderings: 0,
    };
    assert_eq!(flight, expected);
    assert_eq!(info(&t).segments(flight.unacked), 8);
}

#[test]
fn timeouts_in_a_row_and_what_they_do_to_the_next_are_told() {
    let mut t = Script::open(&plain());
    t.write(1000);
    let first = t.stream.info().timing.rto;
    t.wait(ms(2000));
    let info = t.stream.info();
    assert_eq!(info.recovery, Recovery::Loss);
    assert_eq!((info.timing.retransmits, info.timing.backoff), (2, 2));
    assert_eq!(info.timing.rto, first * 4);
    assert_eq!(info.flight.retrans, 1000);
    assert_eq!(info.stats.rto_recoveries, 0, "it goes on");
    t.inject(". 1:1 ack 1001");
    let stats = t.stream.info().stats;
    assert_eq!((stats.rtos, stats.rto_recoveries), (2, 1));
    // The first timeout came after the tail-loss probe.
    assert_eq!(stats.rto_time, ms(2000) - first * 2);
}

#[test]
fn unanswered_probes_of_a_closed_window_are_told() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.write(1000);
    t.wait(ms(1500));
    let info = t.stream.info();
    assert_eq!((info.timing.probes, info.timing.backoff), (2, 2));
    assert_eq!((info.flight.notsent, info.windows.snd_wnd), (1000, 0));
}

#[test]
fn what_the_handshake_agreed_is_told() {
    let config = Config {
        mss: 1460,
        recv_buffer: 1 << 20,
        ..Config::default()
    };
    let t = Script::accepting(&config, "S 0:0 mss 1200 ws 7 sackok val 1 ecr 0");
    let info = t.stream.info();
    assert_eq!(info.state, State::SynReceived);
    assert!(info.agreed.timestamps && info.agreed.sack && info.agreed.passive);
    assert_eq!(info.agreed.window_scales, Some((7, 5)));
    assert_eq!((info.sizes.path_mss, info.sizes.snd_mss), (1200, 1188));
    assert_eq!(info.sizes.advmss, 1448);
}

#[test]
fn moments_are_those_of_the_last_segments() {
    let mut t = Script::open(&plain());
    let opened = t.now;
    t.wait(ms(10));
    t.write(1000);
    let sent = t.now;
    t.wait(ms(10));
    t.inject(". 1:1 ack 1001");
    let seen = t.stream.info().seen;
    assert_eq!((seen.data_sent, seen.ack_received), (sent, t.now));
    assert_eq!(seen.data_received, opened, "none: when it was established");
}

#[test]
fn what_sending_waited_for_is_told_apart() {
    let mut t = Script::open_with(&StreamConfig {
        tcp: plain(),
        send_buffer: 2000,
        gso_max: 0,
        budget: Budget::unlimited(),
    });
    t.wait(ms(1000));
    // The network: 30 ms until the acknowledgement.
    t.write(1000);
    t.wait(ms(30));
    t.inject(". 1:1 ack 1001 win 1000");
    t.wait(ms(1000));
    // The peer's window: half of it leaves, 40 ms.
    t.write(2000);
    t.wait(ms(40));
    t.inject(". 1:1 ack 2001 win 60000");
    t.inject(". 1:1 ack 3001");
    // The send buffer: 50 ms.
    assert_eq!(t.stream.send(vec![0; 5000].into()), 2000);
    t.drain();
    t.wait(ms(50));
    let limited = t.stream.info().limited;
    assert_eq!(limited.now, Limit::SendBuffer);
    let limited = limited.at(t.now);
    assert_eq!(limited.busy, ms(30 + 40 + 50));
    assert_eq!(limited.peer_window, ms(40));
    assert_eq!(limited.send_buffer, ms(50));
}

#[test]
fn a_buffer_in_front_of_the_stream_may_be_what_is_full() {
    let mut t = Script::open(&plain());
    t.write(1000);
    t.stream.set_starved(true);
    t.drain();
    assert_eq!(t.stream.info().limited.now, Limit::SendBuffer);
    t.wait(ms(20));
    t.stream.set_starved(false);
    t.drain();
    let limited = t.stream.info().limited;
    assert_eq!((limited.now, limited.send_buffer), (Limit::Network, ms(20)));
}
