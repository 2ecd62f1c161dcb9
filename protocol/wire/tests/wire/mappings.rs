//! DSS checksums of real traffic: each checksummed mapping of the captures covers the bytes that
//! were really sent.

use crate::captures::{Seen, tcp_packets};
use anabranch_wire::checksum::{self, Sum};
use anabranch_wire::mptcp::{Dsn, DssMapping, MptcpOption};
use anabranch_wire::tcp::Flags;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// One direction of one subflow, as far as it was captured whole.
#[derive(Default)]
struct Subflow {
    isn: Option<u32>,
    /// Payload by position relative to the ISN; `None` where no packet was captured.
    bytes: Vec<Option<u8>>,
    /// Checksummed mappings, with DATA_FIN; repeated ones once.
    mappings: Vec<(DssMapping, bool)>,
}

impl Subflow {
    fn take(&mut self, seen: &Seen) {
        let packet = &seen.packet;
        if packet.flags.has(Flags::SYN) {
            // A port used again is another subflow.
            *self = Subflow {
                isn: Some(packet.seq.0),
                ..Subflow::default()
            };
        }
        let Some(isn) = self.isn else { return };
        if seen.complete && !packet.payload.is_empty() {
            let at = packet.seq.0.wrapping_sub(isn) as usize;
            let end = at + packet.payload.len();
            self.bytes.resize(self.bytes.len().max(end), None);
            let payload = seen.bytes[packet.payload.clone()]
                .iter()
                .map(|&byte| Some(byte));
            self.bytes.splice(at..end, payload);
        }
        for option in &packet.mptcp {
            let MptcpOption::Dss(dss) = option else {
                continue;
            };
            let Some(mapping) = dss.mapping.filter(|mapping| mapping.checksum.is_some()) else {
                continue;
            };
            if !self.mappings.contains(&(mapping, dss.data_fin)) {
                self.mappings.push((mapping, dss.data_fin));
            }
        }
    }

    /// Sum of the bytes of a mapping, if all were captured.
    fn payload(&self, mapping: &DssMapping, data_fin: bool) -> Option<Sum> {
        let len = usize::from(mapping.len) - usize::from(data_fin);
        let at = mapping.ssn as usize;
        let bytes: Option<Vec<u8>> = match len {
            0 => Some(Vec::new()),
            len => self.bytes.get(at..at + len)?.iter().copied().collect(),
        };
        let mut sum = Sum::default();
        sum.push(&bytes?);
        Some(sum)
    }
}

/// Subflows by capture and by direction.
fn subflows(packets: &[Seen]) -> BTreeMap<(String, SocketAddr, SocketAddr), Subflow> {
    let mut subflows = BTreeMap::<_, Subflow>::new();
    for seen in packets {
        let file = seen.name.split(':').next().unwrap_or_default().to_owned();
        let key = (file, seen.packet.src, seen.packet.dst);
        subflows.entry(key).or_default().take(seen);
    }
    subflows
}

#[test]
fn every_long_mapping_has_a_right_checksum() {
    let Some(packets) = tcp_packets() else { return };
    let mut verified = 0;
    for (key, subflow) in subflows(&packets) {
        for (mapping, data_fin) in &subflow.mappings {
            let (Dsn::Long(dsn), Some(check)) = (mapping.dsn, mapping.checksum) else {
                continue;
            };
            let Some(sum) = subflow.payload(mapping, *data_fin) else {
                continue;
            };
            let valid = checksum::dss_valid(dsn, mapping.ssn, mapping.len, sum, check);
            assert!(valid, "{key:?} {mapping:?}");
            verified += 1;
        }
    }
    assert!(verified >= 60, "only {verified} mappings");
}

/// The upper half of a short DSN is not on the wire, but counts. What it adds to the sum is the
/// same for all mappings of one sender, over all its subflows: anything else is a wrong checksum.
#[test]
fn every_short_mapping_has_the_checksum_of_one_upper_half() {
    let Some(packets) = tcp_packets() else { return };
    let mut verified = 0;
    let mut upper_halves = BTreeMap::<String, BTreeSet<u16>>::new();
    for ((file, ..), subflow) in subflows(&packets) {
        for (mapping, data_fin) in &subflow.mappings {
            let (Dsn::Short(dsn), Some(check)) = (mapping.dsn, mapping.checksum) else {
                continue;
            };
            let Some(sum) = subflow.payload(mapping, *data_fin) else {
                continue;
            };
            let lower = !checksum::dss(dsn.into(), mapping.ssn, mapping.len, sum);
            let upper = !checksum::add(lower, check);
            upper_halves.entry(file.clone()).or_default().insert(upper);
            verified += 1;
        }
    }
    assert!(verified >= 3_000, "only {verified} mappings");
    // One connection in each of these captures, so one upper half for each direction.
    for (file, upper_halves) in upper_halves {
        assert_eq!(upper_halves.len(), 2, "{file}");
    }
}
