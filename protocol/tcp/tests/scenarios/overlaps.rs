//! Segments that overlap, contradict each other, or are long past: RFC 9293 §3.10.7.4.

use crate::harness::script::{Script, plain};

#[test]
fn bytes_that_came_first_are_the_bytes() {
    let mut t = Script::open(&plain());
    t.inject_bytes(". 1:101 ack 1", b'a');
    t.inject_bytes(". 1:201 ack 1", b'b');
    let mut expected = vec![b'a'; 100];
    expected.extend(vec![b'b'; 100]);
    assert_eq!(t.read_bytes(), expected);
}

#[test]
fn out_of_order_too_the_first_stay() {
    let mut t = Script::open(&plain());
    t.inject_bytes(". 101:201 ack 1", b'a');
    t.inject_bytes(". 51:251 ack 1", b'b');
    t.inject_bytes(". 1:301 ack 1", b'c');
    let mut expected = vec![b'c'; 50];
    expected.extend(vec![b'b'; 50]);
    expected.extend(vec![b'a'; 100]);
    expected.extend(vec![b'b'; 50]);
    expected.extend(vec![b'c'; 50]);
    assert_eq!(t.read_bytes(), expected);
}

#[test]
fn what_was_read_does_not_come_again() {
    let mut t = Script::open(&plain());
    t.inject_bytes(". 1:1001 ack 1", b'a');
    assert_eq!(t.read_bytes().len(), 1000);
    for _ in 0..100 {
        t.inject_bytes(". 1:1001 ack 1", b'b');
    }
    assert!(t.read_bytes().is_empty());
    t.inject_bytes(". 501:1501 ack 1", b'c');
    assert_eq!(t.read_bytes(), vec![b'c'; 500]);
}

#[test]
fn ancient_segments_are_answered_and_change_nothing() {
    let mut t = Script::open(&plain());
    for start in (1..50_001).step_by(1000) {
        t.inject(&format!(". {start}:{} ack 1", start + 1000));
        assert_eq!(t.read(2000), 1000);
    }
    t.sent();
    for start in ["-100000:-99000", "-1:1", "1:1001"] {
        t.inject_bytes(&format!(". {start} ack 1"), b'z');
        let sent = t.sent();
        assert_eq!(sent.len(), 1, "{start}");
        assert!(sent[0].contains("ack 50001"), "{sent:?}");
    }
    assert!(t.read_bytes().is_empty());
}

#[test]
fn a_thousand_holes_are_not_remembered() {
    let mut t = Script::open(&plain());
    for start in (3..50_000).step_by(4) {
        t.inject_bytes(&format!(". {start}:{} ack 1", start + 2), b'h');
    }
    assert!(
        t.stream.tcb().entries() <= 258,
        "{}",
        t.stream.tcb().entries()
    );
    t.inject_bytes(". 1:50001 ack 1", b'x');
    assert_eq!(t.read_bytes().len(), 50_000);
    assert_eq!(t.stream.tcb().entries(), 0);
}

#[test]
fn every_way_to_cut_a_stream_gives_the_same_bytes() {
    // Segments of 7 bytes every 5, in an order that jumps about; byte n is n.
    let mut t = Script::open(&plain());
    let starts: Vec<u32> = (0..40).map(|i| (i * 17 % 40) * 5).collect();
    for start in starts {
        for n in start..start + 7 {
            t.inject_bytes(&format!(". {}:{} ack 1", n + 1, n + 2), n as u8);
        }
    }
    let expected: Vec<u8> = (0..202u32).map(|n| n as u8).collect();
    assert_eq!(t.read_bytes(), expected);
}
