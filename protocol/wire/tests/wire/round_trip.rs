//! What is written is read back, for every option in every width, over IPv4 and IPv6.

use crate::support::{any, build};
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Build, Packet};
use bytes::Bytes;
use proptest::prelude::*;
use smallvec::smallvec;

proptest! {
    #[test]
    fn a_packet_is_read_as_it_was_written((packet, payload) in any::packet(200)) {
        let transmit = build(&packet).transmit(smallvec![Bytes::from(payload.clone())], 0).unwrap();
        let wire = transmit.packets().next().unwrap().to_bytes();

        let read = Packet::parse_verified(&wire).unwrap();
        prop_assert_eq!(&wire[read.payload.clone()], &payload[..]);
        prop_assert_eq!(read, Packet { payload: wire.len() - payload.len()..wire.len(), ..packet });
    }

    #[test]
    fn an_option_takes_the_room_it_says(
        (class, option) in any::class().prop_flat_map(|class| (Just(class), any::mptcp(class))),
    ) {
        let flags = match class {
            Class::Syn => Flags::SYN,
            Class::SynAck => Flags::SYN.with(Flags::ACK),
            Class::Segment => Flags::ACK,
        };
        let options = Options::empty(class);
        let bare = Build { flags, ..crate::support::ack(&options) };
        let mptcp = [option.clone()];
        let with = Build { mptcp: &mptcp, ..bare.clone() }.emit(0).unwrap().bytes;
        let written = &with[bare.emit(0).unwrap().bytes.len()..];

        prop_assert_eq!(written.len(), option.padded_len());
        prop_assert!(written[option.len()..].iter().all(|&byte| byte == 1), "padding is NOP");
        let read = MptcpOption::parse(&written[..option.len()], class);
        prop_assert_eq!(read, Ok(Some(option)));
    }

    #[test]
    fn own_options_take_the_room_they_say(
        (class, options) in any::class().prop_flat_map(|class| (Just(class), any::options(class))),
    ) {
        let flags = if class == Class::Segment { Flags::ACK } else { Flags::SYN };
        let header = Build { flags, ..crate::support::ack(&options) }.emit(0).unwrap();
        prop_assert_eq!(header.bytes.len(), 40 + options.padded_len());
    }
}
