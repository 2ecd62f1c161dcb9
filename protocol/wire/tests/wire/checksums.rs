//! The Internet checksum against its definition, and the DSS checksum against real traffic.

use crate::support::any;
use anabranch_wire::checksum::{self, Sum};
use proptest::collection::vec;
use proptest::prelude::*;

/// RFC 1071, read literally.
fn definition(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn example_of_the_rfc() {
    // RFC 1071 §3.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(checksum::sum(&bytes), 0xddf2);
}

#[test]
fn a_super_frame_of_ones_does_not_overflow() {
    assert_eq!(checksum::sum(&[0xff; 65_535]), 0xff00);
    assert_eq!(checksum::sum(&[0xff; 65_534]), 0xffff);
    assert_eq!(checksum::sum(&[]), 0);
}

/// More than is summed at a time.
#[test]
fn megabytes_do_not_overflow() {
    let mut bytes = vec![0xff; (3 << 20) + 2];
    assert_eq!(checksum::sum(&bytes), 0xffff);
    bytes[(2 << 20) + 1] = 0xfe;
    assert_eq!(checksum::sum(&bytes), 0xfffe);
    let (head, tail) = bytes.split_at((1 << 20) + 7);
    assert_eq!(checksum::sum_slices([head, tail]).value(), 0xfffe);
}

proptest! {
    #[test]
    fn equals_the_definition(bytes in vec(any::<u8>(), 0..400), skip in 0usize..8) {
        let bytes = &bytes[skip.min(bytes.len())..];
        prop_assert_eq!(checksum::sum(bytes), definition(bytes));
    }

    #[test]
    fn pieces_of_any_length_sum_as_one(
        (bytes, pieces) in vec(any::<u8>(), 0..300)
            .prop_flat_map(|bytes| (Just(bytes.clone()), any::pieces(bytes))),
    ) {
        let pushed = checksum::sum_slices(pieces.iter().map(|piece| &piece[..]));
        let mut joined = Sum::default();
        for piece in &pieces {
            let mut own = Sum::default();
            own.push(piece);
            joined.join(own);
        }
        prop_assert_eq!(pushed.value(), definition(&bytes));
        prop_assert_eq!(joined, pushed);
    }

    #[test]
    fn an_update_equals_a_new_sum(mut bytes in vec(any::<u8>(), 2..60), at: prop::sample::Index, new: u16) {
        // Of all zeros there is no telling 0x0000 from 0xffff (RFC 1624 §3); headers never are.
        bytes[0] |= 1;
        let at = at.index(bytes.len() / 2) * 2;
        prop_assume!(at != 0 || new != 0);
        let before = !checksum::sum(&bytes);
        let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(checksum::update(before, old, new), !checksum::sum(&bytes));
    }

    #[test]
    fn a_dss_checksum_covers_all_it_should(
        dsn: u64, ssn: u32, len: u16, payload in vec(any::<u8>(), 0..100), flip in 0u32..64,
    ) {
        let mut sum = Sum::default();
        sum.push(&payload);
        let check = checksum::dss(dsn, ssn, len, sum);
        let mut covered = [&dsn.to_be_bytes()[..], &ssn.to_be_bytes(), &len.to_be_bytes()].concat();
        covered.extend([0, 0]);
        covered.extend(&payload);
        prop_assert_eq!(check, !definition(&covered));
        prop_assert!(checksum::dss_valid(dsn, ssn, len, sum, check));
        prop_assert!(!checksum::dss_valid(dsn ^ 1 << flip, ssn, len, sum, check));
        prop_assert!(!checksum::dss_valid(dsn, ssn ^ 1 << (flip % 32), len, sum, check));
        prop_assert!(!checksum::dss_valid(dsn, ssn, len ^ 1 << (flip % 16), sum, check));
    }
}

#[test]
fn both_forms_of_zero_are_a_right_checksum() {
    // The sum is 0xffff: its complement may be written as 0x0000 or 0xffff.
    let check = checksum::dss(0xffff, 0, 0, Sum::default());
    assert_eq!(check, 0);
    assert!(checksum::dss_valid(0xffff, 0, 0, Sum::default(), 0));
    assert!(checksum::dss_valid(0xffff, 0, 0, Sum::default(), 0xffff));
}
