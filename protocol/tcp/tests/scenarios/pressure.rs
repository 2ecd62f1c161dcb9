//! Memory that many connections share runs short: windows become small, nothing promised is taken
//! back, and all is as before once there is memory again.

use crate::harness::script::{Script, plain};
use anabranch_tcp::budget::Budget;
use anabranch_tcp::{Config, StreamConfig};

const MEMORY: usize = 400_000;

fn open(budget: &Budget) -> Script {
    Script::open_with(&StreamConfig {
        tcp: Config {
            recv_buffer: 50_000,
            ..plain()
        },
        send_buffer: 50_000,
        gso_max: 0,
        budget: budget.clone(),
    })
}

/// What the peer may still send of what was promised.
fn promised(t: &Script) -> u32 {
    t.stream.info().windows.rcv_wnd as u32
}

/// The peer sends up to 1000 bytes of what it may; how many, and the right edge then.
fn receive(t: &mut Script) -> (u32, u32) {
    let at = t.stream.tcb().rcv_nxt() as u32 + 1;
    let len = promised(t).min(1000);
    t.inject(&format!("P. {at}:{} ack 1", at + len));
    (len, at + len + promised(t))
}

/// The window that one connection of many offers after a byte more.
fn offered(t: &mut Script) -> u32 {
    let at = t.stream.tcb().rcv_nxt() + 1;
    t.inject(&format!("P. {at}:{} ack 1", at + 1));
    t.read(1);
    u32::from(t.window())
}

#[test]
fn windows_shrink_as_memory_does_and_grow_with_it_again() {
    let budget = Budget::new(MEMORY);
    let mut t = open(&budget);
    assert!(offered(&mut t) > 49_000);
    let others = budget.charge(360_000).expect("free");
    // What was promised is used up before less is promised.
    let mut edge = 0;
    for _ in 0..60 {
        let (_, now) = receive(&mut t);
        t.read(1000);
        assert!(now >= edge, "{now} after {edge}");
        edge = now;
    }
    let scarce = promised(&t);
    assert!(
        (1..=5000).contains(&scarce),
        "an eighth of what is left: {scarce}"
    );
    drop(others);
    assert!(offered(&mut t) > 49_000);
}

#[test]
fn nothing_is_left_at_all() {
    let budget = Budget::new(MEMORY);
    let mut t = open(&budget);
    offered(&mut t);
    let others = budget.charge(MEMORY).expect("free");
    for _ in 0..60 {
        let (len, _) = receive(&mut t);
        // Within the promise all is taken, though memory is spent.
        assert_eq!(t.read(1000), len as usize);
    }
    assert_eq!(promised(&t), 0);
    assert_eq!(
        t.stream.send(vec![0; 10].into()),
        0,
        "nor is there any to write"
    );
    drop(others);
    let at = t.stream.tcb().rcv_nxt() as u32;
    t.sent();
    t.inject(&format!(". {at}:{at} ack 1"));
    assert_eq!(t.sent().len(), 1, "the peer's probe is answered");
    assert!(t.window() > 49_000);
}

#[test]
fn those_who_do_not_read_leave_something_for_the_others() {
    let budget = Budget::new(MEMORY);
    let mut all: Vec<Script> = (0..40).map(|_| open(&budget)).collect();
    for round in 0..200 {
        for t in &mut all {
            let at = t.stream.tcb().rcv_nxt() as u32 + 1;
            // The peers send whatever is allowed, once they have heard of it.
            let len = if round == 0 {
                500
            } else {
                u32::from(t.window()).min(1000)
            };
            t.inject(&format!("P. {at}:{} ack 1", at + len));
        }
    }
    // 40 times 50,000 were promised before it ran short.
    assert!(budget.used() <= 40 * 50_000);
    let late = open(&budget).window();
    for t in &mut all {
        assert!(t.read(100_000) > 5000);
    }
    assert_eq!((late, budget.used()), (0, 0));
    assert!(all.iter_mut().all(|t| offered(t) > 49_000));
}
