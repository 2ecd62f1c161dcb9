//! When we acknowledge: RFC 9293 §3.8.6.3, RFC 5681 §4.2, RFC 2018, RFC 2883.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use anabranch_tcp::config::Buffers;

/// Past the acknowledgements at the start, which are not delayed; the next byte is 16,001.
fn settled(config: &Config) -> Script {
    let mut t = Script::open(config);
    for i in 0..16 {
        t.inject(&format!(". {}:{} ack 1", 1 + i * 1000, 1001 + i * 1000));
    }
    assert_eq!(t.sent().len(), 16);
    t.read(16_000);
    t
}

#[test]
fn the_first_segments_are_acknowledged_at_once() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1001 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 1001"]);
}

#[test]
fn every_second_segment_is_acknowledged_and_a_single_one_after_40_ms() {
    let mut t = settled(&plain());
    t.inject(". 16001:17001 ack 1");
    assert!(t.sent().is_empty());
    t.inject(". 17001:18001 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 18001"]);
    t.inject(". 18001:19001 ack 1");
    t.wait(ms(39));
    assert!(t.sent().is_empty());
    t.wait(ms(1));
    assert_eq!(t.sent(), [". 1:1 ack 19001"]);
}

#[test]
fn a_merged_segment_counts_as_the_many_it_was_made_of() {
    let mut t = settled(&plain());
    t.inject(". 16001:24001 ack 1 gso 1000");
    assert_eq!(t.sent(), [". 1:1 ack 24001"]);
}

#[test]
fn an_answer_carries_the_acknowledgement() {
    let mut t = settled(&plain());
    t.inject("P. 16001:16101 ack 1");
    t.write(10);
    assert_eq!(t.sent(), ["P. 1:11 ack 16101"]);
    t.wait(ms(40));
    assert!(t.sent().is_empty());
}

#[test]
fn out_of_order_segments_are_acknowledged_at_once_the_most_recent_block_first() {
    let mut t = settled(&plain());
    t.inject(". 17001:18001 ack 1");
    t.inject(". 19001:20001 ack 1");
    t.inject(". 18001:18501 ack 1");
    t.inject(". 16001:17001 ack 1");
    assert_eq!(
        t.sent(),
        [
            ". 1:1 ack 16001 sack 17001:18001",
            ". 1:1 ack 16001 sack 19001:20001 sack 17001:18001",
            ". 1:1 ack 16001 sack 17001:18501 sack 19001:20001",
            ". 1:1 ack 18501 sack 19001:20001",
        ]
    );
}

#[test]
fn blocks_are_as_many_as_fit_beside_timestamps() {
    let mut t = settled(&plain());
    for hole in 0..6 {
        let start = 17_001 + 2000 * hole;
        t.inject(&format!(". {start}:{} ack 1", start + 1000));
    }
    let last = t.sent().pop().unwrap();
    assert_eq!(last.matches("sack").count(), 4);
    let config = Config {
        timestamps: true,
        ..plain()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1000 sackok val 1 ecr 0");
    t.inject(". 1:1 ack 1 val 2 ecr 6000");
    for hole in 0..6 {
        let start = 1001 + 2000 * hole;
        t.inject(&format!(". {start}:{} ack 1 val 2 ecr 6000", start + 1000));
    }
    let last = t.sent().pop().unwrap();
    assert_eq!(last.matches("sack").count(), 3);
}

#[test]
fn a_duplicate_is_reported_once() {
    let mut t = settled(&plain());
    t.inject(". 15001:16001 ack 1");
    t.inject(". 18001:19001 ack 1");
    t.inject(". 18001:19001 ack 1");
    t.inject(". 15501:16501 ack 1");
    assert_eq!(
        t.sent(),
        [
            ". 1:1 ack 16001 sack 15001:16001",
            ". 1:1 ack 16001 sack 18001:19001",
            ". 1:1 ack 16001 sack 18001:19001 sack 18001:19001",
            ". 1:1 ack 16501 sack 15501:16001 sack 18001:19001",
        ]
    );
}

#[test]
fn sack_goes_ahead_of_data_and_leaves_full_segments_alone() {
    let mut t = settled(&plain());
    t.write(15_000);
    t.sent();
    t.inject(". 17001:18001 ack 5001");
    let sent = t.sent();
    assert_eq!(sent[0], ". 10001:10001 ack 16001 sack 17001:18001");
    assert!(
        sent[1..].iter().all(|line| !line.contains("sack")),
        "{sent:?}"
    );
    assert!(sent.len() > 1);
}

#[test]
fn without_sack_there_are_plain_duplicate_acknowledgements() {
    let config = Config {
        sack: false,
        ..plain()
    };
    let mut t = settled(&config);
    t.inject(". 17001:18001 ack 1");
    t.inject(". 18001:19001 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 16001", ". 1:1 ack 16001"]);
}

#[test]
fn holes_are_kept_up_to_a_bound() {
    let mut t = Script::open(&plain());
    for hole in 0..300 {
        let start = 11 + 20 * hole;
        t.inject(&format!(". {start}:{} ack 1", start + 10));
    }
    let stats = *t.stream.tcb().stats();
    assert_eq!((stats.bytes_in, stats.dropped), (2610, 39));
    // What was not dropped is delivered when the holes fill.
    t.inject(". 1:5221 ack 1");
    assert_eq!(t.read(10_000), 5220);
}

#[test]
fn every_other_segment_of_a_large_window_is_kept() {
    let config = Config {
        recv_buffer: 4 << 20,
        window_scaling: true,
        buffers: Buffers {
            recv_initial: 4 << 20,
            ..plain().buffers
        },
        ..plain()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1000 sackok ws 7");
    t.inject(". 1:1 ack 1");
    for hole in 0..1000 {
        let start = 1001 + 2000 * hole;
        t.inject(&format!(". {start}:{} ack 1", start + 1000));
    }
    let stats = *t.stream.tcb().stats();
    assert_eq!((stats.bytes_in, stats.dropped), (1_000_000, 0));
}
