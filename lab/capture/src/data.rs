//! Mappings, payload, DATA_ACK, DATA_FIN.

use crate::analyser::{Observer, Placed};
use crate::connection::{At, Connection};
use crate::flow::{Check, Mapped, Mapping};
use crate::option::{Map, Mptcp, Number};
use crate::packet::Segment;
use crate::report::{End, Kind};

impl Connection {
    /// What a segment says of data, and the data it has.
    pub(crate) fn data(&mut self, at: At, segment: &Segment<'_>, observer: &mut dyn Observer) {
        self.notice_silence(at, segment);
        for option in &segment.mptcp {
            match *option {
                Mptcp::Dss { ack, map, fin } => {
                    if let Some(ack) = ack {
                        self.data_ack(at, ack);
                    }
                    if let Some(map) = map {
                        self.map(at, map, fin, segment, observer);
                    }
                }
                Mptcp::Capable {
                    data: Some((len, checksum)),
                    ..
                } => self.first_map(at, len, checksum, observer),
                _ => {}
            }
        }
        let Some((ssn, fresh)) = self.subflows[at.subflow].carry(at.from, segment) else {
            return;
        };
        self.payload(at, ssn, segment.payload, fresh, observer);
    }

    /// Payload of the client before it showed that it knows the keys.
    fn notice_silence(&mut self, at: At, segment: &Segment<'_>) {
        if at.from != End::Client || at.subflow != 0 {
            return;
        }
        self.proved |= !segment.mptcp.is_empty();
        if segment.payload_len > 0 && !self.proved {
            self.fall_back(
                at,
                "neither the third ACK nor the first data has MP_CAPABLE",
            );
        }
    }

    fn data_ack(&mut self, at: At, ack: Number) {
        let stream = &mut self.streams[at.from.other() as usize];
        let dsn = match ack.wide {
            true => ack.value,
            false => stream.widen_ack(ack.value as u32),
        };
        let Some(first) = stream.first() else {
            return;
        };
        let sent = stream.fin.map_or(stream.end, |fin| stream.end.max(fin + 1));
        let acked = dsn.wrapping_sub(first);
        if acked <= sent {
            stream.acked = stream.acked.max(acked);
        } else if acked < u64::MAX / 2 && !self.incomplete && self.fallback.is_none() {
            let beyond = acked - sent;
            let text = format!("DATA_ACK of {beyond} bytes more than were ever sent");
            self.log.wrong(at, Kind::DataAckBeyond, text);
        }
    }

    /// The implicit mapping of MP_CAPABLE with data (RFC 8684 §3.1).
    fn first_map(&mut self, at: At, len: u16, checksum: Option<u16>, observer: &mut dyn Observer) {
        let Some(dsn) = self.streams[at.from as usize].first() else {
            return;
        };
        let ssn = self.subflows[at.subflow].syn_payload as u32 + 1;
        self.expect_checksum(at, checksum.is_some());
        let check = checksum.map(|checksum| Check { ssn, len, checksum });
        let mapping = Mapping {
            ssn: ssn.into(),
            dsn,
            len: len.into(),
            check,
        };
        self.add_mapping(at, mapping, observer);
    }

    fn map(
        &mut self,
        at: At,
        map: Map,
        fin: bool,
        segment: &Segment<'_>,
        observer: &mut dyn Observer,
    ) {
        let stream = &mut self.streams[at.from as usize];
        if !map.dsn.wide && stream.first().is_none() {
            return;
        }
        let dsn = match map.dsn.wide {
            true => map.dsn.value,
            false => stream.widen(map.dsn.value as u32),
        };
        // Without keys the first mapping tells where to count from.
        stream.begin(dsn);
        if map.len == 0 {
            return self.infinite(at, map, dsn, segment, observer);
        }
        if stream.offset(dsn).is_none() {
            let text = format!("a mapping of {dsn:#018x}, far outside of the stream");
            return self.log.wrong(at, Kind::DsnOutside, text);
        }
        let len = u64::from(map.len) - u64::from(fin);
        if fin {
            self.data_fin(at, dsn.wrapping_add(len));
        }
        self.expect_checksum(at, map.checksum.is_some());
        let check = map.checksum.map(|checksum| Check {
            ssn: map.ssn,
            len: map.len,
            checksum,
        });
        if len == 0 {
            return self.judge_checksum(at, check.map(|check| check.holds(dsn, 0)));
        }
        let flow = &self.subflows[at.subflow].flows[at.from as usize];
        let mapping = Mapping {
            ssn: flow.widen(map.ssn),
            dsn,
            len,
            check,
        };
        self.add_mapping(at, mapping, observer);
    }

    /// Multipath TCP is given up: from here on the stream is that of the subflow.
    fn infinite(
        &mut self,
        at: At,
        map: Map,
        dsn: u64,
        segment: &Segment<'_>,
        observer: &mut dyn Observer,
    ) {
        self.fall_back(at, &format!("the {} sent an infinite mapping", at.from));
        let flow = &mut self.subflows[at.subflow].flows[at.from as usize];
        let here = flow.relative(segment.seq).unwrap_or(1);
        let ssn = if map.ssn == 0 {
            here
        } else {
            flow.widen(map.ssn)
        };
        flow.map_rest(ssn, dsn);
        self.place_waiting(at, observer);
    }

    fn add_mapping(&mut self, at: At, mapping: Mapping, observer: &mut dyn Observer) {
        let stream = &mut self.streams[at.from as usize];
        let Some(offset) = stream.offset(mapping.dsn) else {
            return;
        };
        let initial = self.subflows[at.subflow].join.is_none();
        let known = self.hosts[at.from as usize].derived.is_some();
        let first = 1 + self.subflows[at.subflow].syn_payload;
        if initial && known && at.from == End::Client && mapping.ssn == first && offset != 0 {
            let text = "the first byte is not mapped to IDSN + 1".to_owned();
            self.log.wrong(at, Kind::WrongIdsn, text);
        }
        if stream.fin.is_some_and(|fin| offset + mapping.len > fin) {
            let text = "a mapping that reaches beyond DATA_FIN".to_owned();
            self.log.wrong(at, Kind::BeyondDataFin, text);
        }
        let flow = &mut self.subflows[at.subflow].flows[at.from as usize];
        if let Err(old) = flow.map(mapping) {
            let text = format!(
                "a mapping of {} bytes at {} of the subflow puts them elsewhere than one at {} did",
                mapping.len, mapping.ssn, old.ssn
            );
            self.log.wrong(at, Kind::ChangedMapping, text);
            observer.mapping_changed(self.number, at.from);
        }
        self.place_waiting(at, observer);
    }

    fn place_waiting(&mut self, at: At, observer: &mut dyn Observer) {
        let flow = &mut self.subflows[at.subflow].flows[at.from as usize];
        for (ssn, bytes) in flow.take_waiting() {
            self.payload(at, ssn, &bytes, true, observer);
        }
    }

    fn data_fin(&mut self, at: At, dsn: u64) {
        let stream = &mut self.streams[at.from as usize];
        let Some(offset) = stream.offset(dsn) else {
            return;
        };
        if stream.fin.is_none() {
            self.log
                .signal(at, format!("DATA_FIN after {offset} bytes"));
        }
        let stream = &mut self.streams[at.from as usize];
        let fin = *stream.fin.get_or_insert(offset);
        if fin != offset || stream.end > fin {
            let text = format!("a DATA_FIN at {offset}, where the stream goes on or ended before");
            self.log.wrong(at, Kind::BeyondDataFin, text);
        }
    }

    fn expect_checksum(&mut self, at: At, present: bool) {
        if self.version.is_none() || present == self.checksums {
            return;
        }
        let text = if present {
            "a mapping has a checksum, and none was agreed"
        } else {
            "a mapping has no checksum, and one was agreed"
        };
        self.log.wrong(at, Kind::ChecksumPresence, text.to_owned());
    }

    fn judge_checksum(&mut self, at: At, verdict: Option<bool>) {
        let counts = &mut self.streams[at.from as usize].counts;
        match verdict {
            None => {}
            Some(true) => counts.checksums_right += 1,
            Some(false) => {
                counts.checksums_wrong += 1;
                let text = "the checksum of a mapping does not fit its bytes".to_owned();
                self.log.wrong(at, Kind::WrongChecksum, text);
            }
        }
    }

    /// Payload at a place of a subflow. `fresh`: it is not sent again there.
    fn payload(
        &mut self,
        at: At,
        ssn: u64,
        bytes: &[u8],
        fresh: bool,
        observer: &mut dyn Observer,
    ) {
        let mut pieces = Vec::new();
        let flow = &mut self.subflows[at.subflow].flows[at.from as usize];
        flow.payload(ssn, bytes, |mapped| pieces.push(mapped));
        for mapped in pieces {
            self.place(at, &mapped, fresh, observer);
        }
    }

    fn place(&mut self, at: At, mapped: &Mapped<'_>, fresh: bool, observer: &mut dyn Observer) {
        self.judge_checksum(at, mapped.verdict);
        let stream = &mut self.streams[at.from as usize];
        let (Some(offset), Some(first)) = (stream.offset(mapped.dsn), stream.first()) else {
            return;
        };
        let (again, differs) = stream.put(offset, mapped.bytes, at.packet, at.subflow);
        let acked = stream.acked;
        if fresh {
            stream.counts.reinjected += again;
            self.subflows[at.subflow].carried[at.from as usize].reinjected += again;
        }
        if let Some(differs) = differs {
            let text = format!(
                "byte {} of the stream is another than in packet {} on subflow {}",
                differs.offset,
                differs.packet,
                differs.subflow + 1
            );
            // Linux probes a closed window with one byte that was acknowledged before, and does
            // not care which one it puts there.
            if mapped.mapping.len == 1 && differs.offset < acked {
                self.log.strange(at, Kind::WindowProbe, text);
            } else {
                self.log.wrong(at, Kind::UnequalBytes, text);
            }
        }
        let (opener, other) = self.subflows[at.subflow].ends;
        let forth = self.subflows[at.subflow].opener == at.from;
        observer.placed(&Placed {
            connection: self.number,
            from: at.from,
            ends: self.subflows[0].ends,
            packet: at.packet,
            subflow: if forth {
                (opener, other)
            } else {
                (other, opener)
            },
            offset,
            mapping: (
                mapped.mapping.ssn,
                mapped.mapping.dsn.wrapping_sub(first),
                mapped.mapping.len,
            ),
            bytes: mapped.bytes,
        });
    }
}
