//! Options removed, altered, arranged otherwise.

use crate::{feed, parsed, pass, segment, syn, v4};
use anabranch_sim::Middlebox;
use anabranch_sim::middlebox::{Clamp, Echo, Forget, Shuffle, Strip};
use anabranch_tcp::Instant;
use anabranch_wire::Packet;
use anabranch_wire::tcp::{Flags, Options, SynOptions};

#[test]
fn stripping_leaves_the_rest_as_it_was() {
    let stripped = pass(Strip::new(|s| s.subtype == 2), &v4()).remove(0);
    let mut expected = Packet::parse(&v4()).unwrap();
    expected.mptcp.clear();
    assert_eq!(stripped, expected);
    assert_eq!(
        pass(Strip::new(|s| s.subtype == 0), &v4())[0].mptcp.len(),
        1
    );
}

fn syn_options(packet: &Packet) -> &SynOptions {
    match &packet.options {
        Options::Syn(options) => options,
        Options::Segment(_) => panic!("a SYN"),
    }
}

#[test]
fn options_are_forgotten_by_kind() {
    const TIMESTAMPS: &[u8] = &[8];
    let everywhere = Forget {
        kinds: TIMESTAMPS,
        syn_only: false,
    };
    let passed = pass(everywhere, &syn(None)).remove(0);
    assert_eq!(syn_options(&passed).timestamps, None);
    assert_eq!(syn_options(&passed).window_scale, Some(7));
    assert_eq!(passed.mptcp.len(), 1);

    let data = segment(1, Flags::ACK, 1, b"x");
    let syn_only = Forget {
        kinds: TIMESTAMPS,
        syn_only: true,
    };
    assert_eq!(pass(syn_only, &data), parsed(std::slice::from_ref(&data)));

    let bare = pass(
        Forget {
            kinds: &[],
            syn_only: false,
        },
        &data,
    )
    .remove(0);
    assert_eq!(bare.options, Options::Segment(Default::default()));
    assert!(bare.mptcp.is_empty());
}

#[test]
fn options_arranged_otherwise_say_the_same() {
    let data = segment(1, Flags::ACK, 1, b"hello");
    for shuffle in [Shuffle::Reverse, Shuffle::Pad, Shuffle::Duplicate] {
        for packet in [&data, &syn(None)] {
            let bytes = shuffle.clone().pass(Instant(0), packet.clone()).remove(0);
            assert_ne!(bytes, packet, "{shuffle:?}");
            let (was, mut is) = (Packet::parse(packet).unwrap(), parsed(&[bytes]).remove(0));
            is.mptcp.dedup();
            assert_eq!((&is.options, &is.mptcp), (&was.options, &was.mptcp));
            assert_eq!(is.payload.len(), was.payload.len());
        }
    }
}

#[test]
fn what_does_not_fit_twice_stays_as_it_is() {
    // MP_CAPABLE of 12 bytes beside 20 of TCP's own.
    let syn_ack = syn(Some(5));
    let passed = Shuffle::Duplicate.clone().pass(Instant(0), syn_ack.clone());
    assert_eq!(passed, [syn_ack]);
}

#[test]
fn segment_size_and_window_are_lowered_not_raised() {
    let mss = |most| syn_options(&pass(Clamp::Mss(most), &syn(None))[0]).mss;
    assert_eq!((mss(1200), mss(1500)), (Some(1200), Some(1460)));
    let window = |most| pass(Clamp::Window(most), &v4())[0].window;
    assert_eq!((window(60), window(200)), (60, 100));
    // A SYN's window is no promise that counts.
    assert_eq!(pass(Clamp::Window(60), &syn(None))[0].window, 100);
}

#[test]
fn an_unknown_option_of_the_syn_comes_back_on_the_syn_ack() {
    let mut echo = Echo::default();
    let there = feed(&mut echo, &syn(None)).remove(0);
    let back = echo.pass(Instant(0), syn(Some(5))).remove(0);
    let view = anabranch_sim::segment::TcpView::sound(&back).expect("a right checksum");
    let options = &back[view.options.clone()];
    assert!(options.windows(4).any(|w| w == [30, 4, 0x01, 0x01]));
    assert_eq!(there.mptcp.len(), 1);
}
