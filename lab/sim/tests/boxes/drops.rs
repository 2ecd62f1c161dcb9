//! What is dropped, and what is answered.

use crate::{feed, pass, segment, v4};
use anabranch_sim::Middlebox;
use anabranch_sim::middlebox::{Filter, Gate, InOrder, Reject, Tell, Thin};
use anabranch_tcp::Instant;
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;

#[test]
fn a_filter_drops_what_it_is_told_to() {
    assert!(pass(Filter::new(|v, _| v.seq == Seq(1000)), &v4()).is_empty());
    assert_eq!(pass(Filter::new(|v, _| v.seq == Seq(1)), &v4()).len(), 1);
}

#[test]
fn one_acknowledgement_of_four_passes_and_all_data() {
    let mut thin = Thin::one_of(4);
    let ack = segment(1, Flags::ACK, 1, b"");
    let passed = (0..8).map(|_| feed(&mut thin, &ack).len());
    assert_eq!(passed.collect::<Vec<_>>(), [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(feed(&mut thin, &v4()).len(), 1);
}

#[test]
fn what_says_nothing_new_to_tcp_is_dropped() {
    let mut thin = Thin::repeated();
    assert_eq!(feed(&mut thin, &segment(1, Flags::ACK, 1, b"")).len(), 1);
    // Only the DATA_ACK is another.
    assert_eq!(feed(&mut thin, &segment(1, Flags::ACK, 2, b"")).len(), 0);
    assert_eq!(feed(&mut thin, &segment(1, Flags::ACK, 2, b"x")).len(), 1);
    assert_eq!(
        feed(&mut thin, &segment(1, Flags::ACK.with(Flags::FIN), 2, b"")).len(),
        1
    );
}

#[test]
fn resets_come_in_the_name_of_the_other_end() {
    let packet = segment(1000, Flags::ACK, 1, b"hello");
    let back = pass(Reject::new(Tell::Sender, |_, _| true), &packet);
    assert_eq!(back.len(), 1);
    assert_eq!((back[0].dst.port(), back[0].src.port()), (1000, 443));
    assert_eq!((back[0].seq, back[0].ack), (Seq(50), Seq(1005)));
    assert!(back[0].flags.has(Flags::RST));

    let both = pass(Reject::new(Tell::Both, |_, _| true), &packet);
    assert_eq!(both.len(), 2);
    assert_eq!((both[0].dst.port(), both[0].seq), (443, Seq(1000)));
    assert_eq!(
        pass(Reject::new(Tell::Both, |_, _| false), &packet).len(),
        1
    );
}

#[test]
fn nothing_passes_behind_a_gap() {
    let mut in_order = InOrder::default();
    let mut passes =
        |seq, payload| feed(&mut in_order, &segment(seq, Flags::ACK, 1, payload)).len();
    assert_eq!(passes(10, b"ab"), 1);
    assert_eq!(passes(14, b"ef"), 0);
    assert_eq!(passes(12, b"cd"), 1);
    assert_eq!(passes(14, b"ef"), 1);
    assert_eq!(passes(10, b"ab"), 1);
}

#[test]
fn a_gate_opens_at_its_time_and_counts() {
    let mut gate = Gate::new(Instant(5), Box::new(Filter::new(|_, _| true)));
    let acted = gate.acted();
    assert_eq!(gate.pass(Instant(4), v4()).len(), 1);
    assert_eq!(acted.get(), 0);
    assert_eq!(gate.pass(Instant(5), v4()).len(), 0);
    assert_eq!(acted.get(), 1);
}
